//! The files of a disk or an image by their paths: `2/home/user` is in the second partition, `home/user` on a disk
//! without a table.

use std::fmt;
use std::ops::ControlFlow;

use disk::fs::tree::{self, Case, Entry, Node, NodeId, Tree, TreeError};
use disk::fs::{self, Filesystem, OpenTree};
use disk::layer::Keys;
use disk::layout::{Layout, Owner};
use disk::source::BlockSource;

/// What has files, and its layout.
pub struct Files<'a> {
    pub source: &'a dyn BlockSource,
    pub layout: &'a Layout,
    /// To what of it is encrypted.
    pub keys: &'a Keys,
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
    pub tree: Box<dyn Tree + 'a>,
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

/// A filesystem whose files can be read.
pub struct Place<'a> {
    pub partition: Option<u32>,
    /// `2`, `2/root` for a volume, empty on a disk without a table.
    pub path: &'a str,
    pub source: &'a dyn BlockSource,
    pub filesystem: &'a Filesystem,
    pub open: OpenTree,
}

impl fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Files<'_> {
    /// Visits every filesystem whose files can be read.
    pub fn filesystems(&self, visit: &mut dyn FnMut(&Place<'_>)) {
        for region in &self.layout.regions {
            let partition = match &region.owner {
                Owner::Partition { partition, .. } => Some(partition.number),
                _ => None,
            };
            region.visit(self.source, self.keys, &mut |visited| {
                let reader = fs::reader_of(&visited.filesystem.kind);
                let Some(open) = reader.and_then(|reader| reader.tree) else {
                    return;
                };
                let number = partition.map(|number| number.to_string());
                let names: Vec<&str> = number.as_deref().into_iter().collect();
                let path = [&names, visited.volumes].concat().join("/");
                visit(&Place {
                    partition,
                    path: &path,
                    source: visited.source,
                    filesystem: visited.filesystem,
                    open,
                });
            });
        }
    }

    /// Follows the path and hands over what it leads to.
    pub fn at<T>(&self, path: &str, look: impl FnOnce(Spot<'_>) -> T) -> Result<T, NoFile> {
        let names = parts(path)?;
        let (mut look, mut found, mut known) = (Some(look), None, Vec::new());
        self.filesystems(&mut |place| {
            let lead: Vec<&str> = place.path.split('/').filter(|n| !n.is_empty()).collect();
            known.push(match place.path {
                "" => place.filesystem.kind.clone(),
                path => format!("{path} ({})", place.filesystem.kind),
            });
            let Some(names) = names.strip_prefix(lead.as_slice()) else {
                return;
            };
            if let Some(look) = look.take() {
                found = Some(spot(path, names, place).map(look));
            }
        });
        found.unwrap_or_else(|| Err(NoFile::Partition(self.no_filesystem(path, &known))))
    }

    fn no_filesystem(&self, path: &str, known: &[String]) -> String {
        if known.is_empty() {
            return format!(
                "'{path}': no filesystem whose files can be read is on it; `rescue disks` says what is"
            );
        }
        format!(
            "'{path}' does not begin with a partition that has files; write its number first: {}",
            known.join(", ")
        )
    }
}

/// What the names lead to in a filesystem.
fn spot<'a>(path: &str, names: &[&str], place: &'a Place<'a>) -> Result<Spot<'a>, NoFile> {
    let failed = |error: TreeError| NoFile::Tree(format!("{path}: {error}"));
    let kind = &place.filesystem.kind;
    let tree = (place.open)(place.source).map_err(failed)?;
    let id = find(&*tree, names, kind).map_err(failed)?;
    let id = id.ok_or_else(|| NoFile::Missing(missing(path, place.partition, kind)))?;
    let root = || match place.path.rsplit('/').next() {
        Some(last) if !last.is_empty() => last.to_owned(),
        _ => "files".into(),
    };
    Ok(Spot {
        volume: place.source,
        node: tree.node(id).map_err(failed)?,
        tree,
        partition: place.partition,
        kind,
        id,
        name: names.last().map_or_else(root, |name| (*name).to_owned()),
    })
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
