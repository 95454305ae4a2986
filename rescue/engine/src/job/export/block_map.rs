//! Writing the block map of a disk or an image.

use std::fs::File;

use disk::extent::{Extent, ExtentMap};
use disk::geometry::Geometry;
use foreign::write::bmap::Bmap;

use super::super::Job;
use super::super::digest::Digests;
use super::super::fetch::Fetch;
use super::super::meter::Meter;
use super::super::piece::Piece;
use super::super::pipeline::Stop;
use super::{Copied, Put, Written};
use crate::event::Step;
use crate::report::{Report, Verified};

impl Job<'_> {
    pub(super) fn block_map_from(
        &self,
        fetch: &dyn Fetch,
        geometry: Geometry,
        file: &File,
        meter: &mut Meter<'_>,
        report: &mut Report,
    ) -> Result<(), Stop> {
        let file = file.try_clone().map_err(|error| self.writing(&error))?;
        let writer = Bmap::new(geometry, Box::new(Written(file)));
        let mut copied = Copied {
            written: ExtentMap::new(),
            digests: Digests::new(self.tuning.piece_bytes),
        };
        let all = self.fill(fetch, writer, &mut copied, meter, report)?;
        meter.begin(Step::Flush, 0, 0);
        all.finish().map_err(|error| self.writing(&error))?;
        report.verified = Verified::NotDone {
            why: "a block map holds no bytes of the disk, only their sums: bmaptool compares them with what it writes".into(),
        };
        Ok(())
    }
}

impl Put for Bmap {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        Bmap::put(self, offset, bytes)
    }

    /// In a gap the disk has other bytes than zeros.
    fn parts(left: &Piece) -> &[Extent] {
        &left.wanted
    }
}
