#!/usr/bin/env bash
# Makes build/rescue.iso: one file that boots a PC by BIOS or UEFI, from CD or stick, under Secure Boot too.
set -euo pipefail
cd "$(dirname "$0")"
umask 022

usage() {
    cat <<'U'
mkiso.sh [OPTION]…

  (no option)            build build/rescue.iso
  --try                  build it and boot it in QEMU on a made-up PC
  --output FILE          write the ISO there
  --kernel debian        Debian's signed kernel with its modules (the default)
  --kernel FILE          take this kernel, which has its drivers built in, with our programs and no modules …
  --initramfs FILE       … or with this initramfs …
  --initramfs-from DIR   … or with this tree, packed
  --check-reproducible   build everything twice, the second time from nothing, and compare
  --update-lock          take the newest packages of Debian 12 into rescue/iso/packages.lock

Needs no root, except for installing tools that are missing on Debian and Ubuntu.
Downloads are kept in build/cache. RESCUE_DEBIAN_MIRROR names another mirror of Debian.
U
}

for part in host packages initramfs image try; do
    # shellcheck source=/dev/null
    . "rescue/iso/$part.sh"
done

ACTION=build
OUTPUT=build/rescue.iso
KERNEL=
INITRAMFS=
TREE=
while [ $# -gt 0 ]; do
    case $1 in
        --try) ACTION=try ;;
        --check-reproducible) ACTION=check ;;
        --update-lock) ACTION=lock ;;
        --output) OUTPUT=${2:?--output needs a file}; shift ;;
        --kernel) KERNEL=${2:?--kernel needs a file}; shift ;;
        --initramfs) INITRAMFS=${2:?--initramfs needs a file}; shift ;;
        --initramfs-from) TREE=${2:?--initramfs-from needs a folder}; shift ;;
        -h | --help) usage; exit ;;
        *) usage >&2; die "unknown option $1" ;;
    esac
    shift
done
[ "$KERNEL" != debian ] || KERNEL=
[ -n "$KERNEL" ] || [ -z "$INITRAMFS$TREE" ] || die "--initramfs and --initramfs-from need --kernel FILE"
[ -z "$INITRAMFS" ] || [ -z "$TREE" ] || die "--initramfs and --initramfs-from exclude each other"

# The date of the last change, so that the same source makes the same bytes.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 1767225600)}
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
readonly LIMIT=$((56 * 1000 * 1000))
CACHE=$PWD/build/cache
APT=$CACHE/apt
DEBS=$CACHE/debs
PACKAGES=$CACHE/packages
PROGRAMS=${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/release
WORK=$PWD/build/work

# build OUT: leaves kernel and initramfs beside it, for starting them directly
build() {
    local out=$1 kernel initramfs
    mkdir -p "$APT" "$DEBS" "$WORK" "$(dirname "$out")"
    unpack_packages
    if [ -n "$KERNEL" ]; then
        kernel=$KERNEL initramfs=${INITRAMFS:-$WORK/initrd.img}
        [ -n "$INITRAMFS" ] || make_plain_initramfs "$initramfs"
    else
        say "building the programs"
        build_programs
        kernel=$PACKAGES/boot/vmlinuz-$(kernel_release) initramfs=$WORK/initrd.img
        make_initramfs "$initramfs"
    fi
    ID=$(build_id "$kernel" "$initramfs")
    make_iso "$kernel" "$initramfs" "$out.new"
    # Whoever boots the files meanwhile keeps whole ones.
    cp "$kernel" "$(dirname "$out")/vmlinuz.new"
    cp "$initramfs" "$(dirname "$out")/initrd.img.new"
    mv "$(dirname "$out")/vmlinuz.new" "$(dirname "$out")/vmlinuz"
    mv "$(dirname "$out")/initrd.img.new" "$(dirname "$out")/initrd.img"
    mv "$out.new" "$out"
    tell_sizes "$out"
}

tell_sizes() {
    local bytes
    bytes=$(stat --format=%s "$1")
    say "$1, $(megabytes "$bytes"), id $ID"
    say "  kernel     $(megabytes "$(stat --format=%s "$WORK/iso/boot/vmlinuz")")"
    say "  initramfs  $(megabytes "$(stat --format=%s "$WORK/iso/boot/initrd.img")")"
    say "  UEFI       $(megabytes "$(stat --format=%s "$WORK/esp.img")") in its partition, $(megabytes "$(cat "$WORK"/iso/EFI/BOOT/* | wc -c)") as files"
    [ "$bytes" -le $LIMIT ] || die "the ISO may have $(megabytes $LIMIT) at most"
}

megabytes() { awk -v bytes="$1" 'BEGIN { printf "%.1f MB", bytes / 1e6 }'; }

# The second build has a target folder, a work folder and unpacked packages of its own.
check_reproducible() {
    build "$OUTPUT"
    local first=$OUTPUT second=$PWD/build/second
    rm -rf "$second"
    mkdir -p "$second"
    CARGO_TARGET_DIR=$second/target
    export CARGO_TARGET_DIR
    # shellcheck disable=SC2034
    PROGRAMS=$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/release PACKAGES=$second/packages WORK=$second/work
    build "$second/rescue.iso"
    cmp "$first" "$second/rescue.iso" || die "two builds of the same source differ; both are kept"
    say "two builds of the same source are the same $(stat --format=%s "$first") bytes"
    rm -rf "$second"
}

need "$HOST_TOOLS"
need_cargo
case $ACTION in
    build) build "$OUTPUT" ;;
    lock) mkdir -p "$APT" "$DEBS"; update_lock ;;
    check) check_reproducible ;;
    try) need "$TRY_TOOLS"; build "$OUTPUT"; try "$OUTPUT" ;;
esac
