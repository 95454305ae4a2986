//! How often sectors of a drive were asked for, by QEMU's own account.
//!
//! An event of the block layer names a drive by an address that nobody knows. So the guest reads a single sector
//! that only this drive is asked for: a mark, which also says what was before it and what came after.

use std::collections::BTreeMap;

use crate::failure::{Failure, Outcome};
use crate::shell::Shell;

pub const EVENT: &str = "blk_co_preadv";
const SECTOR: u64 = 512;

struct Read<'a> {
    drive: &'a str,
    start: u64,
    len: u64,
}

/// Every read that QEMU was asked for, in order.
pub struct Reads<'a>(Vec<Read<'a>>);

/// One sector, past the guest's cache.
pub fn mark(shell: &mut Shell, device: &str, sector: u64) -> Outcome {
    shell.run(&format!(
        "tool dd if={device} of=/dev/null bs=512 count=1 skip={sector} iflag=direct status=none"
    ))?;
    Ok(())
}

impl<'a> Reads<'a> {
    /// From lines such as `blk_co_preadv blk 0x55d1 bs 0x55d2 offset 512 bytes 512 flags 0x0`.
    pub fn of_log(log: &'a str) -> Reads<'a> {
        let read = |line: &'a str| {
            let words = line.split_once(EVENT)?.1;
            let mut words = words.split_whitespace();
            let mut after = |name: &str| {
                words.find(|word| *word == name)?;
                words.next()
            };
            Some(Read {
                drive: after("blk")?,
                start: after("offset")?.parse().ok()?,
                len: after("bytes")?.parse().ok()?,
            })
        };
        Reads(log.lines().filter_map(read).collect())
    }

    /// How often each of the sectors was asked for between two marks; `None`: from the start of the machine.
    ///
    /// # Errors
    /// When a mark is not there.
    pub fn between(
        &self,
        from: Option<u64>,
        to: u64,
        sectors: &[u64],
    ) -> Outcome<BTreeMap<u64, u32>> {
        let place = |mark: u64| {
            let is_it = |read: &Read<'_>| read.start == mark * SECTOR && read.len == SECTOR;
            let found = self.0.iter().position(is_it);
            found.ok_or_else(|| Failure::new(format!("QEMU tells of no read of mark {mark}")))
        };
        let end = place(to)?;
        let begin = from.map_or(Ok(0), place)?;
        let drive = self.0[end].drive;
        let mut touches: BTreeMap<u64, u32> = sectors.iter().map(|sector| (*sector, 0)).collect();
        for read in self.0.get(begin..end).unwrap_or_default() {
            let extent = read.start..read.start.saturating_add(read.len);
            for (sector, count) in &mut touches {
                if read.drive == drive && extent.contains(&(sector * SECTOR)) {
                    *count += 1;
                }
            }
        }
        Ok(touches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
1@1.2:blk_co_preadv blk 0xa bs 0x1 offset 4096 bytes 8192 flags 0x0
1@1.3:blk_co_preadv blk 0xb bs 0x2 offset 4096 bytes 8192 flags 0x0
qemu-system-x86_64: warning: something else
1@1.4:blk_co_preadv blk 0xa bs 0x1 offset 100352 bytes 512 flags 0x0
1@1.5:blk_co_preadv blk 0xa bs 0x1 offset 8192 bytes 512 flags 0x0
1@1.6:blk_co_preadv blk 0xb bs 0x2 offset 8192 bytes 512 flags 0x0
1@1.7:blk_co_preadv blk 0xa bs 0x1 offset 100864 bytes 512 flags 0x0
";

    #[test]
    fn only_the_drive_of_the_marks_is_counted() {
        let reads = Reads::of_log(LOG);
        let counted = |from, to| {
            let touches = reads.between(from, to, &[8, 16, 24]).unwrap();
            touches.into_values().collect::<Vec<_>>()
        };
        assert_eq!(counted(None, 196), [1, 1, 0]);
        assert_eq!(counted(Some(196), 197), [0, 1, 0]);
        assert!(reads.between(None, 7, &[]).is_err());
    }
}
