//! `rescue disks`: what is in this machine, and what is on it.

use std::fmt::Write;

use disk::fs::State;
use disk::layer::Keys;
use disk::layout::{Content, Layout, Owner, Region};
use disk::size::Size;
use disk::systems;
use engine::host::{Disk, Host};
use engine::request::DiskName;

use crate::words::Output;
use crate::{Exit, Streams};

pub fn run(files: &[DiskName], keys: &Keys, output: &Output, streams: &mut Streams<'_>) -> Exit {
    let host = super::host();
    let mut disks = if files.is_empty() {
        host.disks()
            .map_err(|error| (Exit::Fault, error.to_string()))
    } else {
        files
            .iter()
            .map(|name| super::one_disk(name).map(|(disk, _)| disk))
            .collect()
    };
    for disk in disks.iter_mut().flatten() {
        unlock(disk, &host, keys);
    }
    match disks {
        Ok(disks) if output.json => super::json(&disks, Exit::Done, streams),
        Ok(disks) => {
            let text: String = disks.iter().map(|disk| shown(disk) + "\n").collect();
            let text = if text.is_empty() {
                "no disk was found\n".into()
            } else {
                text
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
        Err((exit, sentence)) => super::end(exit, &sentence, streams),
    }
}

/// Looks into what is encrypted on it. What stays locked says why.
fn unlock(disk: &mut Disk, host: &dyn Host, keys: &Keys) {
    let is_encrypted = |layout: &Layout| layout.encrypted().next().is_some();
    if keys.is_empty() || !disk.layout.as_ref().is_ok_and(is_encrypted) {
        return;
    }
    let Ok(source) = host.open_source(&disk.identity) else {
        return;
    };
    if let Ok(layout) = Layout::read_with(&*source, keys) {
        disk.systems = systems::of_with(&*source, &layout, keys);
        disk.layout = Ok(layout);
    }
}

fn shown(disk: &Disk) -> String {
    let mut text = format!(
        "{}  {}  {}  {}",
        disk.path.display(),
        disk.identity,
        Size(disk.geometry.size_bytes),
        disk.transport
    );
    if disk.boot_medium {
        text.push_str("  (this is the boot medium)");
    }
    if disk.read_only {
        text.push_str("  (read-only)");
    }
    text.push('\n');
    for system in &disk.systems {
        let _ = writeln!(text, "    holds {system}");
    }
    if let Some(health) = &disk.health {
        let _ = writeln!(text, "    health: {health}");
    }
    for used in &disk.uses {
        let _ = writeln!(text, "    in use: {used}");
    }
    match &disk.layout {
        Err(why) => {
            let _ = writeln!(text, "    cannot be read: {why}");
        }
        Ok(layout) => {
            let table = layout
                .table
                .as_ref()
                .map_or("no partition table".to_owned(), |t| {
                    format!("{} partition table", t.scheme)
                });
            let sectors = layout.geometry;
            let _ = writeln!(
                text,
                "    {table}, sectors of {}/{} bytes, {} used",
                sectors.logical_sector,
                sectors.physical_sector,
                Size(layout.used().total_bytes())
            );
            for region in &layout.regions {
                text.push_str(&row(region).unwrap_or_default());
                let volumes = region.content().map(|content| volumes(content, 1));
                text.push_str(&volumes.unwrap_or_default());
            }
            let notes = layout
                .notes
                .iter()
                .chain(layout.table.iter().flat_map(|t| &t.notes));
            for note in notes {
                let _ = writeln!(text, "    note: {note}");
            }
        }
    }
    text
}

fn row(region: &Region) -> Option<String> {
    let (number, content, name) = match &region.owner {
        Owner::Table | Owner::Gap => return None,
        Owner::Disk(content) => ("-".to_owned(), content, None),
        Owner::Partition { partition, content } => {
            let name = partition
                .name
                .clone()
                .filter(|n| !n.is_empty())
                .or(partition.type_name.clone());
            (partition.number.to_string(), content, name)
        }
    };
    let size = Size(region.extent.len()).to_string();
    let name = name.unwrap_or_default();
    Some(match content {
        Content::Unknown(why) => format!("    {number:>3}  {size:>9}  {name}: {why}\n"),
        Content::Filesystem(_) | Content::Layer(_) => {
            let used = Size(region.used().total_bytes()).to_string();
            format!(
                "    {number:>3}  {size:>9}  {used:>9} used  {}  {name}\n",
                described(content)
            )
        }
    })
}

/// A row for each volume of a layer, each level further in.
fn volumes(content: &Content, level: usize) -> String {
    let Content::Layer(layer) = content else {
        return String::new();
    };
    let mut text = String::new();
    let indent = "  ".repeat(level);
    for volume in &layer.volumes {
        let size = Size(volume.size_bytes).to_string();
        let used = Size(volume.content.used(volume.size_bytes).total_bytes()).to_string();
        let _ = writeln!(
            text,
            "         {size:>9}  {used:>9} used  {indent}{}: {}",
            volume.name,
            described(&volume.content)
        );
        text.push_str(&volumes(&volume.content, level + 1));
    }
    text
}

fn described(content: &Content) -> String {
    let (kind, variant, label, uuid, state) = match content {
        Content::Unknown(why) => return why.clone(),
        Content::Filesystem(f) => (&f.kind, &f.variant, &f.label, &f.uuid, &f.state),
        Content::Layer(l) => (&l.kind, &l.variant, &l.label, &l.uuid, &l.state),
    };
    let mut text = variant.as_ref().unwrap_or(kind).clone();
    if let Some(label) = label {
        let _ = write!(text, " “{label}”");
    }
    if let Some(uuid) = uuid {
        let _ = write!(text, " {uuid}");
    }
    if *state != State::Clean {
        let _ = write!(text, " ({state})");
    }
    text
}
