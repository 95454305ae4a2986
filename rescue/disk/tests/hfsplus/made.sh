#!/usr/bin/env bash
# usage: made.sh KERNEL MODULES
# Makes the volumes kept beside this file: mkfs.hfsplus (Debian: hfsprogs, non-free) formats them, a Linux KERNEL in
# QEMU fills them and lists what it wrote. MODULES is that kernel's folder below /lib/modules.
set -euo pipefail
kernel=$(realpath "$1") modules=$(realpath "$2")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export PATH="$PATH:/usr/sbin:/sbin"

mkdir -p root/{bin,proc,sys,dev,m,mod}
cp "$(command -v busybox)" root/bin/
for module in cdrom nls_utf8 virtio_blk hfsplus; do
    xz -dc "$(find "$modules" -name "$module.ko.xz")" >"root/mod/$module.ko"
done
cat >root/init <<'END_OF_INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in cdrom nls_utf8 virtio_blk hfsplus; do insmod /mod/$m.ko || echo "NO $m"; done
fill() {
 mkdir -p deep/er/node many usr/lib
 text() { i=0; while [ $i -lt $2 ]; do echo "$1 line $i of a file that compresses well"; i=$((i+1)); done; }
 n=0; while [ $n -lt 300 ]; do : > deep/er/node/some-longer-name-for-a-file-$n; n=$((n+1)); done
 n=0; while [ $n -lt 120 ]; do text many$n $((n % 60)) > many/$n; n=$((n+1)); done
 n=0; while [ $n -lt 40 ]; do text piece$n 90 >> deep/fragmented; text other$n 90 >> deep/interleaved; sync; n=$((n+1)); done
 n=0; while [ $n -lt 120 ]; do [ $((n % 3)) = 0 ] || rm many/$n; n=$((n+1)); done
 sync
 text big 20000 > big; : > empty
 n=0; while [ $n -lt 300 ]; do [ $((n % 5)) = 0 ] && rm deep/er/node/some-longer-name-for-a-file-$n; n=$((n+1)); done
 ln -s deep/fragmented link; ln many/3 hard1; ln many/3 deep/hard2; ln big deep/er/hard3
 mkfifo pipe; echo 'PRETTY_NAME="Mac"' > usr/lib/os-release
 echo x > 'a:b'; echo han > '文件 и буквы'; echo acc > 'grüße'
 rm deep/interleaved
}
for d in vda vdb vdc; do
 mount -t hfsplus /dev/$d /m || { echo "NO MOUNT $d"; continue; }
 (cd /m; fill) 2>&1; sync
 echo "BEGIN $d"; (cd /m; find . -type f | sort | xargs -d '\n' sha256sum); (cd /m; find . -print0 | xargs -0 stat -c '%F|%s|%Y|%h|%n' | sort); echo "END $d"
 umount /m
done
sync; poweroff -f
END_OF_INIT
chmod +x root/init
(cd root; find . | cpio -o -H newc | gzip -1) >initrd

truncate -s 24M plain.img x.img journaled.img
truncate -s 64M large.img
mkfs.hfsplus -v 'Plain é' plain.img
mkfs.hfsplus -v 'x case' -s -b 1024 -n c=4096,e=1024 x.img
mkfs.hfsplus -v large -b 16384 large.img
mkfs.hfsplus -v Journaled -J journaled.img
drives=()
for name in plain x large; do drives+=(-drive "file=$name.img,format=raw,if=virtio"); done
qemu-system-x86_64 -cpu max -m 512 -display none -no-reboot -serial file:told "${drives[@]}" \
    -kernel "$kernel" -initrd initrd -append 'console=ttyS0 quiet'
for pair in plain:vda x:vdb large:vdc; do
    tr -d '\r' <told | sed -n "/^BEGIN ${pair#*:}/,/^END ${pair#*:}/p" | sed '1d;$d' >"$here/${pair%:*}.list"
done
for name in plain x large journaled; do zstd -q -f -19 "$name.img" -o "$here/$name.img.zst"; done
