//! Partclone's format where its own program of today does not write it so: version 1, which a generator here makes and
//! partclone restores, and checksums of other kinds.

use std::sync::OnceLock;

use crate::clonezilla::shell;
use crate::made::{Dir, digest_of, read_all};
use disk::source::ReadError;
use foreign::Opened;
use tempfile::TempDir;

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

/// A device with an ext4, which of its blocks are used, and the image of it that partclone makes, of version 2.
struct Made {
    device: Vec<u8>,
    used: Vec<bool>,
    second: Vec<u8>,
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        shell(&format!(
            "cd {}; mkdir tree; for n in $(seq 20); do head -c $((n * 9000)) /dev/urandom >tree/$n; done
             truncate -s 8M part; mke2fs -q -b 4096 -t ext4 -d tree part
             partclone.ext4 -c -s part -o second -L log 2>/dev/null",
            dir.path().display()
        ));
        let device = std::fs::read(dir.path().join("part")).unwrap();
        let second = std::fs::read(dir.path().join("second")).unwrap();
        let blocks = device.len() / BLOCK;
        let used = (0..blocks).map(|nth| second[110 + nth / 8] >> (nth % 8) & 1 == 1);
        Made {
            used: used.collect(),
            device,
            second,
        }
    })
}

/// A directory with this image of the one partition.
fn saved(image: &[u8]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        (
            "sda-pt.sf",
            &b"/dev/sda1 : start= 2048, size= 16384, type=83\n"[..],
        ),
        ("sda-pt.parted", b"Disk /dev/sda: 20480s\n"),
        ("disk", b"sda\n"),
        ("parts", b"sda1\n"),
        ("sda1.ext4-ptcl-img", image),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn open(dir: &TempDir) -> Opened {
    let folder = Dir(dir.path().to_owned());
    foreign::clonezilla::open(&folder, None).unwrap().unwrap()
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
    let Made { device, used, .. } = made();
    let expected = expected(device, used);
    for sum in [Sum::Four, Sum::Eight] {
        let first = image(device, used, sum);
        let saved = saved(&first);
        // Today's partclone reads only those of four bytes.
        if let Sum::Four = sum {
            shell(&format!(
                "cd {}; mv sda1.ext4-ptcl-img first; truncate -s 8M back
                 partclone.info -s first -L log >told 2>&1; grep -q 'image format: *0001' told
                 partclone.restore -s first -O back -C -L log >/dev/null 2>&1
                 gzip -1 <first >sda1.ext4-ptcl-img.gz.aa",
                saved.path().display()
            ));
            let back = std::fs::read(saved.path().join("back")).unwrap();
            assert_eq!(digest_of(&back), digest_of(&expected));
        }
        let opened = open(&saved);
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
    let Made { device, used, .. } = made();
    let mut first = image(device, used, Sum::Four);
    let blocks = used.len();
    // Of the tenth block that is used.
    let at = 64 + 4096 + blocks + 8 + 9 * (BLOCK + 4);
    first[at] ^= 0x10;
    // In the middle of the fiftieth.
    first.truncate(at + 40 * (BLOCK + 4) + 7);
    let opened = open(&saved(&first));
    let expected = expected(device, used);
    let nth_used = |nth: usize| (0..blocks).filter(|block| used[*block]).nth(nth).unwrap();
    let mut block = vec![0; BLOCK];
    let mut read = |nth: usize| {
        let at = (1 << 20) + nth_used(nth) * BLOCK;
        let read = opened.source.read_at(at as u64, &mut block);
        read.map(|()| block.clone())
    };
    for nth in [0, 8, 10, 30, 48] {
        let from = nth_used(nth) * BLOCK;
        assert!(read(nth).unwrap() == expected[from..from + BLOCK], "{nth}");
    }
    let last = used.iter().filter(|used| **used).count() - 1;
    for nth in [9, 49, 50, last] {
        let lost = read(nth);
        assert!(matches!(lost, Err(ReadError::Unreadable(_))), "{nth}");
    }
}

#[test]
fn a_header_of_version_1_may_claim_anything() {
    let Made { device, used, .. } = made();
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
        let folder = saved(&bent);
        let folder = Dir(folder.path().to_owned());
        if let Ok(Some(opened)) = foreign::clonezilla::open(&folder, None) {
            let mut front = vec![0; 8 * BLOCK];
            // Whatever it is, it ends.
            let _ = opened.source.read_at(1 << 20, &mut front);
        }
    }
}

/// `second` with other checksums: of so many bytes, behind each 64 blocks.
fn with_sums(second: &[u8], mode: u16, len: usize) -> Vec<u8> {
    let number = |at: usize| u64::from_le_bytes(second[at..at + 8].try_into().unwrap());
    let per_sum = usize::try_from(number(100) & 0xffff_ffff).unwrap();
    let front = 110 + usize::try_from(number(60)).unwrap().div_ceil(8) + 4;
    let mut other = second[..front].to_vec();
    other[96..98].copy_from_slice(&mode.to_le_bytes());
    other[98..100].copy_from_slice(&u16::try_from(len).unwrap().to_le_bytes());
    other[100..104].copy_from_slice(&64u32.to_le_bytes());
    let sum = !crc32fast::hash(&other[..106]);
    other[106..110].copy_from_slice(&sum.to_le_bytes());
    let groups = second[front..].chunks(per_sum * BLOCK + 4);
    let blocks: Vec<u8> = groups
        .flat_map(|group| group[..group.len() - 4].to_vec())
        .collect();
    for group in blocks.chunks(64 * BLOCK) {
        other.extend(group);
        other.extend(&b"sixteen bytes in"[..len]);
    }
    other
}

#[test]
fn checksums_of_another_kind_or_none_are_passed_over_and_told() {
    let Made {
        device,
        used,
        second,
    } = made();
    let expected = expected(device, used);
    for (mode, len, word) in [
        (0, 0, "sda1 has no checksums"),
        (0x30, 8, "XXH64"),
        (0x31, 16, "XXH128"),
    ] {
        let opened = open(&saved(&with_sums(second, mode, len)));
        assert!(opened.notes.concat().contains(word), "{:?}", opened.notes);
        let got = read_all(&*opened.source);
        assert_eq!(
            digest_of(&got[1 << 20..9 << 20]),
            digest_of(&expected),
            "{word}"
        );
    }
}
