//! What the fuzzer throws at each reader: its input is an image.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use disk::extent::ExtentMap;
use disk::fs::{READERS, tree};
use disk::geometry::Geometry;
use disk::layer::{Keys, Limits, Secret};
use disk::layout::{Content, Layout};
use disk::memory::MemorySource;
use disk::source::{BlockSource, ReadError};
use disk::systems;
use disk::table::{self, edit};
use sha2::{Digest, Sha256};

/// The reader of this name, and the files below its root.
pub fn reader(name: &str, data: &[u8]) {
    examine(name, &MemorySource::new(data.to_vec()));
}

/// The checksums of the boot region and of the entries of files are put right, so that the numbers behind them are
/// reached.
pub fn exfat(data: &[u8]) {
    let mut bytes = data.to_vec();
    let shift = bytes.get(108).copied().unwrap_or(0);
    let sector = 1usize << shift.clamp(9, 12);
    if let Some((region, sums)) = bytes.get_mut(..12 * sector).map(|b| b.split_at_mut(11 * sector)) {
        let summed = region.iter().enumerate();
        let sum = summed
            .filter(|(at, _)| !matches!(at, 106 | 107 | 112))
            .fold(0u32, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u32::from(*byte)));
        sums.copy_from_slice(&sum.to_le_bytes().repeat(sector / 4));
    }
    for at in (24 * sector..bytes.len().saturating_sub(32)).step_by(32) {
        let end = at + 32 * (1 + usize::from(bytes[at + 1]));
        if bytes[at] == 0x85 && end <= bytes.len() {
            let summed = bytes[at..end].iter().enumerate();
            let sum = summed
                .filter(|(at, _)| !matches!(at, 2 | 3))
                .fold(0u16, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u16::from(*byte)));
            bytes[at + 2..at + 4].copy_from_slice(&sum.to_le_bytes());
        }
    }
    examine("exfat", &MemorySource::new(bytes));
}

fn examine(name: &str, source: &dyn BlockSource) {
    let reader = READERS
        .iter()
        .find(|reader| reader.name == name)
        .expect("the target is named like its reader");
    if let Ok(Some(filesystem)) = (reader.read)(source) {
        let used = filesystem.used.extents(source.size_bytes());
        assert!(used.end() <= source.size_bytes());
    }
    let Some(Ok(tree)) = reader.tree.map(|open| open(source)) else {
        return;
    };
    let mut left = 500;
    tree::walk(
        tree.as_ref(),
        &mut |found| {
            let _ = found.node.read(source, 4096);
            left -= 1;
            match left {
                0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        },
        &mut |_, _| {},
    );
}

/// The table, and what it would be on a larger disk.
pub fn table(data: &[u8]) {
    for bytes in [data.to_vec(), with_checksums(data)] {
        let source = MemorySource::new(bytes);
        let Ok(Some(found)) = table::read(&source) else {
            continue;
        };
        let larger = Geometry::of_file(source.size_bytes() + (3 << 20));
        let moved = edit::moved_to(&source, &found, larger).unwrap_or_default();
        let grown = edit::grown(&source, &found, larger).ok().flatten();
        for patch in moved.iter().chain(grown.iter().flat_map(|g| &g.patches)) {
            assert!(patch.offset + patch.bytes.len() as u64 <= larger.size_bytes);
        }
    }
}

/// A whole disk: every byte has one owner.
pub fn layout(data: &[u8]) {
    for bytes in [data.to_vec(), with_checksums(data)] {
        let source = MemorySource::new(bytes);
        let layout = Layout::read(&source).expect("a disk in memory can be read");
        let end = layout.regions.iter().fold(0, |at, region| {
            assert_eq!(region.extent.start(), at);
            region.extent.end()
        });
        assert_eq!(end, source.size_bytes());
        let _ = systems::of(&source, &layout);
    }
}

/// The text of a volume group on a physical volume whose sums are right.
pub fn lvm(text: &[u8]) {
    const AREA: usize = 4096;
    let mut bytes = vec![0; 1 << 20];
    let Some(room) = bytes.get_mut(AREA + 512..AREA + 512 + text.len()) else {
        return;
    };
    room.copy_from_slice(text);
    let sum = |bytes: &[u8]| {
        let mut hasher = crc32fast::Hasher::new_with_initial(!0xF597_A6CF);
        hasher.update(bytes);
        (!hasher.finalize()).to_le_bytes()
    };
    let text_sum = sum(text);
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    let (area, size, start) = (AREA as u64, 252u64 << 10, 256u64 << 10);
    for (at, field) in [(8, 1), (72, 1 << 20), (80, start), (112, area), (120, size)] {
        put(512 + at, &field.to_le_bytes());
    }
    put(512, b"LABELONE");
    put(512 + 20, b"\x20\0\0\0LVM2 001");
    put(512 + 32, &b"PV".repeat(16));
    put(AREA + 4, b" LVM2 x[5A%r0N*>\x01\0\0\0");
    for (at, field) in [(24, area), (32, size), (40, 512), (48, text.len() as u64)] {
        put(AREA + at, &field.to_le_bytes());
    }
    put(AREA + 56, &text_sum);
    let label = sum(&bytes[512 + 20..1024]);
    bytes[512 + 16..512 + 20].copy_from_slice(&label);
    let header = sum(&bytes[AREA + 4..AREA + 512]);
    bytes[AREA..AREA + 4].copy_from_slice(&header);
    layers(&MemorySource::new(bytes));
}

/// The superblock of a member of a Linux RAID, its sum put right, at each of the places where one can be.
pub fn mdraid(data: &[u8]) {
    const SIZE: usize = 512 << 10;
    for (at, sum_at) in [(0, 216), (4096, 216), (SIZE - 8192, 216), (SIZE - 65536, 152)] {
        let mut raw = data.to_vec();
        raw.resize(4096, 0);
        if sum_at == 216 {
            raw[144..152].copy_from_slice(&(at as u64 / 512).to_le_bytes());
        }
        raw[sum_at..sum_at + 4].fill(0);
        let devices = usize::from(u16::from_le_bytes([raw[220], raw[221]]));
        let len = if sum_at == 216 { (256 + devices * 2).min(4096) } else { 4096 };
        let words = raw[..len].chunks(4).map(|word| {
            let mut all = [0; 4];
            all[..word.len()].copy_from_slice(word);
            u64::from(u32::from_le_bytes(all))
        });
        let total: u64 = words.sum();
        let folded = (total & 0xFFFF_FFFF) + (total >> 32);
        raw[sum_at..sum_at + 4].copy_from_slice(&folded.to_le_bytes()[..4]);
        let mut bytes = vec![0; SIZE];
        bytes[at..at + 4096].copy_from_slice(&raw);
        layers(&MemorySource::new(bytes));
    }
}

/// A volume with the passphrase `x`. The sums of both headers of version 2 are put right.
pub fn luks(data: &[u8]) {
    let mut bytes = data.to_vec();
    let second = bytes.get(8..16).map(|len| u64::from_be_bytes(len.try_into().expect("eight bytes are eight")));
    let second = second.and_then(|len| usize::try_from(len).ok());
    for at in [Some(0), second].into_iter().flatten() {
        let Some(header) = second.and_then(|len| bytes.get_mut(at..at.checked_add(len)?)) else {
            continue;
        };
        if header.len() > 512 && header.len() <= 1 << 20 && header[6..8] == [0, 2] {
            header[448..512].fill(0);
            let sum = Sha256::digest(&*header);
            header[448..480].copy_from_slice(&sum);
        }
    }
    unlocked(&MemorySource::new(bytes));
}

/// A volume whose protection is suspended. The sums of all copies of the metadata are put right.
pub fn bitlocker(data: &[u8]) {
    let mut bytes = data.to_vec();
    for place in [176, 184, 192] {
        let place = bytes.get(place..place + 8).map(|place| u64::from_le_bytes(place.try_into().expect("eight bytes are eight")));
        let Some(area) = place.and_then(|place| bytes.get_mut(usize::try_from(place).ok()?..)) else {
            continue;
        };
        let len = area.get(8..10).map_or(0, |len| usize::from(u16::from_le_bytes([len[0], len[1]])) << 4);
        if len > 0 && area.len() >= len + 8 {
            let sum = crc32fast::hash(&area[..len]);
            area[len + 4..len + 8].copy_from_slice(&sum.to_le_bytes());
        }
    }
    unlocked(&MemorySource::new(bytes));
}

/// With so little time for it that a header cannot ask for much.
fn unlocked(source: &dyn BlockSource) {
    let keys = Keys::new(vec![Secret::Passphrase(b"x".to_vec().into())]);
    let limits = Limits { memory_bytes: 1 << 20, rounds: 5000 };
    layers_with(source, &keys.with_limits(limits));
}

/// Nothing that a layer or one of its volumes keeps is called free.
fn layers(source: &dyn BlockSource) {
    layers_with(source, &Keys::none());
}

fn layers_with(source: &dyn BlockSource, keys: &Keys) {
    let layout = Layout::read_with(source, keys).expect("a disk in memory can be read");
    for region in &layout.regions {
        let Some(Content::Layer(layer)) = region.content() else {
            continue;
        };
        let used = layer.used();
        assert!(used.end() <= source.size_bytes());
        assert!(layer.own.difference(&used).is_empty());
        for volume in &layer.volumes {
            let inner = volume.content.used(volume.size_bytes);
            let outer = ExtentMap::from(volume.mapping.outer(&inner));
            assert!(outer.difference(&used).is_empty());
        }
    }
}

/// The input with the checksums of its primary GPT put right, so that the numbers behind them are reached.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    if bytes.len() < 1024 || !bytes[512..].starts_with(b"EFI PART") {
        return bytes;
    }
    let number = |at: usize| {
        let field = bytes[at..at + 4].try_into().expect("four bytes are four bytes");
        usize::try_from(u32::from_le_bytes(field)).expect("a usize has at least 32 bits")
    };
    let (start, len) = (
        number(512 + 72).saturating_mul(512),
        number(512 + 80).saturating_mul(number(512 + 84)),
    );
    let entries = bytes.get(start..start.saturating_add(len)).unwrap_or(&[]);
    let crc = crc32fast::hash(entries).to_le_bytes();
    bytes[600..604].copy_from_slice(&crc);
    bytes[528..532].fill(0);
    let crc = crc32fast::hash(&bytes[512..604]).to_le_bytes();
    bytes[528..532].copy_from_slice(&crc);
    bytes
}

/// A reader of filesystems that are too large for an input: the input is their sectors, each after its number, and
/// all others are zeros. The sums of XFS are put right, so that the numbers behind them are reached.
pub fn sparse(name: &str, data: &[u8]) {
    let mut sectors = BTreeMap::new();
    for piece in data.chunks_exact(4 + SECTOR) {
        let (number, bytes) = piece.split_at(4);
        let number = u32::from_le_bytes(number.try_into().expect("four bytes are four bytes"));
        let mut bytes: [u8; SECTOR] = bytes.try_into().expect("a sector is a sector");
        let sums = [
            ("XFSB", 224),
            ("XAGF", 216),
            ("XAFL", 32),
            ("XAGI", 312),
            ("IN", 100),
        ];
        let found = sums.iter().find(|(magic, _)| bytes.starts_with(magic.as_bytes()));
        if let Some(at) = found.map(|(_, at)| *at) {
            bytes[at..at + 4].fill(0);
            let sum = crc32c::crc32c(&bytes);
            bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
        }
        sectors.insert(u64::from(number), bytes);
    }
    let mut disk = Sectors(sectors);
    if name == "btrfs" {
        disk.put_nodes_right();
    }
    if name == "apfs" {
        disk.put_objects_right();
    }
    if name == "nilfs2" {
        disk.put_logs_right();
    }
    if name == "f2fs" {
        // Both ends of the two checkpoint packs behind the superblock's.
        for pack in [512 * 4096, 1024 * 4096] {
            let mut blocks = [0; 4];
            let read = disk.read_at(pack + 136, &mut blocks);
            let last = u64::from(u32::from_le_bytes(blocks)).clamp(1, 512) - 1;
            if read.is_ok() {
                disk.put_checkpoint_right(pack);
                disk.put_checkpoint_right(pack + last * 4096);
            }
        }
    }
    examine(name, &disk);
}

const SECTOR: usize = 512;
/// Disks of this size are packed into inputs.
const SPARSE_BYTES: u64 = 320 << 20;

struct Sectors(BTreeMap<u64, [u8; SECTOR]>);

impl Sectors {
    /// Every block that has the head of an object of APFS: a known kind, and a transaction.
    fn put_objects_right(&mut self) {
        let object = |(number, bytes): (&u64, &[u8; SECTOR])| {
            let kind = u16::from_le_bytes([bytes[24], bytes[25]]);
            let is_object = *number % 8 == 0 && (1..0x20).contains(&kind) && bytes[16..24] != [0; 8];
            is_object.then_some(number * SECTOR as u64)
        };
        let found: Vec<u64> = self.0.iter().filter_map(object).collect();
        for place in found {
            let mut block = [0; 4096];
            if self.read_at(place, &mut block).is_err() {
                continue;
            }
            let (mut first, mut second) = (0u64, 0u64);
            for word in block[8..].chunks_exact(4) {
                first += u64::from(u32::from_le_bytes(word.try_into().expect("four bytes")));
                second += first;
            }
            let modulus = 0xFFFF_FFFF;
            let low = modulus - (first + second) % modulus;
            let high = modulus - (first + low) % modulus;
            let head = self.0.get_mut(&(place / SECTOR as u64)).expect("it was found there");
            head[..8].copy_from_slice(&(high << 32 | low).to_le_bytes());
        }
    }

    /// The superblocks of NILFS2, and every sector that begins like a log, with the super root at its end.
    fn put_logs_right(&mut self) {
        let mut superblock = [0; 280];
        if self.read_at(1024, &mut superblock).is_err() {
            return;
        }
        let field = |raw: &[u8], at: usize| u32::from_le_bytes(raw[at..at + 4].try_into().expect("four bytes"));
        let seed = field(&superblock, 12);
        let block = 1024u64 << (field(&superblock, 20) % 7);
        let is_log = |(number, bytes): (&u64, &[u8; SECTOR])| {
            let blocks = u64::from(field(bytes, 40));
            (field(bytes, 8) == 0x1EAF_FA11 && blocks < 1024).then_some((number * SECTOR as u64, blocks * block))
        };
        let found: Vec<_> = self.0.iter().filter_map(is_log).collect();
        for (at, len) in found {
            let root = at + len.saturating_sub(block);
            let mut size = [0; 8];
            if len > block && self.read_at(root, &mut size).is_ok() {
                let size = u64::from(u16::from_le_bytes([size[4], size[5]]));
                self.put_crc_right(seed, root, root + 4, root + size.clamp(8, block));
            }
            self.put_crc_right(seed, at, at + 4, at + len);
        }
        let size = u64::from_le_bytes(superblock[32..40].try_into().expect("eight bytes"));
        for at in [1024, (size >> 12).saturating_sub(1).saturating_mul(4096)] {
            if at <= SPARSE_BYTES - 4096 {
                let sector = self.0.entry(at / 512).or_insert([0; SECTOR]);
                sector[8..10].copy_from_slice(&[24, 1]);
                sector[16..20].fill(0);
                self.put_crc_right(seed, at + 16, at, at + 280);
            }
        }
    }

    /// The kernel's `crc32_le` of these bytes, where it belongs; the place lies within one sector.
    fn put_crc_right(&mut self, seed: u32, place: u64, from: u64, to: u64) {
        let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).expect("a log is not larger")];
        if self.read_at(from, &mut bytes).is_ok() {
            let mut hasher = crc32fast::Hasher::new_with_initial(!seed);
            hasher.update(&bytes);
            let sum = (!hasher.finalize()).to_le_bytes();
            let at = usize::try_from(place % 512).expect("it lies in a sector");
            self.0.entry(place / 512).or_insert([0; SECTOR])[at..at + 4].copy_from_slice(&sum);
        }
    }

    /// Every block of btrfs that carries the filesystem's identity: the superblocks and all nodes.
    fn put_nodes_right(&mut self) {
        let mut superblock = [0; 0x98];
        if self.read_at(64 << 10, &mut superblock).is_err() {
            return;
        }
        let size = superblock[0x94..].try_into().map(u32::from_le_bytes);
        let size = size.expect("four bytes are four bytes");
        let len = if [4096, 8192, 16384, 32768, 65536].contains(&size) { size } else { 4096 };
        let ours = |(number, bytes): (&u64, &[u8; SECTOR])| {
            let is_node = *number % 8 == 0 && bytes[32..48] == superblock[32..48];
            is_node.then_some((number * SECTOR as u64, &bytes[0x40..0x48] == b"_BHRfS_M"))
        };
        let found: Vec<_> = self.0.iter().filter_map(ours).collect();
        for (at, is_superblock) in found {
            let len = if is_superblock { 4096 } else { len };
            self.put_sum_right(at, usize::try_from(len).expect("64 KiB at most"));
        }
    }

    /// A checkpoint of F2FS has its sum in its last four bytes.
    fn put_checkpoint_right(&mut self, at: u64) {
        let mut block = [0; 4096];
        if self.read_at(at, &mut block).is_ok() {
            let mut hasher = crc32fast::Hasher::new_with_initial(!0xF2F5_2010);
            hasher.update(&block[..4092]);
            let sum = (!hasher.finalize()).to_le_bytes();
            let last = self.0.entry(at / 512 + 7).or_insert([0; SECTOR]);
            last[508..].copy_from_slice(&sum);
        }
    }

    /// btrfs has the sum of a block in its first bytes; `at` is the start of a sector.
    fn put_sum_right(&mut self, at: u64, len: usize) {
        let mut block = vec![0; len];
        if self.read_at(at, &mut block).is_ok() {
            let sum = crc32c::crc32c(&block[32..]).to_le_bytes();
            let first = self.0.entry(at / 512).or_insert([0; SECTOR]);
            first[..4].copy_from_slice(&sum);
        }
    }
}

impl BlockSource for Sectors {
    fn geometry(&self) -> Geometry {
        Geometry::of_file(SPARSE_BYTES)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let len = buf.len() as u64;
        if offset.checked_add(len).is_none_or(|end| end > SPARSE_BYTES) {
            return Err(ReadError::BeyondEnd {
                offset,
                len,
                size_bytes: SPARSE_BYTES,
            });
        }
        buf.fill(0);
        let size = SECTOR as u64;
        for (number, bytes) in self.0.range(offset / size..(offset + len).div_ceil(size)) {
            for (at, byte) in (number * size..).zip(bytes) {
                if let Some(place) = at.checked_sub(offset).filter(|place| *place < len) {
                    buf[usize::try_from(place).expect("it lies in the buffer")] = *byte;
                }
            }
        }
        Ok(())
    }
}
