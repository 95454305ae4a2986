#!/usr/bin/env bash
# usage: made.sh KERNEL MODULES APFS_MODULE
# Makes the containers kept beside this file: mkapfs formats them, a Linux KERNEL in QEMU fills them through the module
# linux-apfs-rw, takes snapshots and lists what it wrote, and apfsck judges them. MODULES is that kernel's folder below
# /lib/modules, APFS_MODULE the module built for it.
set -euo pipefail
kernel=$(realpath "$1") modules=$(realpath "$2") apfs=$(realpath "$3")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export PATH="$PATH:/usr/sbin:/sbin"

mkdir -p root/{bin,proc,sys,dev,m,mod}
cp "$(command -v busybox)" root/bin/
# The module's ioctl that takes a snapshot.
gcc -static -O1 -o root/bin/snapshot -x c - <<'END_OF_C'
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
struct name { char name[256]; };
int main(int count, char **words) {
    struct name name = {0};
    strncpy(name.name, words[2], 255);
    return ioctl(open(words[1], O_RDONLY), _IOW('@', 0x85, struct name), &name) != 0;
}
END_OF_C
for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk crc32c_generic libcrc32c; do
    cp "$(find "$modules" -name "$module.ko")" root/mod/
done
cp "$apfs" root/mod/apfs.ko
cat >root/init <<'END_OF_INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk crc32c_generic libcrc32c apfs; do
 insmod /mod/$m.ko || echo "NO $m"
done
text() { yes "$1: a line of a file that compresses well" | head -n "$2"; }
fill() {
 mkdir -p deep/er/node many usr/lib System/Library/CoreServices
 n=0; while [ $n -lt 150 ]; do : > deep/er/node/some-longer-name-for-a-file-$n; n=$((n+1)); done
 n=0; while [ $n -lt 60 ]; do text many$n $((n % 60)) > many/$n; n=$((n+1)); done
 n=0; while [ $n -lt 8 ]; do text piece$n 90 >> deep/fragmented; text other$n 90 >> deep/interleaved; sync; n=$((n+1)); done
 sync
 text big 20000 > big; : > empty
 echo hole > sparse; dd if=/dev/zero of=sparse bs=1 count=1 seek=2000000 conv=notrunc 2>/dev/null
 ln -s deep/fragmented link; ln many/3 hard1; ln many/3 deep/hard2; ln big deep/er/hard3
 mkfifo pipe; echo '<plist/>' > System/Library/CoreServices/SystemVersion.plist
 echo x > 'a:b'; echo han > '文件 и буквы'; echo acc > 'grüße'
 sync
}
after() {
 n=0; while [ $n -lt 60 ]; do [ $((n % 3)) = 0 ] || rm -f many/$n; n=$((n+1)); done
 n=0; while [ $n -lt 150 ]; do [ $((n % 5)) = 0 ] && rm -f deep/er/node/some-longer-name-for-a-file-$n; n=$((n+1)); done
 rm -f deep/interleaved
 echo changed > many/6; text later 3000 > later; sync
}
for d in vda vdb; do
 mount -t apfs -o readwrite /dev/$d /m || { echo "NO MOUNT $d"; continue; }
 (cd /m; fill) 2>&1; sync
 [ $d = vdb ] && { snapshot /m first || echo "NO SNAPSHOT"; sync; }
 (cd /m; after) 2>&1; sync
 [ $d = vdb ] && { snapshot /m second || echo "NO SNAPSHOT"; (cd /m; rm -f big deep/er/hard3; echo third > third); sync; }
 echo "BEGIN $d"; (cd /m; find . -type f -print0 | xargs -0 sha256sum | sort -k 2); (cd /m; find . -print0 | xargs -0 stat -c '%F|%s|%Y|%h|%n' | sort); echo "END $d"
 umount /m
done
sync; poweroff -f
END_OF_INIT
chmod +x root/init
(cd root; find . | cpio -o -H newc | gzip -1) >initrd

truncate -s 300M plain.img cased.img
mkapfs -L 'Plain é' plain.img
mkapfs -s -L 'cased, with snapshots' cased.img
drives=()
for name in plain cased; do drives+=(-drive "file=$name.img,format=raw,if=virtio"); done
qemu-system-x86_64 -accel tcg -cpu max -m 768 -display none -no-reboot -serial file:told "${drives[@]}" \
    -kernel "$kernel" -initrd initrd -append 'console=ttyS0'
grep "^NO \|Read-only file\|aborting" told && exit 1
for pair in plain:vda cased:vdb; do
    apfsck -c "${pair%:*}.img"
    tr -d '\r' <told | sed -n "/^BEGIN ${pair#*:}/,/^END ${pair#*:}/p" | sed '1d;$d' >"$here/${pair%:*}.list"
done
for name in plain cased; do zstd -q -f -19 "$name.img" -o "$here/$name.img.zst"; done
