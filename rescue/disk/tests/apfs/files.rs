//! The files, against what the kernel that wrote them listed.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;

use disk::extent::ExtentMap;
use disk::fs::tree::{Case, Content, NodeKind, find, walk};
use disk::source::BlockSource;
use tempfile::TempDir;

use crate::made::{open, run};
use crate::volume::{
    BLOCK, FILLED, alone, formatted, listed, mapped, number, objects, patch, read, reader, volume,
};

const VOLUME: u16 = 13;

/// A line a file, as the kernel's list has them, and the files with their bytes in a folder. `Err` has what could not be
/// followed.
fn walked(source: &dyn BlockSource) -> Result<(BTreeMap<String, String>, TempDir), String> {
    let (mut lines, dir, mut failed) = (BTreeMap::new(), TempDir::new().unwrap(), None);
    walk(
        &*(reader().tree.unwrap())(source).unwrap(),
        &mut |found| {
            let node = found.node;
            let place = dir.path().join(found.path);
            let kind = match node.kind {
                NodeKind::File => "regular file",
                NodeKind::Directory => "directory",
                NodeKind::Symlink => "symbolic link",
                NodeKind::Special => "fifo",
            };
            if node.kind == NodeKind::Directory {
                fs::create_dir_all(place).unwrap();
            } else if node.kind == NodeKind::File {
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                fs::write(place, node.read(source, 64 << 20).unwrap()).unwrap();
            }
            // Folders have no size of their own, and Linux gives none to links here.
            let size = match node.kind {
                NodeKind::File => node.size_bytes,
                _ => 0,
            };
            let line = format!("{kind}|{size}|{}", node.modified.unwrap_or_default());
            lines.insert(found.path.to_owned(), line);
            ControlFlow::Continue(())
        },
        &mut |path, error| failed = Some(format!("{path}: {error}")),
    );
    match failed {
        None => Ok((lines, dir)),
        Some(failed) => Err(failed),
    }
}

#[test]
fn names_kinds_sizes_times_and_bytes_are_those_the_kernel_listed() {
    let _alone = alone();
    for (name, folder) in FILLED {
        let (mut ours, dir) = walked(&open(&volume(name))).unwrap();
        assert!(ours.remove(*folder).is_some(), "the folder of the volume");
        let list = listed(name);
        let (mut theirs, mut digests) = (BTreeMap::new(), String::new());
        for line in list.lines() {
            let [kind, size, time, _, path] = line.split('|').collect::<Vec<_>>()[..] else {
                digests += &format!("{line}\n");
                continue;
            };
            let kind = kind.replace("regular empty file", "regular file");
            let size = if kind == "directory" { "0" } else { size };
            if let Some(path) = path.strip_prefix("./") {
                theirs.insert(format!("{folder}/{path}"), format!("{kind}|{size}|{time}"));
            }
        }
        assert!(theirs.len() > 150, "{name}: {}", theirs.len());
        assert_eq!(ours, theirs, "{name}");
        let at = dir.path().join(folder);
        let at = at.display();
        let args = ["-c", &format!("cd '{at}'; sha256sum -c")];
        let checked = run("sh", "dash", &args, &digests);
        assert!(checked.lines().count() > 100, "{checked}");
    }
}

#[test]
fn every_block_of_every_file_is_in_the_map() {
    let _alone = alone();
    for (name, _) in FILLED {
        let file = volume(name);
        let (found, source) = (read(&file), open(&file));
        let mut met = ExtentMap::new();
        walk(
            &*(reader().tree.unwrap())(&source).unwrap(),
            &mut |found| {
                found.node.extents().into_iter().for_each(|e| met.insert(e));
                ControlFlow::Continue(())
            },
            &mut |path, error| panic!("{path}: {error}"),
        );
        assert!(met.total_bytes() > 100 << 10);
        assert!(met.difference(mapped(&found)).is_empty());
    }
}

#[test]
fn links_lead_where_they_lead_and_holes_are_zeros() {
    let _alone = alone();
    let file = volume("plain");
    let source = open(&file);
    let tree = (reader().tree.unwrap())(&source).unwrap();
    let at = |path: &[&str]| {
        let path = [&["Plain é"], path].concat();
        find(&*tree, &path, Case::Exact).unwrap().unwrap()
    };
    assert_eq!(at(&["hard1"]), at(&["deep", "hard2"]));
    let link = tree.node(at(&["link"])).unwrap();
    assert_eq!(link.content, Content::Inline(b"deep/fragmented".to_vec()));
    let sparse = tree.node(at(&["sparse"])).unwrap();
    let there: u64 = sparse.extents().iter().map(|extent| extent.len()).sum();
    assert!(there < 3 * BLOCK, "{there}");
}

#[test]
fn the_files_of_an_encrypted_or_a_sealed_volume_are_not_read_and_it_is_mapped_and_named() {
    let _alone = alone();
    let file = formatted(128 << 20);
    let before = mapped(&read(&file)).clone();
    let volume = *objects(&file, VOLUME).last().unwrap();
    for (at, bit, why) in [(56, 0x20, "sealed"), (264, 1, "encrypted")] {
        let old = number(&file, volume, at);
        let at_byte = usize::try_from(at).unwrap();
        patch(&file, volume, at_byte, &(old ^ bit).to_le_bytes());
        let found = read(&file);
        assert_eq!(mapped(&found), &before);
        assert!(walked(&open(&file)).unwrap_err().contains(why));
        let named = if why == "encrypted" {
            "A new one [encrypted]"
        } else {
            "A new one"
        };
        assert_eq!(found.label.as_deref(), Some(named));
        patch(&file, volume, at_byte, &old.to_le_bytes());
    }
}
