//! Planning a clone.

use disk::size::Size;

use super::find::{Survey, used};
use super::onto::From;
use super::{Plan, show};
use crate::mapfile::Subject;
use crate::request::{Coverage, DiskName, Request};

pub fn plan(
    request: &Request,
    source: &DiskName,
    destination: &DiskName,
    survey: &mut Survey<'_>,
) -> Option<Plan> {
    let source = survey.at_rest(source, request.options.liveness);
    let onto = survey.onto(destination);
    let ((source, opened), onto) = (source?, onto?);
    survey.tell_content(&source);
    let mut plan = Plan::of(request);
    plan.wanting(used(&source, request.options.coverage));
    let from = From {
        title: source.title(),
        subject: Subject::Disk(source.identity.clone()),
        geometry: source.geometry,
        table: source
            .layout
            .as_ref()
            .ok()
            .and_then(|layout| layout.table.as_ref()),
        bytes: &*opened,
        disk: Some(&source),
    };
    plan.lines.push(match request.options.coverage {
        Coverage::Used => format!(
            "clone what is in use: {} of {}",
            Size(plan.used_bytes),
            Size(source.geometry.size_bytes)
        ),
        Coverage::Exact => format!("clone every sector: {}", Size(plan.used_bytes)),
    });
    plan.lines.extend(show::disk("source", &source));
    onto.complete(&mut plan, &from, survey);
    plan.source = Some(*source);
    Some(plan)
}
