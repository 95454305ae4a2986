//! An inode as the log holds it: the numbers of the machine that logged it, to be put into one of the disk.

use super::inode::{CORE_V5, fork_range};
use super::item::Inode;
use crate::fields::Fields;

/// `XFS_ILOG_DDATA`, `XFS_ILOG_DEXT` and `XFS_ILOG_DBROOT`.
const DATA: u32 = 0x2 | 0x4;
const ROOT: u32 = 0x8;
/// Length of a block's head as it is in memory.
const TREE_HEAD: usize = 72;

/// What became of an inode of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Put {
    Done,
    /// The disk has a newer one.
    Older,
}

/// Numbers of the core and their lengths (`struct xfs_log_dinode`). Times stand apart; the next unlinked inode and
/// the checksum stay as they are.
const NUMBERS: &[(usize, usize)] = &[
    (0, 2),
    (2, 2),
    (4, 1),
    (5, 1),
    (6, 2),
    (8, 4),
    (12, 4),
    (16, 4),
    (20, 2),
    (22, 2),
    (24, 8),
    (56, 8),
    (64, 8),
    (72, 4),
    (76, 4),
    (80, 2),
    (82, 1),
    (83, 1),
    (84, 4),
    (88, 2),
    (90, 2),
    (92, 4),
    (104, 8),
    (120, 8),
    (128, 4),
    (152, 8),
];
const TIMES: &[usize] = &[32, 40, 48, 144];

/// Puts an inode of version 3 into the bytes of the disk; `None` when it is damaged or another one.
pub(super) fn put(inode: &Inode<'_>, lsn: u64, bytes: &mut [u8]) -> Option<Put> {
    let core = Fields(inode.core);
    let (magic, version) = (core.u16(0)?, core.u8(4)?);
    if magic != 0x494E || version != 3 || inode.core.len() < CORE_V5 {
        return None;
    }
    let there = Fields(bytes);
    if there.starts_with(0, b"IN") && there.u8(4) == Some(3) {
        let written = there.be64(112)?;
        if written != 0 && written != u64::MAX && written > lsn {
            return Some(Put::Older);
        }
    }
    let mut turn = |at: usize, len: usize| {
        let from = inode.core[at..at + len].iter().rev();
        bytes[at..at + len]
            .iter_mut()
            .zip(from)
            .for_each(|(to, from)| *to = *from);
    };
    NUMBERS.iter().for_each(|(at, len)| turn(*at, *len));
    // A big time is one number, an older one seconds and nanoseconds.
    let big = core.u64(120)? & 8 != 0;
    for at in TIMES {
        if big {
            turn(*at, 8);
        } else {
            turn(*at, 4);
            turn(*at + 4, 4);
        }
    }
    bytes[112..120].copy_from_slice(&lsn.to_be_bytes());
    bytes[160..CORE_V5].copy_from_slice(&inode.core[160..CORE_V5]);
    let fork = fork_range(bytes);
    let fork = bytes.get_mut(fork)?;
    match inode.data {
        Some(data) if inode.parts & DATA != 0 => {
            let len = data.len().min(fork.len());
            fork[..len].copy_from_slice(&data[..len]);
        }
        Some(root) if inode.parts & ROOT != 0 => tree_root(root, fork)?,
        _ => {}
    }
    Some(Put::Done)
}

/// The root of a tree has a long head in memory and a short one on the disk, and room for another number of keys
/// before its pointers (`xfs_bmbt_to_bmdr`).
fn tree_root(root: &[u8], fork: &mut [u8]) -> Option<()> {
    let fields = Fields(root);
    let count = usize::from(fields.be16(6)?);
    let from = root.len().checked_sub(TREE_HEAD)? / 16;
    let to = fork.len().checked_sub(4)? / 16;
    if count > from.min(to) {
        return None;
    }
    fork[..4].copy_from_slice(fields.bytes(4, 4)?);
    fork[4..4 + count * 8].copy_from_slice(fields.bytes(TREE_HEAD, count * 8)?);
    let pointers = fields.bytes(TREE_HEAD + from * 8, count * 8)?;
    fork.get_mut(4 + to * 8..4 + to * 8 + count * 8)?
        .copy_from_slice(pointers);
    Some(())
}
