//! What can be done about the damage of an image.

use std::fmt;

use super::ParityHead;
use crate::error::ImageError;
use crate::reader::Reader;

/// In blocks of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outlook {
    NoParity,
    Parity { good: u64, lost: u64 },
}

impl Outlook {
    /// Reads all of the file where there is parity.
    pub fn of(reader: &Reader) -> Result<Outlook, ImageError> {
        let Some(head) = ParityHead::of(reader)? else {
            return Ok(Outlook::NoParity);
        };
        let (mut good, mut lost) = (0, 0);
        for window in head.parity.windows() {
            let healed = head.heal(reader.file(), &window)?;
            good += healed.blocks.len() as u64;
            lost += healed.lost.len() as u64;
        }
        Ok(Outlook::Parity { good, lost })
    }
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outlook::NoParity => f.write_str(
                "the image has no parity, so lost content stays lost; 'rescue reindex' makes a damaged index again",
            ),
            Outlook::Parity { good, lost: 0 } => write!(
                f,
                "parity can make good all of it ({good} blocks of 4 KiB of the file); run 'rescue repair'"
            ),
            Outlook::Parity { good, lost } => write!(
                f,
                "parity can make good {good} of {} damaged blocks of 4 KiB of the file; run 'rescue repair'",
                good + lost
            ),
        }
    }
}
