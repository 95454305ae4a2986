//! Superblocks of version 1: at the start, 4 KiB behind it, or before the end.

use crate::extent::Extent;
use crate::fields::{Fields, text};
use crate::fs;
use crate::layer::md::{Leads, MAGIC, Member, sum};
use crate::source::{BlockSource, ReadError, read_vec};

const SECTOR: u64 = 512;
/// What a superblock may take: 256 bytes and two for each of 1920 devices.
const LEN: u64 = 4096;

/// Bits of the feature map.
const BITMAP: u32 = 1;
const RECOVERY: u32 = 2;
const RESHAPE: u32 = 4;
const BAD_BLOCKS: u32 = 8;
const RAID0_LAYOUT: u32 = 4096;

/// Every valid superblock; two of them are a doubt.
pub fn read(source: &dyn BlockSource) -> Result<Vec<Member>, ReadError> {
    let near_end = (source.size_bytes() & !0xFFF).checked_sub(8 << 10);
    let places = [("1.1", Some(0)), ("1.2", Some(4096)), ("1.0", near_end)];
    let mut members = Vec::new();
    for (version, at) in places {
        let Some(at) = at.filter(|at| at + LEN <= source.size_bytes()) else {
            continue;
        };
        let raw = read_vec(source, at, LEN)?;
        let Some(superblock) = Superblock::parse(&raw, at) else {
            continue;
        };
        members.push(superblock.member(version, source)?);
    }
    Ok(members)
}

struct Superblock<'a> {
    fields: Fields<'a>,
    at: u64,
}

impl<'a> Superblock<'a> {
    fn parse(raw: &'a [u8], at: u64) -> Option<Superblock<'a>> {
        let fields = Fields(raw);
        // It says itself at which sector it stands.
        let here = fields.starts_with(0, MAGIC)
            && fields.u32(4)? == 1
            && fields.u64(144)?.checked_mul(SECTOR)? == at;
        let devices = usize::try_from(fields.u32(220)?).ok()?;
        let mut summed = raw
            .get(..devices.checked_mul(2)?.checked_add(256)?)?
            .to_vec();
        summed[216..220].fill(0);
        (here && fields.u32(216)? == sum(&summed)).then_some(Superblock { fields, at })
    }

    fn u32(&self, at: usize) -> u32 {
        self.fields.u32(at).expect("a superblock has 4096 bytes")
    }

    fn u64(&self, at: usize) -> u64 {
        self.fields.u64(at).expect("a superblock has 4096 bytes")
    }

    fn i32(&self, at: usize) -> i32 {
        self.u32(at).cast_signed()
    }

    fn member(&self, version: &'static str, source: &dyn BlockSource) -> Result<Member, ReadError> {
        let data = self.data();
        let doubt = match self.doubt() {
            Some(doubt) => Some(doubt.to_owned()),
            None => self.own_areas(data, source)?.map(str::to_owned),
        };
        let name = self.fields.bytes(32, 32).map(text);
        Ok(Member {
            version,
            uuid: self.fields.array(16).and_then(fs::uuid),
            name: name.filter(|name| !name.is_empty()),
            level: self.i32(72),
            raid_disks: self.u32(92),
            data,
            doubt,
            leads: self.leads(),
        })
    }

    /// The array's bytes: for RAID1 as large as it says, else all there is for data in whole chunks.
    fn data(&self) -> Option<Extent> {
        let start = self.u64(128).checked_mul(SECTOR)?;
        let room = self.u64(136).checked_mul(SECTOR)?;
        let size = self.u64(80).checked_mul(SECTOR)?;
        let chunk = u64::from(self.u32(88)) * SECTOR;
        let len = match self.i32(72) {
            1 if size <= room => size,
            1 => return None,
            _ if chunk > 0 => room / chunk * chunk,
            _ => room,
        };
        Extent::new(start, len)
    }

    fn doubt(&self) -> Option<&'static str> {
        let features = self.u32(8);
        if features & RECOVERY != 0 {
            return Some("its array is being copied onto it");
        }
        if features & RESHAPE != 0 {
            return Some("its array is being reshaped");
        }
        let plain = match self.i32(72) {
            0 => BITMAP | BAD_BLOCKS | RAID0_LAYOUT,
            _ => BITMAP | BAD_BLOCKS,
        };
        if features & !plain != 0 {
            return Some("its array has features that are not known here");
        }
        match self.role(self.u32(160)) {
            Some(role) if u32::from(role) < self.u32(92) => None,
            _ => Some("it is a spare or faulty member of its array"),
        }
    }

    /// What place of the array a device has.
    fn role(&self, device: u32) -> Option<u16> {
        let at = usize::try_from(device)
            .ok()
            .filter(|_| device < self.u32(220))?;
        self.fields.u16(at.checked_mul(2)?.checked_add(256)?)
    }

    /// A resync reads from the first member that is not meant for writing mostly.
    fn leads(&self) -> Leads {
        let own = self.role(self.u32(160));
        let first = (0..self.u32(220))
            .filter_map(|device| self.role(device))
            .min();
        let write_mostly = self.fields.u8(184).is_none_or(|flags| flags & 1 != 0);
        let stopped = self.u64(208) == u64::MAX;
        let only = self.u32(92) == 1;
        match stopped || only || (own.is_some() && own == first && !write_mostly) {
            true => Leads::Yes,
            false => Leads::Unsure,
        }
    }

    /// Its bitmap and its list of bad blocks stand beside the data; no block is on that list.
    fn own_areas(
        &self,
        data: Option<Extent>,
        source: &dyn BlockSource,
    ) -> Result<Option<&'static str>, ReadError> {
        let features = self.u32(8);
        let sector_at = |offset: i32| {
            let bytes = i64::from(offset).checked_mul(SECTOR.cast_signed())?;
            self.at.checked_add_signed(bytes)
        };
        let inside = |extent: Option<Extent>| match (extent, data) {
            (Some(extent), Some(data)) => extent.intersect(data).is_some(),
            _ => true,
        };
        let own = Extent::new(self.at, LEN);
        // Its header at least; how long it is stands in it.
        let bitmap = sector_at(self.i32(96)).and_then(|at| Extent::new(at, SECTOR));
        if inside(own) || (features & BITMAP != 0 && inside(bitmap)) {
            return Ok(Some("its superblock says that it lies among its data"));
        }
        let sectors = u64::from(self.fields.u16(186).unwrap_or(0));
        if features & BAD_BLOCKS == 0 || sectors == 0 {
            return Ok(None);
        }
        // 512 entries of eight bytes are the kernel's limit.
        let log = sector_at(self.i32(188)).and_then(|at| Extent::new(at, sectors * SECTOR));
        let Some(log) = log.filter(|log| log.len() <= LEN && log.end() <= source.size_bytes())
        else {
            return Ok(Some("its list of bad blocks is not where it can be"));
        };
        if inside(Some(log)) {
            return Ok(Some("its superblock says that it lies among its data"));
        }
        let entries = read_vec(source, log.start(), log.len())?;
        let empty = entries.iter().all(|byte| *byte == 0xFF);
        Ok((!empty).then_some("its array knows of bad blocks on it"))
    }
}
