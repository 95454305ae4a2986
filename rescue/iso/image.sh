# shellcheck shell=bash
# The ISO: one file that BIOS and UEFI boot from CD and from a stick, under Secure Boot too.

# build_id FILE…: the same content has the same id
build_id() { cat "$@" rescue/iso/image.sh rescue/iso/grub/* | sha256sum | cut -c1-16; }

# fill TEMPLATE OUT
fill() { sed "s/@ID@/$ID/g" "rescue/iso/grub/$1" >"$2"; }

# make_iso KERNEL INITRAMFS OUT
make_iso() {
    local kernel=$1 initramfs=$2 out=$3 tree=$WORK/iso
    rm -rf "$tree"
    mkdir -p "$tree"/{.disk,.rescue,EFI/BOOT,boot/grub/i386-pc}
    cp "$kernel" "$tree/boot/vmlinuz"
    cp "$initramfs" "$tree/boot/initrd.img"
    echo "rescue $ID" >"$tree/.disk/info"
    : >"$tree/.rescue/$ID"
    fill grub.cfg "$tree/boot/grub/grub.cfg"
    fill loopback.cfg "$tree/boot/grub/loopback.cfg"
    # In the tree as well as in the ESP: for those who copy the files to a FAT stick.
    cp "$PACKAGES/usr/lib/shim/shimx64.efi.signed" "$tree/EFI/BOOT/BOOTX64.EFI"
    cp "$PACKAGES/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed" "$tree/EFI/BOOT/grubx64.efi"
    cp "$PACKAGES/usr/lib/shim/mmx64.efi.signed" "$tree/EFI/BOOT/mmx64.efi"
    make_bios_image "$tree/boot/grub/i386-pc/eltorito.img"
    make_esp "$tree/EFI/BOOT" "$WORK/esp.img"
    find "$tree" "$WORK/esp.img" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    pack_iso "$tree" "$WORK/esp.img" "$out"
}

# One core image for CD, and through boot_hybrid.img for a stick.
make_bios_image() {
    fill early.cfg "$WORK/early.cfg"
    "$PACKAGES/usr/bin/grub-mkimage" --format=i386-pc-eltorito --directory="$PACKAGES/usr/lib/grub/i386-pc" \
        --config="$WORK/early.cfg" --prefix=/boot/grub --output="$1" \
        biosdisk iso9660 part_msdos part_gpt fat search search_fs_file normal configfile linux \
        all_video video vbe vga video_bochs video_cirrus video_fb echo test ls cat serial terminal \
        gfxterm font loopback chain reboot halt minicmd help sleep probe regexp loadenv
}

# make_esp FOLDER OUT: signed GRUB looks for /.disk/info of any Debian medium, unless it finds a
# /boot/grub/grub.cfg beside itself: ours leads to our own medium.
make_esp() {
    local sectors=$((7 * 2048))
    rm -f "$2"
    truncate --size=$((sectors * 512)) "$2"
    mformat -i "$2" -v RESCUE_EFI -N "${ID:0:8}" -T $sectors -h 64 -s 32 ::
    mmd -i "$2" ::/EFI ::/EFI/BOOT ::/EFI/debian ::/boot ::/boot/grub
    touch --date="@$SOURCE_DATE_EPOCH" "$1"/* "$WORK/early.cfg"
    fill esp.cfg "$WORK/esp.cfg"
    touch --date="@$SOURCE_DATE_EPOCH" "$WORK/esp.cfg"
    mcopy -m -i "$2" "$1"/* ::/EFI/BOOT/
    mcopy -m -i "$2" "$WORK/esp.cfg" ::/boot/grub/grub.cfg
    mcopy -m -i "$2" "$WORK/esp.cfg" ::/EFI/debian/grub.cfg
}

pack_iso() {
    local date
    date=$(date --utc --date="@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S00)
    quietly xorriso -as mkisofs -quiet -iso-level 3 -r -J -joliet-long -V RESCUE -volset "$ID" \
        --modification-date="$date" --set_all_file_dates "$date" \
        --gpt_disk_guid "${ID:0:8}-${ID:8:4}-4${ID:12:3}-8${ID:13:3}-${ID:4:12}" \
        --grub2-mbr "$PACKAGES/usr/lib/grub/i386-pc/boot_hybrid.img" \
        --protective-msdos-label --mbr-force-bootable -partition_offset 16 \
        -append_partition 2 0xef "$2" -appended_part_as_gpt \
        -c boot/boot.cat -b boot/grub/i386-pc/eltorito.img -no-emul-boot -boot-load-size 4 \
        -boot-info-table --grub2-boot-info \
        -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot \
        -o "$3" "$1"
}
