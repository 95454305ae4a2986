//! `rescue map`: the used map of a disk in GNU ddrescue's format.

use std::io::{BufWriter, Write};

use disk::layer::Keys;
use disk::layout::Layout;
use engine::map::Map;
use engine::mapfile;
use engine::request::DiskName;

use crate::{Exit, Streams};

pub fn run(source: &DiskName, keys: &Keys, streams: &mut Streams<'_>) -> Exit {
    let found = super::one_disk(source);
    let layout = found.and_then(|(disk, host)| match disk.layout {
        // It was read to find the disk, and without a key there is no more to see.
        Ok(layout) if keys.is_empty() => Ok(layout),
        _ => super::opened(&disk, &host, keys).map(|(_, layout)| layout),
    });
    let map = match layout {
        Ok(layout) => domain(&layout),
        Err((exit, sentence)) => return super::end(exit, &sentence, streams),
    };
    let mut out = BufWriter::new(&mut *streams.out);
    let written = mapfile::write_to(&mut out, &map, None, &format!("rescue map {source}"));
    let written = written.and_then(|()| out.flush());
    drop(out);
    match written {
        Ok(()) => Exit::Done,
        Err(error) => super::end(
            Exit::Fault,
            &format!("standard output could not be written: {error}"),
            streams,
        ),
    }
}

/// Used bytes as finished, all others as not tried: what ddrescue calls a domain map.
fn domain(layout: &Layout) -> Map {
    let mut map = Map::new(layout.geometry.size_bytes);
    map.finished = layout.used();
    map
}
