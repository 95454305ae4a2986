//! A reader written from FORMAT.md alone: it uses nothing of the crate, so page and program are held to each other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::making::Disk;

fn u32_at(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())).unwrap()
}

fn u64_at(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
}

/// Section 2: the body of the frame at `offset`, and its digest.
fn body<'a>(image: &'a [u8], offset: usize, kind: &str) -> (&'a [u8], &'a [u8]) {
    let frame = &image[offset..offset + 8 + u32_at(image, offset + 4)];
    assert_eq!(u32_at(frame, 0), 0x184D_2A5B);
    assert_eq!(&frame[8..16], kind.as_bytes());
    assert_eq!(frame[16..32], image[13 + 16..13 + 32], "the id");
    assert_eq!(u64_at(frame, 32), offset);
    let (before, digest) = frame.split_at(frame.len() - 32);
    assert_eq!(blake3::hash(before).as_bytes(), digest);
    (&before[40..], digest)
}

/// Sections 5 and 8: the content of one chunk.
fn chunk(image: &[u8], entry: &[u8], disk: &mut [u8]) {
    let (address, offset) = (u64_at(entry, 0), u64_at(entry, 8));
    let (content_len, data_len, frame_len) =
        (u32_at(entry, 16), u32_at(entry, 20), u32_at(entry, 24));
    let (fields, _) = body(image, offset, "rescCHNK");
    assert_eq!(fields.len() + 72, frame_len);
    assert_eq!(
        (u64_at(fields, 0), u32_at(fields, 8), u32_at(fields, 12)),
        (address, content_len, data_len)
    );
    assert_eq!(
        (&fields[16..18], &fields[32..64]),
        (&entry[28..30], &entry[32..64])
    );
    let data = &image[offset + frame_len..offset + frame_len + data_len];
    let content = zstd::bulk::decompress(data, content_len).unwrap();
    assert_eq!(content.len(), content_len);
    if fields[16] == 1 {
        assert_eq!(blake3::hash(&content).as_bytes(), &fields[32..64]);
    } else {
        assert!(
            content.iter().all(|byte| *byte == 0) && fields[32..64].iter().all(|byte| *byte == 0)
        );
    }
    let map = content_len.div_ceil(4096).div_ceil(4);
    assert_eq!(fields.len(), 64 + if fields[17] == 1 { map } else { 0 });
    disk[address..address + content_len].copy_from_slice(&content);
}

/// Sections 3 to 12, by the index. The disk, and the length and content of every frame as the index has them.
fn read(image: &[u8]) -> Vec<u8> {
    assert_eq!(
        image[..13],
        [
            0x28, 0xB5, 0x2F, 0xFD, 0x24, 0, 1, 0, 0, 0x99, 0xE9, 0xD8, 0x51
        ]
    );
    let (head, _) = body(image, 13, "rescHEAD");
    assert_eq!(
        (u32_at(head, 0), u32_at(head, 8), u32_at(head, 12)),
        (1, 65_536, 4096)
    );
    let mut disk = vec![0xEE; u64_at(head, 16)];
    let footer = &image[image.len() - 9..];
    assert_eq!((u32_at(footer, 5), footer[4]), (0x8F92_EAB1, 0));
    let entries = u32_at(footer, 0);
    let table = image.len() - (8 + 8 * entries + 9);
    assert_eq!(
        (u32_at(image, table), u32_at(image, table + 4)),
        (0x184D_2A5E, 8 * entries + 9)
    );
    let (end, _) = body(image, table - 280, "rescDONE");
    assert_eq!(end[..96], head[..96]);
    assert_eq!(
        (u64_at(end, 192), u64_at(end, 200)),
        (image.len() - table, image.len())
    );
    let (manifest, digest) = body(image, u64_at(end, 144), "rescTALE");
    assert_eq!(digest, &end[160..192]);
    let json = zstd::bulk::decompress(&manifest[8..], u32_at(manifest, 0)).unwrap();
    assert_eq!(json.first(), Some(&b'{'));
    let (root, digest) = body(image, u64_at(end, 96), "rescROOT");
    assert_eq!(digest, &end[112..144]);
    let mut contents = BTreeMap::new();
    let mut address = 0;
    for (nth, place) in root[8..].chunks(64).enumerate() {
        let (page, digest) = body(image, u64_at(place, 0), "rescPAGE");
        assert_eq!(
            (digest, u32_at(place, 24)),
            (&place[32..64], page.len() + 72)
        );
        assert_eq!((&page[..96], u32_at(page, 96)), (&head[..96], nth));
        assert_eq!(u32_at(page, 100), u32_at(place, 28));
        assert_eq!((u64_at(page, 160), u64_at(place, 8)), (address, address));
        if u32_at(page, 120) > 0 {
            let (leaves, digest) = body(image, u64_at(page, 112), "rescLEAF");
            assert_eq!(
                (leaves.len() + 72, digest),
                (u32_at(page, 120), &page[128..160])
            );
        }
        for entry in page[176..].chunks(64) {
            chunk(image, entry, &mut disk);
            contents.insert(u64_at(entry, 8) + u32_at(entry, 24), u32_at(entry, 16));
            assert_eq!(u64_at(entry, 0), address);
            address += u32_at(entry, 16);
        }
        assert_eq!((u64_at(page, 168), u64_at(place, 16)), (address, address));
    }
    assert_eq!(
        (address, u32_at(root, 0) * 64 + 8),
        (disk.len(), root.len())
    );
    let mut at = 0;
    for entry in image[table + 8..image.len() - 9].chunks(8) {
        assert_eq!(u32_at(entry, 4), contents.get(&at).copied().unwrap_or(0));
        at += u32_at(entry, 0);
    }
    assert_eq!(at, table, "the seek table has every frame before it");
    disk
}

#[test]
fn what_the_program_writes_is_what_the_page_says() {
    for (chunks, every) in [(0, 1), (21, 4), (21, 1000)] {
        let disk = Disk::new(chunks, 4);
        assert!(read(&disk.image_bytes(1, every)) == disk.expected());
    }
}

#[test]
fn the_frozen_image_is_what_the_page_says() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/v1.img.zst");
    let disk = read(&std::fs::read(path).unwrap());
    assert_eq!(
        blake3::hash(&disk).to_string(),
        "0dc64fcbf48284842481f44b5b1fe163b29c176f93820237b5ef7681dd192c21"
    );
}
