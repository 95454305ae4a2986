# usage: later.sh DIRECTORY RESCUE
# Makes later.img out of disk.img: 3 % of the files of ext4 written anew with other content, one file of NTFS grown. And
# what each program has of disk.img: first.img.zst, and the repositories borg.first and restic.first.
set -euo pipefail
dir=$1 rescue=$2
for tool in restic borg qemu-img debugfs ntfscp; do
    command -v "$tool" >/dev/null || { echo "$tool is missing; install restic borgbackup qemu-utils e2fsprogs ntfs-3g" >&2; exit 1; }
done
cd "$dir"
tree=$(mktemp -d)
new=$(mktemp -d)
trap 'rm -rf "$tree" "$new"' EXIT

cp --sparse=never disk.img later.img
cp p2.img later2.img
# debugfs lists inode numbers and sizes; every 33rd file is changed at its end and written anew.
debugfs -R 'rdump / '"$tree" later2.img >/dev/null 2>&1 || true
(cd "$tree" && find . -type f -size +0 -size -8M | LC_ALL=C sort | awk 'NR % 33 == 0' | sed 's,^\./,,') >files
count=0
: >commands
while read -r file; do
    count=$((count + 1))
    { cat "$tree/$file"; printf 'changed %s\n' "$file"; } >"$new/$count"
    printf 'cd "/%s"\nrm "%s"\nwrite "%s" "%s"\n' "$(dirname "$file")" "${file##*/}" "$new/$count" "${file##*/}" >>commands
done <files
debugfs -w -f commands later2.img >/dev/null 2>&1
e2fsck -fy later2.img >/dev/null 2>&1 || [ $? -le 1 ]
cp p3.img later3.img
ntfscat p3.img documents3.tar >"$tree/grown"
printf 'changed' | dd of="$tree/grown" bs=1 seek=1000000 conv=notrunc status=none
head -c 2M /dev/urandom >>"$tree/grown"
ntfscp -q later3.img "$tree/grown" documents3.tar
place() { sgdisk --info="$1" disk.img | awk -v w="$2" '$1 == w && $2 == "sector:" { print $3 }'; }
for n in 2 3; do
    dd if=later$n.img of=later.img bs=1M seek=$(($(place $n First) * 512)) oflag=seek_bytes conv=notrunc status=none
done
bytes=$(du -sb "$new" | cut -f1)
rm later2.img later3.img commands files
"$rescue" map later.img >later.map

# What is in use and differs, in leaves and in chunks: what nobody can do without, compressed by the stock tool.
perl -e '
    open my $a, "<", "disk.img"; open my $b, "<", "later.img"; open my $m, "<", "later.map";
    open my $leaves, ">", "leaves"; open my $chunks, ">", "chunks";
    my %used; while (<$m>) { next unless /^(0x\S+)\s+(0x\S+)\s+\+/; my ($s, $l) = (hex $1, hex $2); $used{$_} = 1 for int($s / 65536) .. int(($s + $l - 1) / 65536) }
    my (%chunk, $count);
    for my $leaf (sort { $a <=> $b } keys %used) {
        seek $a, $leaf * 65536, 0; seek $b, $leaf * 65536, 0;
        read $a, my $x, 65536; read $b, my $y, 65536;
        next if $x eq $y; print $leaves $y; $count++; $chunk{int($leaf / 64)} = 1;
    }
    for my $c (sort { $a <=> $b } keys %chunk) { seek $b, $c * 4194304, 0; read $b, my $y, 4194304; print $chunks $y }
    printf "changed leaves: %d, in %d chunks\n", $count, scalar keys %chunk'

rm -f first.img.zst
"$rescue" image disk.img . --name first --no-verify 2>/dev/null
export BORG_BASE_DIR=$dir/borg.base.first BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes
borg init -e none borg.first
borg create --chunker-params fixed,4194304 --compression zstd,1 borg.first::first "$dir/disk.img"
export RESTIC_PASSWORD=x RESTIC_CACHE_DIR=$dir/restic.base.first
restic -q -r restic.first init >/dev/null
# By one name both times, so that the second is read against the first.
restic -q -r restic.first backup "$dir/disk.img"
printf 'after the change: %d files, %d bytes, written anew on ext4; one grown on NTFS\n' "$count" "$bytes"
