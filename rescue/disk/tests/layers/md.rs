//! Members of Linux RAID: superblocks written by the description in md_p.h, which mdadm and blkid must agree with.

use disk::extent::ExtentMap;
use disk::fs::recognise;
use disk::layer::{Keys, Layer};
use disk::layout::{Content, Layout};
use tempfile::NamedTempFile;

use crate::made::{blank, open, run, write_at};
use crate::{MIB, all_of, ext4, extent, is_sound, kind, layer_of, put};

pub const SIZE: u64 = 64 * MIB;
const UUID: [u8; 16] = *b"0123456789abcdef";

/// Version 1: which, and what its fields are. Everything is in sectors.
#[derive(Clone)]
pub struct One {
    pub at: u64,
    pub data: u64,
    pub size: u64,
    pub level: i32,
    pub disks: u32,
    pub role: u16,
    pub features: u32,
    pub resync: u64,
    pub bitmap: i32,
}

pub const fn one_two() -> One {
    One {
        at: 8,
        data: 2048,
        size: 122_880,
        level: 1,
        disks: 2,
        role: 0,
        features: 1,
        resync: u64::MAX,
        bitmap: 8,
    }
}

/// Where the sums are put right, for bytes that were changed.
pub fn sealed(mut raw: Vec<u8>, sum_at: usize, len: usize) -> Vec<u8> {
    raw[sum_at..sum_at + 4].fill(0);
    let words = raw[..len].chunks(4).map(|word| {
        let mut all = [0; 4];
        all[..word.len()].copy_from_slice(word);
        u64::from(u32::from_le_bytes(all))
    });
    let total: u64 = words.sum();
    let folded = (total & 0xFFFF_FFFF) + (total >> 32);
    raw[sum_at..sum_at + 4].copy_from_slice(&folded.to_le_bytes()[..4]);
    raw
}

impl One {
    pub fn bytes(&self) -> Vec<u8> {
        let mut raw = vec![0; 4096];
        let mut put = |at: usize, bytes: &[u8]| raw[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &0xA92B_4EFC_u32.to_le_bytes());
        put(4, &1u32.to_le_bytes());
        put(8, &self.features.to_le_bytes());
        put(16, &UUID);
        put(32, b"pc:data");
        put(72, &self.level.to_le_bytes());
        put(80, &self.size.to_le_bytes());
        put(88, &if self.level == 1 { 0u32 } else { 128 }.to_le_bytes());
        put(92, &self.disks.to_le_bytes());
        put(96, &self.bitmap.to_le_bytes());
        put(128, &self.data.to_le_bytes());
        put(136, &self.size.to_le_bytes());
        put(144, &self.at.to_le_bytes());
        put(160, &u32::from(self.role == 1).to_le_bytes());
        put(168, b"device uuid 0123");
        put(184, &[0, 9]);
        put(186, &8u16.to_le_bytes());
        put(188, &16i32.to_le_bytes());
        put(200, &7u64.to_le_bytes());
        put(208, &self.resync.to_le_bytes());
        put(220, &128u32.to_le_bytes());
        for device in 0..128usize {
            put(256 + device * 2, &0xFFFFu16.to_le_bytes());
        }
        let own = usize::from(self.role == 1);
        put(256, &0u16.to_le_bytes());
        put(258, &1u16.to_le_bytes());
        put(256 + own * 2, &self.role.to_le_bytes());
        sealed(raw, 216, 256 + 256)
    }

    /// Superblock, bitmap and an empty list of bad blocks.
    pub fn write(&self, file: &NamedTempFile) {
        write_at(file, self.at * 512, &self.bytes());
        if self.features & 1 != 0 {
            let mut bitmap = vec![0; 256];
            bitmap[..4].copy_from_slice(b"bitm");
            bitmap[4] = 4;
            bitmap[8..24].copy_from_slice(&UUID);
            bitmap[24] = 7;
            bitmap[32] = 7;
            bitmap[40..48].copy_from_slice(&self.size.to_le_bytes());
            bitmap[52..56].copy_from_slice(&(64u32 << 20).to_le_bytes());
            bitmap[56] = 5;
            let at = self.at.checked_add_signed(self.bitmap.into()).unwrap();
            write_at(file, at * 512, &bitmap);
        }
        if self.features & 8 != 0 {
            write_at(file, (self.at + 16) * 512, &[0xFF; 4096]);
        }
    }

    /// A member without anything on it.
    fn alone(&self) -> NamedTempFile {
        let file = blank(SIZE);
        self.write(&file);
        file
    }

    /// A member with a filesystem in old bytes.
    fn member(&self) -> NamedTempFile {
        let file = blank(SIZE);
        write_at(&file, 0, &vec![0xA5; usize::try_from(SIZE).unwrap()]);
        put_all(&file, self.data * 512, &all_of(&ext4(50 * MIB)));
        self.write(&file);
        file
    }
}

/// Zeros too.
fn put_all(file: &NamedTempFile, at: u64, bytes: &[u8]) {
    write_at(file, at, bytes);
}

fn examined(file: &NamedTempFile) -> String {
    run(
        "mdadm",
        "mdadm",
        &["--examine", file.path().to_str().unwrap()],
        "",
    )
}

fn fact<'a>(examined: &'a str, name: &str) -> &'a str {
    let line = examined.lines().find(|l| l.trim_start().starts_with(name));
    line.unwrap_or_else(|| panic!("no {name} in {examined}"))
        .split_once(" : ")
        .unwrap()
        .1
        .trim()
}

fn blkid(file: &NamedTempFile, tag: &str) -> String {
    let path = file.path().to_str().unwrap();
    run(
        "blkid",
        "util-linux",
        &["-p", "-o", "value", "-s", tag, path],
        "",
    )
    .trim()
    .to_owned()
}

/// The volume is mapped, and mdadm says the same of where it is.
fn mapped(file: &NamedTempFile) -> Layer {
    let layer = layer_of(&open(file));
    is_sound(&layer, SIZE);
    assert_eq!(layer.whole, None);
    assert_eq!(layer.volumes.len(), 1);
    assert_eq!(kind(&layer.volumes[0].content), "ext4");
    assert_eq!(blkid(file, "TYPE"), "linux_raid_member");
    assert_eq!(layer.uuid, Some(blkid(file, "UUID")));
    assert_eq!(
        layer.label.clone().unwrap_or_default(),
        blkid(file, "LABEL")
    );
    layer
}

#[test]
fn a_member_of_a_raid1_is_mapped_in_every_version() {
    let near_end = (SIZE / 512 - 16) & !7;
    for (version, at, data, bitmap) in [
        ("1.0", near_end, 0, -16),
        ("1.1", 0, 2048, 8),
        ("1.2", 8, 2048, 8),
    ] {
        let made = One {
            at,
            data,
            bitmap,
            // Behind a superblock at the end there is no room for a list.
            features: if data == 0 { 1 } else { 1 | 8 },
            ..one_two()
        };
        let file = match data {
            0 => {
                let file = blank(SIZE);
                put_all(&file, 0, &vec![0xA5; usize::try_from(SIZE).unwrap()]);
                put_all(&file, 0, &all_of(&ext4(50 * MIB)));
                made.write(&file);
                file
            }
            _ => made.member(),
        };
        let layer = mapped(&file);
        let said = examined(&file);
        assert_eq!(
            fact(&said, "Version"),
            if version == "1.2" { "1.2" } else { version }
        );
        assert!(fact(&said, "Checksum").contains("correct"), "{said}");
        assert_eq!(fact(&said, "Raid Level"), "raid1");
        let start: u64 = match data {
            0 => 0,
            _ => fact(&said, "Data Offset")
                .split(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap(),
        };
        let kib = fact(&said, "Array Size").split(' ').next().unwrap();
        let size = kib.parse::<u64>().unwrap() * 2;
        let dealt: Vec<_> = layer.volumes[0].mapping.everything().collect();
        assert_eq!(dealt, [extent(start * 512, size * 512)]);
        let used = layer.used();
        assert!(used.total_bytes() < 24 * MIB, "{}", used.total_bytes());
        assert!(used.covers(extent(
            data * 512 + 122_880 * 512,
            SIZE - (data + 122_880) * 512
        )));
    }
}

/// Version 0.90, as md_p.h draws it.
fn old(level: i32, size_kib: u64, minor: u32, place: u32, clean: u32) -> Vec<u8> {
    let mut raw = vec![0; 4096];
    let mut put =
        |word: usize, value: u32| raw[word * 4..word * 4 + 4].copy_from_slice(&value.to_le_bytes());
    put(0, 0xA92B_4EFC);
    put(2, minor);
    for (number, word) in [5, 13, 14, 15].into_iter().enumerate() {
        put(
            word,
            u32::from_le_bytes(UUID[number * 4..number * 4 + 4].try_into().unwrap()),
        );
    }
    put(7, level.cast_unsigned());
    put(8, u32::try_from(size_kib).unwrap());
    put(9, 2);
    put(10, 2);
    put(33, clean);
    put(34, 2);
    put(35, 2);
    put(39, 7);
    for disk in 0..2u32 {
        let at = usize::try_from(128 + disk * 32).unwrap();
        for (word, value) in [disk, 8, disk, disk, 6].into_iter().enumerate() {
            put(at + word, value);
        }
    }
    for (word, value) in [place, 8, place, place, 6].into_iter().enumerate() {
        put(992 + word, value);
    }
    sealed(raw, 38 * 4, 4096)
}

fn old_member(superblock: &[u8]) -> NamedTempFile {
    let file = blank(SIZE);
    put_all(&file, 0, &vec![0xA5; usize::try_from(SIZE).unwrap()]);
    put_all(&file, 0, &all_of(&ext4(50 * MIB)));
    put_all(&file, SIZE - (64 << 10), &vec![0; 64 << 10]);
    write_at(&file, SIZE - (64 << 10), superblock);
    file
}

#[test]
fn a_member_with_the_old_superblock_is_mapped() {
    let kib = (SIZE >> 10) - 64;
    let file = old_member(&old(1, kib, 90, 1, 1));
    let layer = mapped(&file);
    let said = examined(&file);
    assert_eq!(fact(&said, "Version"), "0.90.00");
    assert!(fact(&said, "Checksum").contains("correct"), "{said}");
    assert!(fact(&said, "Used Dev Size").starts_with(&kib.to_string()));
    assert!(layer.used().covers(extent(SIZE - (64 << 10), 64 << 10)));
    assert!(layer.used().total_bytes() < 24 * MIB);
    // Copied from the first member after a crash: the second may be older than it says.
    for (place, clean, minor, size, why) in [
        (0, 0, 90, kib, None),
        (
            1,
            0,
            90,
            kib,
            Some("its array was not stopped, and other members may be newer"),
        ),
        (1, 1, 91, kib, Some("its array is being reshaped")),
        (
            1,
            1,
            90,
            kib - 4096,
            Some("its array does not end where it does"),
        ),
        (
            2,
            1,
            90,
            kib,
            Some("it is a spare or faulty member of its array"),
        ),
    ] {
        let file = old_member(&old(1, size, minor, place, clean));
        assert_eq!(layer_of(&open(&file)).whole.as_deref(), why);
    }
    let file = old_member(&old(5, kib, 90, 1, 1));
    let layer = layer_of(&open(&file));
    assert_eq!(layer.used(), ExtentMap::whole(SIZE));
    assert_eq!(layer.variant.as_deref(), Some("RAID5"));
}

#[test]
fn members_whose_bytes_are_not_the_arrays_are_whole_and_say_why() {
    let cases = [
        (
            One {
                level: 0,
                features: 4096,
                ..one_two()
            },
            "it is one of 2 disks of a RAID0, whose bytes are dealt out among them",
        ),
        (
            One {
                level: -1,
                ..one_two()
            },
            "it is one of 2 disks of a linear RAID, whose bytes are dealt out among them",
        ),
        (
            One {
                level: 5,
                ..one_two()
            },
            "it is one of 2 disks of a RAID5, whose bytes are dealt out among them",
        ),
        (
            One {
                level: 10,
                ..one_two()
            },
            "it is one of 2 disks of a RAID10, whose bytes are dealt out among them",
        ),
        (
            One {
                features: 1 | 2,
                ..one_two()
            },
            "its array is being copied onto it",
        ),
        (
            One {
                features: 1 | 4,
                ..one_two()
            },
            "its array is being reshaped",
        ),
        (
            One {
                features: 512,
                ..one_two()
            },
            "its array has features that are not known here",
        ),
        (
            One {
                role: 0xFFFF,
                ..one_two()
            },
            "it is a spare or faulty member of its array",
        ),
        (
            One {
                role: 0xFFFE,
                ..one_two()
            },
            "it is a spare or faulty member of its array",
        ),
        (
            One {
                role: 1,
                resync: 0,
                ..one_two()
            },
            "its array was not stopped, and other members may be newer",
        ),
        (
            One {
                size: 200_000,
                ..one_two()
            },
            "the data of its array reach beyond its end",
        ),
        (
            One {
                bitmap: 4096,
                ..one_two()
            },
            "its superblock says that it lies among its data",
        ),
    ];
    for (made, why) in cases {
        let layer = layer_of(&open(&made.alone()));
        assert_eq!(layer.whole.as_deref(), Some(why));
        assert_eq!(layer.used(), ExtentMap::whole(SIZE));
    }
    let bad = One {
        features: 1 | 8,
        ..one_two()
    }
    .alone();
    write_at(&bad, (8 + 16) * 512, &[1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        layer_of(&open(&bad)).whole.as_deref(),
        Some("its array knows of bad blocks on it")
    );
    let torn = one_two().alone();
    write_at(&torn, 4096 + 92, &[3]);
    assert_eq!(
        layer_of(&open(&torn)).whole.as_deref(),
        Some("the checksum of its superblock is wrong")
    );
    let two = one_two().alone();
    let near_end = (SIZE / 512 - 16) & !7;
    write_at(
        &two,
        near_end * 512,
        &One {
            at: near_end,
            data: 0,
            features: 0,
            ..one_two()
        }
        .bytes(),
    );
    assert_eq!(
        layer_of(&open(&two)).whole.as_deref(),
        Some("it has superblocks of more than one array")
    );
}

#[test]
fn the_first_member_of_an_array_that_was_not_stopped_and_single_members_are_mapped() {
    for made in [
        One {
            resync: 0,
            ..one_two()
        },
        One {
            level: 0,
            disks: 1,
            features: 4096,
            ..one_two()
        },
        One {
            level: -1,
            disks: 1,
            ..one_two()
        },
    ] {
        mapped(&made.member());
    }
}

/// The superblock of a member that was formatted anew without it.
#[test]
fn a_filesystem_larger_than_the_array_is_kept_whole() {
    let near_end = (SIZE / 512 - 16) & !7;
    let file = blank(SIZE);
    put(&file, 0, &all_of(&ext4(63 * MIB)));
    let made = One {
        at: near_end,
        data: 0,
        features: 0,
        ..one_two()
    };
    write_at(&file, near_end * 512, &made.bytes());
    let layout = Layout::read(&open(&file)).unwrap();
    assert!(layout.used().covers(extent(0, 122_880 * 512)));
    assert_eq!(layout.used(), ExtentMap::whole(SIZE));
}

#[test]
fn lvm_on_a_raid_is_followed_to_its_filesystem() {
    let lvm = crate::tools::Lvm::new(&[60 * MIB], &[]);
    lvm.group("4m");
    lvm.volume("root", "32m", &[]);
    put(&lvm.files[0], MIB, &all_of(&ext4(32 * MIB)));
    let file = blank(SIZE);
    write_at(&file, 0, &vec![0xA5; usize::try_from(SIZE).unwrap()]);
    put_all(&file, MIB, &all_of(&lvm.files[0]));
    write_at(&file, 4096, &one_two().bytes());
    let layer = layer_of(&open(&file));
    is_sound(&layer, SIZE);
    let Content::Layer(inner) = &layer.volumes[0].content else {
        panic!("{layer:?}");
    };
    assert_eq!(inner.kind, "LVM2_member");
    assert_eq!(kind(&inner.volumes[0].content), "ext4");
    assert!(layer.used().total_bytes() < 20 * MIB);
    let layout = Layout::read(&open(&file)).unwrap();
    let mut seen = Vec::new();
    layout.regions[0].visit(&open(&file), &Keys::none(), &mut |visited| {
        let again = recognise(visited.source).unwrap().unwrap().1;
        assert_eq!(again.uuid, visited.filesystem.uuid);
        assert_eq!(visited.volumes, ["pc:data", "root"]);
        // Its superblock, through both layers.
        let there = (visited.inner)([extent(2 * MIB + 1024, 1024)].into_iter().collect());
        assert_eq!(there, [extent(1024, 1024)].into_iter().collect());
        seen.push(visited.filesystem.kind.clone());
    });
    assert_eq!(seen, ["ext4"]);
}
