//! `rescue images`: what is in a store, as a tree of chains.

use std::fmt::Write;

use disk::size::Size;
use engine::host::Host;
use engine::request::Place;
use image::manifest::DiskStory;
use image::shelf::{self, Shelved, Stage, lineage_of};
use serde::Serialize;

use crate::words::Output;
use crate::{Exit, Streams};

pub fn run(store: &Place, output: &Output, streams: &mut Streams<'_>) -> Exit {
    let place = match super::host().open_place(store, None) {
        Ok(place) if place.name.is_empty() => place,
        Ok(place) => {
            let sentence = format!(
                "{}/{} is no directory; name the store that the images are in",
                place.store.describe(),
                place.name
            );
            return super::end(Exit::Refused, &sentence, streams);
        }
        Err(error) => return super::end(Exit::Refused, &error.to_string(), streams),
    };
    let all = match shelf::list(&*place.store) {
        Ok(all) => all,
        Err(error) => return super::end(Exit::Fault, &error.to_string(), streams),
    };
    let exit = match all
        .iter()
        .all(|one| one.trouble().is_none() || one.stage != Stage::Finished)
    {
        true => Exit::Done,
        false => Exit::Damage,
    };
    if output.json {
        let rows: Vec<Row<'_>> = all.iter().map(|one| Row::of(one, &all)).collect();
        return super::json(&rows, exit, streams);
    }
    let text = match all.is_empty() {
        true => format!("no image is in {}\n", place.store.describe()),
        false => tree(&all),
    };
    match streams.out.write_all(text.as_bytes()) {
        Ok(()) => exit,
        Err(error) => super::end(
            Exit::Fault,
            &format!("standard output could not be written: {error}"),
            streams,
        ),
    }
}

/// Each disk with its images, children below their parents.
fn tree(all: &[Shelved]) -> String {
    let mut text = String::new();
    for placed in shelf::ordered(all) {
        let one = &all[placed.nth];
        if placed.is_first {
            let heading = one.label.as_ref().map(|label| machine(&label.disk));
            let heading = heading.unwrap_or_else(|_| "of an unknown disk".into());
            let _ = writeln!(text, "{heading}");
        }
        text.push_str(&line(one, placed.depth));
    }
    text
}

fn line(one: &Shelved, depth: usize) -> String {
    let kind = match one.parent {
        Some(_) => "child",
        None if one.orphan => "orphan",
        None if one.is_locked() => "sealed",
        None => "full",
    };
    let size = match one.file_bytes {
        0 => "-".to_owned(),
        bytes => Size(bytes).to_string(),
    };
    let name = format!("{}{}", "  ".repeat(depth + 1), one.name);
    let mut text = format!(
        "{name:<32} {kind:<6} {size:>9}  {}",
        one.made().unwrap_or_default()
    );
    if let Some(trouble) = one.trouble() {
        let _ = write!(text, "  {trouble}");
    }
    let label = one.label.as_ref().ok();
    if let Some(note) = label.and_then(|label| label.note.as_ref()) {
        let _ = write!(text, "  “{note}”");
    }
    text.push('\n');
    text
}

fn machine(disk: &DiskStory) -> String {
    let known = [&disk.vendor, &disk.model].into_iter().flatten();
    let mut text = known.cloned().collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        text = disk.path.clone().unwrap_or_else(|| "a disk".to_owned());
    }
    if let Some(serial) = &disk.serial {
        let _ = write!(text, ", serial {serial}");
    }
    let _ = write!(text, ", {}", Size(disk.size_bytes));
    for system in &disk.systems {
        let _ = write!(text, ", {system}");
    }
    text
}

/// An image, for a program.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    stage: &'static str,
    parent: Option<&'a str>,
    ancestors: Vec<&'a str>,
    file_bytes: u64,
    used_bytes: Option<u64>,
    made: Option<&'a str>,
    disk: Option<&'a DiskStory>,
    note: Option<&'a str>,
    id: Option<String>,
    /// Can be read with what is in the store.
    whole: bool,
    health: Option<String>,
}

impl<'a> Row<'a> {
    fn of(one: &'a Shelved, all: &'a [Shelved]) -> Row<'a> {
        let at = all.iter().position(|other| std::ptr::eq(other, one));
        let label = one.label.as_ref().ok();
        let ancestors = lineage_of(all, at.unwrap_or(usize::MAX));
        let nearest = label.and_then(|label| label.nearest.as_ref());
        Row {
            name: &one.name,
            stage: match one.stage {
                Stage::Finished => "finished",
                Stage::Unfinished => "unfinished",
                Stage::Interim => "interim",
            },
            parent: nearest.map(|parent| parent.name.as_str()),
            ancestors: ancestors
                .iter()
                .map(|nth| all[*nth].name.as_str())
                .collect(),
            file_bytes: one.file_bytes,
            used_bytes: label.map(|label| label.used_bytes),
            made: one.made(),
            disk: label.map(|label| &label.disk),
            note: label.and_then(|label| label.note.as_deref()),
            id: label.map(|label| label.id.to_string()),
            whole: one.is_whole(),
            health: one.trouble(),
        }
    }
}
