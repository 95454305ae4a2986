//! The images of a place, looked at without writing.

use disk::size::Size;
use engine::host::Host;
use engine::request::Place;
use image::shelf::{self, Label, Shelved};
use image::store::Store;

use crate::screen::images::ImageRow;

/// Nobody chooses among more; a directory full of files must not fill memory.
const MOST: usize = 2000;
/// So many are opened to tell what they hold and which belong together.
const OPENED: usize = 100;
const ENDING: &str = ".img.zst";

/// Each disk with its images, children below their parents; or the sentence why not.
pub fn list(host: &dyn Host, place: &Place) -> Result<Vec<ImageRow>, String> {
    let open = host.open_place(place, None).map_err(|e| e.to_string())?;
    if !open.name.is_empty() {
        return Err(format!(
            "{place} is no directory; name the directory the images are in"
        ));
    }
    let mut names = open.store.list().map_err(|e| e.to_string())?;
    names.retain(|name| name.ends_with(ENDING));
    if names.len() > OPENED {
        names.sort();
        names.truncate(MOST);
        return Ok(names
            .into_iter()
            .map(|n| unopened(&*open.store, n))
            .collect());
    }
    let all = shelf::list(&*open.store).map_err(|e| e.to_string())?;
    let placed = shelf::ordered(&all).into_iter();
    let rows = placed.map(|at| row(&all, at.nth, at.depth));
    // Unfinished ones have other names: they are for the command that began them.
    Ok(rows.filter(|row| names.contains(&row.name)).collect())
}

fn unopened(store: &dyn Store, name: String) -> ImageRow {
    ImageRow {
        size_bytes: store.open(&name).ok().map(|file| file.len()),
        name,
        depth: 0,
        about: Vec::new(),
    }
}

fn row(all: &[Shelved], nth: usize, depth: usize) -> ImageRow {
    let one = &all[nth];
    let mut about: Vec<String> = one.trouble().into_iter().collect();
    if let Some(parent) = one.parent.and_then(|parent| all.get(parent)) {
        about.push(format!(
            "needs {}, and has what has changed since",
            parent.name
        ));
    }
    if let Ok(label) = &one.label {
        about.extend(told(label));
    }
    ImageRow {
        name: format!("{}{ENDING}", one.name),
        depth,
        size_bytes: Some(one.file_bytes),
        about,
    }
}

/// Of which disk, what was on it, when, and why somebody made it.
fn told(label: &Label) -> Vec<String> {
    let disk = &label.disk;
    let mut lines = Vec::new();
    if !disk.systems.is_empty() {
        lines.push(disk.systems.join(", "));
    }
    let mut words = vec![disk.model.clone().unwrap_or_else(|| "a disk".into())];
    words.extend(disk.serial.iter().map(|serial| format!("serial {serial}")));
    if disk.size_bytes > 0 {
        words.push(Size(disk.size_bytes).to_string());
    }
    lines.push(words.join(", "));
    lines.extend(label.started.iter().map(|time| format!("made {time}")));
    lines.extend(label.note.clone());
    lines.extend(label.notes.iter().skip(1).cloned());
    lines
}
