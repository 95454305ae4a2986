//! Swap, encrypted volumes and what is known by name only, as their own tools make them.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod made;

use disk::extent::{Extent, ExtentMap};
use disk::fs::{self, Basis, Filesystem, State, Used};
use disk::memory::MemorySource;
use made::{blank, open, read_at, run, write_at};
use proptest::prelude::{any, proptest};
use tempfile::NamedTempFile;

const MIB: u64 = 1 << 20;

fn found(file: &NamedTempFile) -> Filesystem {
    fs::recognise(&open(file)).unwrap().expect("it is known").1
}

fn swap(page: u64, size: u64) -> NamedTempFile {
    let file = blank(size);
    let page = page.to_string();
    run(
        "mkswap",
        "util-linux",
        &[
            "-q",
            "-p",
            &page,
            "-L",
            "schlaf",
            "-U",
            "8ff8e77f-8553-485e-8656-58be67a81666",
            file.path().to_str().unwrap(),
        ],
        "",
    );
    file
}

#[test]
fn of_swap_only_the_header_page_and_the_tail_are_used() {
    for page in [4096u64, 8192, 16384, 65536] {
        let size = 16 * MIB + 512;
        let found = found(&swap(page, size));
        assert_eq!(found.kind, "swap");
        assert_eq!(found.label.as_deref(), Some("schlaf"));
        assert_eq!(
            found.uuid.as_deref(),
            Some("8ff8e77f-8553-485e-8656-58be67a81666")
        );
        assert_eq!(u64::from(found.block_size), page);
        assert_eq!(found.size_bytes, 16 * MIB);
        let used: ExtentMap = [(0, page), (16 * MIB, 512)]
            .into_iter()
            .filter_map(|(s, l)| Extent::new(s, l))
            .collect();
        assert_eq!(
            found.used,
            Used::Map {
                basis: Basis::Records,
                extents: used
            }
        );
    }
}

#[test]
fn swap_that_holds_a_sleeping_system_is_kept_whole() {
    for signature in [&b"S1SUSPEND\0"[..], b"ULSUSPEND\0", b"LINHIB0001"] {
        let file = swap(4096, 16 * MIB);
        write_at(&file, 4086, signature);
        let found = found(&file);
        assert_eq!(found.state, State::Hibernated);
        assert!(matches!(found.used, Used::Whole(_)));
    }
}

#[test]
fn swap_larger_than_its_partition_is_kept_whole() {
    let file = swap(4096, 16 * MIB);
    file.as_file().set_len(15 * MIB).unwrap();
    assert!(matches!(found(&file).used, Used::Whole(_)));
}

/// A LUKS header as its specification draws it; real ones are in the corpus.
fn luks(version: u8, magic: &[u8], at: u64) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..6].copy_from_slice(magic);
    header[7] = version;
    header[168..204].copy_from_slice(b"e5f398d9-39da-4b6a-9ac3-e085a9394e7c");
    header[256..264].copy_from_slice(&at.to_be_bytes());
    header
}

#[test]
fn luks_is_locked_and_whole_even_with_its_first_header_gone() {
    for (version, magic, at) in [
        (1, b"LUKS\xba\xbe", 0),
        (2, b"LUKS\xba\xbe", 0),
        (2, b"SKUL\xba\xbe", 0x4000),
    ] {
        let file = blank(32 * MIB);
        write_at(&file, at, &luks(version, magic, at));
        let found = found(&file);
        assert_eq!(found.kind, "crypto_LUKS");
        assert_eq!(found.variant, Some(format!("LUKS{version}")));
        assert_eq!(
            found.uuid.as_deref(),
            Some("e5f398d9-39da-4b6a-9ac3-e085a9394e7c")
        );
        assert_eq!(found.state, State::Locked);
        assert!(matches!(found.used, Used::Whole(_)));
    }
}

#[test]
fn two_kinds_on_the_same_bytes_make_the_partition_whole() {
    let file = blank(40 * MIB);
    run(
        "mkfs.fat",
        "dosfstools",
        &["-F", "16", file.path().to_str().unwrap()],
        "",
    );
    assert!(matches!(found(&file).used, Used::Map { .. }));
    write_at(&file, 4086, b"SWAPSPACE2");
    let Used::Whole(why) = found(&file).used else {
        panic!("nothing may be called free")
    };
    assert_eq!(why, "it looks like vfat and like swap");
}

#[test]
fn hostile_headers_are_survived() {
    let file = swap(4096, MIB);
    let image = read_at(&file, 0, 128 << 10);
    let config = proptest::test_runner::Config::with_cases(made::cases(300));
    proptest!(config, |(hits in proptest::collection::vec((0usize..4096, any::<u8>()), 1..30), luks in any::<bool>(), cut in any::<Option<u16>>())| {
        let mut bytes = image.clone();
        for (at, value) in hits {
            bytes[at] = value;
        }
        if luks {
            bytes[..6].copy_from_slice(b"LUKS\xba\xbe");
        }
        if let Some(cut) = cut {
            bytes.truncate(usize::from(cut));
        }
        let size = bytes.len() as u64;
        if let Ok(Some((_, found))) = fs::recognise(&MemorySource::new(bytes)) {
            assert!(found.used.extents(size).end() <= size);
        }
    });
}
