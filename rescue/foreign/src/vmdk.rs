//! VMDK, as VMware's "Virtual Disk Format 5.0" describes it: one file or several, flat, sparse or compressed.

mod descriptor;
mod sparse;

use disk::extent::Extent;
use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError, read_vec};

use crate::error::ForeignError;
use crate::mapped::Mapped;
use crate::{File, Folder, Format, Opened, Order};
use descriptor::{Descriptor, Kind};

pub const FORMAT: Format = Format { name: NAME, open };

const NAME: &str = "VMDK";
/// Longest descriptor that is read.
const DESCRIPTOR_LIMIT: u64 = 1 << 20;
/// Most files of one image.
const EXTENT_LIMIT: usize = 10_000;

fn open(file: &File, folder: &dyn Folder) -> Result<Option<Opened>, ForeignError> {
    let front = read_vec(file, 0, file.size_bytes().min(512))?;
    if front.starts_with(b"COWD") || front.starts_with(b"\xbe\xba\xfe\xca\0\0\0\0") {
        return Err(unsupported(
            "of a kind that only VMware ESXi reads; export it there, or convert it with `vmkfstools -i`",
        ));
    }
    let source: Box<dyn BlockSource> = if front.starts_with(sparse::MAGIC) {
        let (tables, text) = sparse::open(file)?;
        if let Some(text) = text {
            Descriptor::parse(&text).stands_alone()?;
        }
        Mapped::boxed(tables)
    } else if Descriptor::begins(&front) {
        let text = read_vec(file, 0, file.size_bytes().min(DESCRIPTOR_LIMIT))?;
        let descriptor = Descriptor::parse(&String::from_utf8_lossy(&text));
        descriptor.stands_alone()?;
        Box::new(Parts::open(&descriptor, folder)?)
    } else {
        return Ok(None);
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

fn unsupported(what: &str) -> ForeignError {
    ForeignError::Unsupported {
        format: NAME,
        what: what.into(),
    }
}

/// The files of an image, one behind the other.
struct Parts {
    /// Ascending and without gap.
    parts: Vec<(Extent, Part)>,
    size_bytes: u64,
}

enum Part {
    Zeros,
    /// What begins at this byte of a file.
    Flat(File, u64),
    Sparse(Box<dyn BlockSource>),
}

impl Parts {
    fn open(descriptor: &Descriptor, folder: &dyn Folder) -> Result<Parts, ForeignError> {
        if descriptor.extents.is_empty() || descriptor.extents.len() > EXTENT_LIMIT {
            return Err(damaged("it does not say which files it consists of"));
        }
        let mut parts = Vec::new();
        let mut at = 0u64;
        for extent in &descriptor.extents {
            let bytes = extent.sectors.checked_mul(512);
            let place = bytes.and_then(|bytes| Extent::new(at, bytes));
            let place = place.ok_or_else(|| damaged("one of its parts has an impossible size"))?;
            let named = || {
                folder.open(&extent.file).map_err(|why| ForeignError::Unsupported {
                    format: NAME,
                    what: format!(
                        "of several files, of which '{}' cannot be opened ({why}); put all of them into one directory",
                        extent.file
                    ),
                })
            };
            let part = match extent.kind {
                Kind::Zero => Part::Zeros,
                Kind::Flat => Part::Flat(named()?, extent.offset),
                Kind::Sparse => {
                    let (tables, _) = sparse::open(&named()?)?;
                    Part::Sparse(Mapped::boxed(tables))
                }
            };
            parts.push((place, part));
            at = place.end();
        }
        Ok(Parts {
            parts,
            size_bytes: at,
        })
    }
}

impl BlockSource for Parts {
    fn geometry(&self) -> Geometry {
        Geometry::of_file(self.size_bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let len = buf.len() as u64;
        let beyond = ReadError::BeyondEnd {
            offset,
            len,
            size_bytes: self.size_bytes,
        };
        if offset
            .checked_add(len)
            .is_none_or(|end| end > self.size_bytes)
        {
            return Err(beyond);
        }
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let nth = self.parts.partition_point(|(place, _)| place.end() <= at);
            let Some((place, part)) = self.parts.get(nth) else {
                return Err(beyond);
            };
            let len = usize::try_from(place.end() - at).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at_mut(len.min(rest.len()));
            let lost = Extent::new(at, now.len() as u64).expect("something is left to read");
            let within = at - place.start();
            at += now.len() as u64;
            let read = match part {
                Part::Zeros => {
                    now.fill(0);
                    Ok(())
                }
                Part::Flat(file, from) => match from.checked_add(within) {
                    Some(from) => file.read_at(from, now),
                    None => Err(ReadError::Unreadable(lost)),
                },
                Part::Sparse(source) => source.read_at(within, now),
            };
            read.map_err(|error| match error {
                ReadError::Unreadable(_) | ReadError::BeyondEnd { .. } => {
                    ReadError::Unreadable(lost)
                }
                error => error,
            })?;
            rest = later;
        }
        Ok(())
    }
}
