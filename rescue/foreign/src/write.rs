//! Writing a disk as an image of another program: in the order of the disk, zeros left out.

pub mod bmap;
pub mod clonezilla;
mod qcow2;
mod raw;
mod vhdx;
mod vmdk;

use std::io;

use disk::extent::Extent;
use disk::geometry::Geometry;

/// Where an image is written. What was never put reads as zeros.
pub trait Out: Send {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// The file ends here; it was not longer before.
    fn end(&mut self, len: u64) -> io::Result<()>;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Raw,
    Qcow2,
    Vhdx,
    Vmdk,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Raw, Kind::Qcow2, Kind::Vhdx, Kind::Vmdk];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Raw => "raw",
            Kind::Qcow2 => "qcow2",
            Kind::Vhdx => "vhdx",
            Kind::Vmdk => "vmdk",
        }
    }

    /// Why a disk cannot be written so; `None` where it can.
    pub fn refuses(self, geometry: Geometry) -> Option<String> {
        let limit = match self {
            Kind::Raw => return None,
            Kind::Qcow2 => qcow2::LIMIT,
            Kind::Vhdx => vhdx::LIMIT,
            Kind::Vmdk => vmdk::LIMIT,
        };
        if geometry.size_bytes > limit {
            let tib = limit >> 40;
            return Some(format!(
                "a {} image holds at most {tib} TiB; choose another format",
                self.name()
            ));
        }
        let round = self == Kind::Qcow2 || geometry.size_bytes.is_multiple_of(512);
        (!round || geometry.size_bytes == 0).then(|| {
            format!(
                "a {} image holds whole sectors, at least one; choose another format",
                self.name()
            )
        })
    }
}

/// The parts of a disk, ascending, then the end: without it there is no image.
pub struct Writer(Box<dyn Format>);

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// `ids` are random. The disk is one that [`Kind::refuses`] does not refuse.
    pub fn new(kind: Kind, geometry: Geometry, ids: [[u8; 16]; 3], out: Box<dyn Out>) -> Writer {
        Writer(match kind {
            Kind::Raw => Box::new(raw::Raw::new(geometry, out)),
            Kind::Qcow2 => Box::new(Units::new(qcow2::Qcow2::new(geometry), out)),
            Kind::Vhdx => Box::new(Units::new(vhdx::Vhdx::new(geometry, ids), out)),
            Kind::Vmdk => Box::new(Units::new(vmdk::Vmdk::new(geometry, ids[0]), out)),
        })
    }

    /// Behind what was put before.
    pub fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.put(offset, bytes)
    }

    pub fn finish(mut self) -> io::Result<()> {
        self.0.finish()
    }
}

trait Format: Send {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    fn finish(&mut self) -> io::Result<()>;
}

/// A format that cuts the disk into units and gives each that is not all zeros a place.
trait Places: Send {
    fn unit(&self) -> u64;

    /// Units come ascending, each once.
    fn place(&mut self, number: u64, out: &mut dyn Out) -> io::Result<u64>;

    /// The tables, and last of all what makes the file an image.
    fn finish(&mut self, out: &mut dyn Out) -> io::Result<()>;
}

struct Units<P> {
    places: P,
    out: Box<dyn Out>,
    /// Number and place of the last unit.
    last: Option<(u64, u64)>,
}

impl<P: Places> Units<P> {
    fn new(places: P, out: Box<dyn Out>) -> Units<P> {
        Units {
            places,
            out,
            last: None,
        }
    }
}

impl<P: Places> Format for Units<P> {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Some(extent) = Extent::new(offset, bytes.len() as u64) else {
            return Ok(());
        };
        let unit = self.places.unit();
        let mut rest = bytes;
        for part in extent.split_at_multiples(unit) {
            let len = usize::try_from(part.len()).expect("it is part of a slice");
            let (now, later) = rest.split_at(len);
            rest = later;
            if now.iter().all(|byte| *byte == 0) {
                continue;
            }
            let number = part.start() / unit;
            let place = match self.last {
                Some((last, place)) if last == number => place,
                Some((last, _)) if last > number => {
                    return Err(io::Error::other("parts of a disk came out of order"));
                }
                _ => self.places.place(number, &mut *self.out)?,
            };
            self.last = Some((number, place));
            self.out.put(place + part.start() % unit, now)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.places.finish(&mut *self.out)
    }
}
