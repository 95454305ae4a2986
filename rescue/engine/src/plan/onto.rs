//! The disk or file that a clone or a restore is written to.

use std::path::{Path, PathBuf};

use disk::geometry::Geometry;
use disk::size::Size;
use disk::source::BlockSource;
use disk::table::{Table, edit};

use super::find::{Found, Survey};
use super::refusal::Refusal;
use super::state::Origin;
use super::{NewFile, Plan, show};
use crate::host::{Disk, Transport};
use crate::mapfile::{Ends, Subject};
use crate::permit::Target;
use crate::request::{DiskName, Growth, Place};

/// What is written there: a disk or an image of one.
pub struct From<'a> {
    pub title: String,
    pub subject: Subject,
    pub geometry: Geometry,
    pub table: Option<&'a Table>,
    pub bytes: &'a dyn BlockSource,
    /// The disk itself, where it is one.
    pub disk: Option<&'a Disk>,
}

pub enum Onto {
    Existing(Box<Disk>),
    NewFile(PathBuf),
}

impl Survey<'_> {
    pub fn onto(&mut self, name: &DiskName) -> Option<Onto> {
        match (self.find(name), name) {
            (Found::One(disk), _) => {
                self.check_writable(&disk);
                Some(Onto::Existing(disk))
            }
            (Found::Nothing, DiskName::Path(path)) => {
                Some(Onto::NewFile(self.host.full_path(path)))
            }
            (Found::Nothing, _) => {
                self.refuse(Refusal::NotFound {
                    name: name.to_string(),
                });
                None
            }
            (Found::Refused, _) => None,
        }
    }
}

impl Onto {
    /// Checks that the source fits there and completes the plan.
    pub fn complete(self, plan: &mut Plan, from: &From<'_>, survey: &mut Survey<'_>) {
        let target = match &self {
            Onto::Existing(disk) => Target::Disk(disk.identity.clone()),
            Onto::NewFile(path) => Target::NewFile {
                path: path.clone(),
                size_bytes: from.geometry.size_bytes,
            },
        };
        let ends = Ends {
            source: from.subject.clone(),
            target: target.clone(),
        };
        let (existing, file) = match &self {
            Onto::Existing(disk) => (Some(&**disk), disk.identity.file.as_deref()),
            Onto::NewFile(path) => (None, Some(path.as_path())),
        };
        let options = plan.request.options.clone();
        let kept = survey.state(&options, ends, from, existing, file);
        plan.targets = vec![target];
        plan.state = kept.file;
        plan.done = kept.done;
        plan.ends = Some(kept.ends);
        if kept.origin != Origin::Anew {
            let done = plan.done.finished.total_bytes() + plan.done.bad.total_bytes();
            plan.lines.push(format!(
                "goes on from an earlier run: {} are done",
                Size(done)
            ));
        }
        match self {
            Onto::Existing(disk) => existing_disk(*disk, kept.origin, plan, from, survey),
            Onto::NewFile(path) => new_file(path, plan, from, survey),
        }
    }
}

fn existing_disk(
    disk: Disk,
    origin: Origin,
    plan: &mut Plan,
    from: &From<'_>,
    survey: &mut Survey<'_>,
) {
    let title = disk.title();
    let (has, needs) = (disk.geometry.size_bytes, from.geometry.size_bytes);
    if from
        .disk
        .is_some_and(|source| source.identity.same_device(&disk.identity))
    {
        survey.refuse(Refusal::DestinationIsSource {
            disk: title.clone(),
        });
    }
    if let (Some(file), Some(source)) = (&disk.identity.file, from.disk)
        && survey.lies_on(file, source)
    {
        survey.refuse(Refusal::OnSource {
            disk: source.title(),
            place: title.clone(),
        });
    }
    if has < needs {
        survey.refuse(Refusal::TooSmall {
            disk: title.clone(),
            has_bytes: has,
            needs_bytes: needs,
        });
    } else {
        table(&disk, plan, from, survey);
    }
    // What an earlier run of this very job made needs no second consent.
    if origin != Origin::ResumedOwn {
        plan.word = Some(disk.identity.word());
        plan.lines.extend(show::disk(
            "destination, everything on it will be lost",
            &disk,
        ));
    } else {
        plan.lines
            .push(format!("destination: {title}, which an earlier run made"));
    }
    if has > needs && plan.grows.is_none() {
        plan.lines
            .push(format!("{} behind the copy stay unused", Size(has - needs)));
    }
    plan.destination = Some(disk);
}

/// The table as it has to stand there.
fn table(disk: &Disk, plan: &mut Plan, from: &From<'_>, survey: &mut Survey<'_>) {
    // A regular file has whatever sectors its table counts in.
    let counted = from
        .table
        .map_or(from.geometry.logical_sector, |table| table.sector_size);
    if disk.transport != Transport::File && counted != disk.geometry.logical_sector {
        survey.refuse(Refusal::SectorSizes {
            source: from.title.clone(),
            source_bytes: counted,
            destination: disk.title(),
            destination_bytes: disk.geometry.logical_sector,
        });
        return;
    }
    let grow = plan.request.options.growth == Growth::LastPartition;
    let Some(table) = from.table.filter(|table| table.trusted) else {
        if grow {
            survey.refuse(Refusal::CannotGrow {
                disk: disk.title(),
                why: "the source has no partition table that can be trusted".into(),
            });
        }
        return;
    };
    if grow {
        return grown(disk, table, plan, from, survey);
    }
    match edit::moved_to(from.bytes, table, disk.geometry) {
        Ok(patches) => plan.patches = patches,
        Err(error) => survey.warnings.push(format!(
            "the partition table cannot be fitted to {} and stays as it is: {error}",
            disk.title()
        )),
    }
}

fn grown(disk: &Disk, table: &Table, plan: &mut Plan, from: &From<'_>, survey: &mut Survey<'_>) {
    let why = match edit::grown(from.bytes, table, disk.geometry) {
        Ok(Some(grown)) => {
            plan.lines.push(format!(
                "partition {} grows from {} to {}",
                grown.number,
                Size(grown.from.len()),
                Size(grown.to.len())
            ));
            plan.grows = Some(grown.number);
            plan.patches = grown.patches;
            return;
        }
        Ok(None) => "there is no room behind it, or its table cannot say so".into(),
        Err(error) => error.to_string(),
    };
    survey.refuse(Refusal::CannotGrow {
        disk: disk.title(),
        why,
    });
}

fn new_file(path: PathBuf, plan: &mut Plan, from: &From<'_>, survey: &mut Survey<'_>) {
    let size = from.geometry.size_bytes;
    let parent = path.parent().unwrap_or(Path::new("/"));
    match survey
        .host
        .open_place(&Place::Path(parent.to_owned()), None)
    {
        Ok(place) => {
            if let (Some(on), Some(source)) = (&place.disk, from.disk)
                && on.same_device(&source.identity)
            {
                survey.refuse(Refusal::OnSource {
                    disk: source.title(),
                    place: path.display().to_string(),
                });
            }
            if let Some(free) = place.free_bytes.filter(|free| *free < plan.used_bytes) {
                survey.refuse(Refusal::NoRoom {
                    store: parent.display().to_string(),
                    free_bytes: free,
                    needs_bytes: plan.used_bytes,
                });
            }
        }
        Err(error) => survey.refuse(Refusal::Other { text: error.0 }),
    }
    if plan.request.options.growth == Growth::LastPartition {
        survey.refuse(Refusal::CannotGrow {
            disk: path.display().to_string(),
            why: "a new file is made as large as the source".into(),
        });
    }
    plan.lines.push(format!(
        "destination: {}, a new file of {}",
        path.display(),
        Size(size)
    ));
    plan.new_file = Some(NewFile {
        path,
        size_bytes: size,
    });
}
