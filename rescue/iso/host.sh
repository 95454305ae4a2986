# shellcheck shell=bash
# What the build needs from the machine it runs on.

# command, and the Debian package that has it
# shellcheck disable=SC2034
readonly HOST_TOOLS='
cc         gcc
dpkg-deb   dpkg
apt-get    apt
depmod     kmod
cpio       cpio
xorriso    xorriso
mformat    mtools
sha256sum  coreutils
zstd       zstd
git        git
debootstrap debootstrap
'
# shellcheck disable=SC2034
readonly TRY_TOOLS='
qemu-system-x86_64  qemu-system-x86
sfdisk              fdisk
mkfs.ext4           e2fsprogs
mkfs.vfat           dosfstools
mkfs.ntfs           ntfs-3g
mkswap              util-linux
'
# grub-mkimage is taken from the locked packages; these are the libraries it is linked with.
readonly HOST_LIBRARIES='
libdevmapper.so.1.02.1  libdevmapper1.02.1
liblzma.so.5            liblzma5
'

PATH=$PATH:/sbin:/usr/sbin

is_debian_like() { [ -e /etc/debian_version ] && command -v apt-get >/dev/null; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n true 2>/dev/null && sudo "$@"; fi
}

# missing_packages TABLE: the packages of commands that are not there
missing_packages() {
    local tool package
    while read -r tool package; do
        [ -z "$tool" ] || command -v "$tool" >/dev/null || echo "$package"
    done <<<"$1" | sort -u
}

missing_libraries() {
    local library package known
    known=$(ldconfig -p 2>/dev/null || true)
    while read -r library package; do
        [ -z "$library" ] || grep -qF "$library" <<<"$known" || echo "$package"
    done <<<"$HOST_LIBRARIES"
}

# need TABLE: installs on Debian and Ubuntu what is missing, names it elsewhere
need() {
    local missing
    mapfile -t missing < <({ missing_packages "$1"; missing_more; } | sort -u)
    [ "${#missing[@]}" = 0 ] && return
    if is_debian_like; then
        say "installing ${missing[*]}"
        if as_root apt-get update -qq && as_root apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null; then
            return
        fi
        die "these packages are missing and could not be installed: ${missing[*]}; as root: apt-get install ${missing[*]}"
    fi
    die "this machine lacks the tools of these Debian packages: ${missing[*]}; install what your system calls them"
}

# Distributions with a rustup package get it; elsewhere installing Rust is the user's own choice.
need_cargo() {
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    if ! command -v cargo >/dev/null && is_debian_like && [ -n "$(apt-cache search --names-only '^rustup$')" ]; then
        say "installing Rust by rustup"
        as_root apt-get install -qq -y rustup >/dev/null && rustup default stable >&2
    fi
    command -v cargo >/dev/null || die "cargo is missing; install Rust $wanted or newer from https://rustup.rs"
    have=$(cargo --version | cut -d' ' -f2)
    [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -n1)" = "$wanted" ] ||
        die "cargo is version $have; Rust $wanted or newer is needed, for example from https://rustup.rs"
}

say() { printf 'mkiso: %s\n' "$*" >&2; }
die() { printf 'mkiso: %s\n' "$*" >&2; exit 1; }

# quietly COMMAND…: what it says is only of interest when it fails
quietly() {
    local said
    said=$("$@" 2>&1) || die "$1 failed: $said"
}
