//! Walking a tree that is made to take all memory. A program of its own: it counts every byte that is allocated.

#[path = "corpus/peak.rs"]
mod peak;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

use disk::fs::tree::{Content, Each, Entry, Node, NodeId, NodeKind, Tree, TreeError, walk};

/// What no reader may go beyond.
const LIMIT: usize = 64 << 20;

/// Directories without end: each has `wide` more, with names as long as a filesystem has them.
struct Endless {
    wide: u64,
    name: String,
    /// Directories with larger numbers are empty.
    last: u64,
    /// Entries that are given before it says that it has no more.
    left: Cell<u64>,
}

impl Endless {
    fn new(wide: u64, name: usize, last: u64, entries: u64) -> Endless {
        Endless {
            wide,
            name: "n".repeat(name),
            last,
            left: Cell::new(entries),
        }
    }
}

impl Tree for Endless {
    fn root(&self) -> NodeId {
        NodeId(1)
    }

    fn entries(&self, directory: NodeId, each: Each<'_>) -> Result<(), TreeError> {
        let wide = match directory.0 > self.last {
            true => 0,
            false => self.wide,
        };
        for n in 0..wide {
            let Some(left) = self.left.get().checked_sub(1) else {
                return Ok(());
            };
            self.left.set(left);
            let entry = Entry {
                name: format!("{n}{}", self.name),
                id: NodeId(directory.0.wrapping_mul(self.wide).wrapping_add(n + 2)),
                kind: NodeKind::Directory,
            };
            if each(entry).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn node(&self, _: NodeId) -> Result<Node, TreeError> {
        Ok(Node {
            kind: NodeKind::Directory,
            size_bytes: 0,
            modified: None,
            content: Content::Inline(Vec::new()),
        })
    }
}

/// How many were visited, and what was said of the others.
fn walked(tree: &Endless) -> (u64, BTreeSet<String>) {
    let mut visited = 0;
    let troubles = RefCell::new(BTreeSet::new());
    walk(
        tree,
        &mut |_| {
            visited += 1;
            ControlFlow::Continue(())
        },
        &mut |_, error| {
            troubles.borrow_mut().insert(error.to_string());
        },
    );
    (visited, troubles.into_inner())
}

/// One test: another one at the same time would be counted too.
#[test]
fn a_tree_without_end_takes_no_more_memory_than_it_may_and_says_what_was_left_out() {
    let cases = [
        (
            "one in the other",
            Endless::new(1, 200, u64::MAX, 100_000),
            "directories in directories",
        ),
        (
            "beside each other",
            Endless::new(u64::MAX, 700, u64::MAX, 1_000_000),
            "directories beside each other",
        ),
        (
            "as many as there are",
            Endless::new(40, 1, 200_000, 4_000_000),
            "it was left out: directories",
        ),
    ];
    for (what, tree, said) in cases {
        let all = tree.left.get();
        let ((visited, troubles), peak) = peak::during(|| walked(&tree));
        assert!(peak < LIMIT, "{what}: {peak} bytes");
        assert!(
            troubles.iter().any(|trouble| trouble.ends_with(said)),
            "{what}: {troubles:?}"
        );
        assert!((64..=all).contains(&visited), "{what}: {visited} of {all}");
    }
}
