//! The images of a place, looked at without writing.

use engine::host::Host;
use engine::request::Place;

use crate::screen::images::ImageRow;

/// Nobody chooses among more; a directory full of files must not fill memory.
const MOST: usize = 2000;

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
    let row = |name: String| {
        let file = open.store.open(&name);
        ImageRow {
            size_bytes: file.as_ref().ok().map(|f| f.len()),
            about: file.err().map(|e| e.to_string()).into_iter().collect(),
            name,
        }
    };
    Ok(names.into_iter().map(row).collect())
}
