//! What a person reads before consenting.

use disk::layout::{Content, Owner};
use disk::size::Size;
use disk::table::Partition;

use crate::host::Disk;

/// The disk, and indented below it what is on it.
pub fn disk(role: &str, disk: &Disk) -> Vec<String> {
    let size = Size(disk.geometry.size_bytes);
    let mut lines = vec![match disk.identity.file {
        Some(_) => match disk.identity.format() {
            Some(format) => format!(
                "{role}: {}, a {format} image of {size}",
                disk.path.display()
            ),
            None => format!("{role}: {}, a regular file of {size}", disk.path.display()),
        },
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
    let partitions = layout.partitions().count();
    let mut lines: Vec<String> = layout
        .partitions()
        .flat_map(|(partition, content)| self::partition(partition, content))
        .collect();
    if let Some(table) = &layout.table {
        let count = match partitions {
            0 => "no partitions".into(),
            1 => "1 partition".into(),
            n => format!("{n} partitions"),
        };
        lines.insert(0, format!("{} table, {count}", table.scheme));
    }
    for region in &layout.regions {
        if let Owner::Disk(content @ (Content::Filesystem(_) | Content::Layer(_))) = &region.owner {
            lines.push(named(content));
            lines.extend(volumes(content));
        }
    }
    if lines.is_empty() {
        lines.push("no partition table and no filesystem that is known here".into());
    }
    lines.extend(disk.systems.iter().map(|system| format!("holds {system}")));
    lines
}

fn partition(partition: &Partition, content: &Content) -> Vec<String> {
    let name = partition.name.as_deref().filter(|name| !name.is_empty());
    let name = name.map_or_else(String::new, |name| format!(" '{name}'"));
    let line = format!(
        "partition {}{name}: {}, {}",
        partition.number,
        Size(partition.extent.len()),
        named(content)
    );
    [vec![line], volumes(content)].concat()
}

/// The volumes of a layer, and those on them, each level further in.
fn volumes(content: &Content) -> Vec<String> {
    let Content::Layer(layer) = content else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for volume in &layer.volumes {
        let inside = named(&volume.content);
        let size = Size(volume.size_bytes);
        lines.push(format!("  volume {}: {size}, {inside}", volume.name));
        lines.extend(
            volumes(&volume.content)
                .into_iter()
                .map(|line| format!("  {line}")),
        );
    }
    lines
}

fn named(content: &Content) -> String {
    let (kind, variant, label) = match content {
        Content::Unknown(_) => return "content unknown".into(),
        Content::Filesystem(found) => (&found.kind, &found.variant, &found.label),
        Content::Layer(layer) => (&layer.kind, &layer.variant, &layer.label),
    };
    let kind = variant.as_ref().unwrap_or(kind);
    let label = label.as_ref().filter(|label| !label.is_empty());
    let named = label.map_or_else(|| kind.clone(), |label| format!("{kind} '{label}'"));
    match content {
        Content::Layer(layer) if layer.is_encrypted() => format!("{named}, {}", layer.state),
        _ => named,
    }
}
