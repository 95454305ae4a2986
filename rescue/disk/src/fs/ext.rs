//! ext2, ext3 and ext4: bitmaps of block groups, read under the replayed journal where there is one to replay.
//!
//! After the kernel's documentation ("ext4 Data Structures and Algorithms") and `fs/ext4/ext4.h`.

mod blocks;
mod checksum;
mod features;
mod files;
mod find;
mod groups;
mod inode;
mod journal;
mod overlay;
mod superblock;
mod tables;
mod used;

use crate::fs::{Basis, Filesystem, Parts, Reader, State, Used};
use crate::source::{BlockSource, ReadError};
use find::{Found, Origin};
use groups::View;
use journal::{Replay, Trouble};
use overlay::Overlay;
use superblock::{Checksums, JournalPlace, Superblock};
use used::Mapped;

pub const READER: Reader = Reader {
    name: "ext",
    read,
    tree: Some(files::open),
};

/// s_state: it was unmounted, and the kernel found errors in it.
const STATE_VALID: u16 = 1;
const STATE_ERRORS: u16 = 2;

fn read(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    let Some(found) = find::find(source)? else {
        return Ok(None);
    };
    let mut notes = Notes::default();
    let used = judge(source, &found, &mut notes)?;
    let shape = found.superblock.as_ref().ok();
    Ok(Some(Filesystem {
        kind: found.names.kind.into(),
        variant: None,
        label: found.names.label,
        uuid: found.names.uuid,
        block_size: shape.map_or(1024, |s| {
            u32::try_from(s.block_size).expect("64 KiB at most")
        }),
        size_bytes: shape.map_or(0, Superblock::size_bytes),
        state: notes.state(),
        used,
        parts: Box::new(notes.parts),
    }))
}

fn judge(source: &dyn BlockSource, found: &Found, notes: &mut Notes) -> Result<Used, ReadError> {
    match &found.origin {
        Origin::Primary => {}
        Origin::Damaged(why) => notes.add(format!("{why}, a backup was used")),
        Origin::Unreadable => {
            let note = "its superblock cannot be read, a backup was used";
            notes.parts.notes.push(note.into());
            notes.add(note);
        }
        Origin::Missing => notes.add("its superblock is gone, a backup was used"),
    }
    if found.names.kind == "jbd" {
        let why = "it is the journal of a filesystem on another partition";
        return Ok(Used::Whole(why.into()));
    }
    let superblock = match &found.superblock {
        Ok(superblock) => superblock,
        Err(why) => {
            notes.add(*why);
            return Ok(Used::Whole((*why).into()));
        }
    };
    match refuse(source, found, superblock, notes) {
        Some(why) => Ok(Used::Whole(why)),
        None => map(source, found, superblock, notes),
    }
}

/// Why the bitmaps of this filesystem prove nothing.
fn refuse(
    source: &dyn BlockSource,
    found: &Found,
    superblock: &Superblock,
    notes: &mut Notes,
) -> Option<String> {
    if superblock.state & STATE_ERRORS != 0 {
        notes.add("the system that used it found errors in it");
    }
    // In a backup this bit is never set.
    let backup = found.origin != Origin::Primary;
    let valid = superblock.state & STATE_VALID != 0 || backup;
    if !valid {
        notes.add("it was not unmounted");
    }
    if superblock.size_bytes() > source.size_bytes() {
        let (claimed, real) = (superblock.size_bytes(), source.size_bytes());
        notes.add(format!("it claims {claimed} bytes but has {real}"));
        return Some(format!(
            "it claims {claimed} bytes of a partition of {real}"
        ));
    }
    if let Some(why) = superblock.features.unknown() {
        return Some(why);
    }
    // A backup does not know what was freed since; only sums tell that the descriptors belong to it.
    if backup && superblock.checksums == Checksums::None {
        return Some("its superblock is lost and nothing else proves its descriptors".into());
    }
    // A journal orders bitmaps and files; without one a crash leaves files whose blocks are still called free.
    if !valid || backup && superblock.journal == JournalPlace::None {
        return Some("it was not unmounted and no journal vouches for its bitmaps".into());
    }
    None
}

fn map(
    source: &dyn BlockSource,
    found: &Found,
    superblock: &Superblock,
    notes: &mut Notes,
) -> Result<Used, ReadError> {
    let disk = View::new(Overlay::none(source), superblock.clone());
    let replay = match replay(&disk, found, notes)? {
        Ok(replay) => replay,
        Err(why) => return Ok(Used::Whole(why.into())),
    };
    let Some(replay) = replay else {
        return Ok(notes.used(used::map(&disk, None, Vec::new())?, Basis::Records));
    };
    let more = [replay.area, replay.fast].concat();
    let overlay = Overlay::new(source, superblock.block_size, replay.copies);
    let after = match find::primary(&overlay)? {
        Ok(after) if after.same_shape(superblock) => after,
        Err(_) if found.origin != Origin::Primary => superblock.clone(),
        _ => {
            return Ok(Used::Whole(
                "its journal changes the shape of the filesystem".into(),
            ));
        }
    };
    let now = View::new(overlay, after);
    Ok(notes.used(used::map(&now, Some(&disk), more)?, Basis::Replayed))
}

/// What waits in the journal, if anything does. The text says why it must not be ignored and cannot be replayed.
fn replay(
    disk: &View<'_>,
    found: &Found,
    notes: &mut Notes,
) -> Result<Result<Option<Replay>, &'static str>, ReadError> {
    let superblock = &disk.superblock;
    let wanted = superblock.has(features::NEEDS_RECOVERY);
    if wanted {
        notes.add("it was not unmounted");
    }
    let log = match journal::open(disk) {
        Ok(Some(log)) => log,
        Ok(None) if !wanted => return Ok(Ok(None)),
        Ok(None) if superblock.journal == JournalPlace::External => {
            return Ok(Err(
                "its journal, which has to be replayed, is on another disk",
            ));
        }
        Ok(None) => return Ok(Err("it asks for its journal to be replayed and has none")),
        Err(Trouble::Read(error)) => return Err(error),
        // A backup does not know whether the journal is wanted.
        Err(Trouble::Refused(why)) if wanted || found.origin != Origin::Primary => {
            return Ok(Err(why));
        }
        Err(Trouble::Refused(why)) => {
            notes.add(why);
            return Ok(Ok(None));
        }
    };
    notes.said.extend(log.remembers_failure().map(Into::into));
    if log.is_empty() {
        return Ok(Ok(None));
    }
    match log.replay() {
        Ok(replay) => {
            notes.add(format!(
                "its journal was replayed in memory ({} blocks)",
                replay.copies.len()
            ));
            notes
                .said
                .extend(replay.notes.iter().copied().map(Into::into));
            Ok(Ok(Some(replay)))
        }
        Err(Trouble::Refused(why)) => Ok(Err(why)),
        Err(Trouble::Read(error)) => Err(error),
    }
}

/// What was seen, for the person who has to decide.
#[derive(Default)]
struct Notes {
    said: Vec<String>,
    parts: Parts,
}

impl Notes {
    fn add(&mut self, note: impl Into<String>) {
        self.said.push(note.into());
    }

    /// Takes the doubts of a map along.
    fn used(&mut self, mapped: Result<Mapped, String>, basis: Basis) -> Used {
        match mapped {
            Err(why) => {
                self.add(why.clone());
                Used::Whole(why)
            }
            Ok(Mapped {
                extents,
                metadata,
                unknown,
                doubts,
            }) => {
                if !doubts.is_empty() {
                    self.add(doubts.to_string());
                }
                if doubts.is_unreadable() {
                    self.parts.notes.push(doubts.to_string());
                }
                self.parts.metadata = metadata;
                self.parts.unknown = unknown;
                Used::Map { basis, extents }
            }
        }
    }

    fn state(&self) -> State {
        if self.said.is_empty() {
            State::Clean
        } else {
            State::Dirty(self.said.join("; "))
        }
    }
}
