# usage: make.sh DIRECTORY SIZE_MIB
# Makes disk.img (GPT: FAT32, ext4, NTFS, swap; free space full of stale bytes) and p1.img … p4.img, the partitions by
# themselves for the tools that take nothing else.
set -euo pipefail
dir=$1 size=$2
for tool in cc sgdisk mke2fs debugfs mkntfs ntfscp mkfs.fat mcopy mkswap; do
    command -v "$tool" >/dev/null || { echo "$tool is missing; install gcc gdisk e2fsprogs ntfs-3g dosfstools mtools util-linux" >&2; exit 1; }
done
cd "$dir"
rm -f disk.img p?.img
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

# What takes the sleeps out of a program that is given to it by LD_PRELOAD.
cc -shared -fPIC -O2 -o nosleep.so -x c - <<'C'
#include <time.h>
static void nap(void) { struct timespec t = { 0, 1000000 }; nanosleep(&t, 0); }
unsigned sleep(unsigned s) { (void)s; nap(); return 0; }
int usleep(unsigned u) { (void)u; nap(); return 0; }
C

# Stale bytes: what an old system left behind.
truncate -s "${size}M" disk.img
{ while tar c /usr/lib /usr/share 2>/dev/null; do :; done || true; } | head -c "${size}M" | dd of=disk.img bs=4M iflag=fullblock conv=notrunc status=none

ext=$((size * 55 / 100)) ntfs=$((size * 35 / 100))
sgdisk --clear --new=1:0:+100M --typecode=1:EF00 --new=2:0:+${ext}M --typecode=2:8300 \
    --new=3:0:+${ntfs}M --typecode=3:0700 --new=4:0:0 --typecode=4:8200 disk.img >/dev/null

place() { sgdisk --info="$1" disk.img | awk -v w="$2" '$1 == w && $2 == "sector:" { print $3 }'; }
cut() { dd if=disk.img of="p$1.img" bs=1M skip=$(($(place "$1" First) * 512)) count=$((($(place "$1" Last) - $(place "$1" First) + 1) * 512)) iflag=skip_bytes,count_bytes status=none; }
paste() { dd if="p$1.img" of=disk.img bs=1M seek=$(($(place "$1" First) * 512)) oflag=seek_bytes conv=notrunc status=none; }
for n in 1 2 3 4; do cut $n; done

mkfs.fat -F 32 -n EFI p1.img >/dev/null
mcopy -i p1.img -s /usr/share/common-licenses ::/ 2>/dev/null || true

# ext4: real files, about 60 % of the partition, then every eighth one deleted.
budget=$((ext * 65 / 100))
find /usr/lib /usr/share /usr/bin -xdev -type f -size -8M -printf '%s %p\n' 2>/dev/null | LC_ALL=C sort -k2 |
    awk -v limit=$((budget * 1048576)) '{ total += $1 + 2048; sub(/^[0-9]+ /, ""); if (total <= limit) print }' >"$tree/list"
mkdir "$tree/root"
cpio --quiet -pdm "$tree/root" <"$tree/list" 2>/dev/null || true
mke2fs -q -F -t ext4 -L root -E nodiscard,lazy_itable_init=1 -d "$tree/root" p2.img
awk 'NR % 8 == 0 { print "rm \"" $0 "\"" }' "$tree/list" >"$tree/deletes"
debugfs -w -f "$tree/deletes" p2.img >/dev/null 2>&1
e2fsck -fy p2.img >/dev/null 2>&1 || [ $? -le 1 ]

# NTFS: documents, incompressible files, and copies.
mkntfs -Q -F -L data p3.img >/dev/null 2>&1
piece=$((ntfs * 1048576 / 40))
for n in $(seq 1 12); do
    head -c "$piece" /dev/urandom >"$tree/media"
    ntfscp -q p3.img "$tree/media" "media$n.bin"
    awk -v from=$((n * 400)) 'NR >= from && NR < from + 2000' "$tree/list" | tr '\n' '\0' | xargs -0 cat >"$tree/all" 2>/dev/null || true
    head -c "$piece" "$tree/all" >"$tree/documents"
    ntfscp -q p3.img "$tree/documents" "documents$n.tar"
done
mkswap p4.img >/dev/null 2>&1
for n in 1 2 3 4; do paste $n; done
sync disk.img
