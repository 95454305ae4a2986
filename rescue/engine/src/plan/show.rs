//! What a person reads before consenting.

use disk::layout::{Content, Owner};
use disk::size::Size;
use disk::table::Partition;

use crate::host::Disk;

/// The disk, and indented below it what is on it.
pub fn disk(role: &str, disk: &Disk) -> Vec<String> {
    let size = Size(disk.geometry.size_bytes);
    let mut lines = vec![match disk.identity.file {
        Some(_) => format!("{role}: {}, a regular file of {size}", disk.path.display()),
        None => format!("{role}: {}, {}, {size}", disk.title(), disk.transport),
    }];
    lines.extend(content(disk).into_iter().map(|line| format!("  {line}")));
    lines
}

fn content(disk: &Disk) -> Vec<String> {
    let layout = match &disk.layout {
        Ok(layout) => layout,
        Err(text) => return vec![format!("what is on it cannot be told: {text}")],
    };
    let mut lines: Vec<String> = layout
        .partitions()
        .map(|(partition, content)| self::partition(partition, content))
        .collect();
    if let Some(table) = &layout.table {
        let count = match lines.len() {
            0 => "no partitions".into(),
            1 => "1 partition".into(),
            n => format!("{n} partitions"),
        };
        lines.insert(0, format!("{} table, {count}", table.scheme));
    }
    lines.extend(
        layout
            .regions
            .iter()
            .filter_map(|region| match &region.owner {
                Owner::Disk(Content::Filesystem(_)) if layout.table.is_none() => {
                    let Owner::Disk(content) = &region.owner else {
                        return None;
                    };
                    Some(filesystem(content))
                }
                _ => None,
            }),
    );
    if lines.is_empty() {
        lines.push("no partition table and no filesystem that is known here".into());
    }
    lines.extend(disk.systems.iter().map(|system| format!("holds {system}")));
    lines
}

fn partition(partition: &Partition, content: &Content) -> String {
    let name = partition.name.as_deref().filter(|name| !name.is_empty());
    let name = name.map_or_else(String::new, |name| format!(" '{name}'"));
    format!(
        "partition {}{name}: {}, {}",
        partition.number,
        Size(partition.extent.len()),
        filesystem(content)
    )
}

fn filesystem(content: &Content) -> String {
    match content {
        Content::Unknown(_) => "content unknown".into(),
        Content::Filesystem(filesystem) => {
            let kind = filesystem.variant.as_deref().unwrap_or(&filesystem.kind);
            let label = filesystem
                .label
                .as_deref()
                .filter(|label| !label.is_empty());
            label.map_or_else(|| kind.to_owned(), |label| format!("{kind} '{label}'"))
        }
    }
}
