//! Where the parity of an image is described, and whether it is as it was written.

use super::{HEAD_FRAME, ParityHead, Window};
use crate::error::ImageError;
use crate::frame::FrameKind;
use crate::mend::read;
use crate::reader::Reader;
use crate::scan;
use crate::store::ReadFile;

/// Read at once.
const PIECE: usize = 1 << 20;

impl ParityHead {
    /// What the file says of its parity, wherever that is still whole.
    pub fn find(file: &dyn ReadFile, name: &str) -> Result<Option<ParityHead>, ImageError> {
        let mut frame = Vec::new();
        scan::find_back(
            file,
            file.len(),
            &[FrameKind::Parity],
            |offset| match scan::read_frame(file, offset, FrameKind::Parity, &mut frame)? {
                true => ParityHead::parse(&frame, offset, name),
                false => Ok(None),
            },
        )
    }

    /// Of an image that may have it.
    pub fn of(reader: &Reader) -> Result<Option<ParityHead>, ImageError> {
        if !reader.head().has_parity() {
            return Ok(None);
        }
        let found = match reader.end() {
            Some(end) => at(reader, end.root.end())?,
            None => None,
        };
        let found = match found {
            Some(found) => Some(found),
            None => ParityHead::find(reader.file(), reader.name())?,
        };
        Ok(found.filter(|found| found.head.same_image(reader.head())))
    }

    /// Whether heads and blocks of all windows are as they were written.
    pub fn is_whole(&self, file: &dyn ReadFile) -> Result<bool, ImageError> {
        for window in self.parity.windows() {
            if window.end() > file.len() || !self.is_window_whole(file, &window)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_window_whole(&self, file: &dyn ReadFile, window: &Window) -> Result<bool, ImageError> {
        let [first, second] = window.heads();
        let behind = window.frame_end();
        let heads = [
            (window.at, first),
            (window.at + first, second),
            (behind, HEAD_FRAME),
            (behind + HEAD_FRAME, HEAD_FRAME),
        ];
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        for (at, len) in heads {
            self.build(at, len, &mut expected);
            found.resize(expected.len(), 0);
            read(file, at, &mut found)?;
            if found != expected {
                return Ok(false);
            }
        }
        let mut hash = blake3::Hasher::new();
        let mut at = window.frame();
        while at < behind - 32 {
            let left = usize::try_from(behind - 32 - at).unwrap_or(PIECE);
            found.resize(left.min(PIECE), 0);
            read(file, at, &mut found)?;
            hash.update(&found);
            at += found.len() as u64;
        }
        found.resize(32, 0);
        read(file, at, &mut found)?;
        Ok(found == hash.finalize().as_bytes())
    }
}

impl Reader {
    /// Whether there is any, wherever that is still said.
    pub fn has_parity(&self) -> bool {
        ParityHead::of(self).is_ok_and(|found| found.is_some())
    }

    /// How much parity the image has, if any.
    pub fn parity_percent(&self) -> Option<u8> {
        let head = at(self, self.end()?.root.end()).ok()?;
        head.map(|head| head.parity.percent)
    }
}

fn at(reader: &Reader, offset: u64) -> Result<Option<ParityHead>, ImageError> {
    let mut frame = Vec::new();
    match scan::read_frame(reader.file(), offset, FrameKind::Parity, &mut frame)? {
        true => ParityHead::parse(&frame, offset, reader.name()),
        false => Ok(None),
    }
}
