//! Planning to give an image to other programs: as a network block device, or as files.

use std::path::Path;

use disk::size::Size;

use super::Plan;
use super::find::Survey;
use super::refusal::Refusal;
use crate::request::{Listen, Place, Request, Writes};

pub fn plan(
    request: &Request,
    image: &Place,
    listen: &Listen,
    writes: Writes,
    survey: &mut Survey<'_>,
) -> Option<Plan> {
    match listen {
        Listen::Unix(path) if path.symlink_metadata().is_ok() => survey.refuse(Refusal::Other {
            text: format!(
                "{} is there already; remove it or name another socket",
                path.display()
            ),
        }),
        Listen::Tcp(address) if !address.ip().is_loopback() => survey.warnings.push(format!(
            "everybody who reaches {address} can read the whole disk, and nothing of it is encrypted on its way"
        )),
        _ => {}
    }
    let opened = survey.image(image)?;
    let mut plan = Plan::of(request);
    plan.wanting(opened.wanted.clone());
    plan.lines.push(format!(
        "serve a disk of {} as a network block device at {listen}",
        Size(opened.facts.size_bytes)
    ));
    plan.lines.extend(opened.lines());
    plan.lines.push(match writes {
        Writes::Refused => "read-only: the image is not written".into(),
        Writes::ThrownAway => format!(
            "the image is not written: what clients write lies in {} and is thrown away at the end",
            std::env::temp_dir().display()
        ),
    });
    plan.image = Some(opened.facts);
    Some(plan)
}

pub fn mount(
    request: &Request,
    image: &Place,
    directory: &Path,
    survey: &mut Survey<'_>,
) -> Option<Plan> {
    if let Some(why) = unfit(directory) {
        survey.refuse(Refusal::Other {
            text: format!("{} {why}; name an empty directory", directory.display()),
        });
    }
    let opened = survey.image(image)?;
    let mut plan = Plan::of(request);
    plan.wanting(opened.wanted.clone());
    plan.lines.push(format!(
        "show a disk of {} and its partitions as files in {}",
        Size(opened.facts.size_bytes),
        directory.display()
    ));
    plan.lines.extend(opened.lines());
    plan.lines
        .push("read-only: the image is not written".into());
    plan.image = Some(opened.facts);
    Some(plan)
}

/// What is mounted over is not seen any more: only an empty directory loses nothing.
fn unfit(directory: &Path) -> Option<&'static str> {
    match directory.read_dir() {
        Ok(mut entries) => entries.next().map(|_| "is not empty"),
        Err(_) if directory.symlink_metadata().is_ok() => Some("is no directory"),
        Err(_) => Some("is not there"),
    }
}
