//! A disk of layers by the real program: what is on its volumes comes back, and its free extents cost nothing.

use std::path::Path;

use crate::flow::expect;
use crate::made::{full_of_ones, shell};
use tempfile::TempDir;

const SIZE_MIB: u64 = 644;

/// Functions for a disk whose first partition (from 1 MiB, 520 MiB) is a physical volume and whose second (from
/// 521 MiB, 120 MiB) a member of a RAID1; `volumes` prints where the group's volumes are, as LVM tells.
const TOOLS: &str = r#"
    export LVM_SYSTEM_DIR=$PWD/lvm LVM_SUPPRESS_FD_WARNINGS=1; mkdir -p lvm mnt
    printf 'global { locking_dir="%s/lock" }\nbackup { backup=0\narchive=0 }\n' "$PWD" >lvm/lvm.conf
    attach() { dev=$(losetup -f --show -o 1M --sizelimit 520M $1); trap 'mountpoint -q mnt && umount mnt; losetup -d $dev' EXIT; }
    vg() { local c=$1; shift; lvm $c -q --driverloaded n --devices $dev "$@" 2>>log || { cat log >&2; exit 1; }; }
    volumes() { vg lvs --noheadings --separator ' ' -o lv_name,seg_start_pe,seg_size_pe,seg_pe_ranges pc; }
    each() { volumes | while read -r name start len range; do $1 $name $start $len $(echo ${range##*:} | cut -d- -f1); done; }
    into() { dd if=$1 of=$disk bs=4M iflag=skip_bytes oflag=seek_bytes skip=$(($2 * 4))M count=$3 seek=$((2 + $4 * 4))M conv=notrunc status=none; }
    out() { dd if=$disk of=$1 bs=4M iflag=skip_bytes oflag=seek_bytes skip=$((2 + $4 * 4))M count=$3 seek=$(($2 * 4))M conv=notrunc status=none; }
    raid() { dd if=$1 of=$2 bs=1M skip=$3 seek=$4 count=118 conv=notrunc status=none; }
    fill() { mount -o loop $1 mnt; mkdir mnt/d; for n in $(seq 40); do head -c $2 /dev/urandom >mnt/d/$n; done; rm mnt/d/*[37]; umount mnt; }
    sums() { mount -o loop,$2 $1 mnt; (cd mnt; find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum); umount mnt; }
"#;

/// The superblock of version 1.2 by md_p.h: its kernel's driver is not everywhere where this test runs.
const SUPERBLOCK: &str = r#"
    perl -e '
        my $s = pack "V4 a16 a32 Q V2 Q V4 Q V4 Q4 V2 a16 C2 v V Q3 V2 x32 v128",
            0xa92b4efc, 1, 0, 0, "0123456789abcdef", "pc:data", 0, 1, 0, 118 << 11, 0, 2, 0, 0, 0, 0, 0, 0, 0,
            2048, 118 << 11, 8, 0, 0, 0, "fedcba9876543210", 0, 0, 0, 0, 0, 7, ~0, 0, 128, 0, 1, (0xffff) x 126;
        my $sum = 0; $sum += $_ for unpack "V*", $s; $sum = ($sum & 0xffffffff) + ($sum >> 32);
        substr($s, 216, 4) = pack "V", $sum; print $s' |
        dd of=source.img bs=4K oflag=seek_bytes seek=$((521 * 1024 * 1024 + 4096)) conv=notrunc status=none
"#;

fn made(at: &Path) {
    shell(&format!(
        "cd {}; {TOOLS} disk=source.img
        head -c {SIZE_MIB}M /dev/urandom >$disk
        sgdisk --clear -n 1:1M:+520M -t 1:8E00 -n 2:0:+120M -t 2:FD00 $disk >/dev/null
        attach $disk; vg pvcreate -y $dev; vg vgcreate pc $dev
        lvcreate() {{ vg lvcreate -an -Zn -Wn -n $1 -L $2 pc; }}
        lvcreate root 60M; lvcreate home 320M; lvcreate old 8M; vg lvextend -L +60M pc/root; vg lvremove -y pc/old
        truncate -s 120M root; mkfs.ext4 -q root; fill root 2M
        truncate -s 320M home; mkfs.xfs -q home; fill home 1M
        truncate -s 118M data; mkfs.ext4 -q data; fill data 1M
        each into; raid data $disk 0 522; {SUPERBLOCK}
        dd if=$disk of=member bs=1M skip=521 count=120 status=none
        mdadm --examine member | grep -q 'Checksum.*correct'; rm member
        for part in root home data; do sums $part ro; done >before",
        at.display()
    ));
}

#[test]
fn volumes_come_back_and_free_extents_cost_nothing() {
    let dir = TempDir::new().unwrap();
    made(dir.path());
    let listed = expect(dir.path(), &["disks", "source.img"], 0);
    for what in ["LVM2 “pc”", "root: ext4", "home: xfs", "RAID1 “pc:data”"] {
        assert!(listed.contains(what), "no {what} in {listed}");
    }
    let said = expect(dir.path(), &["image", "source.img", ".", "--name", "pc"], 0);
    assert!(!said.contains("taken whole"), "{said}");
    let image = dir.path().join("pc.img.zst").metadata().unwrap().len();
    assert!(image < (SIZE_MIB << 20) / 3, "{image} bytes: {listed}");
    let info = expect(dir.path(), &["info", "pc.img.zst"], 0);
    assert!(
        info.contains("root: ext4") && info.contains("LVM2"),
        "{info}"
    );
    full_of_ones(&dir.path().join("back.img"), SIZE_MIB);
    let words = ["restore", "pc.img.zst", "back.img", "--approve", "back.img"];
    expect(dir.path(), &words, 0);
    shell(&format!(
        "cd {}; {TOOLS} disk=back.img; sgdisk -v $disk | grep -q 'No problems'
        attach $disk; vg vgck pc; vg pvck $dev >/dev/null; rm root home data; each out; raid $disk data 522 0
        e2fsck -fn root >/dev/null 2>&1; e2fsck -fn data >/dev/null 2>&1; xfs_repair -n home >/dev/null 2>&1
        dd if=$disk of=member bs=1M skip=521 count=120 status=none
        mdadm --examine member | grep -q 'Checksum.*correct'
        for part in root home data; do sums $part ro; done | cmp - before
        [ $(wc -l <before) = 96 ]",
        dir.path().display()
    ));
}
