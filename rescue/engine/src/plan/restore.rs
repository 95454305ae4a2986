//! Planning a restore.

use disk::size::Size;
use disk::table;

use super::Plan;
use super::find::Survey;
use super::onto::{From, Onto};
use super::opened::Opened;
use super::refusal::Refusal;
use crate::mapfile::Subject;
use crate::request::{DiskName, Place, Request};

pub fn plan(
    request: &Request,
    image: &Place,
    destination: &DiskName,
    survey: &mut Survey<'_>,
) -> Option<Plan> {
    let opened = survey.image(image);
    let onto = survey.onto(destination);
    let (opened, onto) = (opened?, onto?);
    let mut plan = Plan::of(request);
    plan.wanting(opened.wanted.clone());
    // Not all of a chunk that holds something is in use.
    if let Some(manifest) = opened.reader.manifest() {
        plan.used_bytes = plan.used_bytes.min(manifest.used_bytes);
    }
    holds_image(&opened, image, &onto, survey);
    let reader = &opened.reader;
    let table = table::read(reader).ok().flatten();
    let from = From {
        title: opened.facts.title.clone(),
        subject: Subject::Image(opened.facts.id.clone()),
        geometry: reader.head().geometry,
        table: table.as_ref(),
        bytes: reader,
        disk: None,
    };
    plan.lines.push(format!(
        "restore {} of {}",
        Size(plan.used_bytes),
        Size(from.geometry.size_bytes)
    ));
    plan.lines.extend(opened.lines());
    onto.complete(&mut plan, &from, survey);
    plan.image = Some(opened.facts);
    Some(plan)
}

/// The image may lie on the disk that it would be written over, or be the very file.
fn holds_image(opened: &Opened, image: &Place, onto: &Onto, survey: &mut Survey<'_>) {
    let Onto::Existing(disk) = onto else { return };
    let on_disk = opened
        .disk
        .as_ref()
        .is_some_and(|on| on.same_device(&disk.identity));
    let itself = match image {
        Place::Path(path) => disk.identity.file == Some(survey.host.full_path(path)),
        _ => false,
    };
    if on_disk || itself {
        // It is mounted because the image is read from it: nobody needs to release it.
        let title = disk.title();
        survey
            .refusals
            .retain(|other| !matches!(other, Refusal::InUse { disk, .. } if *disk == title));
        survey.refuse(Refusal::HoldsImage {
            disk: disk.title(),
            image: opened.facts.title.clone(),
        });
    }
}
