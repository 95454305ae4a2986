//! Linux RAID: a member whose bytes are the array's own, in a row, is read through; every other is kept whole.
//!
//! Superblocks: Linux, include/uapi/linux/raid/md_p.h; which member a resync reads from: drivers/md/raid1.c.

mod old;
mod one;

use crate::extent::{Extent, ExtentMap};
use crate::fs::State;
use crate::layer::{Layer, Mapping, Reader, Volume};
use crate::source::{BlockSource, ReadError};

pub const READER: Reader = Reader {
    kind: "linux_raid_member",
    read,
    unlock: None,
};

pub const MAGIC: &[u8] = &[0xFC, 0x4E, 0x2B, 0xA9];

/// A superblock with a right checksum, whatever its version.
#[derive(Debug)]
struct Member {
    /// `0.90`, `1.0`, `1.1`, `1.2`.
    version: &'static str,
    uuid: Option<String>,
    name: Option<String>,
    level: i32,
    raid_disks: u32,
    /// Bytes of the carrier that are the array's.
    data: Option<Extent>,
    /// What speaks against taking them as they stand.
    doubt: Option<String>,
    /// Other members are made equal to this one after a crash, or there was none.
    leads: Leads,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Leads {
    Yes,
    /// The array was not stopped, and this may be the member that others are copied onto.
    Unsure,
}

fn read(source: &dyn BlockSource) -> Result<Option<Layer>, ReadError> {
    let size_bytes = source.size_bytes();
    let mut members = one::read(source)?;
    members.extend(old::read(source)?);
    let mut layer = Layer {
        kind: "linux_raid_member".into(),
        variant: None,
        uuid: None,
        label: None,
        size_bytes,
        state: State::Clean,
        own: ExtentMap::new(),
        volumes: Vec::new(),
        whole: Some("the checksum of its superblock is wrong".into()),
    };
    let count = members.len();
    let Some(member) = members.into_iter().next() else {
        return Ok(Some(layer));
    };
    layer.variant = Some(level_name(member.level));
    layer.label = member.name.clone();
    layer.uuid = member.uuid.clone();
    layer.whole = match count {
        1 => member.whole(size_bytes),
        _ => Some("it has superblocks of more than one array".into()),
    };
    if let (None, Some(data)) = (&layer.whole, member.data) {
        layer.own = ExtentMap::whole(size_bytes);
        layer.own.remove(data);
        let name = member
            .name
            .unwrap_or_else(|| format!("metadata {}", member.version));
        let mapping = Mapping::run(data.start(), data.len());
        layer.volumes = vec![Volume::unread(name, data.len(), mapping)];
    }
    Ok(Some(layer))
}

impl Member {
    /// Why the bytes of this member are not those of the array, or may not stay so.
    fn whole(&self, size_bytes: u64) -> Option<String> {
        let in_a_row = match self.level {
            1 => true,
            LINEAR | 0 => self.raid_disks == 1,
            _ => false,
        };
        if let Some(doubt) = &self.doubt {
            return Some(doubt.clone());
        }
        if !in_a_row {
            let level = level_name(self.level);
            let disks = self.raid_disks;
            return Some(format!(
                "it is one of {disks} disks of a {level}, whose bytes are dealt out among them"
            ));
        }
        if self.leads == Leads::Unsure {
            return Some("its array was not stopped, and other members may be newer".into());
        }
        match self.data {
            Some(data) if data.end() <= size_bytes => None,
            _ => Some("the data of its array reach beyond its end".into()),
        }
    }
}

const LINEAR: i32 = -1;

fn level_name(level: i32) -> String {
    match level {
        LINEAR => "linear RAID".into(),
        0..=6 | 10 => format!("RAID{level}"),
        _ => "RAID".into(),
    }
}

/// The sum that both superblocks have, over little-endian words; two bytes that are left count as one.
fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(4).map(|word| {
        let mut all = [0; 4];
        all[..word.len()].copy_from_slice(word);
        u64::from(u32::from_le_bytes(all))
    });
    let total: u64 = words.sum();
    let low = u32::try_from(total & 0xFFFF_FFFF).expect("it was masked");
    let high = u32::try_from(total >> 32).expect("few words cannot carry far");
    low.wrapping_add(high)
}
