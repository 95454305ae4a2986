//! `rescue export` and images of other programs as disks, judged by qemu-img.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::made::{digest, disk, shell, tool};

/// What it printed, if it ended with this code.
fn rescue(directory: &Path, words: &[&str], code: i32) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_rescue"))
        .args(words)
        .current_dir(directory)
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    let said = format!("{out}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "rescue {words:?}: {said}");
    said
}

#[test]
fn an_export_is_the_disk_to_qemu_and_comes_back_by_an_import() {
    let dir = TempDir::new().unwrap();
    let raw = disk().display().to_string();
    rescue(
        dir.path(),
        &["image", &raw, ".", "--name", "pc", "--no-verify"],
        0,
    );
    shell(&format!(
        "cd {}; zstd -qdc pc.img.zst >restored.img",
        dir.path().display()
    ));
    let restored = dir.path().join("restored.img");
    let used = rescue(dir.path(), &["map", &raw], 0);
    for format in ["raw", "qcow2", "vhdx", "vmdk"] {
        let file = format!("out.{format}");
        let from = if format == "qcow2" {
            raw.as_str()
        } else {
            "pc.img.zst"
        };
        let said = rescue(dir.path(), &["export", from, &file, "--format", format], 0);
        assert!(said.contains("read back and equal"), "{said}");
        let path = dir.path().join(&file).display().to_string();
        tool(
            "qemu-img",
            &[
                "compare",
                "-f",
                "raw",
                "-F",
                format,
                restored.to_str().unwrap(),
                &path,
            ],
        );
        if format == "raw" {
            continue;
        }
        tool("qemu-img", &["check", "-f", format, &path]);
        // A disk like any other: the same map, the same files, the same image.
        let map = rescue(dir.path(), &["map", &file], 0);
        let body = |map: &str| {
            map.lines()
                .filter(|l| !l.starts_with('#'))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(body(&map), body(&used), "{format}");
        let list = rescue(dir.path(), &["ls", &file, "2/docs"], 0);
        assert_eq!(list.lines().count(), 80, "{list}");
        rescue(
            dir.path(),
            &["import", &file, ".", "--name", format, "--no-verify"],
            0,
        );
        let back = shell(&format!(
            "cd {}; zstd -qdc {format}.img.zst | sha256sum",
            dir.path().display()
        ));
        assert_eq!(back, digest(&restored), "{format}");
    }
    rescue(dir.path(), &["check", "qcow2.img.zst"], 0);
}

#[test]
fn an_image_of_another_program_is_never_written_into() {
    let dir = TempDir::new().unwrap();
    let raw = disk().display().to_string();
    let image = dir.path().join("disk.qcow2");
    tool(
        "qemu-img",
        &[
            "convert",
            "-O",
            "qcow2",
            "-c",
            &raw,
            image.to_str().unwrap(),
        ],
    );
    let before = digest(&image);
    let said = rescue(
        dir.path(),
        &["clone", &raw, "disk.qcow2", "--approve", "disk.qcow2"],
        3,
    );
    assert!(said.contains("never written into"), "{said}");
    let said = rescue(
        dir.path(),
        &["export", &raw, "disk.qcow2", "--format", "qcow2"],
        3,
    );
    assert!(said.contains("is there already"), "{said}");
    let said = rescue(dir.path(), &["cp", "disk.qcow2", "3/20.txt", "."], 0);
    assert!(said.contains("1 files"), "{said}");
    assert_eq!(digest(&image), before);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn what_stands_on_another_file_is_refused_with_what_helps() {
    let dir = TempDir::new().unwrap();
    shell(&format!(
        "cd {}; qemu-img create -q -f qcow2 base.qcow2 10M; qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 top.qcow2",
        dir.path().display()
    ));
    let said = rescue(
        dir.path(),
        &["import", "top.qcow2", ".", "--name", "top"],
        3,
    );
    assert!(
        said.contains("base.qcow2") && said.contains("qemu-img convert"),
        "{said}"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_directory_of_clonezilla_becomes_an_image_with_the_same_files() {
    let dir = TempDir::new().unwrap();
    shell(&format!(
        "cd {}; truncate -s 40M disk.img; sgdisk -n 1:1M:+30M disk.img >/dev/null; mkdir saved tree p
         for n in $(seq 40); do head -c $((n * 4000)) /dev/urandom >tree/$n; done
         truncate -s 30M part; mke2fs -q -t ext4 -d tree part
         dd if=part of=disk.img bs=1M seek=1 conv=notrunc status=none
         partclone.ext4 -c -s part -o - -L log 2>/dev/null | gzip -1 | split -b 500K -a 2 - saved/sda1.ext4-ptcl-img.gz.
         head -c $((34 * 512)) disk.img >saved/sda-gpt-1st; tail -c $((33 * 512)) disk.img >saved/sda-gpt-2nd
         echo '/dev/sda1 : start= 2048, size= 61440, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4' >saved/sda-pt.sf
         echo 'Disk /dev/sda: 81920s' >saved/sda-pt.parted; echo sda >saved/disk; echo sda1 >saved/parts",
        dir.path().display()
    ));
    let said = rescue(dir.path(), &["import", "saved", ".", "--name", "pc"], 0);
    assert!(said.contains("Clonezilla image"), "{said}");
    fs::create_dir(dir.path().join("out")).unwrap();
    rescue(dir.path(), &["cp", "pc.img.zst", "1", "out"], 0);
    shell(&format!(
        "cd {}; rm -r out/1/lost+found; diff -r tree out/1; zstd -qdc pc.img.zst >back.img
         sgdisk -v back.img | grep -q 'No problems found'; dd if=back.img of=back bs=1M skip=1 count=30 status=none; e2fsck -fn back >/dev/null 2>&1",
        dir.path().display()
    ));
}

/// `disk.img` of 16 MiB: one filesystem with eight files.
fn small_disk(dir: &TempDir) -> PathBuf {
    shell(&format!(
        "cd {}; mkdir tree; for n in $(seq 8); do head -c $((n * 100000)) /dev/urandom >tree/$n; done
         truncate -s 16M disk.img; mke2fs -q -F -t ext4 -d tree disk.img",
        dir.path().display()
    ));
    dir.path().join("disk.img")
}

#[test]
fn a_packed_raw_disk_becomes_an_image_of_the_same_bytes() {
    let dir = TempDir::new().unwrap();
    let raw = small_disk(&dir);
    shell(&format!(
        "cd {}; gzip -1 <disk.img | split -b 1M -a 2 - cut.img.gz.; zstd -q <disk.img >piped.zst; xz -0 <disk.img >a.img.xz",
        dir.path().display(),
    ));
    for (file, format, is_counted) in [
        ("cut.img.gz.aa", "gzip", true),
        ("piped.zst", "zstd", true),
        ("a.img.xz", "xz", false),
    ] {
        let said = rescue(dir.path(), &["import", file, ".", "--name", format], 0);
        assert!(said.contains(&format!("{format} image")), "{said}");
        let counted = said.contains("unpacked once to count");
        assert_eq!(counted, is_counted, "{said}");
        let back = shell(&format!(
            "cd {}; zstd -qdc {format}.img.zst | sha256sum",
            dir.path().display()
        ));
        assert_eq!(back, digest(&raw), "{format}");
    }
    // What is in it is seen in what was made of it.
    let list = rescue(dir.path(), &["ls", "xz.img.zst"], 0);
    assert!(list.contains("lost+found"), "{list}");
    let own = ["import", "xz.img.zst", ".", "--name", "own"];
    let said = rescue(dir.path(), &own, 3);
    assert!(said.contains("is an image of this program"), "{said}");
}

#[test]
fn a_packed_raw_disk_that_is_not_whole_becomes_no_image() {
    let dir = TempDir::new().unwrap();
    small_disk(&dir);
    shell(&format!(
        "cd {}; zstd -q disk.img -o told.zst; xz -0 <disk.img >bent.xz; gzip -1 <disk.img >whole.gz; head -c 2M whole.gz >cut.gz
         at=$(($(stat -c %s bent.xz) / 2)); printf 'bent' | dd of=bent.xz bs=1 seek=$at conv=notrunc status=none
         truncate -s -5 told.zst",
        dir.path().display(),
    ));
    for (file, code) in [("cut.gz", 3), ("told.zst", 3), ("bent.xz", 1)] {
        let said = rescue(dir.path(), &["import", file, ".", "--name", "x"], code);
        assert!(
            said.contains("breaks off") && said.contains("another copy"),
            "{said}"
        );
        assert!(!dir.path().join("x.img.zst").exists(), "{file}");
        shell(&format!(
            "rm -f {}/x.img.zst.unfinished",
            dir.path().display()
        ));
    }
}

#[test]
fn what_is_damaged_in_an_image_of_another_program_costs_its_own_place_only() {
    let dir = TempDir::new().unwrap();
    shell(&format!(
        "cd {}; truncate -s 24M disk.img; sgdisk -n 1:1M:+20M disk.img >/dev/null; mkdir saved; truncate -s 20M part
         mkdir tree; head -c 8M /dev/urandom >tree/file; mke2fs -q -t ext4 -d tree part
         dd if=part of=disk.img bs=1M seek=1 conv=notrunc status=none
         partclone.ext4 -c -s part -o saved/sda1.ext4-ptcl-img -L log 2>/dev/null
         at=$(($(stat -c %s saved/sda1.ext4-ptcl-img) / 2)); printf 'bent' | dd of=saved/sda1.ext4-ptcl-img bs=1 seek=$at conv=notrunc status=none
         head -c $((34 * 512)) disk.img >saved/sda-gpt-1st; tail -c $((33 * 512)) disk.img >saved/sda-gpt-2nd
         echo '/dev/sda1 : start= 2048, size= 40960, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4' >saved/sda-pt.sf
         echo 'Disk /dev/sda: 49152s' >saved/sda-pt.parted; echo sda >saved/disk; echo sda1 >saved/parts",
        dir.path().display()
    ));
    let said = rescue(dir.path(), &["import", "saved", ".", "--name", "pc"], 2);
    assert!(said.contains("could not be read"), "{said}");
    shell(&format!(
        "cd {}; zstd -qdc pc.img.zst >back.img",
        dir.path().display()
    ));
    let (back, disk) = (dir.path().join("back.img"), dir.path().join("disk.img"));
    let (back, disk) = (fs::read(back).unwrap(), fs::read(disk).unwrap());
    assert_eq!(back.len(), disk.len());
    let blocks = back.chunks(4096).zip(disk.chunks(4096));
    let differ: Vec<&[u8]> = blocks.filter(|(a, b)| a != b).map(|(a, _)| a).collect();
    assert!((1..=256).contains(&differ.len()), "{} blocks", differ.len());
    assert!(
        differ
            .iter()
            .all(|block| block.iter().all(|byte| *byte == 0))
    );
}

#[test]
fn what_ddrescue_did_not_get_is_marked_in_the_image_whatever_its_file_has_there() {
    let dir = TempDir::new().unwrap();
    let raw = small_disk(&dir);
    // 12 KiB that a drive could not give, and 256 KiB that nobody tried; the file has noise there.
    shell(&format!(
        "cd {}; printf '0x0 + 1\\n0x0 0x300000 +\\n0x300000 0x3000 -\\n0x303000 0xCFD000 +\\n' >drive
         ddrescue -q -H drive -r 1 -s 0x280000 disk.img copy.img copy.map
         ddrescue -q -H drive -r 1 -i 0x2C0000 disk.img copy.img copy.map
         grep -q '^0x00300000  0x00003000  -$' copy.map; grep -q '^0x00280000  0x00040000  ?$' copy.map
         noise() {{ head -c $1 /dev/urandom | dd of=copy.img bs=4K seek=$2 conv=notrunc status=none; }}
         noise 12K 768; noise 256K 640",
        dir.path().display()
    ));
    shell(&format!(
        "cd {}; head -c 9M copy.img >cut.img",
        dir.path().display()
    ));
    let cut = [
        "import", "cut.img", ".", "--name", "pc", "--map", "copy.map",
    ];
    let said = rescue(dir.path(), &cut, 3);
    assert!(said.contains("truncate -s 16777216"), "{said}");
    let words = [
        "import", "copy.img", ".", "--name", "pc", "--map", "copy.map",
    ];
    let said = rescue(dir.path(), &words, 2);
    for word in [
        "12.3 kB of the disk could not be read, 262 kB were not tried",
        "12288 bytes at 3145728",
        "262144 bytes at 2621440",
        "of 600000 bytes",
        "rescue import copy.img . --name pc --map copy.map",
    ] {
        assert!(said.contains(word), "no '{word}' in {said}");
    }
    shell(&format!(
        "cd {}; zstd -qdc pc.img.zst >back.img",
        dir.path().display()
    ));
    let back = fs::read(dir.path().join("back.img")).unwrap();
    let mut expected = fs::read(&raw).unwrap();
    expected[0x30_0000..0x30_3000].fill(0);
    expected[0x28_0000..0x2c_0000].fill(0);
    let blocks = back.chunks(4096).zip(expected.chunks(4096)).enumerate();
    let differ: Vec<usize> = blocks
        .filter(|(_, (a, b))| a != b)
        .map(|(nth, _)| nth)
        .collect();
    assert_eq!(differ, [0usize; 0]);
}

/// `disk.img` of 64 MiB with a GPT: FAT, ext4, swap, NTFS and what nobody knows.
fn five_partitions(dir: &TempDir) -> PathBuf {
    shell(&format!(
        "cd {}; truncate -s 64M disk.img
         sgdisk -n 1:1M:+9M -t 1:EF00 -c 1:'EFI $x' -n 2:0:+24M -c 2:root -A 2:set:2 -A 2:set:63 -n 3:0:+2M -t 3:8200 \
           -n 5:0:+12M -t 5:0700 -n 7:0:+3M disk.img >/dev/null
         printf 'boot code' | dd of=disk.img conv=notrunc status=none
         mkdir tree; for n in $(seq 30); do head -c $((n * 9000)) /dev/urandom >tree/$n; done
         new() {{ truncate -s $2M p$1; }}; new 1 9; new 2 24; new 3 2; new 5 12
         mkfs.fat -F 16 p1 >/dev/null; mcopy -i p1 tree/2? ::/
         mke2fs -q -t ext4 -d tree p2; mkswap -L pages p3 >/dev/null; mkfs.ntfs -q -F p5 >/dev/null; head -c 3M /dev/urandom >p7
         ntfscp p5 tree/30 thirty 2>/dev/null
         put() {{ dd if=p$1 of=disk.img bs=1M seek=$2 conv=notrunc status=none; }}
         put 1 1; put 2 10; put 3 34; put 5 36; put 7 48",
        dir.path().display()
    ));
    dir.path().join("disk.img")
}

#[test]
fn a_directory_for_clonezilla_is_restored_by_its_tools_and_by_us() {
    let dir = TempDir::new().unwrap();
    five_partitions(&dir);
    rescue(dir.path(), &["image", "disk.img", ".", "--name", "pc"], 0);
    for (from, to) in [("pc.img.zst", "saved"), ("disk.img", "direct")] {
        let said = rescue(
            dir.path(),
            &["export", from, to, "--format", "clonezilla"],
            0,
        );
        assert!(said.contains("read back and equal"), "{said}");
    }
    shell(&format!(
        "cd {}; zstd -qdc pc.img.zst >restored
         ls saved >names; for name in sda1.vfat sda2.ext4 sda3.dd sda5.ntfs sda7.dd; do grep -qx $name-ptcl-img.zst.aa names; done
         test \"$(cat saved/parts)\" = 'sda1 sda2 sda3 sda5 sda7'
         part() {{ dd if=restored bs=1M skip=$3 count=$4 of=want status=none; cat $1/sda$2.*-ptcl-img.zst.* | zstd -qdc >got; }}
         for p in 'saved 1 1 9' 'saved 2 10 24' 'saved 5 36 12' 'direct 2 10 24'; do
           part $p; rm -f back; truncate -s $(stat -c %s want) back; partclone.restore -s got -O back -C -L log >said 2>&1 || {{ cat said; exit 1; }}
           cmp want back
         done
         partclone.chkimg -s got -L log >said 2>&1 || {{ cat said; exit 1; }}
         for p in 'saved 3 34 2' 'saved 7 48 3' 'direct 7 48 3'; do part $p; cmp want got; done
         . saved/swappt-sda3.info; test \"$LABEL\" = pages; test \"$UUID\" = \"$(blkid -p -o value -s UUID p3)\"
         truncate -s 64M new.img; grep -v ^last-lba: saved/sda-pt.sf | sfdisk -q new.img
         sfdisk -d new.img | sed 's,new.img,X,g' >made; sfdisk -d disk.img | sed 's,disk.img,X,g' >was; diff was made",
        dir.path().display()
    ));
    rescue(dir.path(), &["import", "saved", ".", "--name", "again"], 0);
    shell(&format!(
        "cd {}; zstd -qdc again.img.zst | cmp - restored",
        dir.path().display()
    ));
}

#[test]
fn a_disk_with_an_mbr_and_logical_partitions_is_a_directory_for_clonezilla() {
    let dir = TempDir::new().unwrap();
    shell(&format!(
        "cd {}; truncate -s 40M disk.img
         printf 'label: dos\\n2048,16384,83,*\\n,,5\\n,16384,83\\n,16384,7\\n' | sfdisk -q disk.img
         mkdir tree; head -c 3M /dev/urandom >tree/file; truncate -s 8M p1; mke2fs -q -t ext4 -d tree p1
         dd if=p1 of=disk.img bs=1M seek=1 conv=notrunc status=none",
        dir.path().display()
    ));
    let words = ["export", "disk.img", "saved", "--format", "clonezilla"];
    let said = rescue(dir.path(), &words, 0);
    assert!(said.contains("read back and equal"), "{said}");
    shell(&format!(
        "cd {}; test \"$(cat saved/parts)\" = 'sda1 sda5 sda6'
         cat saved/sda1.ext4-ptcl-img.zst.aa | zstd -qdc >got; partclone.chkimg -s got -L log >/dev/null 2>&1
         truncate -s 40M new.img; sfdisk -q new.img <saved/sda-pt.sf
         sfdisk -d new.img | sed 's,new.img,X,g' >made; sfdisk -d disk.img | sed 's,disk.img,X,g' >was; diff was made",
        dir.path().display()
    ));
}

#[test]
fn what_clonezilla_cannot_hold_is_refused_and_nothing_is_left_behind() {
    let dir = TempDir::new().unwrap();
    small_disk(&dir);
    let words = ["export", "disk.img", "saved", "--format", "clonezilla"];
    let said = rescue(dir.path(), &words, 3);
    assert!(
        said.contains("partition table") && said.contains("raw"),
        "{said}"
    );
    fs::create_dir(dir.path().join("there")).unwrap();
    let words = ["export", "disk.img", "there", "--format", "clonezilla"];
    let said = rescue(dir.path(), &words, 3);
    assert!(said.contains("is there already"), "{said}");
    assert!(!dir.path().join("saved.unfinished").exists());
}
