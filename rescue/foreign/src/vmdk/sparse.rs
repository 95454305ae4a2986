//! A sparse file of a VMDK: grains behind two levels of tables, or compressed with a mark before each.

use disk::fields::Fields;
use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError, read_vec};
use flate2::{Decompress, FlushDecompress};

use super::{DESCRIPTOR_LIMIT, damaged, unsupported};
use crate::File;
use crate::error::ForeignError;
use crate::mapped::{BLOCK_LIMIT, Place, Span, Tables};
use crate::recent::Recent;

pub const MAGIC: &[u8] = b"KDMV";
const SECTOR: u64 = 512;
/// The directory's place is told in the footer.
const AT_THE_END: u64 = u64::MAX;
const COMPRESSED: u32 = 1 << 16;
const ZERO_GRAINS: u32 = 1 << 2;
/// As QEMU has it: 512 MiB are more than any disk needs, and more than we take.
const DIRECTORY_LIMIT: u64 = 16 << 20;

pub struct Sparse {
    file: File,
    size_bytes: u64,
    grain: u64,
    per_table: u64,
    flags: u32,
    /// Sectors of the tables.
    directory: Vec<u32>,
    tables: Recent<Vec<u8>>,
}

/// And its descriptor, where it has one inside.
pub fn open(file: &File) -> Result<(Sparse, Option<String>), ForeignError> {
    let mut head = read_vec(file, 0, SECTOR.min(file.size_bytes()))?;
    if !head.starts_with(MAGIC) {
        return Err(damaged("one of its files is no part of one"));
    }
    let cut = || damaged("its header is cut off");
    let field = |head: &[u8], at| Fields(head).u64(at).ok_or_else(cut);
    let descriptor = descriptor(file, field(&head, 28)?, field(&head, 36)?)?;
    if field(&head, 56)? == AT_THE_END {
        let at = file.size_bytes().checked_sub(2 * SECTOR).ok_or_else(cut)?;
        head = read_vec(file, at, SECTOR)?;
        if !head.starts_with(MAGIC) {
            return Err(damaged("its end is missing, and with it its directory"));
        }
    }
    let fields = Fields(&head);
    let version = fields.u32(4).ok_or_else(cut)?;
    if !(1..=3).contains(&version) {
        return Err(unsupported(
            "of a version that is not known here; convert it with `vmware-vdiskmanager -r`",
        ));
    }
    let flags = fields.u32(8).ok_or_else(cut)?;
    if flags & COMPRESSED != 0 && fields.u16(77) != Some(1) {
        return Err(unsupported(
            "compressed in a way that is not known here; convert it with `vmware-vdiskmanager -r`",
        ));
    }
    let size_bytes = field(&head, 12)?.checked_mul(SECTOR);
    let grain = field(&head, 20)?.checked_mul(SECTOR);
    let per_table = u64::from(fields.u32(44).ok_or_else(cut)?);
    let shape = size_bytes.zip(grain).filter(|(_, grain)| {
        grain.is_power_of_two() && *grain <= BLOCK_LIMIT && (1..=65536).contains(&per_table)
    });
    let (size_bytes, grain) = shape.ok_or_else(|| damaged("its grains have an impossible size"))?;
    let tables = size_bytes.div_ceil(grain).div_ceil(per_table);
    let length = tables.checked_mul(4).filter(|len| *len <= DIRECTORY_LIMIT);
    let length = length.ok_or_else(|| damaged("its directory is larger than any disk needs"))?;
    let at = field(&head, 56)?.checked_mul(SECTOR);
    let at = at.ok_or_else(|| damaged("its directory lies beyond every end"))?;
    let bytes = read_vec(file, at, length)?;
    let words = bytes.as_chunks().0.iter();
    let sparse = Sparse {
        file: file.clone(),
        size_bytes,
        grain,
        per_table,
        flags,
        directory: words.map(|word| u32::from_le_bytes(*word)).collect(),
        tables: Recent::new(16),
    };
    Ok((sparse, descriptor))
}

fn descriptor(file: &File, sector: u64, sectors: u64) -> Result<Option<String>, ForeignError> {
    let place = sector.checked_mul(SECTOR).zip(sectors.checked_mul(SECTOR));
    match place {
        Some((at @ 1.., len @ 1..)) => {
            let text = read_vec(file, at, len.min(DESCRIPTOR_LIMIT))?;
            Ok(Some(String::from_utf8_lossy(&text).into_owned()))
        }
        _ => Ok(None),
    }
}

impl Tables for Sparse {
    fn geometry(&self) -> Geometry {
        Geometry::of_file(self.size_bytes)
    }

    fn span(&self, offset: u64) -> Result<Option<Span>, ReadError> {
        let number = offset / self.grain;
        let within = offset % self.grain;
        let nth = usize::try_from(number / self.per_table).ok();
        let Some(table) = nth.and_then(|nth| self.directory.get(nth)) else {
            return Ok(None);
        };
        if *table == 0 {
            let covered = self.grain * self.per_table;
            return Ok(Some(Span {
                place: Place::Zeros,
                len: covered - offset % covered,
            }));
        }
        let place = u64::from(*table) * SECTOR;
        let bytes = self
            .tables
            .get(place, || read_vec(&self.file, place, self.per_table * 4))?;
        let at = usize::try_from(number % self.per_table * 4);
        let entry = at.ok().and_then(|at| Fields(&bytes).u32(at));
        Ok(entry.map(|entry| Span {
            place: match u64::from(entry) * SECTOR {
                0 => Place::Zeros,
                SECTOR if self.flags & ZERO_GRAINS != 0 => Place::Zeros,
                key if self.flags & COMPRESSED != 0 => Place::Packed {
                    key,
                    len: self.grain,
                    skip: within,
                },
                offset => Place::File {
                    nth: 0,
                    offset: offset + within,
                },
            },
            len: self.grain - within,
        }))
    }

    fn file(&self, nth: usize) -> Option<&dyn BlockSource> {
        (nth == 0).then_some(&*self.file)
    }

    /// Before it stand where it belongs and how long it is.
    fn unpack(&self, key: u64, len: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let mark = read_vec(&self.file, key, 12)?;
        let packed = u64::from(Fields(&mark).u32(8).unwrap_or(0));
        if packed > 2 * len + 1024 {
            return Ok(None);
        }
        let packed = read_vec(&self.file, key + 12, packed)?;
        let mut block = vec![0; usize::try_from(len).unwrap_or(0)];
        let mut stream = Decompress::new(true);
        // The last grain of a disk may be shorter.
        let done = stream.decompress(&packed, &mut block, FlushDecompress::Finish);
        Ok(done.is_ok().then_some(block))
    }
}
