//! The files of one filesystem that the rules mean, and what of them nobody else has a part in.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::Instant;

use disk::extent::{Extent, ExtentMap};
use disk::fs::tree::{self, Content as Where, Found, Node, NodeId, NodeKind, Tree, TreeError};
use disk::fs::{self, Filesystem, swap};
use disk::source::BlockSource;

use super::Choice;
use super::rules::{Content, RULES};
use crate::request::glob::{Glob, fold};

/// Most files that are left out of one filesystem, and most places they may lie in.
const FILES: usize = 1 << 17;
const PLACES: usize = 1 << 18;
/// As much of a file as tells what memory is stored in it.
const HEAD: u64 = 64 << 10;
/// Kept of what memory was put aside in.
const FIRST_PAGE: u64 = 4 << 10;
/// Sentences about single files.
const NOTES: usize = 16;

pub struct Search<'a> {
    source: &'a dyn BlockSource,
    open: Option<fs::OpenTree>,
    /// With their places among the choices.
    rules: Vec<(usize, Glob)>,
    /// Files whose content has a say, whatever rule names them.
    memory: Vec<(Content, Glob)>,
    folds: bool,
    /// What the filesystem deals out.
    block: u64,
    until: Instant,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Taken {
    /// The place of its rule, by file.
    rules: Vec<usize>,
    /// With the file they are of.
    places: Vec<(Extent, u32)>,
    known: HashSet<NodeId>,
    /// What somebody else has a part in too.
    shared: ExtentMap,
    pub notes: Vec<String>,
}

impl Taken {
    /// What can be left out, as the filesystem counts.
    pub fn extents(&self) -> ExtentMap {
        let all: Vec<Extent> = self.places.iter().map(|(extent, _)| *extent).collect();
        ExtentMap::from(all).difference(&self.shared)
    }

    /// Each file with its rule and its places.
    pub fn files(&self) -> impl Iterator<Item = (usize, Vec<Extent>)> + '_ {
        let groups = self.places.chunk_by(|(_, a), (_, b)| a == b);
        groups.filter_map(|group| {
            let file = usize::try_from(group.first()?.1).ok()?;
            let extents = group.iter().map(|(extent, _)| *extent).collect();
            Some((*self.rules.get(file)?, extents))
        })
    }

    fn add(&mut self, rule: usize, id: NodeId, extents: Vec<Extent>) {
        let Ok(file) = u32::try_from(self.rules.len()) else {
            return;
        };
        self.known.insert(id);
        self.rules.push(rule);
        self.places.extend(extents.into_iter().map(|e| (e, file)));
    }

    fn is_full(&self, more: usize) -> bool {
        self.rules.len() >= FILES || self.places.len() + more > PLACES
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < NOTES && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Two files in the same place.
    fn find_doubles(&mut self) {
        let mut places: Vec<Extent> = self.places.iter().map(|(extent, _)| *extent).collect();
        places.sort_unstable();
        let mut end = 0;
        let mut doubles = Vec::new();
        for place in places {
            doubles.extend(Extent::between(place.start(), end.min(place.end())));
            end = end.max(place.end());
        }
        self.shared = ExtentMap::from(doubles);
    }
}

impl<'a> Search<'a> {
    pub fn new(
        source: &'a dyn BlockSource,
        filesystem: &Filesystem,
        choices: &[Choice],
        until: Instant,
    ) -> Search<'a> {
        let kind = filesystem.kind.as_str();
        let folds = matches!(kind, "ntfs" | "vfat" | "exfat" | "hfsplus" | "apfs");
        let glob = |glob: &Glob| if folds { glob.folded() } else { glob.clone() };
        let here = choices.iter().enumerate().filter(|(_, c)| c.on.has(kind));
        let memory = RULES
            .iter()
            .filter(|rule| rule.content != Content::Any && rule.on.has(kind));
        Search {
            source,
            open: fs::reader_of(kind).and_then(|reader| reader.tree),
            rules: here.map(|(at, choice)| (at, glob(&choice.glob))).collect(),
            memory: memory
                .filter_map(|rule| Some((rule.content, glob(&rule.glob.parse().ok()?))))
                .collect(),
            folds,
            block: u64::from(filesystem.block_size),
            until,
        }
    }

    /// Two walks: the second finds who else has a part in what the first found.
    pub fn run(&self) -> Result<Taken, String> {
        let mut taken = Taken::default();
        self.walk(&mut |found| {
            self.meet(found, &mut taken);
            Ok(())
        })?;
        if taken.places.is_empty() {
            return Ok(taken);
        }
        taken.find_doubles();
        let found: Vec<Extent> = taken.places.iter().map(|(extent, _)| *extent).collect();
        let candidates = ExtentMap::from(found);
        let mut shared = Vec::new();
        self.walk(&mut |found| {
            if taken.known.contains(&found.id) && self.rule(found.path).is_some() {
                return Ok(());
            }
            for extent in found.node.extents() {
                shared.extend(candidates.within(extent));
            }
            match shared.len() > PLACES {
                true => Err("too many of its files share their places".to_owned()),
                false => Ok(()),
            }
        })?;
        taken.shared = taken.shared.union(&ExtentMap::from(shared));
        Ok(taken)
    }

    /// Every file, or why not every one was met.
    fn walk(&self, each: &mut dyn FnMut(&Found<'_>) -> Result<(), String>) -> Result<(), String> {
        let open = self.open.ok_or("its files cannot be read here")?;
        let tree: Box<dyn Tree> = open(self.source).map_err(|error| error.to_string())?;
        let stopped: RefCell<Option<String>> = RefCell::new(None);
        tree::walk(
            &*tree,
            &mut |found| {
                let met = match Instant::now() > self.until {
                    true => Err("there are more files than could be looked at in time".to_owned()),
                    false => each(&found),
                };
                let mut stopped = stopped.borrow_mut();
                if let Err(why) = met {
                    stopped.get_or_insert(why);
                }
                match *stopped {
                    Some(_) => ControlFlow::Break(()),
                    None => ControlFlow::Continue(()),
                }
            },
            &mut |path, error| {
                let why = || not_followed(path, &error);
                stopped.borrow_mut().get_or_insert_with(why);
            },
        );
        match stopped.into_inner() {
            Some(why) => Err(why),
            None => Ok(()),
        }
    }

    fn meet(&self, found: &Found<'_>, taken: &mut Taken) {
        if found.node.kind != NodeKind::File || taken.known.contains(&found.id) {
            return;
        }
        let Some(rule) = self.rule(found.path) else {
            return;
        };
        let kept = match self.kept(found, taken) {
            Some(kept) => kept,
            None => return,
        };
        let extents = behind(found.node, self.block, kept);
        if taken.is_full(extents.len()) {
            return taken
                .note("more files are meant than are remembered; the others are kept".into());
        }
        if !extents.is_empty() {
            taken.add(rule, found.id, extents);
        }
    }

    /// Of a file that is meant, the bytes at its start that are kept all the same; `None` for all of them.
    fn kept(&self, found: &Found<'_>, taken: &mut Taken) -> Option<u64> {
        let head = || found.node.read(self.source, HEAD).unwrap_or_default();
        match self.with(found.path, |names| content(&self.memory, names)) {
            Content::Any => Some(0),
            Content::PageFile => Some(FIRST_PAGE),
            Content::SwapFile => match swap::header(&head()) {
                Some(swap::Header::Swap { page_bytes }) => Some(page_bytes as u64),
                Some(swap::Header::Sleeping) => sleeps(found.path, taken),
                None => None,
            },
            Content::Hibernation => match is_asleep(&head()) {
                true => sleeps(found.path, taken),
                false => Some(FIRST_PAGE),
            },
        }
    }

    /// The place of the first that means this path.
    fn rule(&self, path: &str) -> Option<usize> {
        self.with(path, |names| {
            let found = self.rules.iter().find(|(_, glob)| glob.matches(names));
            found.map(|(at, _)| *at)
        })
    }

    fn with<T>(&self, path: &str, ask: impl Fn(&[&str]) -> T) -> T {
        let folded = self.folds.then(|| fold(path));
        let path = folded.as_deref().unwrap_or(path);
        ask(&path.split('/').collect::<Vec<&str>>())
    }
}

fn content(memory: &[(Content, Glob)], names: &[&str]) -> Content {
    let found = memory.iter().find(|(_, glob)| glob.matches(names));
    found.map_or(Content::Any, |(content, _)| *content)
}

fn sleeps(path: &str, taken: &mut Taken) -> Option<u64> {
    taken.note(format!(
        "a system sleeps in {path}, which is kept: without it that session would be lost"
    ));
    None
}

/// As Windows and macOS mark it: written, being resumed, kept for resuming again; `None` of them in one used up.
fn is_asleep(head: &[u8]) -> bool {
    let start = head.get(..4).unwrap_or_default().to_ascii_lowercase();
    [b"hibr", b"rstr", b"horm", b"vels", b"sram"]
        .contains(&&<[u8; 4]>::try_from(start).unwrap_or_default())
}

/// Where its bytes behind the first `kept` lie; nothing of a file whose bytes are not simply there.
/// What a file ends in is its own to the end of the block.
fn behind(node: &Node, block: u64, kept: u64) -> Vec<Extent> {
    let Where::Pieces(pieces) = &node.content else {
        return Vec::new();
    };
    let rest = |piece: &tree::Piece| {
        let skip = kept.saturating_sub(piece.at);
        let start = piece.extent.start().checked_add(skip)?;
        let len = match block != 0 && piece.at.is_multiple_of(block) {
            true => piece.extent.len().checked_next_multiple_of(block)?,
            false => piece.extent.len(),
        };
        Extent::between(start, piece.extent.start().checked_add(len)?)
    };
    pieces.iter().filter_map(rest).collect()
}

fn not_followed(path: &str, error: &TreeError) -> String {
    let path = path.replace(char::is_control, "\u{fffd}");
    let path: String = match path.is_empty() {
        true => "its root".into(),
        false => path.chars().take(200).collect(),
    };
    format!(
        "not all of its files can be followed ({path}: {error}), and those may have a part in the others"
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use disk::fs::tree::{Each, Entry, Piece};
    use disk::memory::MemorySource;

    use super::*;

    /// Eight folders; each has all of them and the same files without end.
    struct Cyclic;

    const END: u64 = 200_000;

    impl Tree for Cyclic {
        fn root(&self) -> NodeId {
            NodeId(1)
        }

        fn entries(&self, _: NodeId, each: Each<'_>) -> Result<(), TreeError> {
            for n in 1..END {
                let (name, kind) = match n {
                    1..9 => ("loop".into(), NodeKind::Directory),
                    _ => (format!("{n}.tmp"), NodeKind::File),
                };
                let id = NodeId(n);
                if each(Entry { name, id, kind }).is_break() {
                    break;
                }
            }
            Ok(())
        }

        fn node(&self, id: NodeId) -> Result<Node, TreeError> {
            let extent = Extent::new(id.0 * 8192, 4096).unwrap();
            Ok(Node {
                kind: if id.0 < 9 {
                    NodeKind::Directory
                } else {
                    NodeKind::File
                },
                size_bytes: 4096,
                modified: None,
                content: Where::Pieces(vec![Piece { at: 0, extent }]),
            })
        }
    }

    fn open<'a>(_: &'a dyn BlockSource) -> Result<Box<dyn Tree + 'a>, TreeError> {
        Ok(Box::new(Cyclic))
    }

    fn search(source: &dyn BlockSource, patience: Duration) -> Search<'_> {
        Search {
            source,
            open: Some(open),
            rules: vec![(0, "*.tmp".parse().unwrap())],
            memory: Vec::new(),
            folds: true,
            block: 4096,
            until: Instant::now() + patience,
        }
    }

    #[test]
    fn a_cyclic_tree_with_files_without_end_takes_bounded_memory_and_time() {
        let source = MemorySource::new(vec![0; 4096]);
        let taken = search(&source, Duration::from_secs(600)).run().unwrap();
        assert_eq!((taken.rules.len(), taken.places.len()), (FILES, FILES));
        assert_eq!(taken.extents().total_bytes(), 4096 * FILES as u64);
        assert!(
            taken.notes[0].contains("the others are kept"),
            "{:?}",
            taken.notes
        );
        let begun = Instant::now();
        let early = search(&source, Duration::from_millis(50)).run();
        assert!(early.unwrap_err().contains("in time"));
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn two_files_in_one_place_share_it() {
        let place = |start, len| Extent::new(start, len).unwrap();
        let mut taken = Taken::default();
        taken.add(0, NodeId(7), vec![place(0, 10), place(30, 10)]);
        taken.add(0, NodeId(8), vec![place(5, 10), place(100, 10)]);
        taken.find_doubles();
        let left: Vec<Extent> = taken.extents().iter().collect();
        assert_eq!(
            left,
            [place(0, 5), place(10, 5), place(30, 10), place(100, 10)]
        );
    }

    #[test]
    fn a_sleeping_system_is_known_by_the_first_letters() {
        for start in ["HIBR", "hibr", "RSTR", "rstr", "HORM"] {
            assert!(is_asleep(start.as_bytes()), "{start}");
        }
        for start in ["", "wake", "\0\0\0\0", "HIB"] {
            assert!(!is_asleep(start.as_bytes()), "{start}");
        }
    }
}
