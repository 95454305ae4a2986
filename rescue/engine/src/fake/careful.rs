//! A disk in memory, asked as a failing one is: it may name its bad sectors, lose commands, and go away and come
//! back.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ::disk::extent::Extent;
use ::disk::geometry::Geometry;
use ::disk::source::{BlockSource, ReadError};

use crate::careful::{CarefulSource, Vitals};
use crate::fake::disk::{FakeDisk, Manners};
use crate::host::HostError;
use crate::passes::{Answer, Errors, Patience};

pub struct Careful {
    disk: FakeDisk,
    absence: Duration,
    resets: AtomicU32,
}

impl Careful {
    pub fn new(disk: FakeDisk, absence: Duration) -> Careful {
        Careful {
            disk,
            absence,
            resets: AtomicU32::new(0),
        }
    }

    fn is_exact(&self) -> bool {
        self.disk.manners(|manners| manners.names_sectors)
    }

    /// What arrived, and the bad place behind it.
    fn up_to(&self, extent: Extent, bad: Extent, buf: &mut [u8]) -> (u64, Option<Extent>) {
        let good = bad.start().saturating_sub(extent.start());
        let len = usize::try_from(good).expect("it lies in the buffer");
        match self.is_exact()
            && self
                .disk
                .reader()
                .read_at(extent.start(), &mut buf[..len])
                .is_ok()
        {
            true => (good, Some(bad)),
            false => (0, None),
        }
    }
}

impl CarefulSource for Careful {
    fn geometry(&self) -> Geometry {
        self.disk.reader().geometry()
    }

    fn errors(&self) -> Errors {
        match self.is_exact() {
            true => Errors::Exact,
            false => Errors::Somewhere,
        }
    }

    fn read(
        &self,
        extent: Extent,
        buf: &mut [u8],
        _patience: Patience,
    ) -> Result<Answer, HostError> {
        let answer = |good, bad, path_error| {
            Ok(Answer {
                good,
                bad,
                path_error,
                took: Duration::ZERO,
            })
        };
        let geometry = self.geometry();
        assert_eq!(
            extent.aligned_out(geometry.physical_sector.into(), geometry.size_bytes),
            Some(extent),
            "a disk is asked for whole sectors"
        );
        if self.disk.manners(Manners::lose_one) {
            self.resets.fetch_add(1, Ordering::Relaxed);
            return answer(0, None, true);
        }
        let mut read = self.disk.reader().read_at(extent.start(), buf);
        let returns = || self.disk.manners(|manners| manners.returns);
        if matches!(read, Err(ReadError::Gone(_))) && self.absence > Duration::ZERO && returns() {
            self.disk.mend();
            self.resets.fetch_add(1, Ordering::Relaxed);
            read = self.disk.reader().read_at(extent.start(), buf);
        }
        match read {
            Ok(()) => answer(extent.len(), None, false),
            Err(ReadError::Unreadable(bad)) => {
                let (good, bad) = self.up_to(extent, bad, buf);
                answer(good, bad, false)
            }
            Err(error) => Err(HostError(error.to_string())),
        }
    }

    fn vitals(&self) -> Vitals {
        Vitals {
            celsius: None,
            resets: self.resets.load(Ordering::Relaxed),
            reallocated: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeHost;
    use crate::host::Host;
    use ::disk::extent::ExtentMap;

    const KIB: u64 = 1 << 10;

    fn disk() -> FakeDisk {
        let bytes = (0u32..256 << 10).map(|n| n.to_le_bytes()[1]).collect();
        FakeDisk::new("/dev/sda", "S-1", bytes)
    }

    fn ask(
        source: &dyn CarefulSource,
        start: u64,
        len: u64,
    ) -> (Result<Answer, HostError>, Vec<u8>) {
        let mut buf = vec![0; usize::try_from(len).unwrap()];
        let extent = Extent::new(start, len).unwrap();
        (source.read(extent, &mut buf, Patience::Sweep), buf)
    }

    fn open(disk: &FakeDisk, absence: u64) -> Box<dyn CarefulSource> {
        let host = FakeHost::new();
        host.add(disk);
        host.open_careful(&disk.identity(), Duration::from_secs(absence))
            .unwrap()
    }

    #[test]
    fn what_stands_before_a_named_sector_arrives() {
        let disk = disk();
        let bad = Extent::new(72 * KIB, 512).unwrap();
        let mut map = ExtentMap::new();
        map.insert(bad);
        disk.set_bad(map);
        let source = open(&disk, 0);
        assert_eq!(source.errors(), Errors::Somewhere);
        let answer = ask(&*source, 64 * KIB, 64 * KIB).0.unwrap();
        assert_eq!((answer.good, answer.bad), (0, None));
        disk.show_manners(|manners| manners.names_sectors = true);
        assert_eq!(source.errors(), Errors::Exact);
        let (answer, bytes) = ask(&*source, 64 * KIB, 64 * KIB);
        let answer = answer.unwrap();
        assert_eq!((answer.good, answer.bad), (8 * KIB, Some(bad)));
        assert_eq!(bytes[..8 << 10], disk.bytes()[64 << 10..72 << 10]);
    }

    #[test]
    fn a_lost_command_is_no_bad_place() {
        let disk = disk();
        disk.show_manners(|manners| manners.lost_commands = 1);
        let source = open(&disk, 0);
        let first = ask(&*source, 0, KIB).0.unwrap();
        assert!(first.path_error && first.bad.is_none());
        assert_eq!(ask(&*source, 0, KIB).0.unwrap().good, KIB);
        assert_eq!(source.vitals().resets, 1);
    }

    #[test]
    fn a_disk_that_went_is_waited_for_when_that_is_wanted() {
        let disk = disk();
        disk.pull_after_reads(1);
        disk.show_manners(|manners| manners.returns = true);
        let (patient, other) = (open(&disk, 5), open(&disk, 0));
        assert_eq!(ask(&*patient, 0, KIB).0.unwrap().good, KIB);
        assert!(ask(&*other, 0, KIB).0.is_err());
        assert_eq!(ask(&*patient, KIB, KIB).0.unwrap().good, KIB);
        assert_eq!(patient.vitals().resets, 1);
    }
}
