//! Which files the lost places of a disk belong to.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use disk::extent::{Extent, ExtentMap};
use disk::fs::tree::{self, Content as Where, Found, Node, NodeKind, Tree, TreeError};
use disk::fs::{self, Filesystem, Used};
use disk::layer::Keys;
use disk::layout::{Content, Layout, Owner, Region, Visited};
use disk::memory::BadPlaces;
use disk::size::Size;
use disk::source::{BlockSource, ReadError};

use crate::event::Cancel;
use crate::report::DamagedFile;

/// Most files that are named; the worst are kept.
pub const NAMED: usize = 1000;
/// Longer paths are told by their end.
const PATH_LIMIT: usize = 4096;
/// Directories whose lost entries are told of in sentences.
const DIRECTORIES: usize = 16;
/// Directories that are remembered as told, so that they are told once.
const TOLD_LIMIT: usize = 4096;
/// A report is not kept waiting longer.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is known of the lost places.
#[derive(Default, Debug)]
pub struct Names {
    /// The worst first.
    pub files: Vec<DamagedFile>,
    /// Files beside those that are named.
    pub more: u64,
    /// Of what is in no file, in sentences.
    pub notes: Vec<String>,
}

/// Names the files that have a part of `lost`. Walks the trees of `source`, whose lost places are not read again.
pub fn of(
    source: &dyn BlockSource,
    layout: &Layout,
    keys: &Keys,
    lost: &ExtentMap,
    cancel: &Cancel,
) -> Names {
    let readable = BadPlaces {
        source,
        bad: lost.clone(),
    };
    let mut search = Search {
        source: &readable,
        keys,
        cancel,
        until: Instant::now() + PATIENCE,
        names: Names::default(),
    };
    for region in &layout.regions {
        let hit: ExtentMap = lost.within(region.extent).collect();
        if !hit.is_empty() {
            search.region(region, &hit);
        }
    }
    search.names.keep_the_worst();
    search.names
}

struct Search<'a> {
    source: &'a BadPlaces<&'a dyn BlockSource>,
    keys: &'a Keys,
    cancel: &'a Cancel,
    until: Instant,
    names: Names,
}

impl Search<'_> {
    fn region(&mut self, region: &Region, hit: &ExtentMap) {
        let bytes = Size(hit.total_bytes());
        let (place, number, content) = match &region.owner {
            Owner::Table => {
                return self.note(format!("damage: {bytes} are of the partition table"));
            }
            Owner::Gap => return self.note(format!("damage: {bytes} are in no partition")),
            Owner::Disk(content) => ("the disk".to_owned(), None, content),
            Owner::Partition { partition, content } => (
                format!("partition {}", partition.number),
                Some(partition.number),
                content,
            ),
        };
        let inside = inside(hit, region.extent);
        let (source, keys) = (self.source, self.keys);
        let mut met = 0;
        region.visit(source, keys, &mut |visited| {
            let hit = (visited.inner)(inside.clone());
            met += hit.total_bytes();
            if !hit.is_empty() {
                self.filesystem(&visited, &hit, number, &place);
            }
        });
        let rest = Size(inside.total_bytes().saturating_sub(met));
        if rest == Size(0) {
            return;
        }
        self.note(match content {
            Content::Layer(layer) => format!(
                "damage: {rest} are in {place}, in its {} itself or in volumes whose files cannot be read",
                layer.kind
            ),
            _ => format!(
                "damage: {rest} are in {place}, whose files cannot be named: its content is not known here"
            ),
        });
    }

    fn filesystem(
        &mut self,
        visited: &Visited<'_>,
        hit: &ExtentMap,
        number: Option<u32>,
        place: &str,
    ) {
        let filesystem = visited.filesystem;
        let bytes = Size(hit.total_bytes());
        let place = match visited.volumes.join("/") {
            names if names.is_empty() => format!("{place} ({})", filesystem.kind),
            names => format!("volume {names} on {place} ({})", filesystem.kind),
        };
        let Some(open) = fs::reader_of(&filesystem.kind).and_then(|reader| reader.tree) else {
            return self.note(format!(
                "damage: {bytes} are in {place}, which has no files that are known here"
            ));
        };
        match open(visited.source) {
            Ok(tree) => {
                let rest = self.walk(&*tree, hit, number, &place);
                self.records(&rest, filesystem, &place);
            }
            Err(error) => self.note(format!(
                "damage: {bytes} are in {place}, whose files cannot be named: {error}"
            )),
        }
    }

    /// What is in no file.
    fn walk(
        &mut self,
        tree: &dyn Tree,
        lost: &ExtentMap,
        partition: Option<u32>,
        place: &str,
    ) -> ExtentMap {
        let (cancel, until) = (self.cancel, self.until);
        let mut walk = Walk {
            lost,
            partition,
            names: &mut self.names,
            owned: ExtentMap::new(),
            told: HashSet::new(),
            indexes: Vec::new(),
            more_indexes: 0,
            incomplete: false,
        };
        let mut early = false;
        let walk = std::cell::RefCell::new(&mut walk);
        tree::walk(
            tree,
            &mut |found| {
                early = cancel.is_cancelled() || Instant::now() > until;
                if early {
                    return ControlFlow::Break(());
                }
                walk.borrow_mut().meet(&found);
                ControlFlow::Continue(())
            },
            &mut |path, error| walk.borrow_mut().trouble(path, &error),
        );
        let rest = lost.difference(&walk.borrow().owned);
        let indexes = walk.borrow().index_notes(place);
        let early = early || walk.borrow().incomplete;
        self.names.notes.extend(indexes);
        if early {
            self.note(format!(
                "the search for damaged files in {place} was ended early: more of them may be damaged than are named"
            ));
            return ExtentMap::new();
        }
        rest
    }

    /// Lost places of a filesystem that are in no file.
    fn records(&mut self, rest: &ExtentMap, filesystem: &Filesystem, place: &str) {
        let unknown = rest.intersection(&filesystem.parts.unknown);
        if !unknown.is_empty() {
            self.note(format!(
                "damage: {} are in a part of {place} whose map cannot be read: whether anything was there is not known",
                Size(unknown.total_bytes())
            ));
        }
        let rest = &rest.difference(&unknown);
        let (records, free) = match &filesystem.used {
            Used::Map { extents, .. } => (rest.intersection(extents), rest.difference(extents)),
            Used::Whole(_) => (ExtentMap::new(), rest.clone()),
        };
        if !records.is_empty() {
            self.note(format!(
                "damage: {} are {place}'s own records and in no file: files may be missing or wrong without being named; let its checker look at the copy",
                Size(records.total_bytes())
            ));
        }
        if !free.is_empty() {
            let what = match &filesystem.used {
                Used::Map { .. } => "free space of",
                Used::Whole(_) => "in no file that could be found on",
            };
            self.note(format!(
                "damage: {} are {what} {place}",
                Size(free.total_bytes())
            ));
        }
    }

    fn note(&mut self, text: String) {
        self.names.notes.push(text);
    }
}

/// One tree.
struct Walk<'a> {
    /// From the start of the partition, as the tree counts.
    lost: &'a ExtentMap,
    partition: Option<u32>,
    names: &'a mut Names,
    /// Of what is lost, what belongs to a file.
    owned: ExtentMap,
    /// Directories that were told already.
    told: HashSet<String>,
    /// Directories that have lost some of their entries, and how many more there are.
    indexes: Vec<String>,
    more_indexes: u64,
    /// There are more directories than were looked into.
    incomplete: bool,
}

impl Walk<'_> {
    fn meet(&mut self, found: &Found<'_>) {
        let mut lost_bytes = 0;
        for (extent, len) in places(found.node) {
            for hit in self.lost.within(extent) {
                self.owned.insert(hit);
                // What lies behind the end of a file's content is no loss.
                lost_bytes += hit
                    .end()
                    .min(extent.start() + len)
                    .saturating_sub(hit.start());
            }
        }
        if lost_bytes > 0 {
            self.tell(found.path, found.node, lost_bytes);
        }
    }

    fn tell(&mut self, path: &str, node: &Node, lost_bytes: u64) {
        if node.kind == NodeKind::Directory {
            if self.told.len() < TOLD_LIMIT {
                self.told.insert(path.to_owned());
            }
            match self.indexes.len() < DIRECTORIES {
                true => self.indexes.push(shown(path)),
                false => self.more_indexes += 1,
            }
        }
        self.names.add(DamagedFile {
            partition: self.partition,
            path: shown(path),
            size_bytes: Some(node.size_bytes),
            lost_bytes,
        });
    }

    /// What a lost index means: the files that it named cannot be.
    fn index_notes(&self, place: &str) -> Vec<String> {
        let told = self.indexes.iter().map(|path| {
            format!("damage: the index of directory {path} of {place} is damaged: files may be missing from it without being named")
        });
        let more = (self.more_indexes > 0).then(|| {
            format!(
                "damage: the indexes of {} more directories of {place} are damaged",
                self.more_indexes
            )
        });
        told.chain(more).collect()
    }

    /// A record or a directory that cannot be read; what is wrong for another reason is not of this job.
    fn trouble(&mut self, path: &str, error: &TreeError) {
        self.incomplete |= matches!(error, TreeError::TooMany(_));
        let lost = matches!(error, TreeError::Read(ReadError::Unreadable(_)));
        if lost && !self.told.contains(path) {
            self.names.add(DamagedFile {
                partition: self.partition,
                path: shown(path),
                size_bytes: None,
                lost_bytes: 0,
            });
        }
    }
}

impl Names {
    pub fn add(&mut self, file: DamagedFile) {
        self.files.push(file);
        if self.files.len() > 2 * NAMED {
            self.keep_the_worst();
        }
    }

    pub fn keep_the_worst(&mut self) {
        // A file without its record has lost everything.
        let lost = |file: &DamagedFile| file.size_bytes.map_or(u64::MAX, |_| file.lost_bytes);
        self.files.sort_by(|a, b| {
            let order = lost(b).cmp(&lost(a));
            order.then_with(|| (a.partition, &a.path).cmp(&(b.partition, &b.path)))
        });
        self.more += self.files.len().saturating_sub(NAMED) as u64;
        self.files.truncate(NAMED);
    }
}

/// Where the bytes of a file are, and how many of each place are its content.
fn places(node: &Node) -> Vec<(Extent, u64)> {
    match &node.content {
        Where::Inline(_) => Vec::new(),
        Where::Opaque { extents, .. } => extents.iter().map(|e| (*e, e.len())).collect(),
        Where::Pieces(pieces) => pieces
            .iter()
            .map(|piece| {
                let content = match node.kind {
                    NodeKind::File => node.size_bytes.saturating_sub(piece.at),
                    _ => piece.extent.len(),
                };
                (piece.extent, content.min(piece.extent.len()))
            })
            .collect(),
    }
}

/// As the filesystem in `region` counts.
fn inside(hit: &ExtentMap, region: Extent) -> ExtentMap {
    let from_start = |extent: Extent| {
        Extent::new(extent.start() - region.start(), extent.len())
            .expect("it is a part of the region")
    };
    hit.iter().map(from_start).collect()
}

/// A name from a disk cannot steer a terminal, and has an end.
pub fn shown(path: &str) -> String {
    let clean = path.replace(char::is_control, "\u{fffd}");
    let over = clean.len().saturating_sub(PATH_LIMIT);
    match clean.char_indices().find(|(at, _)| *at >= over) {
        Some((at, _)) if at > 0 => format!("…{}", &clean[at..]),
        _ if clean.is_empty() => "the root directory".into(),
        _ => clean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_are_kept_and_the_others_counted() {
        let mut names = Names::default();
        for n in 0..5000 {
            names.add(DamagedFile {
                partition: Some(1),
                path: format!("{n}"),
                size_bytes: Some(10_000),
                lost_bytes: n * 7919 % 5000,
            });
        }
        names.keep_the_worst();
        assert_eq!((names.files.len(), names.more), (NAMED, 4000));
        let lost: Vec<u64> = names.files.iter().map(|file| file.lost_bytes).collect();
        assert_eq!(lost, (4000..5000).rev().collect::<Vec<u64>>());
    }

    #[test]
    fn a_name_cannot_steer_a_terminal_and_is_not_endless() {
        assert_eq!(shown("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
        let long = shown(&"ä".repeat(5000));
        assert!(long.len() <= PATH_LIMIT + "…".len() && long.starts_with('…'));
    }
}
