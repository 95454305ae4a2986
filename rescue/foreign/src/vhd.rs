//! VHD, as Microsoft's "Virtual Hard Disk Image Format Specification" describes it: fixed and dynamic.

use disk::fields::Fields;
use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError, read_vec};

use crate::error::ForeignError;
use crate::mapped::{Mapped, Place, Span, Tables};
use crate::recent::Recent;
use crate::{File, Folder, Format, Opened, Order};

pub const FORMAT: Format = Format { name: NAME, open };

const NAME: &str = "VHD";
const FOOTER: &[u8] = b"conectix";
const HEADER: &[u8] = b"cxsparse";
const NOT_THERE: u32 = u32::MAX;
const PAGE: u64 = 64 << 10;

/// The disk itself, and the footer behind it.
struct Fixed {
    file: File,
    size_bytes: u64,
}

struct Dynamic {
    file: File,
    size_bytes: u64,
    block: u64,
    /// Which sectors of a block were ever written, in front of it.
    bitmap: u64,
    table: u64,
    entries: u64,
    pages: Recent<Vec<u8>>,
}

fn open(file: &File, _folder: &dyn Folder) -> Result<Option<Opened>, ForeignError> {
    let Some((footer, fixed)) = footer(file)? else {
        return Ok(None);
    };
    let fields = Fields(&footer);
    let kind = fields.be32(60).unwrap_or(0);
    let size_bytes = fields.be64(48).unwrap_or(0);
    let source = match kind {
        2 => {
            let there = file.size_bytes() - footer.len() as u64;
            if !fixed || size_bytes > there {
                return Err(damaged("it is shorter than its disk"));
            }
            Mapped::boxed(Fixed {
                file: file.clone(),
                size_bytes,
            })
        }
        3 => Mapped::boxed(dynamic(file, fields.be64(16).unwrap_or(0), size_bytes)?),
        4 => {
            return Err(ForeignError::Unsupported {
                format: NAME,
                what: "that holds only what differs from its parent; merge it in Hyper-V or Disk Management first".into(),
            });
        }
        _ => return Err(damaged("it is of no known type")),
    };
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

/// From the end, where all kinds have it (with 511 bytes from Virtual PC before 2004), or its copy at the front of
/// a dynamic one; and whether it stood at the end. Believed by its checksum.
fn footer(file: &File) -> Result<Option<(Vec<u8>, bool)>, ReadError> {
    let size = file.size_bytes();
    for (at, len) in [
        (size.checked_sub(512), 512),
        (size.checked_sub(511), 511),
        (Some(0), 512),
    ] {
        let Some(at) = at.filter(|at| at + len <= size) else {
            continue;
        };
        let bytes = match read_vec(file, at, len) {
            Ok(bytes) => bytes,
            // The other copy may be readable.
            Err(ReadError::Unreadable(_)) => continue,
            Err(error) => return Err(error),
        };
        if bytes.starts_with(FOOTER) && has_sum(&bytes, 64) {
            let at_end = at > 0;
            return Ok(Some((bytes, at_end)));
        }
    }
    Ok(None)
}

/// The complement of the sum of all other bytes.
fn has_sum(bytes: &[u8], at: usize) -> bool {
    let mut sum = 0u32;
    for (nth, byte) in bytes.iter().enumerate() {
        if !(at..at + 4).contains(&nth) {
            sum = sum.wrapping_add(u32::from(*byte));
        }
    }
    Fields(bytes).be32(at) == Some(!sum)
}

fn dynamic(file: &File, header: u64, size_bytes: u64) -> Result<Dynamic, ForeignError> {
    let bytes = read_vec(file, header, 1024)?;
    if !bytes.starts_with(HEADER) || !has_sum(&bytes, 36) {
        return Err(damaged("its header is not one"));
    }
    let fields = Fields(&bytes);
    let block = u64::from(fields.be32(32).unwrap_or(0));
    let entries = u64::from(fields.be32(28).unwrap_or(0));
    let enough = entries.checked_mul(block).is_some_and(|n| n >= size_bytes);
    if !block.is_power_of_two() || block < 512 || !enough {
        return Err(damaged("its blocks do not make up its disk"));
    }
    let bits = (block / 512).div_ceil(8);
    Ok(Dynamic {
        file: file.clone(),
        size_bytes,
        block,
        bitmap: bits.next_multiple_of(512),
        table: fields.be64(16).unwrap_or(0),
        entries,
        pages: Recent::new(16),
    })
}

impl Tables for Fixed {
    fn geometry(&self) -> Geometry {
        Geometry::of_file(self.size_bytes)
    }

    fn span(&self, offset: u64) -> Result<Option<Span>, ReadError> {
        Ok(Some(Span {
            place: Place::File { nth: 0, offset },
            len: self.size_bytes - offset,
        }))
    }

    fn file(&self, nth: usize) -> Option<&dyn BlockSource> {
        (nth == 0).then_some(&*self.file)
    }
}

impl Tables for Dynamic {
    fn geometry(&self) -> Geometry {
        Geometry::of_file(self.size_bytes)
    }

    fn span(&self, offset: u64) -> Result<Option<Span>, ReadError> {
        let at = offset / self.block * 4;
        let within = offset % self.block;
        let page = at / PAGE * PAGE;
        let len = (self.entries * 4 - page).min(PAGE);
        let Some(place) = self.table.checked_add(page) else {
            return Ok(None);
        };
        let bytes = self.pages.get(page, || read_vec(&self.file, place, len))?;
        let entry = usize::try_from(at - page);
        let entry = entry.ok().and_then(|at| Fields(&bytes).be32(at));
        Ok(entry.map(|entry| Span {
            place: match entry {
                NOT_THERE => Place::Zeros,
                sector => Place::File {
                    nth: 0,
                    offset: u64::from(sector) * 512 + self.bitmap + within,
                },
            },
            len: self.block - within,
        }))
    }

    fn file(&self, nth: usize) -> Option<&dyn BlockSource> {
        (nth == 0).then_some(&*self.file)
    }
}
