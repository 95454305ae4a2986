//! `rescue info`: what an image tells of itself.

use std::fmt::{self, Write};

use disk::size::Size;
use engine::host::Host;
use engine::request::Place;
use image::manifest::{DiskStory, Manifest, RegionStory, VolumeStory};
use image::reader::Reader;

use crate::words::Output;
use crate::{Exit, Streams};

pub fn run(image: &Place, output: &Output, streams: &mut Streams<'_>) -> Exit {
    let host = super::host();
    let place = match host.open_place(image, None) {
        Ok(place) => place,
        Err(error) => return super::end(Exit::Refused, &error.to_string(), streams),
    };
    let keys = place.keys_of(&place.name).ok().flatten();
    let sealed = keys.map(|keys| {
        format!(
            "sealed     yes, with {}; 'rescue key list' shows them\n",
            match keys.slots.len() {
                1 => "1 key".to_owned(),
                n => format!("{n} keys"),
            }
        )
    });
    let reader = match Reader::open(place.store.as_ref(), &place.name) {
        Ok(reader) => reader,
        Err(error) => {
            // What everybody can see; the sentence says what is needed for more.
            let _ = write!(streams.out, "{}", sealed.unwrap_or_default());
            return super::end(Exit::Refused, &error.to_string(), streams);
        }
    };
    let Some(manifest) = reader.manifest() else {
        let sentence = format!(
            "{image} has lost its manifest; `rescue check {image}` says what is left, and restore still works"
        );
        return super::end(Exit::Damage, &sentence, streams);
    };
    if output.json {
        return super::json(manifest, Exit::Done, streams);
    }
    let percent = reader.parity_percent();
    let parity =
        percent.map(|of| format!("parity     {of} %; 'rescue repair' makes damage good\n"));
    let parity = parity.unwrap_or_default();
    let mut told = manifest.clone();
    // No zstd unpacks what is sealed.
    told.in_disk_order &= sealed.is_none();
    let sealed = sealed.unwrap_or_default();
    match write!(streams.out, "{}{parity}{sealed}", Story(&told)) {
        Ok(()) => Exit::Done,
        Err(error) => super::end(
            Exit::Fault,
            &format!("standard output could not be written: {error}"),
            streams,
        ),
    }
}

/// The manifest as a person reads it.
struct Story<'a>(&'a Manifest);

impl fmt::Display for Story<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Story(manifest) = self;
        disk(f, &manifest.disk)?;
        if let Some(parent) = &manifest.parent {
            writeln!(
                f,
                "parent     {}.img.zst, without which it cannot be read",
                parent.name
            )?;
        }
        if let Some(table) = &manifest.table {
            writeln!(
                f,
                "table      {}, {}",
                table.scheme.to_uppercase(),
                table.id
            )?;
        }
        manifest
            .regions
            .iter()
            .try_for_each(|r| f.write_str(&region(r)))?;
        let coverage = if manifest.exact {
            "every sector"
        } else {
            "what filesystems use"
        };
        writeln!(f, "kept       {coverage}: {}", Size(manifest.used_bytes))?;
        for left in &manifest.left_out {
            let files = match left.files {
                0 => String::new(),
                files => format!(" of {files} files"),
            };
            let (what, bytes, why) = (&left.what, Size(left.bytes), &left.why);
            writeln!(f, "left out   {what}, {bytes}{files}: {why}")?;
        }
        if manifest.unreadable.count > 0 {
            writeln!(
                f,
                "unreadable {} in {} places",
                Size(manifest.unreadable.bytes),
                manifest.unreadable.count
            )?;
        }
        made(f, manifest)?;
        manifest
            .layout_notes
            .iter()
            .chain(&manifest.warnings)
            .try_for_each(|w| writeln!(f, "warning    {w}"))
    }
}

fn disk(f: &mut fmt::Formatter<'_>, disk: &DiskStory) -> fmt::Result {
    let known = [&disk.vendor, &disk.model]
        .into_iter()
        .flatten()
        .cloned()
        .collect::<Vec<_>>()
        .join(" ");
    let name = if known.is_empty() {
        disk.path.clone().unwrap_or_default()
    } else {
        known
    };
    write!(f, "disk       {name}, {}", Size(disk.size_bytes))?;
    row(f, ", serial ", &disk.serial)?;
    row(f, ", WWN ", &disk.wwn)?;
    row(f, ", firmware ", &disk.firmware)?;
    writeln!(
        f,
        ", sectors of {}/{} bytes",
        disk.logical_sector, disk.physical_sector
    )?;
    for system in &disk.systems {
        writeln!(f, "system     {system}")?;
    }
    Ok(())
}

fn made(f: &mut fmt::Formatter<'_>, manifest: &Manifest) -> fmt::Result {
    let order = if manifest.in_disk_order {
        "; zstd -dc gives the raw disk"
    } else {
        ""
    };
    writeln!(
        f,
        "format     level {}, chunks of {}{order}",
        manifest.level,
        Size(manifest.chunk_size.into())
    )?;
    let (started, ended) = (manifest.started.as_deref(), manifest.ended.as_deref());
    writeln!(
        f,
        "made       {} to {} by {}",
        started.unwrap_or("?"),
        ended.unwrap_or("?"),
        manifest.program
    )?;
    if manifest.resumed > 0 {
        writeln!(f, "           gone on with {} times", manifest.resumed)?;
    }
    if let Some(note) = &manifest.note {
        writeln!(f, "note       {note}")?;
    }
    Ok(())
}

fn row(f: &mut fmt::Formatter<'_>, words: &str, value: &Option<String>) -> fmt::Result {
    value
        .as_ref()
        .map_or(Ok(()), |value| write!(f, "{words}{value}"))
}

fn region(region: &RegionStory) -> String {
    let mut text = String::new();
    let number = match (&region.partition, region.owner.as_str()) {
        (Some(partition), _) => partition.number.to_string(),
        (None, "disk") => "-".into(),
        (None, _) => return text,
    };
    let _ = write!(
        text,
        "{number:>10} {:>9}  {:>9} kept",
        Size(region.len),
        Size(region.used_bytes)
    );
    if let Some(fs) = &region.filesystem {
        let _ = write!(text, "  {}", fs.variant.as_ref().unwrap_or(&fs.kind));
        let _ = fs
            .label
            .as_ref()
            .map_or(Ok(()), |label| write!(text, " “{label}”"));
        let _ = fs
            .uuid
            .as_ref()
            .map_or(Ok(()), |uuid| write!(text, " {uuid}"));
        if fs.state != "clean" {
            let _ = write!(text, " ({})", fs.state);
        }
    }
    let name = region.partition.as_ref().and_then(|p| {
        p.name
            .clone()
            .filter(|n| !n.is_empty())
            .or(p.type_name.clone())
    });
    let _ = name.map_or(Ok(()), |name| write!(text, "  {name}"));
    let _ = writeln!(text);
    text.push_str(&volumes(&region.volumes, 1));
    text
}

/// A row for each volume of a layer, each level further in.
fn volumes(all: &[VolumeStory], level: usize) -> String {
    let mut text = String::new();
    for volume in all {
        let (size, indent) = (Size(volume.size_bytes), "  ".repeat(level));
        let _ = write!(text, "{:>10} {size:>9}{indent}{}", "", volume.name);
        if let Some(fs) = &volume.filesystem {
            let _ = write!(text, ": {}", fs.variant.as_ref().unwrap_or(&fs.kind));
        }
        let _ = writeln!(text);
        text.push_str(&volumes(&volume.volumes, level + 1));
    }
    text
}
