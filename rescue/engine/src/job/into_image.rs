//! What the passes bring, into an image: a few cells are open at a time, and stored when another is needed.

use std::time::{Duration, Instant};

use disk::extent::{Extent, ExtentMap};
use image::chunk::Kind;
use image::codec::Encoder;
use image::error::ImageError;
use image::states::{GRANULE, State, States};
use image::writer::Writer;

use super::known::Known;
use super::pipeline::Stop;
use super::rescue::{Missing, Taker, Urgency};

/// Cells that are open at once. A pass goes along the disk, so most reads meet the same cell as the one before.
const OPEN: usize = 4;
/// A checkpoint stores every open cell again, whole: for less than this much it waits.
const WORTH_STORING: u64 = 8 << 20;
const WAIT: Duration = Duration::from_secs(300);

/// Takes the wanted part of what was read; what is left out is there from the beginning, as zeros.
pub struct IntoImage<'a, 's> {
    writer: &'a mut Writer<'s>,
    encoder: Encoder,
    /// Without the granules that are left out.
    wanted: ExtentMap,
    left_out: &'a ExtentMap,
    /// The one used last is the last.
    open: Vec<Cell>,
    /// Cells that are in the image.
    stored: ExtentMap,
    /// Wanted by now, and still free in the image.
    grown: ExtentMap,
    /// Granules of which only a part has come, by what has come.
    partial: ExtentMap,
    taken_bytes: u64,
    synced: Instant,
}

struct Cell {
    extent: Extent,
    content: Vec<u8>,
    states: States,
    change: Change,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    /// Something was added since it was stored.
    Some,
}

impl<'a, 's> IntoImage<'a, 's> {
    /// `known` is what an earlier run, or the copy at full speed, has put into the image.
    pub fn new(
        writer: &'a mut Writer<'s>,
        level: i32,
        (wanted, left_out): (&'a ExtentMap, &'a ExtentMap),
        known: &mut Known,
    ) -> Result<IntoImage<'a, 's>, Stop> {
        writer.any_order();
        let wanted = wanted.difference(&granules(left_out));
        Ok(IntoImage {
            writer,
            encoder: Encoder::new(level).map_err(fault)?,
            wanted,
            left_out,
            open: Vec::new(),
            stored: std::mem::take(&mut known.stored),
            grown: std::mem::take(&mut known.grown),
            partial: ExtentMap::new(),
            taken_bytes: 0,
            synced: Instant::now(),
        })
    }

    /// What nobody needs to read for it, in whole granules: of another the rest is wanted.
    pub fn left_out(&self) -> ExtentMap {
        granules(self.left_out)
    }

    /// Stores what is open, and what nobody has touched: not tried where it is wanted, free elsewhere.
    pub fn finish(mut self) -> Result<(), Stop> {
        let grown = self.grown.clone();
        let cell = u64::from(self.writer.head().chunk_size);
        for part in grown.iter().flat_map(|part| part.split_at_multiples(cell)) {
            // A cell that was fetched for another part of it has no such part any more.
            if self.grown.contains(part.start()) {
                self.cell(part.start())?;
            }
        }
        self.store_left_out()?;
        while !self.open.is_empty() {
            self.close_oldest()?;
        }
        let size = self.writer.head().geometry.size_bytes;
        for gap in self.stored.complement(size).iter() {
            for (extent, kind) in self.untouched(gap) {
                self.writer.zeros(extent, kind).map_err(fault)?;
            }
        }
        Ok(())
    }

    /// Cells that nobody has touched and of which something is left out.
    fn store_left_out(&mut self) -> Result<(), Stop> {
        let chunk = u64::from(self.writer.head().chunk_size);
        let left_out = self.left_out;
        for part in granules(left_out)
            .iter()
            .flat_map(|left| left.split_at_multiples(chunk))
        {
            if !self.stored.contains(part.start()) {
                self.cell(part.start())?.change = Change::Some;
            }
        }
        Ok(())
    }

    /// In runs of whole cells.
    fn untouched(&self, gap: Extent) -> Vec<(Extent, Kind)> {
        let mut runs: Vec<(Extent, Kind)> = Vec::new();
        for cell in gap.split_at_multiples(u64::from(self.writer.head().chunk_size)) {
            let kind = match self.wanted.within(cell).next() {
                Some(_) => Kind::NotTried,
                None => Kind::Free,
            };
            match runs.last_mut() {
                Some((run, before)) if *before == kind => {
                    *run = Extent::between(run.start(), cell.end()).expect("cells ascend");
                }
                _ => runs.push((cell, kind)),
            }
        }
        runs
    }

    /// The cell in which this address lies, as it is so far.
    fn cell(&mut self, address: u64) -> Result<&mut Cell, Stop> {
        let found = self
            .open
            .iter()
            .position(|cell| cell.extent.contains(address));
        let cell = match found {
            Some(at) => self.open.remove(at),
            None => {
                if self.open.len() >= OPEN {
                    self.close_oldest()?;
                }
                self.fetch(address)?
            }
        };
        self.open.push(cell);
        Ok(self.open.last_mut().expect("one was pushed"))
    }

    fn fetch(&mut self, address: u64) -> Result<Cell, Stop> {
        let head = self.writer.head();
        let start = address / u64::from(head.chunk_size) * u64::from(head.chunk_size);
        let extent = Extent::new(start, head.cell_len(start)).expect("it lies on the disk");
        let mut content = Vec::new();
        let before = match self.stored.contains(start) {
            true => self.writer.read_back(start, &mut content).map_err(fault)?,
            false => None,
        };
        let mut states = match before {
            Some(states) => states,
            None => {
                let len = usize::try_from(extent.len()).expect("a cell fits in memory");
                content.clear();
                content.resize(len, 0);
                let mut states = States::all(len, State::Free);
                for wanted in self.wanted.within(extent) {
                    states.set(extent, wanted, State::NotTried);
                }
                for left in granules(&self.left_out.within(extent).collect()).iter() {
                    states.set(extent, left, State::Kept);
                }
                states
            }
        };
        Ok(Cell {
            change: self.grow(extent, &mut states),
            extent,
            content,
            states,
        })
    }

    /// What was left out as free is not tried.
    fn grow(&mut self, cell: Extent, states: &mut States) -> Change {
        let grown: Vec<Extent> = self.grown.within(cell).collect();
        for part in &grown {
            states.set(cell, *part, State::NotTried);
        }
        self.grown.remove(cell);
        match grown.is_empty() {
            true => Change::None,
            false => Change::Some,
        }
    }

    fn close_oldest(&mut self) -> Result<(), Stop> {
        let mut cell = self.open.remove(0);
        self.store(&mut cell)
    }

    fn store(&mut self, cell: &mut Cell) -> Result<(), Stop> {
        if cell.change == Change::None {
            return Ok(());
        }
        // What of a granule has come is kept, at the price of its name: the rest may still come.
        let parts: Vec<Extent> = self.partial.within(cell.extent).collect();
        for part in parts {
            cell.states.set(cell.extent, part, State::Unreadable);
        }
        let start = cell.extent.start();
        self.writer
            .store_cell(&mut self.encoder, start, &cell.content, &cell.states)
            .map_err(fault)?;
        self.stored.insert(cell.extent);
        cell.change = Change::None;
        Ok(())
    }

    /// Puts `bytes` at `part`, which lies in one cell, and calls kept what is there whole by now.
    fn put(&mut self, part: Extent, bytes: &[u8]) -> Result<(), Stop> {
        let whole = self.whole_granules(part);
        let left_out = self.left_out;
        let cell = self.cell(part.start())?;
        let at =
            usize::try_from(part.start() - cell.extent.start()).expect("a cell fits in memory");
        let content = &mut cell.content[at..at + bytes.len()];
        content.copy_from_slice(bytes);
        for left in left_out.within(part) {
            let at = |offset: u64| {
                usize::try_from(offset - part.start()).expect("a part fits in memory")
            };
            content[at(left.start())..at(left.end())].fill(0);
        }
        let extent = cell.extent;
        for granules in whole.iter() {
            cell.states.set(extent, granules, State::Kept);
        }
        cell.change = Change::Some;
        Ok(())
    }

    /// The granules that are complete with `part`; remembers what is not.
    fn whole_granules(&mut self, part: Extent) -> ExtentMap {
        let granule = GRANULE as u64;
        let size = self.writer.head().geometry.size_bytes;
        let mut whole = ExtentMap::new();
        for piece in part
            .aligned_out(granule, size)
            .into_iter()
            .flat_map(|outer| split_ends(outer, granule))
        {
            let Some(inside) = part.intersect(piece) else {
                continue;
            };
            if inside != piece {
                self.partial.insert(inside);
                if !self.partial.covers(piece) {
                    continue;
                }
            }
            self.partial.remove(piece);
            whole.insert(piece);
        }
        whole
    }
}

/// The whole ones in a map.
fn granules(map: &ExtentMap) -> ExtentMap {
    let granule = GRANULE as u64;
    let inside = |extent: Extent| {
        let start = extent.start().checked_next_multiple_of(granule)?;
        Extent::between(start, extent.end() / granule * granule)
    };
    map.iter().filter_map(inside).collect()
}

/// The first granule, what lies between, and the last.
fn split_ends(outer: Extent, granule: u64) -> impl Iterator<Item = Extent> {
    let first = outer.end().min(outer.start() + granule);
    let last = first.max((outer.end() - 1) / granule * granule);
    [
        Extent::between(outer.start(), first),
        Extent::between(first, last),
        Extent::between(last, outer.end()),
    ]
    .into_iter()
    .flatten()
}

impl Taker for IntoImage<'_, '_> {
    fn take(&mut self, extent: Extent, bytes: &[u8]) -> Result<(), Stop> {
        let chunk = u64::from(self.writer.head().chunk_size);
        let wanted: Vec<Extent> = self.wanted.within(extent).collect();
        for part in wanted
            .iter()
            .flat_map(|wanted| wanted.split_at_multiples(chunk))
        {
            let at = |offset: u64| {
                usize::try_from(offset - extent.start()).expect("a read fits in memory")
            };
            self.put(part, &bytes[at(part.start())..at(part.end())])?;
            self.taken_bytes += part.len();
        }
        Ok(())
    }

    fn missing(&mut self, extent: Extent, why: Missing) -> Result<(), Stop> {
        // What was not tried has that state from the beginning.
        if why == Missing::NotTried {
            return Ok(());
        }
        let chunk = u64::from(self.writer.head().chunk_size);
        let wanted: Vec<Extent> = self.wanted.within(extent).collect();
        for part in wanted
            .iter()
            .flat_map(|wanted| wanted.split_at_multiples(chunk))
        {
            let cell = self.cell(part.start())?;
            cell.states.set(cell.extent, part, State::Unreadable);
            cell.change = Change::Some;
        }
        Ok(())
    }

    fn sync(&mut self, urgency: Urgency) -> Result<(), Stop> {
        if urgency == Urgency::Sometimes
            && self.taken_bytes < WORTH_STORING
            && self.synced.elapsed() < WAIT
        {
            return Ok(());
        }
        let mut open = std::mem::take(&mut self.open);
        let stored = open.iter_mut().try_for_each(|cell| self.store(cell));
        self.open = open;
        stored?;
        (self.taken_bytes, self.synced) = (0, Instant::now());
        self.writer.checkpoint().map_err(fault)
    }
}

fn fault(error: ImageError) -> Stop {
    Stop::Fault(error.to_string())
}
