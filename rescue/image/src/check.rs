//! An image against itself: every byte of the file is looked at, and a flipped bit anywhere is found.
//!
//! Two parts, so that the chunks can be checked by several threads: [`index`] once, and [`chunk`] for every
//! entry that [`Reader::pieces`] gives.

use disk::extent::{Extent, ExtentMap};

use crate::chunk::{Entry, Kind};
use crate::codec::{Blemish, Decoder};
use crate::end::{END_LEN, End};
use crate::error::ImageError;
use crate::frame::{self, FrameKind};
use crate::head::{LEAD, Order};
use crate::manifest::Manifest;
use crate::parity::ParityHead;
use crate::reader::page::Loaded;
use crate::reader::{Piece, Reader};
use crate::scan;
use crate::seek;

/// More would help nobody; the rest is counted.
const NOTES_LIMIT: usize = 1000;

/// The seek table is read in pieces of about this size.
const PIECE: usize = 1 << 20;

const DAMAGED: &str = "the seek table is damaged";
const NO_PAGES: &str = "the seek table cannot be checked, because pages are missing";

/// What is wrong with an image.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings {
    /// Bytes of the disk that the image no longer gives.
    pub damage: ExtentMap,
    /// A sentence for each damaged part, also for those whose loss costs nothing.
    pub notes: Vec<String>,
    /// Notes that are not among `notes`, because there are too many.
    pub more_notes: u64,
}

impl Findings {
    /// Of a file in which nothing says what it is.
    pub(crate) fn nothing_left() -> Findings {
        Findings {
            damage: Extent::between(0, u64::MAX).into_iter().collect(),
            notes: vec!["nothing in the file says what it is".to_owned()],
            more_notes: 0,
        }
    }

    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.notes.is_empty()
    }

    pub fn merge(&mut self, other: Findings) {
        other
            .damage
            .iter()
            .for_each(|extent| self.damage.insert(extent));
        other.notes.into_iter().for_each(|note| self.note(note));
        self.more_notes += other.more_notes;
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < NOTES_LIMIT {
            self.notes.push(note);
        } else {
            self.more_notes += 1;
        }
    }
}

/// Everything but the chunks: head, pages, leaf values, manifest, root, end and seek table.
pub fn index(reader: &Reader) -> Result<Findings, ImageError> {
    let mut findings = Findings::default();
    reader
        .notes()
        .iter()
        .for_each(|note| findings.note(note.clone()));
    let mut lead = LEAD;
    scan::read_what_is_readable(reader.file(), 0, &mut lead)?;
    if lead != LEAD {
        let name = reader.name();
        findings.note(format!(
            "{name}: the first bytes are damaged; other programs may not know what it is"
        ));
    }
    for nth in 0..reader.slots().len() {
        let page = reader.page(nth)?;
        check_page(reader, &page, &mut findings)?;
    }
    log(reader, &mut findings)?;
    if let Some(problem) = check_tail(reader)? {
        findings.note(format!(
            "{}: {problem}; other programs may not be able to seek in it",
            reader.name()
        ));
    }
    Ok(findings)
}

/// One chunk: `stored` is what [`Reader::read_stored`] gave, `content` is room to decode it.
pub fn chunk(
    reader: &Reader,
    decoder: &mut Decoder,
    entry: &Entry,
    stored: &[u8],
    content: &mut Vec<u8>,
) -> Result<Findings, ImageError> {
    let mut findings = Findings::default();
    let place = format!(
        "{}: chunk at {} of the disk",
        reader.name(),
        entry.extent.start()
    );
    match decoder.decode(reader, entry, stored, content) {
        Ok(decoded) => match decoded.blemish {
            None => {}
            Some(Blemish::ChunkFrame) => {
                findings.note(format!(
                    "{place}: what stands before its data is damaged; its content is good"
                ));
            }
            Some(Blemish::DataFrame) => {
                findings.note(format!(
                    "{place}: its frame is damaged; its content is good"
                ));
            }
        },
        Err(damaged) => {
            findings.damage = reader.salvage(entry, content)?;
            let lost = findings.damage.total_bytes();
            findings.note(format!(
                "{place}: {}; {lost} bytes of it are lost",
                damaged.text
            ));
        }
    }
    Ok(findings)
}

/// The whole check in one thread; `progress` is told how many bytes of the disk were looked at.
pub fn all(reader: &Reader, mut progress: impl FnMut(u64)) -> Result<Findings, ImageError> {
    let mut findings = index(reader)?;
    let mut decoder = Decoder::new()?;
    let (mut stored, mut content) = (Vec::new(), Vec::new());
    for piece in reader.pieces() {
        let piece = piece?;
        if let Piece::Entry(entry) = piece {
            reader.read_stored(&entry, &mut stored)?;
            findings.merge(chunk(reader, &mut decoder, &entry, &stored, &mut content)?);
        }
        progress(piece.extent().end());
    }
    Ok(findings)
}

fn check_page(reader: &Reader, page: &Loaded, findings: &mut Findings) -> Result<(), ImageError> {
    let name = reader.name();
    for piece in page.pieces() {
        if let Piece::Entry(entry) = piece
            && entry.kind == Kind::Inherited
            && !reader.is_named(&entry)?
        {
            findings.note(format!(
                "{name}: what says of {} bytes at {} of the disk that an ancestor has them is damaged; the index says so too",
                entry.extent.len(),
                entry.extent.start()
            ));
        }
        if let Piece::Lost(extent) = piece {
            findings.damage.insert(extent);
            findings.note(format!(
                "{name}: nothing describes {} bytes at {} of the disk",
                extent.len(),
                extent.start()
            ));
        }
    }
    check_page_frames(reader, page, findings)
}

fn check_page_frames(
    reader: &Reader,
    page: &Loaded,
    findings: &mut Findings,
) -> Result<(), ImageError> {
    let (at, name) = (page.extent().start(), reader.name());
    if page.rebuilt {
        findings.note(format!(
            "{name}: the page of the index for the disk from {at} is missing or damaged; the chunk frames stand in for it"
        ));
    }
    if let Some(place) = &page.leaves
        && reader.leaves_frame(place)?.is_none()
    {
        findings.note(format!(
            "{name}: the leaf values for the disk from {at} are damaged; no content is lost by that"
        ));
    }
    Ok(())
}

/// Of an image in any order: what stands beside the chunks, and the chunks that have newer ones. Damage there costs
/// nothing.
fn log(reader: &Reader, findings: &mut Findings) -> Result<(), ImageError> {
    let mut decoder = Decoder::new()?;
    let (mut stored, mut content) = (Vec::new(), Vec::new());
    for nth in 0..reader.log_slots().len() {
        let page = reader.log_page(nth)?;
        check_page_frames(reader, &page, findings)?;
        for entry in page.entries() {
            if reader.is_newest(entry)? {
                continue;
            }
            reader.read_stored(entry, &mut stored)?;
            if entry.kind == Kind::Inherited && reader.is_named(entry)? {
                continue;
            }
            let found = decoder.decode(reader, entry, &stored, &mut content);
            if found.is_ok_and(|decoded| decoded.blemish.is_none()) {
                continue;
            }
            findings.note(format!(
                "{}: an older chunk at {} of the disk is damaged; a newer one has taken its place",
                reader.name(),
                entry.extent.start()
            ));
        }
    }
    Ok(())
}

/// The seek table must be what the pages say, byte for byte.
fn check_tail(reader: &Reader) -> Result<Option<String>, ImageError> {
    let Some(end) = reader.end() else {
        return Ok(None);
    };
    if end.file_len != reader.stored_bytes() {
        return Ok(Some(format!(
            "the file has {} bytes and should have {}",
            reader.stored_bytes(),
            end.file_len
        )));
    }
    let Some(head_len) = reader.head_len().filter(|_| reader.head().is_known()) else {
        // There may be frames in it that this program knows nothing of.
        return Ok(None);
    };
    let Some(start) = end.file_len.checked_sub(end.seek_table_len) else {
        return Ok(Some("the end is in the wrong place".into()));
    };
    let frames = end.seek_table_len.saturating_sub(seek::table_len(0)) / 8;
    if frames > seek::FRAMES_LIMIT || end.seek_table_len != seek::table_len(frames) {
        return Ok(Some("the seek table has a wrong length".into()));
    }
    let mut table = Table::new(reader, start);
    seek::put_start(frames, &mut table.expected);
    table.entry(u32::try_from(LEAD.len()).expect("it is 13"), 0);
    table.entry(head_len, 0);
    let kin = reader.kin_len();
    kin.iter().for_each(|len| table.entry(*len, 0));
    if let Some(problem) = expect_pages(reader, end, &mut table)? {
        return Ok(Some(problem.into()));
    }
    table.entry(end.root.len, 0);
    let parity = ParityHead::of(reader)?;
    let mut behind = end.root.end();
    if let Some(head) = &parity {
        let frames = head
            .parity
            .windows()
            .flat_map(|window| window.frames().collect::<Vec<_>>());
        frames.for_each(|len| table.entry(u32::try_from(len).unwrap_or(u32::MAX), 0));
        behind = head.parity.end();
        if !head.is_whole(reader.file())? {
            return Ok(Some("its parity is damaged".into()));
        }
    }
    match second_manifest(reader, behind)? {
        Second::None => {}
        Second::Whole(len) => table.entry(len, 0),
        Second::Damaged => return Ok(Some("the second manifest is damaged".into())),
    }
    table.entry(u32::try_from(END_LEN).expect("it is small"), 0);
    seek::put_footer(frames, &mut table.expected);
    let good = table.holds()? && table.frames == frames;
    Ok((!good).then(|| DAMAGED.into()))
}

enum Second {
    None,
    Whole(u32),
    Damaged,
}

/// The manifest once more, directly in front of the end; it must say what the first says.
fn second_manifest(reader: &Reader, at: u64) -> Result<Second, ImageError> {
    if !reader.head().has_second_manifest() {
        return Ok(Second::None);
    }
    let mut frame = Vec::new();
    if !scan::read_frame(reader.file(), at, FrameKind::Manifest, &mut frame)? {
        return Ok(Second::Damaged);
    }
    let manifest = Manifest::unpack(&frame[frame::FRONT..frame.len() - 32]);
    let same = reader.manifest().is_none() || manifest.as_ref() == reader.manifest();
    Ok(match same {
        true => Second::Whole(u32::try_from(frame.len()).expect("it is at most 4 MiB")),
        false => Second::Damaged,
    })
}

/// What stands between the head and the root; what is wrong with it.
fn expect_pages(
    reader: &Reader,
    end: &End,
    table: &mut Table<'_>,
) -> Result<Option<&'static str>, ImageError> {
    let any_order = reader.head().order == Order::Any;
    let beside = match any_order {
        true => reader.log_slots(),
        false => reader.slots(),
    };
    for (nth, slot) in beside.iter().enumerate() {
        let Some(place) = slot.page else {
            return Ok(Some(NO_PAGES));
        };
        let page = match any_order {
            true => reader.log_page(nth)?,
            false => reader.page(nth)?,
        };
        page.seek_entries(place.len, |stored, content| table.entry(stored, content));
        if !table.holds_so_far()? {
            return Ok(Some(DAMAGED));
        }
    }
    let last = beside
        .last()
        .and_then(|slot| slot.page)
        .map(|page| page.end());
    let sorted = reader.slots().first().filter(|_| any_order);
    let next = sorted.and_then(|slot| slot.page).map(|page| page.offset);
    let room = next
        .unwrap_or(end.root.offset)
        .checked_sub(last.unwrap_or_default());
    match end.manifest.offset > end.root.offset {
        // It was lost: something that says nothing stands in its place.
        true => table.entry(
            room.and_then(|room| u32::try_from(room).ok())
                .unwrap_or_default(),
            0,
        ),
        false => table.entry(end.manifest.len, 0),
    }
    for slot in reader.slots().iter().filter(|_| any_order) {
        match slot.page {
            Some(place) => table.entry(place.len, 0),
            None => return Ok(Some(NO_PAGES)),
        }
    }
    Ok(None)
}

/// The seek table in the file, compared piece by piece.
struct Table<'r> {
    reader: &'r Reader,
    at: u64,
    frames: u64,
    expected: Vec<u8>,
    found: Vec<u8>,
}

impl<'r> Table<'r> {
    fn new(reader: &'r Reader, at: u64) -> Table<'r> {
        Table {
            reader,
            at,
            frames: 0,
            expected: Vec::new(),
            found: Vec::new(),
        }
    }

    fn entry(&mut self, stored: u32, content: u32) {
        self.frames += 1;
        seek::put_entry(stored, content, &mut self.expected);
    }

    fn holds_so_far(&mut self) -> Result<bool, ImageError> {
        Ok(self.expected.len() < PIECE || self.holds()?)
    }

    fn holds(&mut self) -> Result<bool, ImageError> {
        self.found.resize(self.expected.len(), 0);
        scan::read_what_is_readable(self.reader.file(), self.at, &mut self.found)?;
        self.at += self.found.len() as u64;
        let same = self.found == self.expected;
        self.expected.clear();
        Ok(same)
    }
}
