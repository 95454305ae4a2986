//! VHDX, as Microsoft's [MS-VHDX] describes it: regions, metadata, one table of blocks. A log that waits is not
//! replayed.

use disk::fields::Fields;
use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError, read_vec};

use crate::error::ForeignError;
use crate::mapped::{Mapped, Place, Span, Tables};
use crate::recent::Recent;
use crate::{File, Folder, Format, Opened, Order};

pub const FORMAT: Format = Format { name: NAME, open };

pub(crate) const NAME: &str = "VHDX";
const MIB: u64 = 1 << 20;
const PAGE: u64 = 64 << 10;

/// Identifiers as they stand in the file.
pub(crate) mod id {
    pub const BAT: [u8; 16] = *b"\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
    pub const METADATA: [u8; 16] =
        *b"\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";
    pub const PARAMETERS: [u8; 16] =
        *b"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b";
    pub const SIZE: [u8; 16] = *b"\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8";
    pub const LOGICAL: [u8; 16] =
        *b"\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f";
    pub const PHYSICAL: [u8; 16] =
        *b"\xc7\x48\xa3\xcd\x5d\x44\x71\x44\x9c\xc9\xe9\x88\x52\x51\xc5\x56";
}

struct Vhdx {
    file: File,
    geometry: Geometry,
    block: u64,
    table: u64,
    table_bytes: u64,
    /// After so many blocks the table has an entry for a bitmap of sectors.
    ratio: u64,
    pages: Recent<Vec<u8>>,
}

fn open(file: &File, _folder: &dyn Folder) -> Result<Option<Opened>, ForeignError> {
    if file.size_bytes() < MIB || read_vec(file, 0, 8)? != b"vhdxfile" {
        return Ok(None);
    }
    let header = header(file)?;
    if Fields(&header).array(48) != Some([0; 16]) {
        return Err(ForeignError::Unsupported {
            format: NAME,
            what: "whose last changes wait in its log; attach it once in Windows, or run `qemu-img check -r all` on a copy".into(),
        });
    }
    let [table, metadata] = regions(file)?;
    let source = Mapped::boxed(disk(file, table, metadata)?);
    Ok(Some(Opened {
        format: NAME,
        order: Order::Any,
        source,
        notes: Vec::new(),
    }))
}

fn damaged(what: &str) -> ForeignError {
    ForeignError::Damaged {
        format: NAME,
        what: what.into(),
    }
}

/// The newer of two that has its checksum.
fn header(file: &File) -> Result<Vec<u8>, ForeignError> {
    let mut newest: Option<(u64, Vec<u8>)> = None;
    for at in [64 << 10, 128 << 10] {
        let Some(bytes) = summed(file, at, 4096, b"head")? else {
            continue;
        };
        let number = Fields(&bytes).u64(8).unwrap_or(0);
        if newest.as_ref().is_none_or(|(other, _)| number > *other) {
            newest = Some((number, bytes));
        }
    }
    newest
        .map(|(_, bytes)| bytes)
        .ok_or_else(|| damaged("both of its headers are"))
}

/// A structure with its name and CRC-32C at the front.
fn summed(file: &File, at: u64, len: u64, name: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
    let mut bytes = match read_vec(file, at, len) {
        Ok(bytes) => bytes,
        Err(ReadError::Unreadable(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let sum = Fields(&bytes).u32(4);
    bytes[4..8].fill(0);
    let good = bytes.starts_with(name) && sum == Some(crc32c::crc32c(&bytes));
    Ok(good.then_some(bytes))
}

type Region = (u64, u64);

/// The table of blocks and the metadata.
fn regions(file: &File) -> Result<[Region; 2], ForeignError> {
    let first = summed(file, 192 << 10, PAGE, b"regi")?;
    let bytes = match first {
        Some(bytes) => Some(bytes),
        None => summed(file, 256 << 10, PAGE, b"regi")?,
    };
    let bytes = bytes.ok_or_else(|| damaged("both of its region tables are"))?;
    let fields = Fields(&bytes);
    let find = |id: [u8; 16]| {
        let count = fields.u32(8)?.min(2047);
        let entries = (0..count as usize).map(|nth| 16 + nth * 32);
        let at = entries
            .into_iter()
            .find(|at| fields.array(*at) == Some(id))?;
        Some((fields.u64(at + 16)?, u64::from(fields.u32(at + 24)?)))
    };
    match (find(id::BAT), find(id::METADATA)) {
        (Some(table), Some(metadata)) => Ok([table, metadata]),
        _ => Err(damaged("it does not say where its tables are")),
    }
}

fn disk(file: &File, table: Region, metadata: Region) -> Result<Vhdx, ForeignError> {
    let bytes = read_vec(file, metadata.0, metadata.1.min(2 * MIB))?;
    let fields = Fields(&bytes);
    if !fields.starts_with(0, b"metadata") {
        return Err(damaged("its metadata are"));
    }
    let find = |id: [u8; 16]| {
        let count = usize::from(fields.u16(10)?);
        let mut entries = (0..count).map(|nth| 32 + nth * 32);
        let at = entries.find(|at| fields.array(*at) == Some(id))?;
        usize::try_from(fields.u32(at + 16)?).ok()
    };
    let cut = || damaged("its metadata are cut off");
    let parameters = find(id::PARAMETERS).ok_or_else(cut)?;
    let block = u64::from(fields.u32(parameters).ok_or_else(cut)?);
    let flags = fields.u32(parameters + 4).ok_or_else(cut)?;
    if flags & 2 != 0 {
        return Err(ForeignError::Unsupported {
            format: NAME,
            what: "that holds only what differs from its parent; merge it in Hyper-V first".into(),
        });
    }
    let size_bytes = find(id::SIZE).and_then(|at| fields.u64(at));
    let size_bytes = size_bytes.ok_or_else(cut)?;
    let logical = find(id::LOGICAL).and_then(|at| fields.u32(at));
    let logical = logical.ok_or_else(cut)?;
    let physical = find(id::PHYSICAL).and_then(|at| fields.u32(at));
    let sectors = [512, 4096];
    if !sectors.contains(&logical)
        || !block.is_power_of_two()
        || !(MIB..=256 * MIB).contains(&block)
    {
        return Err(damaged("its sectors or blocks have an impossible size"));
    }
    let ratio = (1 << 23) * u64::from(logical) / block;
    let blocks = size_bytes.div_ceil(block);
    let entries = blocks + blocks.saturating_sub(1) / ratio;
    if entries.checked_mul(8).is_none_or(|bytes| bytes > table.1) {
        return Err(damaged("its table of blocks is too short for its disk"));
    }
    Ok(Vhdx {
        file: file.clone(),
        geometry: Geometry {
            size_bytes,
            logical_sector: logical,
            physical_sector: physical
                .filter(|physical| sectors.contains(physical))
                .unwrap_or(logical)
                .max(logical),
        },
        block,
        table: table.0,
        table_bytes: table.1,
        ratio,
        pages: Recent::new(16),
    })
}

impl Tables for Vhdx {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn span(&self, offset: u64) -> Result<Option<Span>, ReadError> {
        let number = offset / self.block;
        let within = offset % self.block;
        let at = (number + number / self.ratio) * 8;
        let page = at / PAGE * PAGE;
        let len = self.table_bytes.saturating_sub(page).min(PAGE);
        let Some(place) = self.table.checked_add(page) else {
            return Ok(None);
        };
        let bytes = self.pages.get(page, || read_vec(&self.file, place, len))?;
        let entry = usize::try_from(at - page);
        let entry = entry.ok().and_then(|at| Fields(&bytes).u64(at));
        let place = entry.and_then(|entry| match entry & 7 {
            6 => Some(Place::File {
                nth: 0,
                offset: (entry >> 20) * MIB + within,
            }),
            // Not present, undefined, zero, unmapped.
            0..=3 => Some(Place::Zeros),
            _ => None,
        });
        Ok(place.map(|place| Span {
            place,
            len: self.block - within,
        }))
    }

    fn file(&self, nth: usize) -> Option<&dyn BlockSource> {
        (nth == 0).then_some(&*self.file)
    }
}
