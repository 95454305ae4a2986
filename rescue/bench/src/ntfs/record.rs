//! File records and the attributes in them.

const IN_USE: u16 = 1;
const LEN: usize = 1024;
const STRIDE: usize = 512;
const SEQUENCE_AT: usize = 48;
const FIRST_ATTRIBUTE: usize = 56;
const END: u32 = 0xFFFF_FFFF;
const STANDARD_INFORMATION: u32 = 0x10;
const ATTRIBUTE_LIST: u32 = 0x20;
const FILE_NAME: u32 = 0x30;
pub const DATA: u32 = 0x80;
pub const BITMAP: u32 = 0xB0;
/// The root, as often as mkntfs gave it out.
const ROOT: u64 = 5 << 48 | 5;
/// 2020-01-01, in 100 ns since 1601.
const TIME: u64 = 132_223_104_000_000_000;

/// With what the update sequence took from it put back.
pub struct Record {
    bytes: Vec<u8>,
}

impl Record {
    pub fn used(number: u64, base: Option<u64>, attributes: &[Vec<u8>]) -> Record {
        let mut record = Record::unused(number);
        record.put(22, &IN_USE.to_le_bytes());
        record.put(18, &u16::from(base.is_none()).to_le_bytes());
        record.put(32, &base.map_or(0, first_of).to_le_bytes());
        record.fill(&attributes.concat(), attributes.len());
        record
    }

    /// As it is left when a file is deleted, or before there was one.
    pub fn unused(number: u64) -> Record {
        let mut record = Record {
            bytes: vec![0; LEN],
        };
        record.put(0, b"FILE");
        record.put(4, &two(SEQUENCE_AT));
        record.put(6, &two(LEN / STRIDE + 1));
        record.put(16, &two(1));
        record.put(20, &two(FIRST_ATTRIBUTE));
        record.put(28, &four(LEN));
        record.put(44, &number.to_le_bytes()[..4]);
        record.put(SEQUENCE_AT, &two(1));
        record.fill(&[], 0);
        record
    }

    /// As it stands on the disk.
    pub fn parse(mut bytes: Vec<u8>) -> Option<Record> {
        let at = usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
        if bytes.len() != LEN || !bytes.starts_with(b"FILE") || at > STRIDE - 8 {
            return None;
        }
        for n in 1..=LEN / STRIDE {
            bytes.copy_within(at + 2 * n..at + 2 * n + 2, n * STRIDE - 2);
        }
        Some(Record { bytes })
    }

    /// As it is to stand on the disk.
    pub fn finish(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let at = usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
        for n in 1..=LEN / STRIDE {
            let end = n * STRIDE - 2;
            bytes.copy_within(end..end + 2, at + 2 * n);
            bytes.copy_within(at..at + 2, end);
        }
        bytes
    }

    /// The runs and the size of an attribute that has clusters.
    pub fn stream(&self, kind: u32) -> Option<(Vec<(u64, u64)>, u64)> {
        let own = self.attributes().find(|own| kind_of(own) == kind)?;
        let pairs = usize::from(u16::from_le_bytes(own.get(32..34)?.try_into().ok()?));
        let size = u64::from_le_bytes(own.get(48..56)?.try_into().ok()?);
        (own[8] == 1).then_some((runs(own.get(pairs..)?)?, size))
    }

    /// Puts these in the place of those of the same type.
    pub fn replace(&mut self, with: &[Vec<u8>]) {
        let all: Vec<Vec<u8>> = self
            .attributes()
            .map(|own| {
                let new = with.iter().find(|new| kind_of(new) == kind_of(own));
                new.map_or_else(|| own.to_vec(), Clone::clone)
            })
            .collect();
        let next = u16::from_le_bytes([self.bytes[40], self.bytes[41]]);
        self.fill(&all.concat(), usize::from(next));
    }

    fn attributes(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = usize::from(u16::from_le_bytes([self.bytes[20], self.bytes[21]]));
        std::iter::from_fn(move || {
            let own = self.bytes.get(at..)?;
            let len = u32::from_le_bytes(own.get(4..8)?.try_into().ok()?) as usize;
            let own = own
                .get(..len)
                .filter(|own| own.len() >= 24 && kind_of(own) != END)?;
            at += len;
            Some(own)
        })
    }

    fn fill(&mut self, attributes: &[u8], next_id: usize) {
        let first = usize::from(u16::from_le_bytes([self.bytes[20], self.bytes[21]]));
        self.bytes[first..].fill(0);
        self.put(first, attributes);
        let end = first + attributes.len();
        self.put(end, &END.to_le_bytes());
        self.put(24, &four(end + 8));
        self.put(40, &two(next_id));
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

fn two(number: usize) -> [u8; 2] {
    let number = u16::try_from(number);
    number.expect("a record is small").to_le_bytes()
}

fn four(number: usize) -> [u8; 4] {
    let number = u32::try_from(number);
    number.expect("a record is small").to_le_bytes()
}

/// A reference to a record that was given out once.
fn first_of(number: u64) -> u64 {
    1 << 48 | number
}

fn kind_of(attribute: &[u8]) -> u32 {
    u32::from_le_bytes([attribute[0], attribute[1], attribute[2], attribute[3]])
}

/// An attribute whose content is in the record.
pub fn resident(kind: u32, id: u16, content: &[u8], indexed: u8) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let len = four(bytes.len());
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[4..8].copy_from_slice(&len);
    bytes[14..16].copy_from_slice(&id.to_le_bytes());
    bytes[16..20].copy_from_slice(&four(content.len()));
    bytes[20] = 24;
    bytes[22] = indexed;
    bytes
}

/// An attribute whose content is in clusters.
pub fn mapped(kind: u32, id: u16, runs: &[(u64, u64)], size: u64) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[8] = 1;
    bytes[10] = 64;
    bytes[14..16].copy_from_slice(&id.to_le_bytes());
    let clusters: u64 = runs.iter().map(|run| run.1).sum();
    bytes[24..32].copy_from_slice(&(clusters - 1).to_le_bytes());
    bytes[32] = 64;
    for (at, size) in [(40, clusters * super::CLUSTER), (48, size), (56, size)] {
        bytes[at..at + 8].copy_from_slice(&size.to_le_bytes());
    }
    let mut before = 0;
    for (cluster, count) in runs {
        let step = cluster.wrapping_sub(before).cast_signed();
        let (count, step) = (short(count.cast_signed()), short(step));
        bytes.push(two(step.len() << 4 | count.len())[0]);
        bytes.extend(count);
        bytes.extend(step);
        before = *cluster;
    }
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let len = four(bytes.len());
    bytes[4..8].copy_from_slice(&len);
    bytes
}

/// As few bytes as keep its sign.
fn short(number: i64) -> Vec<u8> {
    let bytes = number.to_le_bytes();
    let len = (1..8).find(|len| number >> (len * 8 - 1) == number >> 63);
    bytes[..len.unwrap_or(8)].to_vec()
}

fn runs(pairs: &[u8]) -> Option<Vec<(u64, u64)>> {
    let (mut runs, mut rest, mut cluster) = (Vec::new(), pairs, 0i64);
    while let Some((head, more)) = rest.split_first().filter(|(head, _)| **head != 0) {
        let (a, b) = (usize::from(head & 15), usize::from(head >> 4));
        let (count, step) = (long(more.get(..a)?), long(more.get(a..a + b)?));
        cluster += step;
        runs.push((cluster.cast_unsigned(), count.cast_unsigned()));
        rest = &more[a + b..];
    }
    Some(runs)
}

fn long(bytes: &[u8]) -> i64 {
    let sign = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let fill = if sign { -1 } else { 0 };
    let shifted = |number: i64, byte: &u8| number << 8 | i64::from(*byte);
    bytes.iter().rev().fold(fill, shifted)
}

pub fn standard_information() -> Vec<u8> {
    let mut content = [TIME; 4].map(u64::to_le_bytes).concat();
    content.resize(48, 0);
    resident(STANDARD_INFORMATION, 0, &content, 0)
}

/// A name in the root.
pub fn file_name(name: &str) -> Vec<u8> {
    let mut content = [
        ROOT,
        TIME,
        TIME,
        TIME,
        TIME,
        super::CLUSTER,
        super::CLUSTER,
        0,
    ]
    .map(u64::to_le_bytes)
    .concat();
    let units: Vec<u16> = name.encode_utf16().collect();
    content.extend([two(units.len())[0], 0]);
    content.extend(units.into_iter().flat_map(u16::to_le_bytes));
    resident(FILE_NAME, 1, &content, 1)
}

/// Of a file whose content is described in a record of its own.
pub fn attribute_list(number: u64, elsewhere: u64) -> Vec<u8> {
    let entry = |kind: u32, record: u64, id: u16| {
        let mut entry = vec![0; 32];
        entry[..4].copy_from_slice(&kind.to_le_bytes());
        entry[4] = 32;
        entry[7] = 26;
        entry[16..24].copy_from_slice(&first_of(record).to_le_bytes());
        entry[24..26].copy_from_slice(&id.to_le_bytes());
        entry
    };
    let all = [
        entry(STANDARD_INFORMATION, number, 0),
        entry(FILE_NAME, number, 1),
        entry(DATA, elsewhere, 0),
    ];
    resident(ATTRIBUTE_LIST, 2, &all.concat(), 0)
}
