//! NTFS: the volume's bitmap, with the runs of every file added where the bitmap may lag behind.
//!
//! After the Linux-NTFS project's documentation and the kernel's `fs/ntfs3/ntfs.h`.

mod boot;
mod files;
mod index;
mod log_changes;
mod log_pages;
mod log_records;
mod logfile;
mod mft;
mod record;
mod reparse;
mod runs;
mod stream;
mod used;
mod volume;

use crate::extent::ExtentMap;
use crate::fs::tree::TreeError;
use crate::fs::{Basis, Filesystem, Parts, Reader, State, Used};
use crate::source::{BlockSource, ReadError};
use boot::{Boot, Found, Origin};
use logfile::Journal;
use mft::Volume;
use used::Strays;

pub const READER: Reader = Reader {
    name: "ntfs",
    read,
    tree: Some(files::open),
};

fn read(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    let Some(found) = boot::find(source)? else {
        return Ok(None);
    };
    let mut seen = Seen::default();
    let used = seen.judge(source, &found)?;
    let said: Vec<&str> = [&seen.notes, &seen.parts.notes]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let shape = found.boot.as_ref().ok();
    Ok(Some(Filesystem {
        kind: "ntfs".into(),
        variant: None,
        label: seen.label,
        uuid: shape.map(|boot| format!("{:016X}", boot.serial)),
        block_size: shape.map_or(512, |boot| {
            u32::try_from(boot.cluster).expect("2 MiB at most")
        }),
        size_bytes: shape.map_or(0, |boot| boot.size_bytes),
        state: match (seen.hibernated, said.is_empty()) {
            (true, _) => State::Hibernated,
            (false, true) => State::Clean,
            (false, false) => State::Dirty(said.join("; ")),
        },
        used,
        parts: Box::new(seen.parts),
    }))
}

/// What came to light on the way to the used map.
#[derive(Default)]
struct Seen {
    label: Option<String>,
    /// What makes the bitmap doubtful.
    notes: Vec<String>,
    hibernated: bool,
    /// With notes of what could not be read, which is no doubt about what could.
    parts: Parts,
}

impl Seen {
    fn judge(&mut self, source: &dyn BlockSource, found: &Found) -> Result<Used, ReadError> {
        match &found.origin {
            Origin::Primary => {}
            Origin::Damaged(why) => self.note(format!("{why}, the backup boot sector was used")),
            Origin::Unreadable => {
                self.unread("its boot sector cannot be read, the backup was used");
            }
            Origin::Missing => self.note("its boot sector is gone, the backup was used"),
        }
        let boot = match &found.boot {
            Ok(boot) => boot,
            Err(why) => return Ok(self.whole(*why)),
        };
        if boot.size_bytes > source.size_bytes() {
            let (claimed, real) = (boot.size_bytes, source.size_bytes());
            return Ok(self.whole(format!(
                "it claims {claimed} bytes of a partition of {real}"
            )));
        }
        match self.map(source, boot) {
            Ok(used) => Ok(used),
            Err(error) => Ok(self.whole(used::doubt(error)?)),
        }
    }

    fn map(&mut self, source: &dyn BlockSource, boot: &Boot) -> Result<Used, TreeError> {
        let volume = Volume::open(source, boot.clone())?;
        match &volume.mirrored {
            None => {}
            Some(error) => {
                let note = format!("{error}, the copy of its file table's start was used");
                match mft::is_unreadable(error) {
                    true => self.unread(note),
                    false => self.note(note),
                }
            }
        }
        let information = volume::information(&volume)?;
        self.label = information.label;
        if information.dirty {
            self.note("Windows marked it as dirty");
        }
        let sleeps = self.sleeps(&volume)?;
        self.hibernated = sleeps == Some(true);
        let journal = logfile::journal(&volume)?;
        match &journal {
            Journal::Closed | Journal::Emptied => {}
            Journal::Unclear(why) => return Ok(self.whole(*why)),
            // What Windows keeps in its memory may be in no record, in no bitmap and not in the journal either.
            Journal::Open { .. } if sleeps != Some(false) => {
                return Ok(self.whole("its journal was not closed, and Windows sleeps"));
            }
            Journal::Open { .. } => {}
        }
        let mapped = used::by_bitmap(&volume)?;
        if mapped.contradicted {
            self.note("its bitmap calls clusters free that are in use");
        }
        if mapped.unreadable > 0 {
            let lost = mapped.unreadable;
            self.unread(format!("{lost} bytes of its bitmap cannot be read"));
        }
        self.parts.metadata = mapped.metadata;
        self.parts.unknown = mapped.unknown;
        if self.notes.is_empty() && journal == Journal::Closed {
            return Ok(Used::Map {
                basis: Basis::Records,
                extents: mapped.extents,
            });
        }
        self.union(&volume, &journal, mapped.extents)
    }

    /// With the runs of every file, and with what a journal names that is still to be replayed.
    fn union(
        &mut self,
        volume: &Volume<'_>,
        journal: &Journal,
        known: ExtentMap,
    ) -> Result<Used, TreeError> {
        let mut strays = Strays::new(known, volume.boot.cluster);
        if let Journal::Open { log, area } = journal {
            match log_changes::add(volume, log, *area, &mut strays) {
                Ok(()) => {}
                Err(TreeError::Damaged(why) | TreeError::Unsupported(why)) => {
                    return Ok(self.whole(format!("its journal was not closed, and {why}")));
                }
                Err(error) => return Err(error),
            }
            let added = strays.added();
            self.note(format!(
                "its journal was not closed: what it names is kept too, {added} bytes that its bitmap calls free"
            ));
        }
        let unread = used::add_files(volume, &mut strays)?;
        let added = strays.added();
        if added > 0 {
            self.note(format!(
                "its files use {added} bytes that its bitmap calls free"
            ));
        }
        if unread > 0 {
            let why = format!("{unread} records of its file table cannot be read");
            if !self.notes.is_empty() {
                // Its bitmap lags behind its files, and not all of them are known.
                return Ok(self.whole(why));
            }
            self.unread(why);
        }
        Ok(Used::Map {
            basis: if self.notes.is_empty() {
                Basis::Records
            } else {
                Basis::Union
            },
            extents: strays.finish(),
        })
    }

    /// Windows has written its memory to a file in the root and will go on from there. A volume that Windows
    /// only shut down by halves ("fast startup") looks the same.
    /// `None`: what would tell cannot be read.
    fn sleeps(&mut self, volume: &Volume<'_>) -> Result<Option<bool>, TreeError> {
        let start = match files::start_of(volume, "hiberfil.sys", 4) {
            Ok(start) => start,
            Err(error) if mft::is_fatal(&error) => return Err(error),
            Err(error) => {
                let note = format!("whether it sleeps cannot be told: {error}");
                if mft::is_unreadable(&error) {
                    self.unread(note);
                    return Ok(None);
                }
                self.note(note);
                return Ok(Some(false));
            }
        };
        // Written, being resumed, and kept for resuming again and again; "wake" is an old one.
        const SLEEPING: [&[u8]; 3] = [b"hibr", b"rstr", b"horm"];
        let start = start.map(|start| start.to_ascii_lowercase());
        Ok(Some(start.is_some_and(|start| SLEEPING.contains(&&*start))))
    }

    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    fn unread(&mut self, note: impl Into<String>) {
        self.parts.notes.push(note.into());
    }

    /// Nothing is proven free; the reason is a note too.
    fn whole(&mut self, why: impl Into<String>) -> Used {
        let why = why.into();
        self.note(why.clone());
        Used::Whole(why)
    }
}
