# shellcheck shell=bash
# A made-up PC for trying the image: a system disk with files, an empty larger disk, a USB stick.

readonly TRY=build/try

# try ISO
try() {
    make_try_disks
    # shellcheck disable=SC2054
    local words=(
        -name "A made-up PC" -machine q35 -accel "$(fastest_accelerator)" -cpu max -smp 2 -m 1024 -nodefaults
        -drive "if=none,id=cd,format=raw,readonly=on,media=cdrom,file=$1" -device ide-cd,bus=ide.0,drive=cd,bootindex=1
        -drive "if=none,id=system,format=raw,file=$TRY/system.img"
        -device ide-hd,bus=ide.1,drive=system,serial=SYSTEM-0001,model=MADE-UP-SYSTEM
        -drive "if=none,id=empty,format=raw,file=$TRY/empty.img" -device nvme,drive=empty,serial=EMPTY-0002
        -device qemu-xhci,id=xhci
        -drive "if=none,id=stick,format=raw,file=$TRY/stick.img"
        -device usb-storage,bus=xhci.0,drive=stick,removable=on,serial=STICK-0003
    )
    cat >&2 <<T

The made-up PC has three disks, kept in $TRY (delete the folder to begin anew):
  SYSTEM-0001  2 GiB  a system: EFI, swap, NTFS and ext4 partitions with files in them
  EMPTY-0002   4 GiB  empty
  STICK-0003   4 GiB  a stick, with an ext4 partition labelled STORE to keep images on
Image the first onto the stick, restore it onto the second (the last partition can grow there), and look at the report.

T
    if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && qemu-system-x86_64 -display help | grep -qx gtk; then
        qemu-system-x86_64 "${words[@]}" -vga std -display gtk,zoom-to-fit=on -serial none
    else
        say "no graphical desktop here, so the PC's serial line is this terminal"
        say "leave it with Ctrl-A, then X, or by switching the PC off from the menu"
        if [ -t 0 ]; then
            # The PC's firmware wipes this terminal at once.
            read -r -p "mkiso: Enter starts the PC; it takes up to a minute " _
        fi
        qemu-system-x86_64 "${words[@]}" -vga std -display none -serial mon:stdio
    fi
}

make_try_disks() {
    [ -e "$TRY/complete" ] && return
    say "making the disks of a PC in $TRY"
    rm -rf "$TRY"
    mkdir -p "$TRY"
    make_system_disk "$TRY/system.img"
    truncate --size=4G "$TRY/empty.img" "$TRY/stick.img"
    partition "$TRY/stick.img" 'start=1MiB, type=linux, name=Store'
    truncate --size=4094M "$TRY/part"
    mkfs.ext4 -q -L STORE "$TRY/part"
    put "$TRY/part" "$TRY/stick.img" 1
    rm -f "$TRY/part"
    : >"$TRY/complete"
}

# A disk as an installed PC has it, with texts of this project and of this machine as files.
make_system_disk() {
    local disk=$1 part=$TRY/part text
    truncate --size=2G "$disk"
    partition "$disk" 'start=1MiB, size=100MiB, type=uefi, name="EFI system"
start=101MiB, size=200MiB, type=swap, name=Swap
start=301MiB, size=700MiB, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, name=Data
start=1001MiB, size=1000MiB, type=linux, name=Linux'

    truncate --size=100M "$part"
    quietly mkfs.vfat -F 32 -n EFI "$part"
    mmd -i "$part" ::/EFI ::/EFI/BOOT
    mcopy -i "$part" "$WORK/iso/EFI/BOOT/BOOTX64.EFI" ::/EFI/BOOT/
    put "$part" "$disk" 1

    local root=$TRY/root
    mkdir -p "$root"/{etc,home/you,usr}
    cp --recursive --dereference README.md rescue tui "$root/home/you"
    cp --recursive "$WORK/modules/lib" "$root/usr"
    printf 'NAME="Made-up Linux"\nPRETTY_NAME="Made-up Linux 1"\nID=made-up\n' >"$root/etc/os-release"
    rm -f "$part"
    truncate --size=1000M "$part"
    mkfs.ext4 -q -L linux -d "$root" "$part"
    put "$part" "$disk" 1001

    rm -f "$part"
    truncate --size=700M "$part"
    quietly mkfs.ntfs --quick --force --label Data "$part"
    for text in README.md Cargo.lock mkiso.sh; do quietly ntfscp --quiet "$part" "$text" "$text"; done
    put "$part" "$disk" 301

    rm -f "$part"
    truncate --size=200M "$part"
    quietly mkswap --label swap "$part"
    put "$part" "$disk" 101
    rm -rf "$part" "$root"
}

partition() { printf 'label: gpt\n%s\n' "$2" | sfdisk --quiet "$1"; }

# put FILE DISK MIB
put() { dd if="$1" of="$2" bs=1M seek="$3" conv=notrunc,sparse status=none; }

# On some hosts /dev/kvm is there and no guest gets far with it: one has to have started.
fastest_accelerator() {
    if [ -w /dev/kvm ] && timeout 20 qemu-system-x86_64 -machine q35 -accel kvm -cpu max -m 512 -nodefaults \
        -display none -no-reboot -serial stdio -kernel build/vmlinuz -initrd build/initrd.img \
        -append 'quiet console=ttyS0 panic=-1 rescue.settle=0 rescue.run=!true' </dev/null 2>/dev/null |
        grep -q 'RESCUE-RUN: end'; then
        echo kvm
    else
        echo tcg
    fi
}
