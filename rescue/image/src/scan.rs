//! Finding frames in a file whose index cannot be trusted, and reading what a failing store still gives.

use crate::error::ImageError;
use crate::frame::{self, FRONT, FrameKind, NAME_AT};
use crate::index::{Page, PageRef};
use crate::store::{ReadFile, StoreError};

const WINDOW: usize = 1 << 20;

/// Unit in which a range that cannot be read whole is tried again.
const RETRY: usize = 4 << 10;

/// Fills `buf`; what cannot be read becomes zeros. Only a store that is gone is an error.
pub fn read_what_is_readable(
    file: &dyn ReadFile,
    offset: u64,
    buf: &mut [u8],
) -> Result<(), StoreError> {
    match file.read_at(offset, buf) {
        Err(StoreError::Unreadable { .. }) => {}
        other => return other,
    }
    let mut at = offset;
    while at < offset + buf.len() as u64 {
        let from = usize::try_from(at - offset).expect("it lies inside the buffer");
        let to_border = RETRY - usize::try_from(at % RETRY as u64).expect("it is below 4096");
        let piece_len = to_border.min(buf.len() - from);
        let piece = &mut buf[from..from + piece_len];
        match file.read_at(at, piece) {
            Err(StoreError::Unreadable { .. }) => piece.fill(0),
            other => other?,
        }
        at += piece_len as u64;
    }
    Ok(())
}

/// Reads the frame at `offset` into `buf` when it is of this kind and whole; says so.
pub fn read_frame(
    file: &dyn ReadFile,
    offset: u64,
    kind: FrameKind,
    buf: &mut Vec<u8>,
) -> Result<bool, StoreError> {
    let left = file.len().saturating_sub(offset);
    if left < frame::AROUND as u64 {
        return Ok(false);
    }
    buf.resize(FRONT, 0);
    read_what_is_readable(file, offset, buf)?;
    let Some((found, len)) = frame::peek(buf, offset) else {
        return Ok(false);
    };
    if found != kind || len as u64 > left {
        return Ok(false);
    }
    buf.resize(len, 0);
    read_what_is_readable(file, offset, buf)?;
    Ok(frame::open(buf, offset).is_some())
}

/// The page at `offset`, if there is a whole one that this program can read.
pub fn read_page(file: &dyn ReadFile, offset: u64) -> Result<Option<(Page, PageRef)>, StoreError> {
    read_page_of(FrameKind::Page, file, offset)
}

/// As [`read_page`], for a page of either kind.
pub fn read_page_of(
    kind: FrameKind,
    file: &dyn ReadFile,
    offset: u64,
) -> Result<Option<(Page, PageRef)>, StoreError> {
    let mut buf = Vec::new();
    if !read_frame(file, offset, kind, &mut buf)? {
        return Ok(None);
    }
    // A page that speaks of a newer version than the image it is in counts as damaged.
    Ok(Page::parse(&buf, offset, "").ok().flatten())
}

/// So many frames may look whole and not be; after that, those that lie one over the other are passed over, so
/// that a crafted file cannot make the search slow.
pub const PATIENCE: u32 = 1000;

/// Looks for frames of these kinds from `end` down to the start; `found` is asked for each place where one seems
/// to begin, until it gives something.
pub fn find_back<T>(
    file: &dyn ReadFile,
    end: u64,
    kinds: &[FrameKind],
    mut found: impl FnMut(u64) -> Result<Option<T>, ImageError>,
) -> Result<Option<T>, ImageError> {
    let mut window = Vec::new();
    let mut until = end.min(file.len());
    let (mut patience, mut tried) = (PATIENCE, u64::MAX);
    while until > 0 {
        let start = until.saturating_sub(WINDOW as u64);
        // The front of the next frame may begin before `until` and end behind it.
        let stop = (until + FRONT as u64 - 1).min(file.len());
        window.resize(usize::try_from(stop - start).expect("a window is 1 MiB"), 0);
        read_what_is_readable(file, start, &mut window)?;
        for at in fronts(&window, kinds).rev() {
            let offset = start + at as u64;
            let Some((_, len)) = frame::peek(&window[at..], offset).filter(|_| offset < until)
            else {
                continue;
            };
            if patience == 0 && offset + len as u64 > tried {
                continue;
            }
            if let Some(result) = found(offset)? {
                return Ok(Some(result));
            }
            patience = patience.saturating_sub(1);
            tried = offset;
        }
        until = start;
    }
    Ok(None)
}

/// Looks forward for frames; keeps what it has read, so that the next search goes on in it.
#[derive(Default)]
pub struct Search {
    start: u64,
    window: Vec<u8>,
}

impl Search {
    /// The first place in `from..end` where a frame of these kinds seems to begin.
    pub fn find(
        &mut self,
        file: &dyn ReadFile,
        from: u64,
        end: u64,
        kinds: &[FrameKind],
    ) -> Result<Option<u64>, StoreError> {
        let end = end.min(file.len());
        let mut from = from;
        while from + FRONT as u64 <= end {
            let skip = self.load(file, from, end)?;
            let window = &self.window[skip..];
            let mut places = fronts(window, kinds);
            if let Some(at) =
                places.find(|at| frame::peek(&window[*at..], from + *at as u64).is_some())
            {
                return Ok(Some(from + at as u64));
            }
            from += (window.len() - (FRONT - 1)) as u64;
        }
        Ok(None)
    }

    /// Makes the window hold at least the front at `from`; where in it that is.
    fn load(&mut self, file: &dyn ReadFile, from: u64, end: u64) -> Result<usize, StoreError> {
        let known =
            self.start..(self.start + self.window.len() as u64).saturating_sub(FRONT as u64 - 1);
        if !known.contains(&from) {
            let stop = (from + WINDOW as u64).min(end);
            self.start = from;
            self.window
                .resize(usize::try_from(stop - from).expect("a window is 1 MiB"), 0);
            read_what_is_readable(file, from, &mut self.window)?;
        }
        Ok(usize::try_from(from - self.start).expect("it lies in the window"))
    }
}

/// Where in a window the 40 bytes may be that a frame of these kinds begins with.
fn fronts<'a>(
    window: &'a [u8],
    kinds: &'a [FrameKind],
) -> impl DoubleEndedIterator<Item = usize> + 'a {
    (0..window.len().saturating_sub(FRONT - 1)).filter(|at| {
        let name = &window[at + NAME_AT..];
        name[0] == b'r' && kinds.iter().any(|kind| name.starts_with(kind.name()))
    })
}
