//! Planning a comparison, and the check of an image: neither writes anything.

use disk::extent::ExtentMap;
use disk::geometry::Geometry;
use disk::size::Size;
use disk::source::BlockSource;
use disk::table::{self, Table, edit};

use super::find::{Survey, used};
use super::refusal::Refusal;
use super::{Plan, show};
use crate::request::{Coverage, DiskName, Origin, Place, Request};

pub fn plan(
    request: &Request,
    against: &Origin,
    disk: &DiskName,
    survey: &mut Survey<'_>,
) -> Option<Plan> {
    let mut plan = Plan::of(request);
    let expected = match against {
        Origin::Image(place) => survey.image(place).map(|opened| {
            let table = table::read(&opened.reader).ok().flatten();
            let geometry = opened.reader.head().geometry;
            plan.lines.extend(opened.lines());
            plan.image = Some(opened.facts);
            (
                opened.wanted,
                geometry,
                table,
                Box::new(opened.reader) as Box<dyn BlockSource>,
            )
        }),
        Origin::Disk(name) => survey.source(name).map(|(disk, source)| {
            let wanted = used(&disk, Coverage::Used);
            let table = disk
                .layout
                .as_ref()
                .ok()
                .and_then(|layout| layout.table.clone());
            plan.lines.extend(show::disk("expected", &disk));
            let geometry = disk.geometry;
            plan.source = Some(*disk);
            (wanted, geometry, table, source)
        }),
    };
    let actual = survey.source(disk);
    let ((wanted, geometry, table, bytes), (disk, _)) = (expected?, actual?);
    if plan
        .source
        .as_ref()
        .is_some_and(|source| source.identity.same_device(&disk.identity))
    {
        survey.refuse(Refusal::DestinationIsSource { disk: disk.title() });
    }
    fits(&disk, geometry, survey);
    plan.wanting(wanted);
    plan.patches = patches(&*bytes, table.as_ref(), disk.geometry);
    plan.lines
        .insert(0, format!("compare {}", Size(plan.used_bytes)));
    plan.lines.extend(show::disk("compared", &disk));
    plan.destination = Some(*disk);
    Some(plan)
}

pub fn check(request: &Request, image: &Place, survey: &mut Survey<'_>) -> Option<Plan> {
    let opened = survey.image(image)?;
    let mut plan = Plan::of(request);
    plan.wanting(opened.wanted.clone());
    plan.lines.push(format!(
        "check {} of an image",
        Size(opened.facts.file_bytes)
    ));
    plan.lines.extend(opened.lines());
    plan.image = Some(opened.facts);
    Some(plan)
}

fn fits(disk: &crate::host::Disk, expected: Geometry, survey: &mut Survey<'_>) {
    let (has, needs) = (disk.geometry.size_bytes, expected.size_bytes);
    if has < needs {
        survey.refuse(Refusal::TooSmall {
            disk: disk.title(),
            has_bytes: has,
            needs_bytes: needs,
        });
    }
}

/// On a larger disk a clone and a restore move the table; that is no difference.
fn patches(bytes: &dyn BlockSource, table: Option<&Table>, disk: Geometry) -> Vec<edit::Patch> {
    let moved = table.map(|table| edit::moved_to(bytes, table, disk));
    moved.and_then(Result::ok).unwrap_or_default()
}

/// Patches and what is wanted beside them.
pub fn with_patches(used: &ExtentMap, patches: &[edit::Patch]) -> ExtentMap {
    let patched = patches.iter();
    let patched = patched.filter_map(|p| disk::extent::Extent::new(p.offset, p.bytes.len() as u64));
    used.union(&patched.collect())
}
