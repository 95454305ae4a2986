//! Where a job's state is kept, and what an earlier run left there.

use std::path::{Path, PathBuf};

use disk::extent::{Extent, ExtentMap};
use disk::source::{BlockSource, read_vec};

use super::find::Survey;
use super::onto::From;
use super::refusal::Refusal;
use super::{Afterwards, StateFile};
use crate::host::Disk;
use crate::identity::{Fingerprint, Identity};
use crate::journal;
use crate::map::Map;
use crate::mapfile::{self, Ends, MapFile, Subject};
use crate::permit::Target;
use crate::request::Options;

/// Written last and zero until then.
const HEAD_BYTES: u64 = 1 << 20;
/// Room of a table in it, which a larger destination has of its own.
const TABLE_BYTES: u64 = 64 << 10;
/// Places that are compared before a disk is believed to have what a map says.
const SAMPLES: u64 = 64;
const SAMPLE_BYTES: u64 = 4096;

/// The state of a job onto a disk or a file.
pub struct Kept {
    pub file: Option<StateFile>,
    pub done: Map,
    /// As the earlier run wrote it; a destination that it made is still its own.
    pub ends: Ends,
    pub origin: Origin,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    Anew,
    /// An earlier run wrote to a destination that was there before it.
    Resumed,
    /// An earlier run made the destination itself.
    ResumedOwn,
}

/// Who said where the state is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Chosen {
    /// By `--map`.
    Named,
    /// Beside a regular file.
    Beside,
    /// In a place of our own, for a job onto a disk. Nobody knows what was done to the disk since.
    Ours,
}

impl Survey<'_> {
    /// `onto` is what exists now, `file` the path of a regular file that is or will be the destination.
    pub fn state(
        &mut self,
        options: &Options,
        ends: Ends,
        from: &From<'_>,
        onto: Option<&Disk>,
        file: Option<&Path>,
    ) -> Kept {
        let anew = Map::new(from.geometry.size_bytes);
        let Some((path, chosen)) = self.place(options, &ends, from, file) else {
            return Kept {
                file: None,
                done: anew,
                ends,
                origin: Origin::Anew,
            };
        };
        let afterwards = match chosen {
            Chosen::Named => Afterwards::Kept,
            Chosen::Beside | Chosen::Ours => Afterwards::Removed,
        };
        let earlier = self.earlier(&path, chosen, &ends, from, onto);
        let file = Some(StateFile { path, afterwards });
        match earlier {
            Some((done, before)) => Kept {
                file,
                done,
                origin: match before.target {
                    Target::NewFile { .. } => Origin::ResumedOwn,
                    _ => Origin::Resumed,
                },
                ends: before,
            },
            None => Kept {
                file,
                done: anew,
                ends,
                origin: Origin::Anew,
            },
        }
    }

    /// The map of what an image has of its disk, where it was asked for. Only a map of the same disk is replaced.
    pub fn exported(&mut self, options: &Options, ends: &Ends, source: &Disk) -> Option<StateFile> {
        let path = options.map.clone()?;
        if self.lies_on(&path, source) {
            self.refuse(Refusal::OnSource {
                disk: source.title(),
                place: path.display().to_string(),
            });
            return None;
        }
        let before = match self.host.read_state(&path) {
            Ok(None) => Ok(()),
            Ok(Some(bytes)) => mapfile::read(&bytes, source.geometry.size_bytes).and_then(|file| {
                let before = file.ends.ok_or("it does not say of which disk it is")?;
                same(&before, ends, None)
            }),
            Err(error) => Err(error.0),
        };
        if let Err(text) = before {
            self.refuse(Refusal::MapForeign {
                map: path.display().to_string(),
                text,
            });
            return None;
        }
        Some(StateFile {
            path,
            afterwards: Afterwards::Kept,
        })
    }

    /// Never on the source.
    fn place(
        &mut self,
        options: &Options,
        ends: &Ends,
        from: &From<'_>,
        file: Option<&Path>,
    ) -> Option<(PathBuf, Chosen)> {
        let (path, chosen) = match (&options.map, file) {
            (Some(path), _) => (path.clone(), Chosen::Named),
            (None, Some(file)) => (self.host.state_path(file), Chosen::Beside),
            (None, None) => (self.host.job_state(&name(ends))?, Chosen::Ours),
        };
        match (
            from.disk.filter(|source| self.lies_on(&path, source)),
            chosen,
        ) {
            (None, _) => Some((path, chosen)),
            (Some(_), Chosen::Ours) => {
                self.warnings.push(format!(
                    "an interruption would begin anew: {} is on the source; name a map file on another disk with --map",
                    path.display()
                ));
                None
            }
            (Some(source), Chosen::Named | Chosen::Beside) => {
                self.refuse(Refusal::OnSource {
                    disk: source.title(),
                    place: path.display().to_string(),
                });
                None
            }
        }
    }

    /// What an earlier run did and between what, where it can be gone on from.
    fn earlier(
        &mut self,
        path: &Path,
        chosen: Chosen,
        ends: &Ends,
        from: &From<'_>,
        onto: Option<&Disk>,
    ) -> Option<(Map, Ends)> {
        let read = self.host.read_state(path).map_err(|error| error.0);
        let bytes = match read {
            Ok(bytes) => bytes?,
            Err(text) if chosen == Chosen::Ours => {
                self.warnings
                    .push(format!("an interruption may begin anew: {text}"));
                return None;
            }
            Err(text) => {
                self.refuse(Refusal::Other { text });
                return None;
            }
        };
        let read = mapfile::read(&bytes, from.geometry.size_bytes);
        let read = read.and_then(|file| self.between(file, path, ends, onto));
        // The destination it tells of is gone, and so is what it had.
        let onto = match &read {
            Ok(_) => onto?,
            Err(_) if chosen != Chosen::Ours => {
                let text = read.err()?;
                self.refuse(Refusal::MapForeign {
                    map: path.display().to_string(),
                    text,
                });
                return None;
            }
            Err(text) => {
                self.warnings
                    .push(format!("an earlier run is not gone on from: {text}"));
                return None;
            }
        };
        let (map, before) = read.ok()?;
        if chosen == Chosen::Ours && !self.still_there(&map, from, onto) {
            self.warnings.push(format!(
                "an earlier run is not gone on from: {} has something else by now",
                onto.title()
            ));
            return None;
        }
        Some((map, before))
    }

    /// The map and between what it is, if that is what this job is between.
    fn between(
        &mut self,
        mut file: MapFile,
        path: &Path,
        ends: &Ends,
        onto: Option<&Disk>,
    ) -> Result<(Map, Ends), String> {
        let Some(before) = file.ends else {
            self.warnings.push(format!(
                "the map file {} does not say of which disks it is; what it calls finished is believed",
                path.display()
            ));
            return Ok((file.map, ends.clone()));
        };
        same(&before, ends, onto)?;
        self.replay(path, &before, &mut file.map);
        Ok((file.map, before))
    }

    /// What the journal beside a map has since, if it is of the same disks.
    fn replay(&self, path: &Path, ends: &Ends, map: &mut Map) {
        // Without it a little is read once more; that is no reason to stop.
        if let Ok(Some(bytes)) = self.host.read_state(&journal::beside(path))
            && journal::owner(&bytes).is_some_and(|owner| owner.as_ref() == Ok(ends))
        {
            journal::replay(&bytes, map);
        }
    }

    /// A disk that was only half written has no first MiB yet and has what was written; one that was finished but
    /// for what was left untried has that of the source, beside its own table. One that was used otherwise since
    /// has another, or other content.
    fn still_there(&self, map: &Map, from: &From<'_>, onto: &Disk) -> bool {
        let Ok(written) = self.host.open_source(&onto.identity) else {
            return false;
        };
        let head = onto.geometry.size_bytes.min(HEAD_BYTES);
        let empty = read_vec(&*written, 0, head).is_ok_and(|head| head.iter().all(|b| *b == 0));
        let beside_the_table = Extent::between(TABLE_BYTES, head);
        let same = |sample: Extent| {
            let read = |side: &dyn BlockSource| read_vec(side, sample.start(), sample.len()).ok();
            // What the source cannot give a second time says nothing.
            read(from.bytes).is_none_or(|wanted| read(&*written) == Some(wanted))
        };
        (empty || beside_the_table.is_none_or(same)) && samples(&map.finished).into_iter().all(same)
    }
}

/// Evenly over what is finished.
fn samples(finished: &ExtentMap) -> Vec<Extent> {
    let step = (finished.total_bytes() / SAMPLES).max(SAMPLE_BYTES);
    let (mut passed, mut next) = (0, 0);
    let mut samples = Vec::new();
    for extent in finished.iter() {
        while next < passed + extent.len() {
            let start = extent.start() + (next - passed);
            samples.extend(Extent::between(
                start,
                extent.end().min(start + SAMPLE_BYTES),
            ));
            next += step;
        }
        passed += extent.len();
    }
    samples
}

/// The same for the same source and destination, whatever is on them.
fn name(ends: &Ends) -> String {
    let mut hasher = blake3::Hasher::new();
    let bare = |identity: &Identity| Identity {
        fingerprint: Fingerprint([0; 32]),
        ..identity.clone()
    };
    let source = match &ends.source {
        Subject::Disk(identity) => Subject::Disk(bare(identity)),
        Subject::Image(id) => Subject::Image(id.clone()),
    };
    let target = match &ends.target {
        Target::Disk(identity) => Target::Disk(bare(identity)),
        target => target.clone(),
    };
    let text = serde_json::to_vec(&Ends { source, target }).expect("identities are plain data");
    hasher.update(&text);
    format!("{}.map", &hasher.finalize().to_hex()[..32])
}

/// Whether a map that was begun between `before` is one between `now`.
fn same(before: &Ends, now: &Ends, destination: Option<&Disk>) -> Result<(), String> {
    let source = match (&before.source, &now.source) {
        (Subject::Disk(before), Subject::Disk(now)) => {
            if before.same_device(now) && before.fingerprint != now.fingerprint {
                return Err(format!("{now} was changed since"));
            }
            before.same_device(now)
        }
        (before, now) => before == now,
    };
    if !source {
        return Err("it is of another source".into());
    }
    let target = match (&before.target, destination) {
        (_, None) => before.target == now.target || same_path(&before.target, &now.target),
        (Target::Disk(before), Some(now)) => before.same_device(&now.identity),
        (Target::NewFile { path, size_bytes }, Some(now)) => {
            now.identity.file.as_ref() == Some(path) && now.identity.size_bytes == *size_bytes
        }
        (Target::Store { .. }, Some(_)) => false,
    };
    if target {
        Ok(())
    } else {
        Err("it is of another destination".into())
    }
}

/// A file that was there and is gone, and is to be made again.
fn same_path(before: &Target, now: &Target) -> bool {
    match (before, now) {
        (Target::Disk(before), Target::NewFile { path, .. }) => before.file.as_ref() == Some(path),
        _ => false,
    }
}
