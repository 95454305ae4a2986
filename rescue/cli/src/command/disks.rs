//! `rescue disks`: what is in this machine, and what is on it.

use std::fmt::Write;

use disk::fs::{Filesystem, State};
use disk::layout::{Content, Owner, Region};
use disk::size::Size;
use engine::host::{Disk, Host};
use engine::request::DiskName;

use crate::words::Output;
use crate::{Exit, Streams};

pub fn run(files: &[DiskName], output: &Output, streams: &mut Streams<'_>) -> Exit {
    let host = super::host();
    let disks = if files.is_empty() {
        host.disks()
            .map_err(|error| (Exit::Fault, error.to_string()))
    } else {
        files
            .iter()
            .map(|name| super::one_disk(name).map(|(disk, _)| disk))
            .collect()
    };
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
        Content::Filesystem(filesystem) => {
            let used = Size(region.used().total_bytes()).to_string();
            format!(
                "    {number:>3}  {size:>9}  {used:>9} used  {}  {name}\n",
                described(filesystem)
            )
        }
    })
}

fn described(filesystem: &Filesystem) -> String {
    let mut text = filesystem
        .variant
        .clone()
        .unwrap_or_else(|| filesystem.kind.clone());
    if let Some(label) = &filesystem.label {
        let _ = write!(text, " “{label}”");
    }
    if let Some(uuid) = &filesystem.uuid {
        let _ = write!(text, " {uuid}");
    }
    if filesystem.state != State::Clean {
        let _ = write!(text, " ({})", filesystem.state);
    }
    text
}
