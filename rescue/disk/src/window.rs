//! A part of a disk that is read as if it were one.

use crate::extent::Extent;
use crate::geometry::Geometry;
use crate::source::{self, BlockSource, ReadError};

/// Offset 0 of the window is the first byte of its extent. Errors name offsets of the window.
pub struct Window<'a> {
    source: &'a dyn BlockSource,
    extent: Extent,
}

impl<'a> Window<'a> {
    /// `None` when the extent does not lie inside the source.
    pub fn new(source: &'a dyn BlockSource, extent: Extent) -> Option<Window<'a>> {
        (extent.end() <= source.size_bytes()).then_some(Window { source, extent })
    }
}

impl std::fmt::Debug for Window<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Window({:?})", self.extent)
    }
}

impl BlockSource for Window<'_> {
    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.extent.len(),
            ..self.source.geometry()
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        source::asked(offset, buf.len() as u64, self.extent.len())?;
        self.source
            .read_at(self.extent.start() + offset, buf)
            .map_err(|error| match error {
                ReadError::Unreadable(bad) => {
                    let inside = bad.intersect(self.extent).unwrap_or(self.extent);
                    let moved = Extent::new(inside.start() - self.extent.start(), inside.len());
                    ReadError::Unreadable(moved.expect("an extent moved down cannot overflow"))
                }
                other => other,
            })
    }
}
