//! Reads the filesystems of a finished copy from the copy alone.
//!
//! Digests tell that what was copied is what was read. This tells that nothing was forgotten: a block that a
//! filesystem needs and the copy does not have.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use disk::extent::{Extent, ExtentMap};
use disk::fs::tree::{self, Found, NodeKind, Tree, TreeError};
use disk::fs::{self, Filesystem, Used};
use disk::geometry::Geometry;
use disk::layer::Keys;
use disk::layout::{self, Layout, Owner, Region, Visited};
use disk::source::{BlockSource, ReadError};

use crate::event::Cancel;
use crate::report::FilesystemRead;

/// Most places that are remembered as missing in one filesystem.
const MISSING_LIMIT: usize = 1000;

/// A finished copy, and what it is a copy of.
pub struct Finished<'a> {
    /// The image, or the disk that was written.
    pub copy: &'a dyn BlockSource,
    /// As the source was planned with.
    pub layout: &'a Layout,
    /// What the copy has; the rest of it reads as anything.
    pub kept: &'a ExtentMap,
    /// What of `kept` could not be read from the source.
    pub bad: &'a ExtentMap,
    pub keys: &'a Keys,
    pub cancel: &'a Cancel,
    /// A report is not kept waiting longer.
    pub patience: Duration,
}

impl Finished<'_> {
    /// Each filesystem that has a reader.
    pub fn read(&self) -> Vec<FilesystemRead> {
        let until = Instant::now() + self.patience;
        let mut all = Vec::new();
        for region in &self.layout.regions {
            self.region(region, until, &mut all);
        }
        all
    }

    fn region(&self, region: &Region, until: Instant, all: &mut Vec<FilesystemRead>) {
        let Some(planned) = region.content() else {
            return;
        };
        let partition = match &region.owner {
            Owner::Partition { partition, .. } => Some(partition.number),
            _ => None,
        };
        let mut found = Vec::new();
        let there = layout::content(self.copy, region.extent, self.keys);
        if let Ok(there) = &there {
            found = there.filesystems();
        }
        let watched = Watched {
            source: self.copy,
            kept: self.kept,
            bad: self.bad,
            strayed: Mutex::default(),
        };
        let bad = inside(self.bad, region.extent);
        let kept = inside(self.kept, region.extent);
        let mut nth = 0..;
        let first = all.len();
        region.visit(&watched, self.keys, &mut |visited: Visited<'_>| {
            let there = nth.next().and_then(|n: usize| found.get(n).copied());
            let kind = &visited.filesystem.kind;
            let Some(reader) = fs::reader_of(kind) else {
                return;
            };
            let mut said = FilesystemRead::of(partition, visited.volumes, kind);
            let bad = (visited.inner)(bad.clone());
            if bad.is_empty() {
                said.different = different(visited.filesystem, there);
            } else {
                said.notes
                    .push("some of it could not be read from the source".into());
            }
            let kept = (visited.inner)(kept.clone());
            let missing = self.files(&visited, reader, kept, until, &mut said);
            // What was read of it and what belongs to its files may be the same places.
            let strayed = watched.strayed().total_bytes();
            said.missing_bytes = missing.total_bytes().max(strayed);
            all.push(said);
        });
        if all.len() == first && bad.is_empty() && !planned.filesystems().is_empty() {
            // Not even the layer on which they stand can be opened in the copy.
            if let Err(error) = there {
                let mut said = FilesystemRead::of(partition, &[], "unknown");
                said.different = Some(error.to_string());
                all.push(said);
            }
        }
    }

    /// What of its files is not in `kept`.
    fn files(
        &self,
        visited: &Visited<'_>,
        reader: &fs::Reader,
        kept: ExtentMap,
        until: Instant,
        said: &mut FilesystemRead,
    ) -> ExtentMap {
        let missing = ExtentMap::new();
        let mut needs = Needs { kept, missing };
        if let Some(open) = reader.tree {
            match open(visited.source) {
                Ok(tree) => self.walk(&*tree, &mut needs, until, said),
                Err(error) => said
                    .notes
                    .push(format!("its files cannot be read: {error}")),
            }
        }
        needs.missing
    }

    fn walk(&self, tree: &dyn Tree, needs: &mut Needs, until: Instant, said: &mut FilesystemRead) {
        let mut early = false;
        let told = RefCell::new((said, Trouble::default()));
        tree::walk(
            tree,
            &mut |found| {
                early = self.cancel.is_cancelled() || Instant::now() > until;
                if early {
                    return ControlFlow::Break(());
                }
                met(&found, needs, told.borrow_mut().0);
                ControlFlow::Continue(())
            },
            &mut |path, error| told.borrow_mut().1.add(path, &error),
        );
        let (said, trouble) = told.into_inner();
        said.notes.extend(trouble.sentence());
        if early {
            said.notes.push(format!(
                "the reading was ended early, after {} files",
                said.files
            ));
        }
    }
}

/// Every byte of a file that was met has to be there.
fn met(found: &Found<'_>, needs: &mut Needs, said: &mut FilesystemRead) {
    match found.node.kind {
        NodeKind::Directory => said.directories += 1,
        _ => said.files += 1,
    }
    for extent in found.node.extents() {
        note_missing(&mut needs.missing, extent, &needs.kept);
    }
}

/// What could not be followed. The copy has the bytes that the source has, so that this is the source's damage.
#[derive(Default)]
struct Trouble {
    count: u64,
    first: Option<String>,
}

impl Trouble {
    fn add(&mut self, path: &str, error: &TreeError) {
        self.count += 1;
        let path = path.replace(char::is_control, "\u{fffd}");
        self.first.get_or_insert_with(|| format!("{path}: {error}"));
    }

    fn sentence(self) -> Option<String> {
        let first = self.first?;
        Some(match self.count {
            1 => format!("one file or directory cannot be followed: {first}"),
            n => format!("{n} files or directories cannot be followed, the first: {first}"),
        })
    }
}

/// What the files of a filesystem need, as it counts.
struct Needs {
    kept: ExtentMap,
    missing: ExtentMap,
}

/// Adds what of the extent was not kept.
fn note_missing(missing: &mut ExtentMap, extent: Extent, kept: &ExtentMap) {
    if kept.covers(extent) {
        return;
    }
    for lost in ExtentMap::from(vec![extent]).difference(kept).iter() {
        if missing.count() < MISSING_LIMIT {
            missing.insert(lost);
        }
    }
}

/// The copy, noting what is read of it that it does not have.
struct Watched<'a> {
    source: &'a dyn BlockSource,
    kept: &'a ExtentMap,
    bad: &'a ExtentMap,
    strayed: Mutex<ExtentMap>,
}

impl Watched<'_> {
    /// What was noted since it was last asked.
    fn strayed(&self) -> ExtentMap {
        std::mem::take(&mut self.strayed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl BlockSource for Watched<'_> {
    fn geometry(&self) -> Geometry {
        self.source.geometry()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let Some(extent) = Extent::new(offset, buf.len() as u64) else {
            return Ok(());
        };
        if let Some(bad) = self.bad.within(extent).next() {
            return Err(ReadError::Unreadable(bad));
        }
        self.source.read_at(offset, buf)?;
        let mut strayed = self.strayed.lock().unwrap_or_else(PoisonError::into_inner);
        note_missing(&mut strayed, extent, self.kept);
        Ok(())
    }
}

/// What the filesystem says of itself in the copy that it did not say on the source.
fn different(planned: &Filesystem, there: Option<&Filesystem>) -> Option<String> {
    let Some(there) = there else {
        return Some("it is not known there".into());
    };
    let same = there.kind == planned.kind
        && there.uuid == planned.uuid
        && there.size_bytes == planned.size_bytes
        && there.state == planned.state;
    if !same {
        return Some(format!("it is {} and {} there", there.kind, there.state));
    }
    match (&there.used, &planned.used) {
        (Used::Whole(why), Used::Map { .. }) => Some(why.clone()),
        (Used::Map { extents, .. }, Used::Map { extents: known, .. }) if extents != known => {
            Some("its map of used blocks is another one".into())
        }
        _ => None,
    }
}

/// As the filesystem in `region` counts.
fn inside(map: &ExtentMap, region: Extent) -> ExtentMap {
    map.within(region)
        .filter_map(|extent| Extent::new(extent.start() - region.start(), extent.len()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::OnceLock;

    use disk::memory::MemorySource;

    use super::*;

    const BLOCK: u64 = 1024;

    struct Made {
        directory: tempfile::TempDir,
        bytes: Vec<u8>,
    }

    /// ext4 with an indexed directory, a file of many extents and a sparse one.
    fn made() -> &'static Made {
        static MADE: OnceLock<Made> = OnceLock::new();
        MADE.get_or_init(|| {
            let directory = tempfile::tempdir().unwrap();
            let made = Made {
                directory,
                bytes: Vec::new(),
            };
            made.shell(
                "mkdir -p tree/many; for n in $(seq 400); do echo $n >tree/many/a-rather-long-name-$n; done; \
                 head -c 700000 /dev/urandom >tree/noise; \
                 for n in $(seq 0 2 40); do \
                   dd if=/dev/urandom of=tree/holes bs=1024 count=1 seek=$n conv=notrunc status=none; \
                 done; \
                 truncate -s 16M disk; mke2fs -q -F -t ext4 -b 1024 -d tree disk",
            );
            let bytes = std::fs::read(made.directory.path().join("disk")).unwrap();
            Made { bytes, ..made }
        })
    }

    impl Made {
        fn shell(&self, script: &str) -> String {
            let output = Command::new("bash")
                .args(["-euo", "pipefail", "-c", script])
                .current_dir(self.directory.path())
                .env("LC_ALL", "C")
                .output()
                .expect("bash runs");
            assert!(output.status.success(), "e2fsprogs is needed: {script}");
            String::from_utf8(output.stdout).unwrap()
        }

        /// A block that debugfs names.
        fn block(&self, script: &str) -> u64 {
            let said = self.shell(&format!("{script} 2>/dev/null"));
            let number = said.split_whitespace().next().expect(script);
            number.parse().expect(script)
        }
    }

    fn read(copy: Vec<u8>, kept: &ExtentMap) -> FilesystemRead {
        let layout = Layout::read(&MemorySource::new(made().bytes.clone())).unwrap();
        let finished = Finished {
            copy: &MemorySource::new(copy),
            layout: &layout,
            kept,
            bad: &ExtentMap::new(),
            keys: &Keys::none(),
            cancel: &Cancel::default(),
            patience: Duration::from_secs(60),
        };
        let mut all = finished.read();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    fn used() -> ExtentMap {
        let layout = Layout::read(&MemorySource::new(made().bytes.clone())).unwrap();
        layout.used()
    }

    #[test]
    fn a_whole_copy_is_good_and_every_file_is_met() {
        let made = made();
        let mut copy = made.bytes.clone();
        // What was not kept reads as anything.
        for free in used().complement(copy.len() as u64).iter() {
            let at = usize::try_from(free.start()).unwrap();
            copy[at..at + usize::try_from(free.len()).unwrap()].fill(0xFF);
        }
        let read = read(copy, &used());
        assert!(read.is_good(), "{read:?}");
        assert_eq!((read.files, read.directories), (402, 2), "{read:?}");
        assert!(read.notes.is_empty(), "{read:?}");
    }

    #[test]
    fn a_block_that_was_never_copied_is_found_whatever_it_held() {
        let made = made();
        let inode = "debugfs -R 'imap noise' disk";
        let group = "dumpe2fs disk | grep -A8 '^Group 1:'";
        let blocks = [
            ("superblock", 1),
            ("group descriptors", 2),
            (
                "block bitmap",
                made.block(&format!(
                    "{group} | grep -o 'Block bitmap at [0-9]*' | grep -o '[0-9]*$'"
                )),
            ),
            (
                "inode of a file",
                made.block(&format!(
                    "{inode} | grep -o 'block [0-9]*' | grep -o '[0-9]*$'"
                )),
            ),
            ("root directory", made.block("debugfs -R 'blocks /' disk")),
            (
                "root of a directory's index",
                made.block("debugfs -R 'blocks /many' disk"),
            ),
            (
                "leaf of a directory",
                made.block("debugfs -R 'blocks /many' disk | cut -d' ' -f5"),
            ),
            (
                "tree of a file's extents",
                made.block("debugfs -R 'stat /holes' disk | grep -o 'ETB0):[0-9]*' | cut -d: -f2"),
            ),
            (
                "content",
                made.block("debugfs -R 'blocks /noise' disk | cut -d' ' -f300"),
            ),
        ];
        for (what, block) in blocks {
            let mut kept = used();
            let mut copy = made.bytes.clone();
            let at = usize::try_from(block * BLOCK).unwrap();
            kept.remove(Extent::new(block * BLOCK, BLOCK).unwrap());
            copy[at..at + 1024].fill(0);
            let read = read(copy, &kept);
            assert!(
                !read.is_good(),
                "without its {what} (block {block}): {read:?}"
            );
        }
    }
}
