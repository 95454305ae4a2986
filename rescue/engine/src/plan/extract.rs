//! Planning to copy single files out of an image or a disk.

use disk::fs::{Filesystem, State};
use disk::layout::{Content, Layout};
use disk::size::Size;
use disk::source::BlockSource;

use super::find::Survey;
use super::imaging::{directory, not_on_source};
use super::refusal::Refusal;
use super::{Plan, StoreFacts, show};
use crate::files::Files;
use crate::host::OpenPlace;
use crate::permit::Target;
use crate::request::{Origin, Place, Request};
use crate::unlock::Trouble;

pub fn plan(
    request: &Request,
    from: &Origin,
    paths: &[String],
    to: &Place,
    survey: &mut Survey<'_>,
) -> Option<Plan> {
    let mut plan = Plan::of(request);
    let place = directory(to, survey);
    let opened = opened(from, to, place.as_ref(), &mut plan, survey);
    let (place, (source, layout)) = (place?, opened?);
    let files = Files {
        source: &*source,
        layout: &layout,
        keys: &request.options.unlock.keys,
    };
    for path in paths {
        if let Err(text) = files.at(path, |_| ()) {
            survey.refuse(Refusal::Other {
                text: text.to_string(),
            });
        }
    }
    survey
        .warnings
        .extend(paths.iter().filter_map(|path| dirty(&layout, path)));
    survey.warnings.dedup();
    let title = place.store.describe();
    if place.directory.is_none() {
        survey.refuse(Refusal::Other {
            text: format!("{title} is no directory of this system; name one"),
        });
    }
    let what = match paths {
        [one] => format!("copy out {one}"),
        many => format!("copy out {} files or directories", many.len()),
    };
    plan.lines.insert(0, what);
    let free = place
        .free_bytes
        .map_or_else(String::new, |free| format!(", {} are free", Size(free)));
    plan.lines.push(format!("destination: {title}{free}"));
    let on = place.disk.as_ref().map(|disk| format!("  on {disk}"));
    plan.lines.extend(on);
    plan.targets = vec![Target::Store {
        disk: place.disk.clone(),
    }];
    plan.store = Some(StoreFacts {
        title,
        disk: place.disk,
        free_bytes: place.free_bytes,
        needed_bytes: 0,
    });
    Some(plan)
}

/// What a user should know of the filesystem that a path leads into.
fn dirty(layout: &Layout, path: &str) -> Option<String> {
    let first = path.split('/').find(|name| !matches!(*name, "" | "."))?;
    let number: u32 = first.parse().ok()?;
    let mut partitions = layout.partitions();
    let (_, content) = partitions.find(|(partition, _)| partition.number == number)?;
    match content {
        Content::Filesystem(Filesystem {
            state: State::Dirty(why),
            ..
        }) => Some(format!(
            "partition {number} was left dirty ({why}): its files are shown as far as that goes"
        )),
        _ => None,
    }
}

/// What is read, and its layout; the plan is told of it.
fn opened(
    from: &Origin,
    to: &Place,
    place: Option<&OpenPlace>,
    plan: &mut Plan,
    survey: &mut Survey<'_>,
) -> Option<(Box<dyn BlockSource>, Layout)> {
    match from {
        Origin::Image(image) => survey.image(image).and_then(|opened| {
            plan.lines.extend(opened.lines());
            plan.image = Some(opened.facts);
            let layout = survey.layout(&opened.reader);
            let layout = layout.map_err(|trouble| match trouble {
                Trouble::Read(error) => unreadable(from, &error.to_string(), survey),
                Trouble::Locked(why) => survey.refuse(Refusal::Locked {
                    disk: from.to_string(),
                    why,
                }),
            });
            Some((
                Box::new(opened.reader) as Box<dyn BlockSource>,
                layout.ok()?,
            ))
        }),
        Origin::Disk(name) => {
            let found = survey.at_rest(name, plan.request.options.liveness);
            found.and_then(|(disk, source)| {
                plan.lines.extend(show::disk("source", &disk));
                if let Some(place) = place {
                    not_on_source(place, to, &disk, survey);
                }
                let layout = disk.layout.clone();
                let layout = layout.map_err(|text| unreadable(from, &text, survey));
                plan.source = Some(*disk);
                Some((source, layout.ok()?))
            })
        }
    }
}

fn unreadable(from: &Origin, text: &str, survey: &mut Survey<'_>) {
    survey.refuse(Refusal::SourceUnreadable {
        disk: from.to_string(),
        text: text.into(),
    });
}
