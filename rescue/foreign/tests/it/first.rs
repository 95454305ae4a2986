//! Partclone's format, version 1. No program of today writes it: a generator here does, and partclone restores what it
//! made.

use std::path::Path;

use crate::clonezilla::shell;
use crate::made::{Dir, digest_of, read_all};
use disk::source::ReadError;

const BLOCK: usize = 4096;

/// Bytes of a checksum as old builds for 32 and for 64 bits wrote it.
#[derive(Clone, Copy)]
enum Sum {
    Four,
    Eight,
}

/// Of a device, from the blocks that are used in it.
fn image(device: &[u8], used: &[bool], sum: Sum) -> Vec<u8> {
    let blocks = device.len() / BLOCK;
    let count = used.iter().filter(|used| **used).count();
    let mut out = b"partclone-image".to_vec();
    out.extend(*b"EXTFS\0\0\0\0\0\0\0\0\0\0");
    out.extend(*b"0001\0\0");
    out.extend(u32::try_from(BLOCK).unwrap().to_le_bytes());
    for number in [device.len(), blocks, count] {
        out.extend((number as u64).to_le_bytes());
    }
    out.extend([0; 4096]);
    out.extend(used.iter().map(|used| u8::from(*used)));
    out.extend(*b"BiTmAgIc");
    let mut state = !0u32;
    for (block, _) in device.chunks(BLOCK).zip(used).filter(|(_, used)| **used) {
        out.extend(block);
        // The table's form of CRC-32, over the first byte as often as there are bytes.
        for _ in 0..BLOCK {
            let mut low = (state ^ u32::from(block[0])) & 0xff;
            for _ in 0..8 {
                low = if low & 1 == 1 {
                    low >> 1 ^ 0xedb8_8320
                } else {
                    low >> 1
                };
            }
            state = state >> 8 ^ low;
        }
        out.extend(state.to_le_bytes());
        if let Sum::Eight = sum {
            out.extend([0; 4]);
        }
    }
    out
}

/// `part` with an ext4, and which of its blocks are used, as partclone says in version 2.
fn part(dir: &Path) -> (Vec<u8>, Vec<bool>) {
    shell(&format!(
        "cd {}; mkdir tree saved; for n in $(seq 20); do head -c $((n * 9000)) /dev/urandom >tree/$n; done
         truncate -s 8M part; mke2fs -q -b 4096 -t ext4 -d tree part
         partclone.ext4 -c -s part -o second -L log 2>/dev/null
         echo '/dev/sda1 : start= 2048, size= 16384, type=83' >saved/sda-pt.sf
         echo 'Disk /dev/sda: 20480s' >saved/sda-pt.parted; echo sda >saved/disk; echo sda1 >saved/parts",
        dir.display()
    ));
    let device = std::fs::read(dir.join("part")).unwrap();
    let second = std::fs::read(dir.join("second")).unwrap();
    let blocks = device.len() / BLOCK;
    let used = (0..blocks).map(|nth| second[110 + nth / 8] >> (nth % 8) & 1 == 1);
    (device, used.collect())
}

fn expected(device: &[u8], used: &[bool]) -> Vec<u8> {
    let blocks = device.chunks(BLOCK).zip(used);
    let blocks = blocks.flat_map(|(block, used)| match used {
        true => block.to_vec(),
        false => vec![0; BLOCK],
    });
    blocks.collect()
}

#[test]
fn version_1_is_the_device_to_partclone_and_to_us() {
    let dir = tempfile::tempdir().unwrap();
    let (device, used) = part(dir.path());
    let expected = expected(&device, &used);
    for sum in [Sum::Four, Sum::Eight] {
        let first = image(&device, &used, sum);
        let path = dir.path().join("first");
        std::fs::write(&path, &first).unwrap();
        // Today's partclone reads only those of four bytes.
        if let Sum::Four = sum {
            shell(&format!(
                "cd {}; rm -f back; truncate -s 8M back; partclone.info -s first -L log >told 2>&1; grep -q 'image format: *0001' told
                 partclone.restore -s first -O back -C -L log >/dev/null 2>&1",
                dir.path().display()
            ));
            let back = std::fs::read(dir.path().join("back")).unwrap();
            assert_eq!(digest_of(&back), digest_of(&expected));
        }
        shell(&format!(
            "cd {}; rm -f saved/sda1.*; gzip -1 <first >saved/sda1.ext4-ptcl-img.gz.aa",
            dir.path().display()
        ));
        let folder = Dir(dir.path().join("saved"));
        let opened = foreign::clonezilla::open(&folder, None).unwrap().unwrap();
        assert!(
            opened.notes.concat().contains("version 1"),
            "{:?}",
            opened.notes
        );
        let got = read_all(&*opened.source);
        assert_eq!(digest_of(&got[1 << 20..9 << 20]), digest_of(&expected));
    }
}

#[test]
fn a_first_byte_that_is_bent_costs_its_block_and_a_cut_what_follows() {
    let dir = tempfile::tempdir().unwrap();
    let (device, used) = part(dir.path());
    let mut first = image(&device, &used, Sum::Four);
    let blocks = used.len();
    // Of the tenth block that is used.
    let at = 64 + 4096 + blocks + 8 + 9 * (BLOCK + 4);
    first[at] ^= 0x10;
    // In the middle of the fiftieth.
    first.truncate(at + 40 * (BLOCK + 4) + 7);
    std::fs::write(dir.path().join("saved/sda1.ext4-ptcl-img"), &first).unwrap();
    let folder = Dir(dir.path().join("saved"));
    let opened = foreign::clonezilla::open(&folder, None).unwrap().unwrap();
    let expected = expected(&device, &used);
    let nth_used = |nth: usize| (0..blocks).filter(|block| used[*block]).nth(nth).unwrap();
    let mut block = vec![0; BLOCK];
    let mut read = |nth: usize| {
        let at = (1 << 20) + nth_used(nth) * BLOCK;
        opened
            .source
            .read_at(at as u64, &mut block)
            .map(|()| block.clone())
    };
    for nth in [0, 8, 10, 30, 48] {
        let from = nth_used(nth) * BLOCK;
        assert!(read(nth).unwrap() == expected[from..from + BLOCK], "{nth}");
    }
    for nth in [9, 49, 50, used.iter().filter(|used| **used).count() - 1] {
        assert!(matches!(read(nth), Err(ReadError::Unreadable(_))), "{nth}");
    }
}

#[test]
fn a_header_of_version_1_may_claim_anything() {
    let dir = tempfile::tempdir().unwrap();
    let (device, used) = part(dir.path());
    let whole = image(&device[..BLOCK * 8], &used[..8], Sum::Four);
    for (at, bytes) in [
        (36, &[0u8; 4][..]),
        (36, &[0xff; 4]),
        (40, &[0xff; 8]),
        (48, &[0xff; 8]),
        (48, &[0, 0, 0, 0, 1, 0, 0, 0]),
        (4160 + 8, b"x"),
    ] {
        let mut bent = whole.clone();
        bent[at..at + bytes.len()].copy_from_slice(bytes);
        std::fs::write(dir.path().join("saved/sda1.ext4-ptcl-img"), &bent).unwrap();
        let folder = Dir(dir.path().join("saved"));
        if let Ok(Some(opened)) = foreign::clonezilla::open(&folder, None) {
            let mut front = vec![0; 8 * BLOCK];
            // Whatever it is, it ends.
            let _ = opened.source.read_at(1 << 20, &mut front);
        }
    }
}
