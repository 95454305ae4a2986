//! Where a job's state is kept, and what an earlier run left there.

use std::path::Path;

use super::find::Survey;
use super::refusal::Refusal;
use super::{Afterwards, StateFile};
use crate::host::Disk;
use crate::map::Map;
use crate::mapfile::{self, Ends, Subject};
use crate::permit::Target;
use crate::request::Options;

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

impl Survey<'_> {
    /// `destination` is what exists now, `file` the path of a regular file that is or will be the destination.
    pub fn state(
        &mut self,
        options: &Options,
        ends: Ends,
        size_bytes: u64,
        destination: Option<&Disk>,
        file: Option<&Path>,
    ) -> Kept {
        let kept = match (&options.map, file) {
            (Some(path), _) => Some((path.clone(), Afterwards::Kept)),
            (None, Some(file)) => Some((self.host.state_path(file), Afterwards::Removed)),
            (None, None) => None,
        };
        let state = kept.map(|(path, afterwards)| StateFile { path, afterwards });
        let (done, ends, origin) = match &state {
            Some(state) => self.earlier(state, ends, size_bytes, destination),
            None => (Map::new(size_bytes), ends, Origin::Anew),
        };
        Kept {
            file: state,
            done,
            ends,
            origin,
        }
    }

    fn earlier(
        &mut self,
        state: &StateFile,
        ends: Ends,
        size_bytes: u64,
        destination: Option<&Disk>,
    ) -> (Map, Ends, Origin) {
        let nothing = Map::new(size_bytes);
        let bytes = match self.host.read_state(&state.path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return (nothing, ends, Origin::Anew),
            Err(error) => {
                self.refuse(Refusal::Other { text: error.0 });
                return (nothing, ends, Origin::Anew);
            }
        };
        let read = mapfile::read(&bytes, size_bytes).and_then(|file| {
            let before = file.ends.clone();
            match before {
                Some(before) => same(&before, &ends, destination).map(|()| (file, before)),
                None => {
                    self.warnings.push(format!(
                        "the map file {} does not say of which disks it is; what it calls finished is believed",
                        state.path.display()
                    ));
                    Ok((file, ends.clone()))
                }
            }
        });
        match read {
            // The destination it tells of is gone, and so is what it had.
            Ok(_) if destination.is_none() => (nothing, ends, Origin::Anew),
            Ok((file, before)) => {
                let origin = match before.target {
                    Target::NewFile { .. } => Origin::ResumedOwn,
                    _ => Origin::Resumed,
                };
                (file.map, before, origin)
            }
            Err(text) => {
                self.refuse(Refusal::MapForeign {
                    map: state.path.display().to_string(),
                    text,
                });
                (nothing, ends, Origin::Anew)
            }
        }
    }
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
