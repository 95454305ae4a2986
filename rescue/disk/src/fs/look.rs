//! Which reader knows the bytes of a partition, and what speaks against it.

use crate::extent::ExtentMap;
use crate::fs::blank::{Blank, PLACES};
use crate::fs::{Filesystem, READERS, Reader, Used, array, named};
use crate::memory::BadPlaces;
use crate::record::Recorded;
use crate::source::{BlockSource, ReadError};

/// What the first reader that knows the bytes says of them, and what speaks against it.
pub(crate) struct Seen {
    pub reader: &'static Reader,
    pub filesystem: Filesystem,
    /// Why nothing may be called free, whatever the reader says.
    pub doubt: Option<String>,
    /// Places that cannot be read and that other readers wanted to see: they are kept.
    pub blind: ExtentMap,
}

impl Seen {
    fn of(reader: &'static Reader, filesystem: Filesystem) -> Seen {
        Seen {
            reader,
            filesystem,
            doubt: None,
            blind: ExtentMap::new(),
        }
    }

    /// With the doubt and the blind places taken into what it says of itself.
    pub fn judged(mut self) -> (&'static Reader, Filesystem) {
        let blind = self.blind;
        self.filesystem.keep(&blind);
        if let Some(doubt) = self.doubt {
            self.filesystem.used = Used::Whole(doubt);
        }
        (self.reader, self.filesystem)
    }

    /// Signatures of others may stand where nothing can be read. What proves itself by its own records is believed
    /// all the same; a header page alone may be a remnant.
    fn without(&mut self, blind: ExtentMap, trouble: &ReadError) {
        if self.reader.name == "swap" {
            self.doubt = Some(trouble.to_string());
        }
        self.blind = blind;
    }
}

impl Filesystem {
    /// Takes places into the used map, and says so.
    pub(crate) fn keep(&mut self, blind: &ExtentMap) {
        if blind.is_empty() {
            return;
        }
        if let Used::Map { extents, .. } = &mut self.used {
            *extents = extents.union(blind);
        }
        self.parts.notes.push(format!(
            "{} bytes where others keep their signatures cannot be read; they are kept",
            blind.total_bytes()
        ));
    }
}

pub(crate) fn look(source: &dyn BlockSource) -> Result<Option<Seen>, ReadError> {
    // The bytes before such a superblock are those of the array, which is looked at by itself: what they look
    // like is no doubt.
    match array::linux_behind(source) {
        Ok(Some(filesystem)) => return Ok(Some(Seen::of(&named::READER, filesystem))),
        Err(ReadError::Gone(what)) => return Err(ReadError::Gone(what)),
        // A place that cannot be read is met again below.
        Ok(None) | Err(_) => {}
    }
    let mut blank = Blank {
        source,
        bad: ExtentMap::new(),
    };
    let mut found: Option<Seen> = None;
    let (mut trouble, mut failed) = (None, None);
    for reader in READERS {
        match ask(reader, &mut blank)? {
            Answer::Other => {}
            Answer::Known(filesystem) => match &mut found {
                None => found = Some(Seen::of(reader, *filesystem)),
                Some(first) => {
                    first.doubt = Some(format!(
                        "it looks like {} and like {}",
                        first.filesystem.kind, filesystem.kind
                    ));
                }
            },
            Answer::Blind(error) => trouble = trouble.or(Some(error)),
            Answer::Failed(error) => failed = failed.or(Some(error)),
        }
    }
    let Some(mut seen) = found else {
        return failed.or(trouble).map_or(Ok(None), Err);
    };
    if let Some(error) = trouble {
        seen.without(blank.bad, &error);
    }
    if let Some(error) = failed {
        seen.doubt.get_or_insert(error.to_string());
    }
    Ok(Some(seen))
}

/// What one reader says.
enum Answer {
    Known(Box<Filesystem>),
    /// It is not this filesystem.
    Other,
    /// As far as it can be read it is not this filesystem.
    Blind(ReadError),
    Failed(ReadError),
}

fn ask(reader: &Reader, blank: &mut Blank<'_>) -> Result<Answer, ReadError> {
    // What is known to be unreadable is not touched again.
    let source = BadPlaces {
        source: blank.source,
        bad: blank.bad.clone(),
    };
    let recorded = Recorded::new(&source);
    let answer = (reader.read)(&recorded);
    match answer {
        Ok(None) => Ok(Answer::Other),
        Ok(Some(mut filesystem)) => {
            let metadata = filesystem.parts.metadata.union(&recorded.asked());
            filesystem.parts.metadata = metadata;
            Ok(Answer::Known(Box::new(filesystem)))
        }
        Err(ReadError::Gone(what)) => Err(ReadError::Gone(what)),
        Err(ReadError::Unreadable(place)) => around(reader, blank, ReadError::Unreadable(place)),
        Err(error) => Ok(Answer::Failed(error)),
    }
}

/// Looks for its signatures around what cannot be read.
fn around(reader: &Reader, blank: &mut Blank<'_>, first: ReadError) -> Result<Answer, ReadError> {
    let mut error = first.clone();
    for _ in 0..=PLACES {
        let ReadError::Unreadable(place) = error else {
            return Ok(Answer::Failed(error));
        };
        if !blank.add(place)? {
            return Ok(Answer::Failed(first));
        }
        match (reader.read)(blank) {
            Ok(None) => return Ok(Answer::Blind(first)),
            // Its records were read as zeros: no word about what is free.
            Ok(Some(mut filesystem)) => {
                filesystem.used = Used::Whole(first.to_string());
                return Ok(Answer::Known(Box::new(filesystem)));
            }
            Err(ReadError::Gone(what)) => return Err(ReadError::Gone(what)),
            Err(next) => error = next,
        }
    }
    Ok(Answer::Failed(first))
}
