//! What the directories of an exFAT filesystem point to, for one whose bitmap may lag behind them.

use std::collections::HashSet;
use std::ops::ControlFlow;

use crate::extent::{Extent, ExtentMap};
use crate::fs::exfat::boot::Boot;
use crate::fs::exfat::chain::{Allocation, Chains, Order, Work, is_gone};
use crate::fs::exfat::directory::{self, DIRECTORY_LIMIT};
use crate::fs::exfat::entry::{self, FILE, Slot};
use crate::fs::gather::Gather;
use crate::fs::tree::{Piece, TreeError};
use crate::source::BlockSource;

/// Most directories looked into; each may cost a seek.
const DIRECTORIES_LIMIT: usize = 1 << 16;
/// Most entries looked at, of all directories together: more than two million files.
const ENTRIES_LIMIT: u64 = 1 << 23;
/// Most extents taken from them beside those the bitmap knows.
const CLAIMS_LIMIT: usize = 1 << 18;

/// Everything that an entry in use claims and `used` lacks, whatever the table and the entry's own checksum say.
/// `None` when there is too much to look at.
pub fn claims(
    source: &dyn BlockSource,
    boot: &Boot,
    used: &ExtentMap,
    work: &mut Work,
) -> Result<Option<ExtentMap>, TreeError> {
    let mut search = Search {
        chains: Chains::new(source, boot),
        boot,
        used,
        claims: Vec::new(),
        directories: vec![directory::root(boot)],
        seen: HashSet::from([boot.root_cluster]),
        entries_left: ENTRIES_LIMIT,
    };
    while let Some(at) = search.directories.pop() {
        match search.enter(source, at, work) {
            Ok(()) => {}
            Err(TreeError::TooMany(_) | TreeError::Unsupported(_)) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(ExtentMap::from(search.claims)))
}

/// Both together, in bounded memory.
pub fn joined(used: &ExtentMap, claims: &ExtentMap, unit: u64) -> ExtentMap {
    let mut joined = Gather::new(unit);
    let mut claims = claims.iter().peekable();
    for extent in used.iter() {
        while let Some(claim) = claims.next_if(|claim| claim.start() <= extent.start()) {
            joined.push(claim.start(), claim.end());
        }
        joined.push(extent.start(), extent.end());
    }
    for claim in claims {
        joined.push(claim.start(), claim.end());
    }
    joined.finish()
}

struct Search<'a> {
    chains: Chains<'a>,
    boot: &'a Boot,
    used: &'a ExtentMap,
    claims: Vec<Extent>,
    /// To be entered.
    directories: Vec<Allocation>,
    seen: HashSet<u32>,
    entries_left: u64,
}

impl Search<'_> {
    fn enter(
        &mut self,
        source: &dyn BlockSource,
        directory: Allocation,
        work: &mut Work,
    ) -> Result<(), TreeError> {
        let directory = Allocation {
            size_bytes: directory.size_bytes.min(DIRECTORY_LIMIT),
            ..directory
        };
        let pieces = self.claim(directory, work)?;
        let mut found = Vec::new();
        let mut is_directory = false;
        let entries_left = &mut self.entries_left;
        let scanned = directory::scan(source, &pieces, &mut |_, slot: &Slot| {
            let Some(left) = entries_left.checked_sub(1) else {
                return ControlFlow::Break(());
            };
            *entries_left = left;
            if !entry::is_secondary(slot) {
                is_directory = slot[0] == FILE && slot[4] & 0x10 != 0;
            }
            if let Some(claim) = entry::claimed(slot) {
                found.push((claim, is_directory));
            }
            match found.len() {
                0..CLAIMS_LIMIT => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        });
        match scanned {
            Err(error) if is_gone(&error) => return Err(error),
            // What cannot be read has no entries; what it pointed to is in the bitmap, or lost.
            _ if self.entries_left == 0 || found.len() >= CLAIMS_LIMIT => {
                return Err(TreeError::TooMany("entries"));
            }
            _ => {}
        }
        for (claim, is_directory) in found {
            if !is_directory {
                self.claim(claim, work)?;
            } else if self.seen.insert(claim.first_cluster) {
                self.directories.push(claim);
            }
        }
        if self.seen.len() > DIRECTORIES_LIMIT {
            return Err(TreeError::TooMany("directories"));
        }
        Ok(())
    }

    /// Takes the clusters of an allocation and, where its chain breaks off, what would follow if the rest lay
    /// behind it in a row: most files lie in one piece.
    fn claim(&mut self, claim: Allocation, work: &mut Work) -> Result<Vec<Piece>, TreeError> {
        let mut pieces = Vec::new();
        work.spend(1)?;
        let broken = match self.chains.follow(claim, work, &mut pieces) {
            Ok(broken) => broken.is_some(),
            Err(TreeError::Read(error)) if !is_gone(&error.clone().into()) => true,
            Err(error) => return Err(error),
        };
        if broken && claim.order == Order::Chained {
            let (at, start) = match pieces.last() {
                Some(last) => (last.at + last.extent.len(), last.extent.end()),
                None => (0, self.boot.heap_end()),
            };
            let rest = claim.size_bytes.saturating_sub(at);
            let end = start.saturating_add(rest);
            let end = end.checked_next_multiple_of(self.boot.cluster_bytes);
            let end = end.map_or(self.boot.heap_end(), |end| end.min(self.boot.heap_end()));
            if let Some(extent) = Extent::between(start, end) {
                pieces.push(Piece { at, extent });
            }
        }
        let new = pieces.iter().map(|piece| piece.extent);
        let before = self.claims.len();
        self.claims
            .extend(new.filter(|extent| !self.used.covers(*extent)));
        if self.claims.len() > before && self.claims.len() > CLAIMS_LIMIT {
            return Err(TreeError::TooMany("extents"));
        }
        Ok(pieces)
    }
}
