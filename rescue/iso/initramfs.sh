# shellcheck shell=bash
# The initramfs: two archives, one after the other. The modules as they are, because Debian compresses them
# one by one and the kernel inflates only those it loads; then the programs, compressed.

# build_programs: static, with no path of this machine in them
build_programs() {
    local remap
    remap=$(printf -- '"--remap-path-prefix=%s=%s",' "$PWD" /rescue "${CARGO_HOME:-$HOME/.cargo}" /cargo)
    cargo build --quiet --release --locked --package init --package rescue-tui \
        --config "target.x86_64-unknown-linux-gnu.rustflags=[${remap%,}]" >&2
}

# make_initramfs OUT
make_initramfs() {
    rm -rf "$WORK/modules" "$WORK/programs"
    add_modules "$WORK/modules"
    add_programs "$WORK/programs"
    pack "$WORK/modules" >"$1"
    # The next archive begins at a multiple of four bytes: cpio ends with a full block of 512.
    pack "$WORK/programs" | zstd -19 --quiet >>"$1"
}

# make_plain_initramfs OUT: for a kernel that has its drivers built in; of a tree made elsewhere, or our programs
make_plain_initramfs() {
    rm -rf "$WORK/programs"
    if [ -n "$TREE" ]; then
        [ -e "$TREE/init" ] || die "$TREE has no /init"
        cp --archive "$TREE" "$WORK/programs"
    else
        say "building the programs"
        build_programs
        add_programs "$WORK/programs"
    fi
    pack "$WORK/programs" | zstd -19 --quiet >"$1"
}

add_programs() {
    local tree=$1 name
    mkdir -p "$tree"/{bin,sbin,etc,root,proc,sys,dev,run,tmp,mnt}
    install -m755 "$PROGRAMS/init" "$tree/init"
    install -m755 "$PROGRAMS/rescue-tui" "$PACKAGES/bin/busybox" "$tree/bin"
    # One program under two names.
    ln -s rescue-tui "$tree/bin/rescue"
    for name in modprobe poweroff reboot halt; do ln -s ../init "$tree/sbin/$name"; done
    for name in $("$PACKAGES/bin/busybox" --list); do
        [ -e "$tree/bin/$name" ] || [ -e "$tree/sbin/$name" ] || ln -s busybox "$tree/bin/$name"
    done
    rm -f "$tree"/bin/{init,linuxrc,depmod,dpkg,dpkg-deb,rpm,rpm2cpio}
    printf 'root:x:0:0:root:/root:/bin/sh\n' >"$tree/etc/passwd"
    printf 'root:x:0:\n' >"$tree/etc/group"
    printf '127.0.0.1 localhost rescue\n::1 localhost\n' >"$tree/etc/hosts"
}

add_modules() {
    local release
    release=$(kernel_release)
    local from=$PACKAGES/lib/modules/$release to=$1/lib/modules/$release
    mkdir -p "$to"
    "$PROGRAMS/modset" "$from" rescue/iso/modules.list >"$WORK/modules.chosen"
    (cd "$from" && xargs cp --parents --target-directory="$to") <"$WORK/modules.chosen"
    cp "$from"/modules.{order,builtin,builtin.modinfo} "$to"
    depmod -b "$1" "$release"
    # init reads the text tables only.
    rm -f "$to"/modules.*.bin "$to"/modules.{order,builtin,builtin.modinfo,symbols,devname}
}

# pack TREE: sorted, owned by root, one date
pack() {
    chmod -R u=rwX,go=rX "$1"
    find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    (cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort --zero-terminated |
        cpio --null --create --format=newc --owner=0:0 --reproducible --quiet)
}
