# shellcheck shell=bash
# Debian packages: downloaded once, checked against rescue/iso/packages.lock, unpacked without root.

readonly LOCK=rescue/iso/packages.lock
readonly DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
# The kernel's package carries its version in its name: the first one says which is current.
readonly KERNEL_META=linux-image-6.12-amd64
readonly WANTED='shim-signed shim-helpers-amd64-signed grub-efi-amd64-signed grub-pc-bin grub-common busybox-static'

# Beside commands the build needs the keyring and the libraries of grub-mkimage.
missing_more() {
    [ -e "$DEBIAN_KEYRING" ] || echo debian-archive-keyring
    missing_libraries
}

# Where Debian's archive is: what the user says, else what debootstrap knows.
debian_mirror() {
    if [ -n "${RESCUE_DEBIAN_MIRROR:-}" ]; then
        echo "$RESCUE_DEBIAN_MIRROR"
        return
    fi
    local known
    known=$(sed -n 's/^DEF_MIRROR="\(.*\)"$/\1/p' /usr/sbin/debootstrap 2>/dev/null | head -n 1)
    [ -n "$known" ] || die "no Debian mirror is known; install debootstrap or set RESCUE_DEBIAN_MIRROR"
    echo "$known"
}

# Elsewhere than on Debian 12 its archive is asked directly; the keyring says what is genuine.
write_sources() {
    local mirror
    mirror=$(debian_mirror)
    cat >"$APT/sources.list" <<S
deb [arch=amd64 signed-by=$DEBIAN_KEYRING] $mirror bookworm main
deb [arch=amd64 signed-by=$DEBIAN_KEYRING] $mirror bookworm-updates main
deb [arch=amd64 signed-by=$DEBIAN_KEYRING] $mirror-security bookworm-security main
S
}

is_bookworm() { (. /etc/os-release && [ "$ID" = debian ] && [ "${VERSION_CODENAME:-}" = bookworm ]); }

# Whether this machine's own list of archives is the right one.
own_sources() { [ -z "${RESCUE_DEBIAN_MIRROR:-}" ] && is_bookworm; }

# apt with lists, cache and locks of its own: nothing on this machine changes, no root is needed.
private_apt() {
    local tool=$1
    shift
    local options=(
        -o Dir::State="$APT/state" -o Dir::State::status="$APT/status" -o Dir::Cache="$APT/cache"
        -o APT::Architecture=amd64 -o APT::Architectures::=amd64 -o APT::Sandbox::User="$(id -un)"
        -o Dpkg::Use-Pty=0
    )
    if ! own_sources; then
        options+=(-o Dir::Etc::sourcelist="$APT/sources.list" -o Dir::Etc::sourceparts=-)
    fi
    "$tool" -qq "${options[@]}" "$@"
}

refresh_lists() {
    [ -n "${LISTS_ARE_FRESH:-}" ] && return
    mkdir -p "$APT/state/lists/partial" "$APT/cache/archives/partial"
    : >"$APT/status"
    own_sources || write_sources
    say "reading the lists of Debian's archive"
    private_apt apt-get update >&2 || say "some lists could not be read; going on with the others"
    LISTS_ARE_FRESH=yes
}

# Writes the lock anew from what the archive serves now.
update_lock() {
    refresh_lists
    local kernel name version file
    kernel=$(private_apt apt-cache depends "$KERNEL_META" | awk '$1 == "Depends:" && $2 ~ /^linux-image-6/ { print $2; exit }')
    [ -n "$kernel" ] || die "the archive does not serve $KERNEL_META"
    {
        echo "# Packages the image is made of: name, version, sha256. Written by mkiso.sh --update-lock."
        for name in $kernel $WANTED; do
            version=$(private_apt apt-cache policy "$name" | awk '$1 == "Candidate:" { print $2 }')
            file=$(download "$name" "$version")
            echo "$name $version $(sha256sum "$file" | cut -d' ' -f1)"
        done
    } >"$LOCK.new"
    mv "$LOCK.new" "$LOCK"
    say "wrote $LOCK"
}

# download NAME VERSION: prints the file's path
download() {
    local name=$1 version=$2
    local file="$DEBS/${name}_${version//:/%3a}_amd64.deb"
    if [ ! -e "$file" ]; then
        refresh_lists
        say "downloading $name $version"
        (cd "$DEBS" && private_apt apt-get download "$name=$version" >&2) ||
            die "Debian's archive no longer serves $name $version; run mkiso.sh --update-lock, look at what changed in $LOCK, and commit it"
    fi
    [ -e "$file" ] || die "apt-get downloaded $name $version under another name than $file"
    echo "$file"
}

# Everything the lock names, unpacked into $PACKAGES; done once for each content of the lock.
unpack_packages() {
    local stamp name version sum file kernel
    stamp=$(sha256sum "$LOCK" | cut -d' ' -f1)
    [ "$(cat "$PACKAGES/.stamp" 2>/dev/null)" = "$stamp" ] && return
    rm -rf "$PACKAGES"
    mkdir -p "$PACKAGES"
    while read -r name version sum; do
        [[ $name == \#* ]] && continue
        file=$(download "$name" "$version")
        echo "$sum  $file" | sha256sum --check --quiet >&2 ||
            die "$file is not the package that $LOCK names; delete it and try again"
        dpkg-deb --extract "$file" "$PACKAGES"
    done <"$LOCK"
    kernel=$(kernel_release)
    say "listing the modules of Linux $kernel"
    depmod -b "$PACKAGES" "$kernel"
    echo "$stamp" >"$PACKAGES/.stamp"
}

kernel_release() { basename "$PACKAGES"/lib/modules/*; }
