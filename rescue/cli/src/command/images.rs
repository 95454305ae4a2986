//! `rescue images`: what is in a store, as a tree of chains.

use std::fmt::Write;

use disk::size::Size;
use engine::host::Host;
use engine::request::Place;
use image::manifest::DiskStory;
use image::retain;
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
        .all(|one| health(one).is_none() || one.stage != Stage::Finished)
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

/// What is wrong with it, or that it is not finished.
fn health(one: &Shelved) -> Option<String> {
    let label = match &one.label {
        Ok(label) => label,
        Err(error) => return Some(error.to_string()),
    };
    match one.stage {
        Stage::Unfinished => Some("unfinished".to_owned()),
        Stage::Interim => Some("left by an interrupted merge; the same command goes on".to_owned()),
        Stage::Finished if one.orphan => {
            let parent = label.nearest.as_ref().map(|parent| parent.name.as_str());
            let parent = parent.unwrap_or("its parent");
            Some(format!(
                "cannot be read: {parent}, which it needs, is not there"
            ))
        }
        Stage::Finished => label.notes.first().cloned(),
    }
}

/// Each disk with its images, children below their parents.
fn tree(all: &[Shelved]) -> String {
    let disk_of = |one: &Shelved| match &one.label {
        Ok(label) => retain::disk_of(label),
        Err(_) => String::new(),
    };
    let mut roots: Vec<usize> = (0..all.len())
        .filter(|nth| lineage_of(all, *nth).is_empty())
        .collect();
    roots.sort_by_key(|nth| (disk_of(&all[*nth]), made(&all[*nth]).to_owned()));
    let mut text = String::new();
    let mut disk = None;
    for root in roots {
        let of = disk_of(&all[root]);
        if disk.as_ref() != Some(&of) {
            let heading = all[root].label.as_ref().map(|label| machine(&label.disk));
            let _ = writeln!(
                text,
                "{}",
                heading.unwrap_or_else(|_| "not to be read".into())
            );
            disk = Some(of);
        }
        branch(all, root, 1, &mut text);
    }
    text
}

fn branch(all: &[Shelved], nth: usize, depth: usize, text: &mut String) {
    let one = &all[nth];
    let kind = match one.parent {
        Some(_) => "child",
        None if one.orphan => "orphan",
        None => "full",
    };
    let name = format!("{}{}", "  ".repeat(depth), one.name);
    let _ = write!(
        text,
        "{name:<32} {kind:<6} {:>9}  {}",
        Size(one.file_bytes).to_string(),
        made(one)
    );
    if let Some(health) = health(one) {
        let _ = write!(text, "  {health}");
    }
    if let Some(note) = one
        .label
        .as_ref()
        .ok()
        .and_then(|label| label.note.as_ref())
    {
        let _ = write!(text, "  “{note}”");
    }
    text.push('\n');
    let mut children: Vec<usize> = (0..all.len())
        .filter(|child| all[*child].parent == Some(nth) && *child != nth)
        .collect();
    children.sort_by_key(|child| made(&all[*child]).to_owned());
    // A crafted store may go in a circle; a chain has an end.
    if depth <= 17 {
        children
            .into_iter()
            .for_each(|child| branch(all, child, depth + 1, text));
    }
}

fn made(one: &Shelved) -> &str {
    let made = one.label.as_ref().ok().and_then(retain::made);
    made.unwrap_or("")
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
            made: label.and_then(retain::made),
            disk: label.map(|label| &label.disk),
            note: label.and_then(|label| label.note.as_deref()),
            id: label.map(|label| label.id.to_string()),
            whole: one.is_whole(),
            health: health(one),
        }
    }
}
