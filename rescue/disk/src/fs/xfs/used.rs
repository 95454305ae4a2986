//! The used map: everything but what the free-space trees of each group prove free.

use super::free::Run;
use super::group::View;
use super::{Trouble, refused};
use crate::extent::{Extent, ExtentMap};
use crate::fs::gather::Gather;
use crate::source::{BlockSource, ReadError};

/// Most extents that count as metadata: 4 MiB of them.
const METADATA_LIMIT: usize = 1 << 18;

#[derive(Debug)]
pub(super) struct Mapped {
    pub extents: ExtentMap,
    /// Groups that were taken whole.
    pub unknown: ExtentMap,
    /// The heads of the groups, and their inodes.
    pub metadata: ExtentMap,
    pub doubts: Doubts,
}

/// Maps what `now` shows. `before` is the disk without its log replayed, and what the log touches: blocks that
/// are used there stay used, for a log may also be thrown away (`xfs_repair -L`), and its replay reads what it
/// changes.
pub(super) fn map(
    now: &View<'_>,
    before: Option<(&View<'_>, &ExtentMap)>,
) -> Result<Mapped, Trouble> {
    let superblock = &now.superblock;
    let mut doubts = Doubts::default();
    let mut gather = Gather::new(superblock.block_size);
    let mut counted = 0;
    let mut unknown = ExtentMap::new();
    for group in 0..superblock.ag_count {
        let mut free = match group_free(now, group, &mut counted) {
            Ok(free) => free,
            Err(Trouble::Read(ReadError::Gone(what))) => {
                return Err(ReadError::Gone(what).into());
            }
            Err(trouble) => {
                doubts.add(group, &trouble);
                let place = |block| superblock.group_block(group, block);
                let whole = Extent::between(place(0), place(superblock.group_blocks(group)));
                whole.into_iter().for_each(|whole| unknown.insert(whole));
                Vec::new()
            }
        };
        let touched = match before {
            None => None,
            Some((before, touched)) => {
                free = also_free_before(free, before, group)?;
                Some(touched)
            }
        };
        emit(now, group, &free, touched, &mut gather);
    }
    if doubts.groups >= superblock.ag_count {
        return refused(doubts.sentence().unwrap_or_default());
    }
    // While it is mounted the superblock's count is not kept up.
    if before.is_none()
        && doubts.groups == 0
        && let Some(said) = superblock.free_blocks.filter(|said| *said != counted)
    {
        return refused(format!(
            "its superblock counts {said} free blocks, its groups {counted}"
        ));
    }
    gather.push(superblock.size_bytes(), now.source.size_bytes());
    Ok(Mapped {
        extents: gather.finish(),
        metadata: metadata(now),
        unknown,
        doubts,
    })
}

/// Superblock, AGF, AGI and AGFL of each group, and its chunks of inodes where its tree of them can be followed.
fn metadata(view: &View<'_>) -> ExtentMap {
    let superblock = &view.superblock;
    let mut metadata = ExtentMap::new();
    for group in 0..superblock.ag_count {
        if metadata.count() > METADATA_LIMIT {
            break;
        }
        let heads = Extent::new(superblock.group_block(group, 0), 4 * superblock.sector_size);
        let inodes = view.inodes(group).unwrap_or_default();
        for extent in heads.into_iter().chain(inodes) {
            metadata.insert(extent);
        }
    }
    metadata
}

/// Adds to `counted` what the superblock calls free: the trees' own blocks are, where it counts lazily.
fn group_free(view: &View<'_>, group: u64, counted: &mut u64) -> Result<Vec<Run>, Trouble> {
    let space = view.free_space(group)?;
    let runs = view.free(group, &space)?;
    let trees = if view.superblock.lazy_count {
        space.tree_blocks
    } else {
        0
    };
    *counted += space.free_blocks + space.reserve + trees;
    Ok(runs)
}

/// Of `free`, what the disk without its log calls free too. After a crash its records are of different ages; where
/// they cannot be followed the log alone counts.
fn also_free_before(free: Vec<Run>, before: &View<'_>, group: u64) -> Result<Vec<Run>, Trouble> {
    let listed = before
        .free_space(group)
        .and_then(|space| before.listed(group, space.by_block));
    let old = match listed {
        Ok(old) => old,
        Err(Trouble::Read(ReadError::Gone(what))) => return Err(ReadError::Gone(what).into()),
        Err(_) => return Ok(free),
    };
    let (mut both, mut rest) = (Vec::new(), old.as_slice());
    for run in free {
        while let Some((first, tail)) = rest.split_first() {
            let start = run.start.max(first.start);
            let end = run.end().min(first.end());
            if u64::from(start) < end {
                let count = u32::try_from(end - u64::from(start));
                both.push(Run {
                    start,
                    count: count.expect("a part of a run is no longer than the run"),
                });
            }
            if first.end() > run.end() {
                break;
            }
            rest = tail;
        }
    }
    Ok(both)
}

/// Pushes what lies between the free runs, and what the log touches inside of them.
fn emit(
    view: &View<'_>,
    group: u64,
    free: &[Run],
    touched: Option<&ExtentMap>,
    gather: &mut Gather,
) {
    let superblock = &view.superblock;
    let place = |block: u64| superblock.group_block(group, block);
    let mut at = place(0);
    for run in free {
        let (start, end) = (place(run.start.into()), place(run.end()));
        gather.push(at, start);
        let window = Extent::between(start, end).expect("a run is not empty");
        for extent in touched.iter().flat_map(|touched| touched.within(window)) {
            gather.push(extent.start(), extent.end());
        }
        at = end;
    }
    gather.push(at, place(superblock.group_blocks(group)));
}

/// Groups that were taken whole.
#[derive(Default, Debug)]
pub(super) struct Doubts {
    pub groups: u64,
    first: Option<String>,
    unreadable: bool,
}

impl Doubts {
    fn add(&mut self, group: u64, trouble: &Trouble) {
        self.groups += 1;
        self.unreadable |= matches!(trouble, Trouble::Read(_));
        self.first
            .get_or_insert_with(|| format!("allocation group {group} {trouble}"));
    }

    pub fn is_unreadable(&self) -> bool {
        self.unreadable
    }

    pub fn sentence(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        Some(match self.groups {
            1 => format!("{first}; it was taken whole"),
            many => format!("{first}; {many} such groups were taken whole"),
        })
    }
}
