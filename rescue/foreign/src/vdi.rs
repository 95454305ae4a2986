//! VDI, VirtualBox's own format: a header, one table of blocks, the blocks.

use disk::fields::Fields;
use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError, read_vec};

use crate::error::ForeignError;
use crate::mapped::{Mapped, Place, Span, Tables};
use crate::recent::Recent;
use crate::{File, Folder, Format, Opened, Order};

pub const FORMAT: Format = Format { name: NAME, open };

const NAME: &str = "VDI";
const MAGIC: u32 = 0xbeda_107f;
const NOT_THERE: u32 = 0xffff_fffe;
/// Of the table, read at a time.
const PAGE: u64 = 64 << 10;

struct Vdi {
    file: File,
    size_bytes: u64,
    block: u64,
    blocks: u64,
    table: u64,
    data: u64,
    pages: Recent<Vec<u8>>,
}

fn open(file: &File, _folder: &dyn Folder) -> Result<Option<Opened>, ForeignError> {
    let head = read_vec(file, 0, file.size_bytes().min(512))?;
    let fields = Fields(&head);
    if fields.u32(0x40) != Some(MAGIC) {
        return Ok(None);
    }
    let vdi = read(fields, file).ok_or_else(|| damaged("its header is cut off"))?;
    match fields.u32(0x4c) {
        Some(1 | 2) => {}
        Some(3 | 4) => {
            return Err(ForeignError::Unsupported {
                format: NAME,
                what: "that holds only what differs from another one; make one of both with `VBoxManage clonemedium`".into(),
            });
        }
        _ => return Err(damaged("it is of no known type")),
    }
    if fields.u32(0x44).map(|version| version >> 16) != Some(1) {
        return Err(ForeignError::Unsupported {
            format: NAME,
            what: "of a version that is not known here; convert it with `VBoxManage clonemedium`"
                .into(),
        });
    }
    let enough = vdi.blocks.checked_mul(vdi.block);
    if vdi.block == 0 || !vdi.block.is_multiple_of(512) || enough.is_none_or(|n| n < vdi.size_bytes)
    {
        return Err(damaged("its blocks do not make up its disk"));
    }
    Ok(Some(Opened {
        format: NAME,
        order: Order::Any,
        source: Mapped::boxed(vdi),
        notes: Vec::new(),
    }))
}

fn damaged(what: &str) -> ForeignError {
    ForeignError::Damaged {
        format: NAME,
        what: what.into(),
    }
}

fn read(fields: Fields<'_>, file: &File) -> Option<Vdi> {
    let extra = u64::from(fields.u32(0x17c)?);
    let block = u64::from(fields.u32(0x178)?);
    Some(Vdi {
        file: file.clone(),
        size_bytes: fields.u64(0x170)?,
        // Nobody is known to write anything before a block.
        block: if extra == 0 { block } else { 0 },
        blocks: fields.u32(0x180)?.into(),
        table: fields.u32(0x154)?.into(),
        data: fields.u32(0x158)?.into(),
        pages: Recent::new(16),
    })
}

impl Tables for Vdi {
    fn geometry(&self) -> Geometry {
        Geometry::of_file(self.size_bytes)
    }

    fn span(&self, offset: u64) -> Result<Option<Span>, ReadError> {
        let number = offset / self.block;
        let within = offset % self.block;
        let at = number * 4;
        let page = at / PAGE * PAGE;
        let len = (self.blocks * 4 - page).min(PAGE);
        let bytes = self
            .pages
            .get(page, || read_vec(&self.file, self.table + page, len))?;
        let entry = usize::try_from(at - page);
        let entry = entry.ok().and_then(|at| Fields(&bytes).u32(at));
        Ok(entry.map(|entry| Span {
            place: match entry {
                NOT_THERE.. => Place::Zeros,
                nth => Place::File {
                    nth: 0,
                    offset: self.data + u64::from(nth) * self.block + within,
                },
            },
            len: self.block - within,
        }))
    }

    fn file(&self, nth: usize) -> Option<&dyn BlockSource> {
        (nth == 0).then_some(&*self.file)
    }
}
