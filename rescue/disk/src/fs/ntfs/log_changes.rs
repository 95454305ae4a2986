//! Which clusters the records of $LogFile name: with the bitmap as it stands on disk they hold all that can be in use
//! after a replay.
//!
//! Every change of the bitmap is a record, and none that is not on disk yet is older than the oldest record that is
//! needed. So whatever is in use after the replay is so in the bitmap, or a record sets or clears its bit; a cleared
//! one may be set again when its transaction is taken back. After the kernel's `fs/ntfs3/fslog.c` and the Linux-NTFS
//! project's documentation.

use super::log_pages::{Area, Pages};
use super::log_records::Records;
use super::mft::Volume;
use super::record::{Attribute, Body};
use super::runs::runs;
use super::stream::{Stream, Value};
use super::used::{Strays, bitmap};
use crate::extent::{Extent, ExtentMap};
use crate::fields::Fields;
use crate::fs::tree::TreeError;

const HEAD: usize = 32;
/// Of the operations there are, those that matter here.
const INITIALIZE_RECORD: u16 = 2;
const CREATE_ATTRIBUTE: u16 = 5;
const DELETE_ATTRIBUTE: u16 = 6;
const UPDATE_NONRESIDENT: u16 = 8;
const UPDATE_MAPPING: u16 = 9;
const NEW_SIZES: u16 = 11;
const SET_BITS: u16 = 0x15;
const CLEAR_BITS: u16 = 0x16;
const HOT_FIX: u16 = 0x17;
const LAST: u16 = 0x25;
const BITMAP_RECORD: u64 = 6;

/// Adds every cluster that a record of the journal names.
pub(super) fn add(
    volume: &Volume<'_>,
    log: &Stream,
    area: Area,
    strays: &mut Strays,
) -> Result<(), TreeError> {
    let mut records = Records::begin(Pages::survey(volume.source, log, area)?)?;
    let mut changes = Changes::new(volume, strays)?;
    while let Some(record) = records.next()? {
        if record.is_change {
            changes.take(&record.bytes).map_err(TreeError::Damaged)?;
        }
    }
    Ok(())
}

struct Changes<'a> {
    cluster: u64,
    clusters: u64,
    /// Where the bitmap stands.
    bitmap: ExtentMap,
    /// The record that says so.
    bitmap_record: ExtentMap,
    record: u64,
    strays: &'a mut Strays,
}

/// One of the two things that a record can do: doing it again, and taking it back.
struct Half<'a> {
    operation: u16,
    /// Where it has none, something else may stand in its place.
    data: Option<&'a [u8]>,
}

impl<'a> Changes<'a> {
    fn new(volume: &Volume<'_>, strays: &'a mut Strays) -> Result<Changes<'a>, TreeError> {
        let boot = &volume.boot;
        let Value::Stream(bitmap) = bitmap(volume)? else {
            return Err(TreeError::Damaged("its bitmap has no clusters of its own"));
        };
        let from = BITMAP_RECORD * boot.record;
        let record = volume.mft.pieces(from, from + boot.record);
        Ok(Changes {
            cluster: boot.cluster,
            clusters: boot.clusters,
            bitmap: bitmap.extents().collect(),
            bitmap_record: record.map(|piece| piece.extent).collect(),
            record: boot.record,
            strays,
        })
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let bad = "a record of its journal is damaged";
        let fields = Fields(bytes);
        // The kernel asks for room for one cluster even where there is none.
        let head: Vec<u16> = (0..HEAD / 2)
            .filter_map(|nth| fields.u16(2 * nth))
            .collect();
        let [
            redo,
            undo,
            redo_at,
            redo_len,
            undo_at,
            undo_len,
            _,
            count,
            at,
            _,
            sectors,
            ..,
        ] = head[..]
        else {
            return Err(bad);
        };
        let target = Target {
            vcn: fields.u64(24).ok_or(bad)?,
            within: u64::from(sectors) * 512,
            at: u64::from(at),
            clusters: (0..usize::from(count))
                .map(|nth| fields.u64(HEAD + 8 * nth))
                .collect::<Option<Vec<u64>>>()
                .ok_or(bad)?,
        };
        for place in &target.clusters {
            self.add(*place, 1)?;
        }
        for (operation, at, len) in [(redo, redo_at, redo_len), (undo, undo_at, undo_len)] {
            let data = fields.bytes(usize::from(at), usize::from(len));
            self.half(&Half { operation, data }, &target)?;
        }
        Ok(())
    }

    fn half(&mut self, half: &Half<'_>, target: &Target) -> Result<(), &'static str> {
        let data = half.data.ok_or("a record of its journal is damaged");
        match half.operation {
            SET_BITS | CLEAR_BITS => self.bits(data?, target),
            UPDATE_NONRESIDENT if self.touches(&self.bitmap, target) => {
                Err("its journal rewrites its bitmap")
            }
            INITIALIZE_RECORD..=DELETE_ATTRIBUTE | UPDATE_MAPPING | NEW_SIZES
                if self.is_bitmap_record(target) =>
            {
                Err("its journal says anew where its bitmap stands")
            }
            CREATE_ATTRIBUTE => self.attribute(data?),
            HOT_FIX => Err("its journal moves clusters that had gone bad"),
            0..=LAST => Ok(()),
            _ => Err("its journal holds a change of an unknown kind"),
        }
    }

    /// Bits of any bitmap are taken for clusters: too many rather than too few.
    fn bits(&mut self, data: &[u8], target: &Target) -> Result<(), &'static str> {
        let bad = "a record of its journal is damaged";
        let fields = Fields(data);
        let (first, count) = (fields.u32(0).ok_or(bad)?, fields.u32(4).ok_or(bad)?);
        let start = target
            .vcn
            .checked_mul(self.cluster)
            .and_then(|start| start.checked_add(target.within + target.at))
            .and_then(|start| start.checked_mul(8))
            .and_then(|start| start.checked_add(u64::from(first)))
            .ok_or(bad)?;
        let end = start.saturating_add(u64::from(count)).min(self.clusters);
        match end.checked_sub(start) {
            Some(count) if count > 0 => self.add(start, count),
            // Of a bitmap that is longer than the volume's.
            _ => Ok(()),
        }
    }

    /// All of its runs, where it has any.
    fn attribute(&mut self, data: &[u8]) -> Result<(), &'static str> {
        if data.is_empty() {
            return Ok(());
        }
        let attribute = Attribute::alone(data).ok_or("an attribute in its journal is damaged")?;
        let Body::Mapped(mapping) = attribute.body else {
            return Ok(());
        };
        for run in runs(mapping, self.clusters) {
            let run = run?;
            if let Some(place) = run.place {
                self.add(place, run.len)?;
            }
        }
        Ok(())
    }

    fn touches(&self, extents: &ExtentMap, target: &Target) -> bool {
        // Without its clusters it could be anything.
        target.clusters.is_empty()
            || target.clusters.iter().any(|place| {
                let start = place.saturating_mul(self.cluster);
                Extent::new(start, self.cluster)
                    .is_none_or(|extent| extents.within(extent).next().is_some())
            })
    }

    fn is_bitmap_record(&self, target: &Target) -> bool {
        match target.clusters.first() {
            Some(first) if self.cluster >= self.record => {
                let first = first.saturating_mul(self.cluster);
                self.bitmap_record
                    .contains(first.saturating_add(target.within))
            }
            _ => self.touches(&self.bitmap_record, target),
        }
    }

    fn add(&mut self, place: u64, count: u64) -> Result<(), &'static str> {
        // No place: a hole.
        if place == u64::MAX || place == 0 {
            return Ok(());
        }
        let inside = place
            .checked_add(count)
            .is_some_and(|end| end <= self.clusters);
        if !inside {
            return Err("its journal names clusters outside the volume");
        }
        self.strays.add(place * self.cluster, count * self.cluster);
        Ok(())
    }
}

/// What a record changes.
struct Target {
    vcn: u64,
    /// Bytes from there.
    within: u64,
    at: u64,
    clusters: Vec<u64>,
}
