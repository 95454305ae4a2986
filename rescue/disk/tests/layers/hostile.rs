//! Layers whose bytes were changed by someone who puts the checksums right again.

use std::cell::Cell;
use std::sync::OnceLock;

use disk::extent::ExtentMap;
use disk::layout::{Content, Layout};
use disk::memory::MemorySource;
use disk::systems;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use crate::made::{blank, cases, read_at, run, sfdisk, write_at};
use crate::md::{One, one_two, sealed};
use crate::tools::Lvm;
use crate::{MIB, all_of, extent, is_sound, put};

const PV: usize = 1 << 20;
const PV_SIZE: usize = 2 << 20;
const MD: usize = 3 << 20;
const SIZE: u64 = 4 * MIB + 64 * 1024;
const AREA: usize = PV + 4096;

/// A GPT with a physical volume of three volumes, one of them with swap, and a member of a RAID1 with swap.
fn disk() -> &'static [u8] {
    static DISK: OnceLock<Vec<u8>> = OnceLock::new();
    DISK.get_or_init(|| {
        let create = ["--metadatasize", "64k", "--dataalignment", "64k"];
        let lvm = Lvm::new(&[PV_SIZE as u64], &create);
        lvm.group("64k");
        lvm.volume("one", "256k", &[]);
        lvm.volume("two", "128k", &[]);
        lvm.volume("three", "128k", &[]);
        lvm.run(&["lvextend", "-L", "+256k", "vg/one"]);
        lvm.run(&["lvremove", "-y", "vg/two"]);
        let swap = |size: u64| {
            let swap = blank(size);
            let path = swap.path().to_str().unwrap();
            run("mkswap", "util-linux", &["-q", path], "");
            all_of(&swap)
        };
        let start = u64::from_le_bytes(read_at(&lvm.files[0], 512 + 72, 8).try_into().unwrap());
        put(&lvm.files[0], start, &swap(256 << 10));
        let disk = blank(SIZE);
        let script = "label: gpt\n1 : start=2048, size=4096, type=E6D6D379-F507-44C2-A23C-238F2A3DF928\n\
                      2 : start=6144, size=2048, type=A19D880F-05FC-4D3B-A006-743F0F84911E\n";
        sfdisk(&disk, script);
        put(&disk, PV as u64, &all_of(&lvm.files[0]));
        let member = One {
            data: 64,
            size: 1900,
            ..one_two()
        };
        put(&disk, MD as u64 + 64 * 512, &swap(1900 * 512));
        write_at(&disk, MD as u64 + 4096, &member.bytes());
        all_of(&disk)
    })
}

fn number(bytes: &[u8], at: usize) -> usize {
    let field = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    usize::try_from(field).unwrap_or(usize::MAX)
}

/// LVM's sum over a range of the disk.
fn sum(bytes: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new_with_initial(!0xF597_A6CF);
    hasher.update(bytes);
    (!hasher.finalize()).to_le_bytes()
}

/// Puts the sums of label, area and text right, as far as they lie inside.
fn with_sums(bytes: &mut [u8]) {
    let (offset, len) = (number(bytes, AREA + 40), number(bytes, AREA + 48));
    let end = offset.saturating_add(len);
    if end < 1 << 20 {
        let text = sum(&bytes[AREA + offset..AREA + end]);
        bytes[AREA + 56..AREA + 60].copy_from_slice(&text);
    }
    let area = sum(&bytes[AREA + 4..AREA + 512]);
    bytes[AREA..AREA + 4].copy_from_slice(&area);
    let label = sum(&bytes[PV + 512 + 20..PV + 1024]);
    bytes[PV + 512 + 16..PV + 512 + 20].copy_from_slice(&label);
}

fn examine(bytes: Vec<u8>) -> Layout {
    let size = bytes.len() as u64;
    let source = MemorySource::new(bytes);
    let layout = Layout::read(&source).unwrap();
    let mut at = 0;
    for region in &layout.regions {
        assert_eq!(region.extent.start(), at, "every byte has one owner");
        at = region.extent.end();
        let used = region.used();
        assert!(used.iter().all(|extent| region.extent.covers(extent)));
        if let Some(Content::Layer(layer)) = region.content() {
            assert_eq!(layer.size_bytes, region.extent.len());
            is_sound(layer, region.extent.len());
            if layer.whole.is_some() {
                assert_eq!(used, ExtentMap::from(vec![region.extent]));
            }
        }
    }
    assert_eq!(at, size);
    let _ = systems::of(&source, &layout);
    layout
}

fn layers(layout: &Layout) -> usize {
    let mapped = |content: &Content| matches!(content, Content::Layer(l) if l.whole.is_none());
    layout
        .partitions()
        .filter(|(_, content)| mapped(content))
        .count()
}

#[test]
fn the_disk_they_begin_with_is_followed() {
    let mut bytes = disk().to_vec();
    let before = bytes.clone();
    with_sums(&mut bytes);
    assert!(bytes == before, "the sums are those that LVM makes");
    let layout = examine(bytes);
    assert_eq!(layers(&layout), 2, "{:?}", layout.notes);
    assert_eq!(
        layout
            .partitions()
            .flat_map(|(_, c)| c.filesystems())
            .count(),
        2
    );
    assert!(layout.used().total_bytes() < 3 * MIB);
}

#[test]
fn whatever_a_physical_volume_says_nothing_is_lost_and_nothing_breaks() {
    let config = proptest::test_runner::Config::with_cases(cases(400));
    let followed = Cell::new(0);
    proptest!(config, |(
        text in proptest::collection::vec((any::<proptest::sample::Index>(), 0usize..41), 0..4),
        header in proptest::collection::vec((24usize..80, any::<u8>()), 0..2),
        label in proptest::collection::vec((20usize..150, any::<u8>()), 0..2),
        swapped in proptest::option::of((any::<proptest::sample::Index>(), any::<proptest::sample::Index>())),
    )| {
        const CHARACTERS: &[u8; 41] = b"0123456789012345678901234567890\"[]{}=,# x";
        let mut bytes = disk().to_vec();
        let (offset, len) = (number(&bytes, AREA + 40), number(&bytes, AREA + 48));
        let start = AREA + offset;
        for (place, character) in text {
            // Digits are what numbers are made of: they are hit most of all.
            let digits: Vec<usize> = (start..start + len)
                .filter(|at| bytes[*at].is_ascii_digit() || character > 30)
                .collect();
            bytes[digits[place.index(digits.len())]] = CHARACTERS[character];
        }
        if let Some((one, other)) = swapped {
            let lines: Vec<Vec<u8>> = bytes[start..start + len].split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
            let mut order: Vec<usize> = (0..lines.len()).collect();
            order.swap(one.index(lines.len()), other.index(lines.len()));
            let again: Vec<Vec<u8>> = order.into_iter().map(|n| lines[n].clone()).collect();
            bytes[start..start + len].copy_from_slice(&again.join(&b'\n'));
        }
        for (at, value) in header {
            bytes[AREA + at] = value;
        }
        for (at, value) in label {
            bytes[PV + 512 + at] = value;
        }
        with_sums(&mut bytes);
        followed.set(followed.get() + usize::from(layers(&examine(bytes)) == 2));
    });
    assert!(followed.get() > 0, "not one of them was followed");
}

#[test]
fn whatever_a_member_of_a_raid_says_nothing_is_lost_and_nothing_breaks() {
    let config = proptest::test_runner::Config::with_cases(cases(400));
    let followed = Cell::new(0);
    proptest!(config, |(hits in proptest::collection::vec((0usize..280, any::<u8>()), 1..4), right in any::<bool>())| {
        let mut bytes = disk().to_vec();
        let superblock = MD + 4096;
        for (at, value) in hits {
            bytes[superblock + at] = value;
        }
        if right {
            let raw = sealed(bytes[superblock..superblock + 4096].to_vec(), 216, 512);
            bytes[superblock..superblock + 4096].copy_from_slice(&raw);
        }
        let layout = examine(bytes);
        prop_assert_eq!(layout.regions.len(), 6);
        followed.set(followed.get() + usize::from(layers(&layout) == 2));
        prop_assert!(layout.used().covers(extent(superblock as u64, 4096)));
    });
    assert!(followed.get() > 0, "not one of them was followed");
}
