//! NVMe commands of our own: a failed read is not repeated by the driver, and the drive's log says where it failed.

use std::fs::File;
use std::io;

use disk::fields::Fields;

use crate::linux::ioctl::{self, NvmeCommand, NvmeQueue};
use crate::linux::sense::Sense;

/// Of commands that only tell something.
const ADMIN_MILLIS: u32 = 5_000;

/// A namespace whose sectors are plain: no metadata, no protection information.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Namespace {
    id: u32,
}

impl Namespace {
    /// `None` where reads of our own would bring more than the bytes of the sectors, or are not permitted.
    pub fn of(device: &File, logical_sector: u32) -> Option<Namespace> {
        let id = ioctl::nvme_namespace(device).ok()?;
        let mut page = vec![0; 4096];
        let identify = NvmeCommand::new(0x06, id, [0; 3], ADMIN_MILLIS);
        let status = ioctl::nvme_read(device, NvmeQueue::Admin, identify, &mut page).ok()?;
        (status == 0 && is_plain(&page, logical_sector)).then_some(Namespace { id })
    }

    pub fn read(
        self,
        device: &File,
        lba: u64,
        sectors: u32,
        buf: &mut [u8],
        millis: u32,
    ) -> io::Result<Sense> {
        let [low, high] = halves(lba);
        // The count is zero-based.
        let words = [low, high, sectors.saturating_sub(1)];
        let read = NvmeCommand::new(0x02, self.id, words, millis);
        let status = ioctl::nvme_read(device, NvmeQueue::Io, read, buf)?;
        Ok(match decode(status) {
            Sense::Medium { .. } => Sense::Medium {
                lba: self.failed_sector(device, status, lba, sectors),
            },
            told => told,
        })
    }

    /// The newest entry of the drive's error log, if it is about this read.
    fn failed_sector(self, device: &File, status: u16, lba: u64, sectors: u32) -> Option<u64> {
        (status & MORE != 0).then_some(())?;
        let mut page = [0; 64];
        log(device, 0x01, &mut page)?;
        error_entry(&page, self.id, status)
            .filter(|at| (lba..lba.saturating_add(sectors.into())).contains(at))
    }
}

/// Reads the head of a log page of the whole drive.
pub fn log(device: &File, page: u8, buf: &mut [u8]) -> Option<()> {
    let dwords = u32::try_from(buf.len() / 4).ok()?.checked_sub(1)?;
    let words = [dwords << 16 | u32::from(page), 0, 0];
    let command = NvmeCommand::new(0x02, u32::MAX, words, ADMIN_MILLIS);
    let status = ioctl::nvme_read(device, NvmeQueue::Admin, command, buf).ok()?;
    (status == 0).then_some(())
}

fn halves(n: u64) -> [u32; 2] {
    let low = u32::try_from(n & u64::from(u32::MAX)).expect("it was cut to 32 bits");
    let high = u32::try_from(n >> 32).expect("32 bits are left");
    [low, high]
}

/// Identify Namespace (NVM Command Set 1.0, figure 97): the format in use has sectors of this size and nothing else.
fn is_plain(page: &[u8], logical_sector: u32) -> bool {
    let page = Fields(page);
    let format = || {
        let in_use = page.u8(26)?;
        // The low four bits, and from 1.4b on two more.
        let index = usize::from(in_use & 0xF) | usize::from(in_use >> 5 & 3) << 4;
        page.u32(128 + 4 * index)
    };
    let protection = page.u8(29).map(|bits| bits & 7);
    format().is_some_and(|format| {
        let (metadata, shift) = (format & 0xFFFF, format >> 16 & 0xFF);
        metadata == 0 && 1u32.checked_shl(shift) == Some(logical_sector)
    }) && protection == Some(0)
}

/// The drive's error log has more to say.
const MORE: u16 = 0x2000;

/// A status without its phase bit (NVMe Base 2.0, 3.3.3.2.1): code, then three bits of type.
fn decode(status: u16) -> Sense {
    const GENERIC: u16 = 0;
    const MEDIA: u16 = 2;
    const PATH: u16 = 3;
    if status == 0 {
        return Sense::Fine;
    }
    match (status >> 8 & 7, status & 0xFF) {
        // Unrecovered read error, guard, application tag, reference tag, deallocated block.
        (MEDIA, 0x81..=0x84 | 0x87) => Sense::Medium { lba: None },
        // Namespace not ready (transient), command interrupted.
        (GENERIC, 0x82 | 0x21) if status & 0x4000 == 0 => Sense::Again,
        // Internal error, data transfer error: a drive's other words for a place that it cannot read.
        (GENERIC, 0x06) => Sense::Medium { lba: None },
        // Aborted: by a reset, by a lost queue; and by the host.
        (GENERIC, 0x07 | 0x08) | (PATH, _) => Sense::Reset,
        // No such namespace.
        (GENERIC, 0x0B) => Sense::Gone,
        _ => Sense::Path,
    }
}

/// Of the Error Information log (NVMe Base 2.0, figure 206): the sector, if the entry is in use and about this
/// status in this namespace.
fn error_entry(page: &[u8], namespace: u32, status: u16) -> Option<u64> {
    let page = Fields(page);
    let in_use = page.u64(0)? != 0;
    // Here the phase bit is there.
    let same = (page.u16(12)? >> 1) & 0x7FF == status & 0x7FF;
    (in_use && same && page.u32(24)? == namespace).then(|| page.u64(16))?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn a_status_tells_the_medium_from_the_way() {
        assert_eq!(decode(0), Sense::Fine);
        for status in [0x281, 0x2281, 0x4281, 0x282] {
            assert_eq!(decode(status), Sense::Medium { lba: None }, "{status:x}");
        }
        assert_eq!(decode(0x0007), Sense::Reset);
        assert_eq!(decode(0x0371), Sense::Reset);
        assert_eq!(decode(0x0082), Sense::Again);
        assert_eq!(decode(0x4082), Sense::Path);
        assert_eq!(decode(0x400B), Sense::Gone);
        assert_eq!(decode(0x4002), Sense::Path);
    }

    #[test]
    fn the_error_log_names_the_sector_of_this_error_only() {
        let mut page = [0; 64];
        page[0] = 1;
        page[12..14].copy_from_slice(&(0x2281u16 << 1 | 1).to_le_bytes());
        page[16..24].copy_from_slice(&77u64.to_le_bytes());
        page[24] = 1;
        assert_eq!(error_entry(&page, 1, 0x2281), Some(77));
        assert_eq!(error_entry(&page, 2, 0x2281), None);
        assert_eq!(error_entry(&page, 1, 0x2282), None);
        page[0] = 0;
        assert_eq!(error_entry(&page, 1, 0x2281), None);
        assert_eq!(error_entry(&page[..20], 1, 0x2281), None);
    }

    #[test]
    fn sectors_with_metadata_are_left_to_the_kernel() {
        let mut page = vec![0; 4096];
        page[26] = 1;
        page[128 + 4 + 2] = 9;
        assert!(is_plain(&page, 512));
        assert!(!is_plain(&page, 4096));
        page[29] = 1;
        assert!(!is_plain(&page, 512));
        page[29] = 0;
        page[128 + 4] = 8;
        assert!(!is_plain(&page, 512));
        page[128 + 4 + 2] = 200;
        assert!(!is_plain(&page[..100], 512));
    }

    proptest! {
        #[test]
        fn no_status_and_no_page_is_a_panic(status in any::<u16>(), page in proptest::collection::vec(any::<u8>(), 0..300)) {
            decode(status);
            error_entry(&page, 1, status);
            is_plain(&page, 512);
        }
    }
}
