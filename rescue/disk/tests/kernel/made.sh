#!/usr/bin/env bash
# usage: made.sh jfs|nilfs2|reiserfs KERNEL MODULES
# Makes filesystems like those kept in the folder of that name; no two runs write quite the same. Its own mkfs formats
# them, a Linux KERNEL (for ReiserFS one before 6.13) in QEMU fills them, and the machine is switched off while the one
# named `cut` is mounted. MODULES is that kernel's folder below /lib/modules. Every block of a file begins with the word
# that says what became of it: live (it is there, and was synced), dead (it was removed), late (nobody waited for it).
set -euo pipefail
kind=$1 kernel=$(realpath "$2") modules=$(realpath "$3")
kept=$(realpath "$(dirname "$0")/../$kind")
case $kind in
jfs) load='nls_ucs2_utils jfs' plain='mkfs.jfs -q -L Eiche' cut='mkfs.jfs -q -L Schnitt' level=19 ;;
nilfs2) load=nilfs2 plain='mkfs.nilfs2 -q -B 64 -L Linde' cut='mkfs.nilfs2 -q -B 64 -L Schnitt' level=19 ;;
reiserfs) load=reiserfs plain='mkreiserfs -q -f -l Nadel' cut='mkreiserfs -q -f -s 1024 -l Schnitt' level=9 ;;
*) echo "no such kind: $kind" >&2; exit 64 ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export PATH="$PATH:/usr/sbin:/sbin"

mkdir -p root/{bin,proc,sys,dev,mod,m}
cp "$(command -v busybox)" root/bin/
for module in virtio_blk $load; do
    file=$(find "$modules" -name "$module.ko.xz")
    [ -z "$file" ] || xz -dc "$file" >"root/mod/$module.ko"
done
cat >root/init <<END_OF_HEAD
#!/bin/busybox sh
kind=$kind load='$load'
END_OF_HEAD
cat >>root/init <<'END_OF_INIT'
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in virtio_blk $load; do insmod /mod/$m.ko || echo "NO $m"; done
# WORD NUMBER BLOCKS: that many blocks of 4 KiB, made of lines of 64 bytes.
text() { awk -v w=$1 -v n=$2 -v b=$3 'BEGIN { for (i = 0; i < b * 64; i++) printf "%s %05d %06d a line of a file that compresses well........\n", w, n, i }' | head -c $(($3 * 4096)); }
fill() {
 mkdir -p a/b/c d
 n=0; while [ $n -lt 60 ]; do
  text live $n $((1 + n * 7 % 40)) > a/b/live$n; text dead $n $((1 + n * 5 % 30)) > d/dead$n
  [ $((n % 20)) = 19 ] && sync; n=$((n+1)); done
 n=0; while [ $n -lt 400 ]; do : > a/b/c/a-name-that-is-not-short-at-all-$n; n=$((n+1)); done
 sync; rm d/*; echo short > short; ln -s a/b link; sync
 n=60; while [ $n -lt 90 ]; do text live $n $((1 + n % 9)) > a/live$n; n=$((n+1)); done
 n=0; while [ $n -lt 400 ]; do [ $((n % 4)) = 0 ] || rm a/b/c/a-name-that-is-not-short-at-all-$n; n=$((n+1)); done
}
disks="vda:$kind:plain vdb:$kind:cut"
for disk in $disks; do
 IFS=: read device type name <<END
$disk
END
 mkdir -p /m/$device
 mount -t $type /dev/$device /m/$device || { echo "NO MOUNT $disk"; continue; }
 (cd /m/$device && fill); sync
 [ $name = cut ] || umount /m/$device
done
cd /m/vdb; n=100; while [ $n -lt 130 ]; do
 text live $n $((2 + n % 9)) > live$n; sync live$n; n=$((n+1)); done
text late 1 50 > late
echo FILLED; echo b > /proc/sysrq-trigger
END_OF_INIT
chmod +x root/init
(cd root; find . | cpio -o -H newc | gzip -1) >initrd

truncate -s 64M plain cut
$plain plain
$cut cut
drives=()
for name in plain cut; do drives+=(-drive "file=$name,format=raw,if=virtio"); done
qemu-system-x86_64 -cpu max -m 512 -display none -no-reboot -serial file:told "${drives[@]}" \
    -kernel "$kernel" -initrd initrd -append 'console=ttyS0 quiet'
grep -q FILLED told || { cat told; exit 1; }
if grep '^NO ' told; then exit 1; fi
for name in plain cut; do zstd -q -f "-$level" "$name" -o "$kept/$name.zst"; done
