//! An image with some of its bytes replaced and its end cut off.

use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError};

use crate::sparse::Sparse;

pub struct Bent<'a> {
    pub image: &'a Sparse,
    pub patches: Vec<(u64, Vec<u8>)>,
    pub size_bytes: u64,
}

impl BlockSource for Bent<'_> {
    fn geometry(&self) -> Geometry {
        Geometry::of_file(self.size_bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let (len, size_bytes) = (buf.len() as u64, self.size_bytes);
        if offset.checked_add(len).is_none_or(|end| end > size_bytes) {
            return Err(ReadError::BeyondEnd {
                offset,
                len,
                size_bytes,
            });
        }
        self.image.read_at(offset, buf)?;
        for (at, new) in &self.patches {
            for (place, byte) in (*at..).zip(new) {
                if (offset..offset + len).contains(&place) {
                    buf[usize::try_from(place - offset).unwrap()] = *byte;
                }
            }
        }
        Ok(())
    }
}
