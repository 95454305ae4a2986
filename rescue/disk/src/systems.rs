//! Which operating systems are on a disk: what a person knows it by.

use std::ops::ControlFlow;

use crate::fields::text;
use crate::fs::tree::{self, Case, NodeKind, Tree, TreeError};
use crate::fs::{self, Filesystem};
use crate::layer::Keys;
use crate::layout::Layout;
use crate::source::BlockSource;

/// An os-release has about 400 bytes.
const RELEASE_LIMIT: u64 = 64 << 10;
/// Longest name shown.
const NAME_LIMIT: usize = 80;

/// In disk order and each once: `Debian GNU/Linux 12 (bookworm)`, `Windows`, `EFI boot loaders: Microsoft`.
/// What cannot be read says nothing; only a few directories and one small file a partition are looked at.
pub fn of(source: &dyn BlockSource, layout: &Layout) -> Vec<String> {
    of_with(source, layout, &Keys::none())
}

/// Those on encrypted volumes too, as far as the keys open them.
pub fn of_with(source: &dyn BlockSource, layout: &Layout, keys: &Keys) -> Vec<String> {
    let mut systems = Vec::new();
    for region in &layout.regions {
        region.visit(source, keys, &mut |found| {
            for system in on(found.source, found.filesystem) {
                if !systems.contains(&system) {
                    systems.push(system);
                }
            }
        });
    }
    systems
}

fn on(source: &dyn BlockSource, filesystem: &Filesystem) -> Vec<String> {
    let Some(open) = fs::reader_of(&filesystem.kind).and_then(|reader| reader.tree) else {
        return Vec::new();
    };
    let Ok(tree) = open(source) else {
        return Vec::new();
    };
    [
        linux(tree.as_ref(), source),
        windows(tree.as_ref()),
        loaders(tree.as_ref()),
    ]
    .into_iter()
    .filter_map(|found| found.ok().flatten())
    .collect()
}

/// `/etc/os-release` is most often a link to the file in `/usr/lib` (os-release(5)), so that one comes first.
fn linux(tree: &dyn Tree, source: &dyn BlockSource) -> Result<Option<String>, TreeError> {
    for path in [
        ["usr", "lib", "os-release"].as_slice(),
        &["etc", "os-release"],
    ] {
        let Some(id) = tree::find(tree, path, Case::Exact)? else {
            continue;
        };
        let node = tree.node(id)?;
        if node.kind == NodeKind::File {
            let release = node.read(source, RELEASE_LIMIT)?;
            return Ok(Some(pretty_name(&release).unwrap_or("Linux".into())));
        }
    }
    Ok(None)
}

/// The value of `PRETTY_NAME=`, in quotes or not.
fn pretty_name(release: &[u8]) -> Option<String> {
    let value = release
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"PRETTY_NAME="))?;
    let value = text(value);
    let bare = value.trim().trim_matches(|c| c == '"' || c == '\'');
    let name: String = bare.chars().take(NAME_LIMIT).collect();
    (!name.is_empty()).then_some(name)
}

fn windows(tree: &dyn Tree) -> Result<Option<String>, TreeError> {
    let found = tree::find(tree, &["Windows", "System32"], Case::Ignored)?;
    Ok(found.map(|_| "Windows".to_owned()))
}

/// The folders below `EFI` of an EFI system partition, each a system's loader.
fn loaders(tree: &dyn Tree) -> Result<Option<String>, TreeError> {
    let Some(efi) = tree::find(tree, &["EFI"], Case::Ignored)? else {
        return Ok(None);
    };
    if tree.node(efi)?.kind != NodeKind::Directory {
        return Ok(None);
    }
    let mut names = Vec::new();
    tree.entries(efi, &mut |entry| {
        // The fallback path of every system; it names none.
        if entry.kind == NodeKind::Directory && !entry.name.eq_ignore_ascii_case("BOOT") {
            names.push(entry.name);
        }
        match names.len() < 8 {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    names.sort();
    Ok((!names.is_empty()).then(|| format!("EFI boot loaders: {}", names.join(", "))))
}
