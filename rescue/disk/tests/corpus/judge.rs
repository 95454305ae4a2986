//! One image through everything that reads, held against what others say of it.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use disk::extent::{Extent, ExtentMap};
use disk::fields::text;
use disk::fs::{self, Basis, Filesystem, READERS, Used, tree};
use disk::layout::Layout;
use disk::source::{BlockSource, ReadError};
use disk::systems;
use disk::table::{self, Scheme};

use crate::facts::{Facts, unescaped};
use crate::peak;

/// Kinds whose used map we claim to know; each must be recognised, with its names.
const CLAIMED: &[&str] = &[
    "ext2",
    "ext3",
    "ext4",
    "ntfs",
    "vfat",
    "exfat",
    "f2fs",
    "xfs",
    "btrfs",
    "hfsplus",
    "apfs",
    "reiserfs",
    "jfs",
    "nilfs2",
    "swap",
    "swsuspend",
    "crypto_LUKS",
    "BitLocker",
    "LVM2_member",
    "linux_raid_member",
    "zfs_member",
];
/// Their group descriptors are wrong: a bad checksum, or a group marked as never used that holds blocks, as
/// e2fsck says. The reference believes them; here such a group is used as a whole.
const DOUBTFUL: &[&str] = &[
    "f_uninit_set_inode_not_set__image",
    "f_uninit_checksum_bad__image",
    "f_uninit_blk_used_not_set__image",
];
const TIME_LIMIT: Duration = Duration::from_secs(2);
const MEMORY_LIMIT: usize = 64 << 20;
/// Files visited in one image.
const WALK_LIMIT: usize = 2000;

/// A row of the table that is printed.
#[derive(Debug)]
pub struct Verdict {
    pub path: String,
    pub recorded: String,
    pub found: String,
    pub map: Compared,
    pub time: Duration,
    pub peak_bytes: usize,
    pub faults: Vec<String>,
}

/// Our used map beside the reference's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compared {
    /// There is none that can be believed, or the kind has none.
    Nothing,
    /// We say nothing of free space.
    Whole,
    Agrees {
        extra_bytes: u64,
    },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let map = match self.map {
            Compared::Nothing => "-".to_owned(),
            Compared::Whole => "whole".to_owned(),
            Compared::Agrees { extra_bytes } => format!("+{extra_bytes}"),
        };
        write!(
            f,
            "{:<70} {:<14} {:<28} {map:>9} {:>6} ms {:>6} KiB",
            self.path,
            self.recorded,
            self.found,
            self.time.as_millis(),
            self.peak_bytes >> 10
        )?;
        for fault in &self.faults {
            write!(f, "\n    FAULT: {fault}")?;
        }
        Ok(())
    }
}

pub fn judge(source: &dyn BlockSource, facts: &Facts) -> Verdict {
    let start = busy();
    let (found, peak_bytes) = peak::during(|| examined(source));
    let time = busy().saturating_sub(start);
    let mut verdict = Verdict {
        path: facts.path.clone(),
        recorded: facts.kind.clone(),
        found: named(&found),
        map: Compared::Nothing,
        time,
        peak_bytes,
        faults: Vec::new(),
    };
    if time > TIME_LIMIT {
        verdict.faults.push(format!("it took {time:?}"));
    }
    if peak_bytes > MEMORY_LIMIT {
        verdict
            .faults
            .push(format!("{peak_bytes} bytes were held at once"));
    }
    verdict.judge_kind(&found, facts);
    verdict.judge_table(source, facts);
    if let Ok(Some(filesystem)) = &found {
        verdict.judge_map(filesystem, facts, source.size_bytes());
    }
    verdict
}

/// How long this thread has had a processor, so that a busy machine is no fault of a reader.
fn busy() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.expect("its first word is a number"))
}

/// Everything in the crate that reads, over this image; what it is taken for is returned.
fn examined(source: &dyn BlockSource) -> Result<Option<Filesystem>, ReadError> {
    for reader in READERS {
        let _ = (reader.read)(source);
        let Some(open) = reader.tree else { continue };
        let Ok(tree) = open(source) else { continue };
        let mut left = WALK_LIMIT;
        tree::walk(
            tree.as_ref(),
            &mut |found| {
                let _ = found.node.read(source, 4096);
                left -= 1;
                match left {
                    0 => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                }
            },
            &mut |_, _| {},
        );
    }
    if let Ok(layout) = Layout::read(source) {
        let _ = systems::of(source, &layout);
        let end = layout.regions.iter().fold(0, |at, region| {
            assert_eq!(region.extent.start(), at, "every byte has one owner");
            region.extent.end()
        });
        assert_eq!(end, source.size_bytes());
    }
    Ok(fs::recognise(source)?.map(|(_, filesystem)| filesystem))
}

fn named(found: &Result<Option<Filesystem>, ReadError>) -> String {
    match found {
        Err(error) => error.to_string(),
        Ok(None) => "-".into(),
        Ok(Some(filesystem)) => match &filesystem.used {
            Used::Map { basis, .. } => format!("{} {basis:?}", filesystem.kind),
            Used::Whole(_) => format!("{} whole", filesystem.kind),
        },
    }
}

impl Verdict {
    fn judge_kind(&mut self, found: &Result<Option<Filesystem>, ReadError>, facts: &Facts) {
        let claimed = CLAIMED.contains(&facts.kind.as_str());
        let filesystem = match found {
            Ok(Some(filesystem)) => filesystem,
            Ok(None) if claimed => return self.fault("it is not recognised".into()),
            Err(error) if claimed => return self.fault(format!("it is not recognised: {error}")),
            _ => return,
        };
        if filesystem.kind != facts.kind {
            // A damaged one that others give up on may be known by its backups; another kind may not.
            let unknown = facts.get("TYPE").is_none();
            if claimed || (!unknown && matches!(filesystem.used, Used::Map { .. })) {
                self.fault(format!("it is taken for {}", filesystem.kind));
            }
            return;
        }
        if !claimed {
            return;
        }
        let ours = filesystem.uuid.as_deref();
        if facts.get("UUID") != ours {
            self.fault(format!("its UUID is {ours:?}, not {:?}", facts.get("UUID")));
        }
        let label = facts.get("LABEL").map(|label| text(&unescaped(label)));
        // libblkid names no label of APFS.
        if filesystem.label != label && filesystem.kind != "apfs" {
            self.fault(format!(
                "its label is {:?}, not {label:?}",
                filesystem.label
            ));
        }
    }

    fn judge_table(&mut self, source: &dyn BlockSource, facts: &Facts) {
        let scheme = match facts.kind.as_str() {
            "pt:gpt" => Scheme::Gpt,
            "pt:dos" => Scheme::Mbr,
            _ => return,
        };
        match table::read(source) {
            Ok(Some(table)) if table.scheme == scheme => {
                let rows = facts.get("sfdisk").unwrap_or("");
                for partition in &table.partitions {
                    let (start, len) = (partition.extent.start(), partition.extent.len());
                    let row = format!("[{},{},", start / 512, len / 512);
                    if !rows.contains(&row) {
                        self.fault(format!("sfdisk has no partition {row}"));
                    }
                }
                let theirs = rows.matches(",\"").count().saturating_sub(4).max(1);
                if table.partitions.is_empty() && theirs > 0 {
                    self.fault("it has no partitions".into());
                }
            }
            other => self.fault(format!("its table is {other:?}")),
        }
    }

    fn judge_map(&mut self, filesystem: &Filesystem, facts: &Facts, size_bytes: u64) {
        let Some(theirs) = facts
            .trusted_map()
            .filter(|_| filesystem.kind == facts.kind)
        else {
            return;
        };
        let Used::Map { basis, extents } = &filesystem.used else {
            self.map = Compared::Whole;
            return;
        };
        let inside = |map: &ExtentMap, end: u64| -> ExtentMap {
            Extent::new(0, end).map_or_else(ExtentMap::new, |w| map.within(w).collect())
        };
        let missing = inside(theirs, size_bytes).difference(extents);
        if !missing.is_empty() {
            let first = missing.iter().next();
            self.fault(format!(
                "{} used bytes are called free, the first at {first:?}",
                missing.total_bytes()
            ));
        }
        let end = filesystem.size_bytes.min(size_bytes);
        let extra = inside(extents, end).difference(theirs).total_bytes();
        let block = u64::from(filesystem.block_size);
        // The reference knows nothing of what the journal still holds.
        let replayed = *basis == Basis::Replayed;
        let doubtful = replayed || DOUBTFUL.iter().any(|name| facts.path.contains(name));
        // Half a percent, and blocks at either end that the reference leaves out.
        if extra > end / 200 + 4 * block && !doubtful {
            self.fault(format!(
                "{extra} bytes more than the reference are called used"
            ));
        }
        self.map = Compared::Agrees { extra_bytes: extra };
    }

    fn fault(&mut self, text: String) {
        self.faults.push(text);
    }
}
