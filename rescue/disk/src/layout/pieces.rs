//! The used maps of all that is on a disk stay within a bound of memory together.

use super::{Content, Owner, Region};
use crate::fs::Used;

/// Most extents of a disk: 16 MiB of them, of which a job has several copies.
const LIMIT: usize = 1 << 20;
/// No filesystem leaves narrower gaps than the blocks that an image keeps or not.
const NARROWEST: u64 = 4096;

/// Counts the smallest gaps of every filesystem as used until there are few enough extents; tells how narrow all of
/// those are.
pub(super) fn bound(regions: &mut [Region]) -> Option<u64> {
    bound_to(regions, LIMIT)
}

/// What a person is told of it.
pub(super) fn note(narrow: u64) -> String {
    format!(
        "what the disk uses is in so many pieces that gaps of less than {} KiB are kept too",
        narrow >> 10
    )
}

fn bound_to(regions: &mut [Region], limit: usize) -> Option<u64> {
    let count = |regions: &[Region]| -> usize {
        let contents = regions.iter().filter_map(Region::content);
        contents.map(Content::pieces).sum()
    };
    let mut widest = None;
    let mut narrow = NARROWEST;
    // At 2^63 every filesystem is one extent.
    while count(regions) > limit && narrow < 1 << 63 {
        narrow *= 2;
        for region in regions.iter_mut() {
            if let Owner::Partition { content, .. } | Owner::Disk(content) = &mut region.owner {
                content.close_gaps(narrow);
            }
        }
        widest = Some(narrow);
    }
    widest
}

impl Content {
    /// Extents of the filesystems in it.
    fn pieces(&self) -> usize {
        match self {
            Content::Filesystem(found) => match &found.used {
                Used::Map { extents, .. } => extents.count(),
                Used::Whole(_) => 1,
            },
            Content::Layer(layer) => layer.volumes.iter().map(|v| v.content.pieces()).sum(),
            Content::Unknown(_) => 1,
        }
    }

    /// Gaps narrower than this count as used.
    fn close_gaps(&mut self, narrow: u64) {
        match self {
            Content::Filesystem(found) => {
                if let Used::Map { extents, .. } = &mut found.used {
                    extents.close_gaps(narrow);
                }
            }
            Content::Layer(layer) => {
                let volumes = layer.volumes.iter_mut();
                volumes.for_each(|volume| volume.content.close_gaps(narrow));
            }
            Content::Unknown(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extent::{Extent, ExtentMap};
    use crate::fs::{Basis, Filesystem, State};

    fn region(start: u64, extents: ExtentMap) -> Region {
        let content = Content::Filesystem(Filesystem {
            kind: "ext4".into(),
            variant: None,
            label: None,
            uuid: None,
            block_size: 4096,
            size_bytes: 1 << 30,
            state: State::Clean,
            used: Used::Map {
                basis: Basis::Records,
                extents,
            },
            parts: Box::default(),
        });
        let extent = Extent::new(start, 1 << 30).unwrap();
        let owner = Owner::Disk(content);
        Region { extent, owner }
    }

    /// Every other `apart` bytes.
    fn comb(apart: u64, count: u64) -> ExtentMap {
        let tooth = |nth: u64| Extent::new(nth * 2 * apart, apart).unwrap();
        (0..count).map(tooth).collect()
    }

    #[test]
    fn the_smallest_gaps_of_all_filesystems_go_first_and_nothing_used_is_lost() {
        let (fine, coarse) = (comb(4096, 90), comb(65536, 30));
        let mut regions = [region(0, fine.clone()), region(1 << 30, coarse.clone())];
        assert_eq!(bound_to(&mut regions, 120), None);
        assert_eq!(bound_to(&mut regions, 100), Some(8192));
        assert_eq!(
            regions[0].used(),
            [Extent::new(0, 179 * 4096).unwrap()].into_iter().collect()
        );
        assert_eq!(regions[1].used(), coarse.shifted(1 << 30));
        assert_eq!(bound_to(&mut regions, 2), Some(131_072));
        for (region, used) in regions.iter().zip([fine, coarse]) {
            let kept = region.used();
            assert_eq!(kept.count(), 1);
            assert!(
                used.shifted(region.extent.start())
                    .iter()
                    .all(|e| kept.covers(e))
            );
        }
    }
}
