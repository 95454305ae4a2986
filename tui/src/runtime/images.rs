//! The images of a place, looked at without writing.

use disk::size::Size;
use engine::host::Host;
use engine::request::Place;
use image::reader::Reader;
use image::store::Store;

use crate::screen::images::ImageRow;

/// Nobody chooses among more; a directory full of files must not fill memory.
const MOST: usize = 2000;
/// So many are opened to tell what they hold.
const OPENED: usize = 100;

/// In the order of their names, or the sentence why not.
pub fn list(host: &dyn Host, place: &Place) -> Result<Vec<ImageRow>, String> {
    let open = host.open_place(place, None).map_err(|e| e.to_string())?;
    if !open.name.is_empty() {
        return Err(format!(
            "{place} is no directory; name the directory the images are in"
        ));
    }
    let mut names = open.store.list().map_err(|e| e.to_string())?;
    names.retain(|name| name.ends_with(".img.zst"));
    names.sort();
    names.truncate(MOST);
    let row = |(n, name)| row(&*open.store, name, n < OPENED);
    Ok(names.into_iter().enumerate().map(row).collect())
}

fn row(store: &dyn Store, name: String, opened: bool) -> ImageRow {
    let (size_bytes, about) = match opened.then(|| Reader::open(store, &name)) {
        Some(Ok(image)) => (Some(image.stored_bytes()), about(&image)),
        Some(Err(error)) => (None, vec![error.to_string()]),
        None => (store.open(&name).ok().map(|file| file.len()), Vec::new()),
    };
    ImageRow {
        name,
        size_bytes,
        about,
    }
}

/// Of which disk, what was on it, when, and why somebody made it.
fn about(image: &Reader) -> Vec<String> {
    let mut lines = Vec::new();
    if !image.is_finished() {
        lines.push("unfinished: the job that makes it has not ended".into());
    }
    if let Some(manifest) = image.manifest() {
        let disk = &manifest.disk;
        if !disk.systems.is_empty() {
            lines.push(disk.systems.join(", "));
        }
        let mut words = vec![disk.model.clone().unwrap_or_else(|| "a disk".into())];
        words.extend(disk.serial.iter().map(|serial| format!("serial {serial}")));
        words.push(Size(image.head().geometry.size_bytes).to_string());
        lines.push(words.join(", "));
        lines.extend(manifest.started.iter().map(|time| format!("made {time}")));
        lines.extend(manifest.note.clone());
    } else {
        lines.push(format!(
            "of a disk of {}",
            Size(image.head().geometry.size_bytes)
        ));
    }
    lines.extend(image.notes().iter().cloned());
    lines
}
