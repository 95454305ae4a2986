//! `rescue map`: the used map of a disk in GNU ddrescue's format.

use disk::layout::Layout;
use engine::host::Host;
use engine::map::Map;
use engine::mapfile;
use engine::request::DiskName;

use crate::{Exit, Streams};

pub fn run(source: &DiskName, streams: &mut Streams<'_>) -> Exit {
    let (disk, host) = match super::one_disk(source) {
        Ok(found) => found,
        Err((exit, sentence)) => return super::end(exit, &sentence, streams),
    };
    let layout = host
        .open_source(&disk.identity)
        .map_err(|error| error.to_string())
        .and_then(|source| {
            Layout::read(&source).map_err(|error| format!("{}: {error}", disk.path.display()))
        });
    let text = match layout {
        Ok(layout) => domain(&layout, source),
        Err(sentence) => return super::end(Exit::Fault, &sentence, streams),
    };
    match streams.out.write_all(text.as_bytes()) {
        Ok(()) => Exit::Done,
        Err(error) => super::end(
            Exit::Fault,
            &format!("standard output could not be written: {error}"),
            streams,
        ),
    }
}

/// Used bytes as finished, all others as not tried: what ddrescue calls a domain map.
fn domain(layout: &Layout, source: &DiskName) -> String {
    let mut map = Map::new(layout.geometry.size_bytes);
    map.finished = layout.used();
    mapfile::write(&map, None, &format!("rescue map {source}"))
}
