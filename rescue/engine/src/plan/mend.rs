//! Planning to make a damaged image whole: what is wrong with its index is looked at, nothing is written.

use disk::size::Size;
use image::check::{self, Findings};
use image::file_name;
use image::reader::Reader;

use super::find::Survey;
use super::refusal::Refusal;
use super::{Plan, StoreFacts};
use crate::permit::Target;
use crate::request::{Place, Remedy, Request};

/// So many findings are shown.
const SHOWN: usize = 12;

pub fn plan(
    request: &Request,
    image: &Place,
    with: Remedy,
    survey: &mut Survey<'_>,
) -> Option<Plan> {
    let place = match survey.host.open_place(image, None) {
        Ok(place) => place,
        Err(error) => return refused(survey, error.0),
    };
    let Some(name) = place.name.strip_suffix(".img.zst").map(str::to_owned) else {
        return refused(
            survey,
            format!("{image} is not the name of an image; write STORE/NAME.img.zst"),
        );
    };
    let read = || {
        let reader = Reader::open(&*place.store, &file_name(&name))?;
        let findings = check::index(&reader)?;
        Ok((reader.stored_bytes(), findings))
    };
    let (file_bytes, findings) = match read() {
        Ok(read) => read,
        Err(error) => {
            let error: image::error::ImageError = error;
            return refused(survey, error.to_string());
        }
    };
    let mut plan = Plan::of(request);
    plan.lines.push(match with {
        Remedy::Index => format!("make the index of {} again", file_name(&name)),
        Remedy::Parity => format!("make {} whole", file_name(&name)),
    });
    plan.lines.extend(lines(&findings));
    plan.lines.push(format!(
        "it is written beside the old one ({} of room), checked, and takes its name only if it gives more",
        Size(file_bytes)
    ));
    let free = place.free_bytes.or_else(|| place.store.free_bytes());
    if let Some(free_bytes) = free.filter(|free| *free < file_bytes) {
        survey.refuse(Refusal::NoRoom {
            store: place.store.describe(),
            free_bytes,
            needs_bytes: file_bytes,
        });
    }
    plan.targets = vec![Target::Store {
        disk: place.disk.clone(),
    }];
    plan.store = Some(StoreFacts {
        title: place.store.describe(),
        disk: place.disk,
        free_bytes: free,
        needed_bytes: file_bytes,
    });
    Some(plan)
}

fn lines(findings: &Findings) -> Vec<String> {
    let notes = &findings.notes;
    let shown = notes.iter().take(SHOWN).map(|note| format!("  {note}"));
    let mut lines: Vec<String> = shown.collect();
    let more = (notes.len().saturating_sub(SHOWN)) as u64 + findings.more_notes;
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    if notes.is_empty() {
        lines.push(
            "its index is whole; its chunks are read, and nothing is written if they are good"
                .to_owned(),
        );
    }
    lines
}

fn refused<T>(survey: &mut Survey<'_>, text: String) -> Option<T> {
    survey.refuse(Refusal::Other { text });
    None
}
