//! The files of a disk or an image by their paths: `2/home/user` is in the second partition, `home/user` on a disk
//! without a table.

use std::fmt;
use std::ops::ControlFlow;

use disk::fs::tree::{self, Case, Entry, Node, NodeId, Tree, TreeError};
use disk::fs::{self, Filesystem};
use disk::layout::{Content, Layout, Owner, Region};
use disk::source::BlockSource;
use disk::window::Window;

/// What has files, and its layout.
pub struct Files<'a> {
    pub source: &'a dyn BlockSource,
    pub layout: &'a Layout,
}

impl fmt::Debug for Files<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

/// A file or a directory that a path leads to.
pub struct Spot<'a> {
    /// The filesystem it is in; a node's extents are offsets of it.
    pub volume: &'a dyn BlockSource,
    pub tree: &'a dyn Tree,
    pub partition: Option<u32>,
    pub kind: &'a str,
    pub id: NodeId,
    pub node: Node,
    /// Its last name; that of a root is the partition's number.
    pub name: String,
}

impl fmt::Debug for Spot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spot")
            .field("partition", &self.partition)
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What is between a path and its file; each says what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoFile {
    /// The path begins with no partition that has files.
    Partition(String),
    Missing(String),
    /// The filesystem cannot be followed there.
    Tree(String),
}

impl fmt::Display for NoFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoFile::Partition(text) | NoFile::Missing(text) | NoFile::Tree(text) => {
                f.write_str(text)
            }
        }
    }
}

impl std::error::Error for NoFile {}

impl Files<'_> {
    /// Every filesystem whose files can be read, with the number of its partition.
    pub fn filesystems(&self) -> impl Iterator<Item = (Option<u32>, &Region, &Filesystem)> {
        self.layout.regions.iter().filter_map(|region| {
            let (partition, content) = match &region.owner {
                Owner::Partition { partition, content } => (Some(partition.number), content),
                Owner::Disk(content) => (None, content),
                Owner::Table | Owner::Gap => return None,
            };
            let Content::Filesystem(filesystem) = content else {
                return None;
            };
            let reader = fs::reader_of(&filesystem.kind)?;
            reader.tree.map(|_| (partition, region, filesystem))
        })
    }

    /// Follows the path and hands over what it leads to. An empty path is an error where there are partitions.
    pub fn at<T>(&self, path: &str, look: impl FnOnce(Spot<'_>) -> T) -> Result<T, NoFile> {
        let mut names = parts(path)?;
        let (region, filesystem, partition) = self.filesystem(path, &mut names)?;
        let failed = |error: TreeError| NoFile::Tree(format!("{path}: {error}"));
        let reader = fs::reader_of(&filesystem.kind).and_then(|reader| reader.tree);
        let open = reader.expect("it was listed because it has files");
        let window = Window::new(self.source, region.extent)
            .ok_or_else(|| NoFile::Tree(format!("{path}: its filesystem ends beyond the disk")))?;
        let tree = open(&window).map_err(failed)?;
        let id = find(&*tree, &names, &filesystem.kind).map_err(failed)?;
        let id = id.ok_or_else(|| NoFile::Missing(missing(path, partition, &filesystem.kind)))?;
        let root = || partition.map_or("files".into(), |number| number.to_string());
        Ok(look(Spot {
            volume: &window,
            node: tree.node(id).map_err(failed)?,
            tree: &*tree,
            partition,
            kind: &filesystem.kind,
            id,
            name: names.last().map_or_else(root, |name| (*name).to_owned()),
        }))
    }

    fn filesystem(
        &self,
        path: &str,
        names: &mut Vec<&str>,
    ) -> Result<(&Region, &Filesystem, Option<u32>), NoFile> {
        let numbered = self.layout.table.is_some();
        let number = match names.first() {
            Some(first) if numbered => first.parse::<u32>().ok(),
            _ => None,
        };
        let found = self
            .filesystems()
            .find(|(partition, ..)| *partition == number);
        match found {
            Some((partition, region, filesystem)) => {
                if numbered {
                    names.remove(0);
                }
                Ok((region, filesystem, partition))
            }
            None => Err(NoFile::Partition(self.no_filesystem(path))),
        }
    }

    fn no_filesystem(&self, path: &str) -> String {
        let known: Vec<String> = self
            .filesystems()
            .map(|(partition, _, filesystem)| match partition {
                Some(number) => format!("{number} ({})", filesystem.kind),
                None => filesystem.kind.clone(),
            })
            .collect();
        match (known.is_empty(), self.layout.table.is_some()) {
            (true, _) => format!(
                "'{path}': no filesystem whose files can be read is on it; `rescue disks` says what is"
            ),
            (false, false) => format!("'{path}': write a path on its filesystem"),
            (false, true) => format!(
                "'{path}' does not begin with a partition that has files; write its number first: {}",
                known.join(", ")
            ),
        }
    }
}

/// Where names stand for the same file in upper and lower case, the exact one is looked for first.
fn find(tree: &dyn Tree, names: &[&str], kind: &str) -> Result<Option<NodeId>, TreeError> {
    let found = tree::find(tree, names, Case::Exact)?;
    match (found, kind) {
        (None, "vfat" | "exfat" | "ntfs" | "hfsplus" | "apfs") => {
            tree::find(tree, names, Case::Ignored)
        }
        (found, _) => Ok(found),
    }
}

fn parts(path: &str) -> Result<Vec<&str>, NoFile> {
    let names: Vec<&str> = path
        .split('/')
        .filter(|name| !matches!(*name, "" | "."))
        .collect();
    if names.contains(&"..") {
        return Err(NoFile::Missing(format!(
            "'{path}' has a .. in it; write the path without"
        )));
    }
    Ok(names)
}

fn missing(path: &str, partition: Option<u32>, kind: &str) -> String {
    let place = partition.map_or("the filesystem".into(), |number| {
        format!("partition {number}")
    });
    format!("{place} ({kind}) has no '{path}'; `rescue ls` shows what is there")
}

/// Lists a directory; the entries come sorted by name as long as they are not more than this.
const SORTED: usize = 100_000;

/// Takes an entry and what it is, and says whether it wants more.
pub type EachFile<'a> = &'a mut dyn FnMut(&Entry, Result<Node, TreeError>) -> ControlFlow<()>;

/// Shows the entries of a directory, sorted by name in groups of bounded size.
pub fn list(spot: &Spot<'_>, each: EachFile<'_>) -> Result<(), TreeError> {
    let mut group: Vec<Entry> = Vec::new();
    let mut flow = ControlFlow::Continue(());
    let mut show = |group: &mut Vec<Entry>| {
        group.sort_by(|a, b| a.name.cmp(&b.name));
        group
            .drain(..)
            .try_for_each(|entry| each(&entry, spot.tree.node(entry.id)))
    };
    spot.tree.entries(spot.id, &mut |entry| {
        group.push(entry);
        if group.len() == SORTED {
            flow = show(&mut group);
        }
        flow
    })?;
    if flow.is_continue() {
        let _ = show(&mut group);
    }
    Ok(())
}
