//! A directory as Clonezilla makes it, by partclone itself, read as a disk.

use std::path::Path;
use std::process::Command;

use crate::made::{Dir, digest_of, read_all};
use disk::source::ReadError;

pub fn shell(script: &str) {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// `disk.img` of zeros with a GPT, ext4, FAT and what nobody knows, and the directory `saved` of it, each partition
/// packed in another way. `expected.img` is what partclone restores.
fn saved(dir: &Path) {
    shell(&format!(
        "cd {}
         truncate -s 60M disk.img
         sgdisk -n 1:1M:+24M -n 2:0:+20M -n 3:0:+4M -c 1:root disk.img >/dev/null
         part() {{ dd if=disk.img of=p$1 bs=1M skip=$2 count=$3 status=none; }}
         part 1 1 24; part 2 25 20; part 3 45 4
         mkdir tree; for n in $(seq 60); do head -c $((n * 3000)) /dev/urandom >tree/$n; done
         mke2fs -q -t ext4 -d tree p1
         mkfs.fat -F 16 p2 >/dev/null; mcopy -i p2 tree/5? ::/
         head -c 4M /dev/urandom >p3
         mkdir saved
         partclone.ext4 -c -s p1 -o - -L log1 2>/dev/null | gzip -1 | split -b 700K -a 2 - saved/sda1.ext4-ptcl-img.gz.
         partclone.fat -c -s p2 -o - -L log2 2>/dev/null | zstd -q >saved/sda2.vfat-ptcl-img.zst.aa
         xz -1 <p3 >saved/sda3.dd-ptcl-img.xz.aa
         dd if=disk.img of=saved/sda-mbr bs=512 count=1 status=none
         dd if=disk.img of=saved/sda-gpt-1st bs=512 count=34 status=none
         tail -c $((33 * 512)) disk.img >saved/sda-gpt-2nd
         sfdisk -d disk.img | sed 's,^disk.img\\([0-9]\\),/dev/sda\\1,; s,: disk.img,: /dev/sda,' >saved/sda-pt.sf
         echo 'Disk /dev/sda: 122880s' >saved/sda-pt.parted
         echo sda >saved/disk; echo sda1 sda2 sda3 >saved/parts
         cp disk.img expected.img
         cat saved/sda1.* | gzip -dc >sda1.pcl; truncate -s 24M r1
         partclone.restore -s sda1.pcl -O r1 -C -L log3 >/dev/null 2>&1
         zstd -qdc saved/sda2.* >sda2.pcl; truncate -s 20M r2
         partclone.restore -s sda2.pcl -O r2 -C -L log4 >/dev/null 2>&1
         put() {{ dd if=$1 of=expected.img bs=1M seek=$2 conv=notrunc status=none; }}
         put r1 1; put r2 25; put p3 45
         e2fsck -fn r1 >/dev/null 2>&1",
        dir.display()
    ));
}

#[test]
fn what_clonezilla_saved_is_the_disk_that_partclone_restores() {
    let dir = tempfile::tempdir().unwrap();
    saved(dir.path());
    let folder = Dir(dir.path().join("saved"));
    let opened = foreign::clonezilla::open(&folder, None).unwrap().unwrap();
    assert!(opened.notes.is_empty(), "{:?}", opened.notes);
    let expected = std::fs::read(dir.path().join("expected.img")).unwrap();
    let got = read_all(&*opened.source);
    let differ = got.iter().zip(&expected).position(|(a, b)| a != b);
    assert_eq!(digest_of(&got), digest_of(&expected), "first at {differ:?}");
    // Backwards too, which costs more and gives the same.
    let mut piece = vec![0; 300_001];
    for at in [50 << 20, 26 << 20, (24 << 20) - 7, 2 << 20, 511] {
        opened.source.read_at(at as u64, &mut piece).unwrap();
        assert!(piece == expected[at..at + piece.len()], "at {at}");
    }
}

#[test]
fn a_wrong_checksum_costs_its_blocks_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    saved(dir.path());
    let saved = dir.path().join("saved");
    shell(&format!(
        "cd {}; cat saved/sda1.* | gzip -dc >bent; rm saved/sda1.*
         at=$(($(stat -c %s bent) / 2)); printf '\\x00\\xff\\x55' | dd of=bent bs=1 seek=$at conv=notrunc status=none
         mv bent saved/sda1.ext4-ptcl-img.uncomp",
        dir.path().display()
    ));
    let opened = foreign::clonezilla::open(&Dir(saved), None)
        .unwrap()
        .unwrap();
    let expected = std::fs::read(dir.path().join("expected.img")).unwrap();
    let mut lost = 0;
    let mut block = [0; 4096];
    for (nth, bytes) in expected.chunks(4096).enumerate() {
        match opened
            .source
            .read_at(nth as u64 * 4096, &mut block[..bytes.len()])
        {
            Ok(()) => assert!(block[..bytes.len()] == *bytes, "block {nth}"),
            Err(ReadError::Unreadable(_)) => lost += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!((1..=256).contains(&lost), "{lost} blocks are lost");
}

#[test]
fn a_stream_that_breaks_off_gives_what_came_before() {
    let dir = tempfile::tempdir().unwrap();
    saved(dir.path());
    let saved = dir.path().join("saved");
    // Clonezilla cut it into several files; the last is missing.
    shell(&format!(
        "cd {}; ls sda1.* | tail -1 | xargs rm",
        saved.display()
    ));
    let opened = foreign::clonezilla::open(&Dir(saved), None)
        .unwrap()
        .unwrap();
    let expected = std::fs::read(dir.path().join("expected.img")).unwrap();
    let mut front = vec![0; 2 << 20];
    opened.source.read_at(0, &mut front).unwrap();
    assert!(front == expected[..front.len()]);
    let behind = opened.source.read_at((24 << 20) + 4096, &mut [0; 4096]);
    assert!(matches!(behind, Err(ReadError::Unreadable(_))));
    let mut next = vec![0; 4 << 20];
    opened.source.read_at(25 << 20, &mut next).unwrap();
    assert!(next == expected[25 << 20..29 << 20]);
}

#[test]
fn another_directory_is_none() {
    let dir = tempfile::tempdir().unwrap();
    assert!(
        foreign::clonezilla::open(&Dir(dir.path().to_owned()), None)
            .unwrap()
            .is_none()
    );
}
