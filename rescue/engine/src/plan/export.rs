//! Planning to write a disk or an image as an image of another program.

use std::path::Path;

use disk::geometry::Geometry;
use disk::layout::Layout;
use disk::size::Size;
use disk::source::BlockSource;
use foreign::write::{Kind, clonezilla};
use image::head::Lineage;

use super::find::{Survey, used};
use super::imaging::estimate;
use super::opened::Opened;
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
    let source = source(from, format, &mut plan, survey);
    let path = survey.host.full_path(file);
    is_new(&path, survey);
    let (geometry, needs_bytes) = source?;
    if let Format::File(kind) = format {
        if let Some(text) = kind.refuses(geometry) {
            survey.refuse(Refusal::Other { text });
        }
        if geometry.logical_sector != 512 && kind != Kind::Vhdx {
            survey.warnings.push(format!(
                "the disk counts in sectors of {} bytes, which a {format} image does not tell: who opens it must be told",
                geometry.logical_sector
            ));
        }
    }
    let needs_bytes = match format {
        Format::Bmap => block_map_bytes(&plan),
        Format::File(_) | Format::Clonezilla => needs_bytes,
    };
    room(&path, needs_bytes, &plan, survey);
    plan.lines.insert(
        0,
        format!(
            "export {} of {} as {format}",
            Size(plan.used_bytes),
            Size(geometry.size_bytes)
        ),
    );
    plan.lines.push(match format {
        Format::File(_) | Format::Bmap => format!("destination: {}, a new file", path.display()),
        Format::Clonezilla => format!(
            "destination: {}, a new directory, about {}",
            path.display(),
            Size(needs_bytes)
        ),
    });
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

/// How large the disk is, and what the export will take.
fn source(
    from: &Origin,
    format: Format,
    plan: &mut Plan,
    survey: &mut Survey<'_>,
) -> Option<(Geometry, u64)> {
    match from {
        Origin::Image(place) => {
            let opened = survey.image(place)?;
            plan.wanting(opened.wanted.clone());
            if let Some(manifest) = opened.reader.manifest() {
                plan.used_bytes = plan.used_bytes.min(manifest.used_bytes);
            }
            plan.lines.extend(opened.lines());
            let head = opened.reader.head();
            let geometry = head.geometry;
            if format == Format::Bmap {
                survey
                    .warnings
                    .extend(unreadable_by_bmaptool(place, &opened));
            }
            let mut needs = plan.used_bytes;
            if format == Format::Clonezilla {
                let layout = survey.layout(&opened.reader);
                let layout = layout.map_err(|error| error.to_string());
                needs = directory(&opened.reader, &layout, plan, survey);
            }
            plan.image = Some(opened.facts);
            Some((geometry, needs))
        }
        Origin::Disk(name) => {
            let liveness = plan.request.options.liveness;
            let (disk, source) = survey.at_rest(name, liveness)?;
            survey.tell_content(&disk);
            plan.wanting(used(&disk, plan.request.options.coverage));
            plan.lines.extend(show::disk("source", &disk));
            let mut needs = plan.used_bytes;
            if format == Format::Clonezilla {
                needs = directory(&*source, &disk.layout, plan, survey);
            }
            let geometry = disk.geometry;
            plan.source = Some(*disk);
            Some((geometry, needs))
        }
    }
}

/// What keeps bmaptool from unpacking the image itself, and the way out.
fn unreadable_by_bmaptool(place: &Place, opened: &Opened) -> Option<String> {
    if opened.is_sealed {
        return Some(format!(
            "{place} is sealed: bmaptool cannot read it; with this map it reads the raw disk: rescue export {place} FILE \
             --format raw"
        ));
    }
    (opened.reader.head().lineage == Lineage::Child).then(|| {
        format!(
            "{place} leaves to its parents what they hold: bmaptool cannot read it; make it a full image first: \
             rescue merge {place}"
        )
    })
}

/// A line for each range, and what stands around them.
fn block_map_bytes(plan: &Plan) -> u64 {
    1024 + 160 * plan.used.count() as u64
}

/// Takes into the plan what a directory of Clonezilla holds; about how much that will be.
fn directory(
    source: &dyn BlockSource,
    layout: &Result<Layout, String>,
    plan: &mut Plan,
    survey: &mut Survey<'_>,
) -> u64 {
    let geometry = source.geometry();
    let refused = match layout {
        Ok(layout) => clonezilla::refuses(geometry, layout),
        Err(text) => Some(format!(
            "what is on the disk cannot be told ({text}): a Clonezilla directory holds its partitions; choose another \
             format, raw for example"
        )),
    };
    if let Some(text) = refused {
        survey.refuse(Refusal::Other { text });
        return 0;
    }
    let Ok(layout) = layout else { return 0 };
    let left = clonezilla::left_out(layout);
    survey.warnings.extend(left.map(str::to_owned));
    let held = plan.used.intersection(&clonezilla::holds(geometry, layout));
    plan.used_bytes = held.total_bytes().min(plan.used_bytes);
    plan.used = held;
    estimate(source, &plan.used, plan.request.options.level)
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

fn room(path: &Path, needs_bytes: u64, plan: &Plan, survey: &mut Survey<'_>) {
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
    if let Some(free) = place.free_bytes.filter(|free| *free < needs_bytes) {
        survey.refuse(Refusal::NoRoom {
            store: parent.display().to_string(),
            free_bytes: free,
            needs_bytes,
        });
    }
}
