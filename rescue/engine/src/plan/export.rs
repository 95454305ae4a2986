//! Planning to write a disk or an image as an image of another program.

use std::path::Path;

use disk::geometry::Geometry;
use disk::size::Size;

use super::find::{Survey, used};
use super::refusal::Refusal;
use super::{NewFile, Plan, show};
use crate::host::Disk;
use crate::new_file::unfinished;
use crate::permit::Target;
use crate::request::{Format, Origin, Place, Request};

pub fn plan(
    request: &Request,
    from: &Origin,
    file: &Path,
    format: Format,
    survey: &mut Survey<'_>,
) -> Option<Plan> {
    let mut plan = Plan::of(request);
    let geometry = source(from, &mut plan, survey);
    let path = survey.host.full_path(file);
    is_new(&path, survey);
    let geometry = geometry?;
    if let Some(text) = format.0.refuses(geometry) {
        survey.refuse(Refusal::Other { text });
    }
    if geometry.logical_sector != 512 && format.0 != foreign::write::Kind::Vhdx {
        survey.warnings.push(format!(
            "the disk counts in sectors of {} bytes, which a {format} image does not tell: who opens it must be told",
            geometry.logical_sector
        ));
    }
    room(&path, &plan, survey);
    plan.lines.insert(
        0,
        format!(
            "export {} of {} as {format}",
            Size(plan.used_bytes),
            Size(geometry.size_bytes)
        ),
    );
    plan.lines
        .push(format!("destination: {}, a new file", path.display()));
    plan.targets = vec![Target::NewFile {
        path: path.clone(),
        size_bytes: geometry.size_bytes,
    }];
    plan.new_file = Some(NewFile {
        path,
        size_bytes: geometry.size_bytes,
    });
    Some(plan)
}

fn source(from: &Origin, plan: &mut Plan, survey: &mut Survey<'_>) -> Option<Geometry> {
    match from {
        Origin::Image(place) => {
            let opened = survey.image(place)?;
            plan.wanting(opened.wanted.clone());
            if let Some(manifest) = opened.reader.manifest() {
                plan.used_bytes = plan.used_bytes.min(manifest.used_bytes);
            }
            plan.lines.extend(opened.lines());
            plan.image = Some(opened.facts);
            Some(opened.reader.head().geometry)
        }
        Origin::Disk(name) => {
            let liveness = plan.request.options.liveness;
            let (disk, _) = survey.at_rest(name, liveness)?;
            survey.tell_content(&disk);
            plan.wanting(used(&disk, plan.request.options.coverage));
            plan.lines.extend(show::disk("source", &disk));
            let geometry = disk.geometry;
            plan.source = Some(*disk);
            Some(geometry)
        }
    }
}

/// What is there is never written over.
fn is_new(path: &Path, survey: &mut Survey<'_>) {
    for path in [path, &unfinished(path)] {
        if path.symlink_metadata().is_ok() {
            survey.refuse(Refusal::Other {
                text: format!(
                    "{} is there already; remove it or name another file",
                    path.display()
                ),
            });
        }
    }
}

fn room(path: &Path, plan: &Plan, survey: &mut Survey<'_>) {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let place = match survey
        .host
        .open_place(&Place::Path(parent.to_owned()), None)
    {
        Ok(place) if place.name.is_empty() => place,
        Ok(_) => {
            return survey.refuse(Refusal::Other {
                text: format!(
                    "there is no directory {}; make it first or name another file",
                    parent.display()
                ),
            });
        }
        Err(error) => return survey.refuse(Refusal::Other { text: error.0 }),
    };
    let on_source = |source: &&Disk| {
        let on = place.disk.as_ref();
        on.is_some_and(|on| on.same_device(&source.identity))
    };
    if let Some(source) = plan.source.as_ref().filter(on_source) {
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
