//! The images of a store as a person looks for them: each disk with its own, children below their parents.

use super::{Shelved, lineage_of};
use crate::retain;

/// Where one of them stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// Which of the list.
    pub nth: usize,
    /// Ancestors above it.
    pub depth: usize,
    /// Of its disk.
    pub is_first: bool,
}

pub fn ordered(all: &[Shelved]) -> Vec<Placed> {
    let disk_of = |one: &Shelved| match &one.label {
        Ok(label) => retain::disk_of(label),
        Err(_) => String::new(),
    };
    let mut roots: Vec<usize> = (0..all.len())
        .filter(|nth| lineage_of(all, *nth).is_empty())
        .collect();
    roots.sort_by_key(|nth| (disk_of(&all[*nth]), all[*nth].made().map(str::to_owned)));
    let mut out = Vec::with_capacity(all.len());
    let mut disk = None;
    for root in roots {
        let of = disk_of(&all[root]);
        let is_first = disk.as_ref() != Some(&of);
        disk = Some(of);
        branch(all, root, 0, is_first, &mut out);
    }
    out
}

fn branch(all: &[Shelved], nth: usize, depth: usize, is_first: bool, out: &mut Vec<Placed>) {
    out.push(Placed {
        nth,
        depth,
        is_first,
    });
    let mut children: Vec<usize> = (0..all.len())
        .filter(|child| all[*child].parent == Some(nth) && *child != nth)
        .collect();
    children.sort_by_key(|child| all[*child].made());
    // A crafted store may go in a circle; a chain has an end.
    if depth <= 16 {
        children
            .into_iter()
            .for_each(|child| branch(all, child, depth + 1, false, out));
    }
}
