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

/// The page at `offset`, if there is a whole one.
pub fn read_page(
    file: &dyn ReadFile,
    offset: u64,
    image: &str,
) -> Result<Option<(Page, PageRef)>, ImageError> {
    let mut buf = Vec::new();
    if !read_frame(file, offset, FrameKind::Page, &mut buf)? {
        return Ok(None);
    }
    Page::parse(&buf, offset, image)
}

/// Looks for frames of these kinds from `end` down to the start; `found` is asked for each place where one may
/// begin, until it gives something.
pub fn find_back<T>(
    file: &dyn ReadFile,
    end: u64,
    kinds: &[FrameKind],
    mut found: impl FnMut(u64) -> Result<Option<T>, ImageError>,
) -> Result<Option<T>, ImageError> {
    let mut window = Vec::new();
    let mut until = end.min(file.len());
    while until > 0 {
        let start = until.saturating_sub(WINDOW as u64);
        // The next name may begin before `until` and end behind it.
        let stop = (until + 7).min(file.len());
        window.resize(usize::try_from(stop - start).expect("a window is 1 MiB"), 0);
        read_what_is_readable(file, start, &mut window)?;
        for at in names(&window, kinds).rev() {
            let name = start + at as u64;
            let Some(offset) = name
                .checked_sub(NAME_AT as u64)
                .filter(|offset| *offset < end)
            else {
                continue;
            };
            if let Some(result) = found(offset)? {
                return Ok(Some(result));
            }
        }
        until = start;
    }
    Ok(None)
}

/// The first place in `from..end` where a frame of these kinds may begin.
pub fn find_forward(
    file: &dyn ReadFile,
    from: u64,
    end: u64,
    kinds: &[FrameKind],
) -> Result<Option<u64>, StoreError> {
    let end = end.min(file.len());
    let mut window = Vec::new();
    let mut start = from;
    while start < end {
        let stop = (start + WINDOW as u64 + 7).min(end);
        window.resize(usize::try_from(stop - start).expect("a window is 1 MiB"), 0);
        read_what_is_readable(file, start, &mut window)?;
        let place = names(&window, kinds)
            .filter_map(|at| (start + at as u64).checked_sub(NAME_AT as u64))
            .find(|offset| *offset >= from);
        if place.is_some() {
            return Ok(place);
        }
        start += WINDOW as u64;
    }
    Ok(None)
}

fn names<'a>(
    window: &'a [u8],
    kinds: &'a [FrameKind],
) -> impl DoubleEndedIterator<Item = usize> + 'a {
    (0..window.len().saturating_sub(7)).filter(|at| {
        window[*at] == b'r'
            && kinds
                .iter()
                .any(|kind| window[*at..].starts_with(kind.name()))
    })
}
