//! A disk that may be failing, as it is attached now, and single reads from it.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use disk::extent::Extent;
use nix::errno::Errno;

use crate::host::HostError;
use crate::identity::Identity;
use crate::linux::bounce::Bounce;
use crate::linux::node::{Access, Node, open_trouble};
use crate::linux::nvme::Namespace;
use crate::linux::sense::Sense;
use crate::linux::sysfs::SysDisk;
use crate::linux::{Linux, find, protect, scsi};

/// Of one command: what every adapter takes, in bytes and in scattered pages.
const COMMAND_BYTES: usize = 128 << 10;
/// Between two looks for a disk that has gone.
const LOOK: Duration = Duration::from_millis(500);
/// How often a command is sent again that was not carried out, and how long between.
const AGAIN: u32 = 20;
const SOON: Duration = Duration::from_millis(250);

pub struct Link {
    pub node: Node,
    /// `None` for a regular file.
    pub disk: Option<SysDisk>,
    pub way: Way,
    /// A place that could be read: it tells a bad place from a bad way.
    well: Option<u64>,
}

/// How it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// By SCSI commands of our own: the kernel repeats none, and sense data has the bad sector.
    Scsi,
    Nvme(Namespace),
    /// By the kernel's block layer, past its cache.
    Block,
}

/// How a read ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Whole,
    /// So many bytes arrived from the start; of the rest the place is known, or not.
    Medium {
        good: usize,
        bad: Option<Extent>,
    },
    /// The way failed behind so many bytes.
    Path {
        good: usize,
    },
    /// As `Path`, and the kernel reset the drive.
    Reset {
        good: usize,
    },
    Gone,
}

impl Link {
    /// Waits until it is there.
    pub fn wait(linux: &Linux, identity: &Identity, absence: Duration) -> Result<Link, HostError> {
        let until = Instant::now() + absence;
        loop {
            match Link::open(linux, identity) {
                Err(_) if Instant::now() < until => thread::sleep(LOOK),
                ended => return ended,
            }
        }
    }

    fn open(linux: &Linux, identity: &Identity) -> Result<Link, HostError> {
        let (path, disk) = match &identity.file {
            Some(file) => (file.clone(), None),
            None => {
                let disk = find::device(linux, identity)?;
                if linux.is_live() {
                    // It came back writable; nobody writes to it.
                    protect::set(&disk, true)?;
                }
                (disk.node.clone(), Some(disk))
            }
        };
        let node = Node::open(&path, Access::Read, &linux.roots().sys)
            .map_err(|error| open_trouble(&path, &error, "another program has it"))?;
        let way = way_to(&node, disk.as_ref());
        Ok(Link {
            node: node.of_disk(identity),
            disk,
            way,
            well: None,
        })
    }

    /// The kernel's error handler gives a drive up for good; it may be well again by now.
    pub fn bring_back(&self) {
        let Some(disk) = &self.disk else { return };
        let state = disk.syspath.join("device/state");
        let given_up = fs::read_to_string(&state)
            .is_ok_and(|state| matches!(state.trim(), "offline" | "transport-offline"));
        if given_up {
            // What became of it is seen by whoever reads next.
            let _ = fs::write(&state, "running");
        }
    }

    /// One read of an extent in whole sectors.
    pub fn read(&mut self, extent: Extent, buf: &mut [u8], millis: u32) -> io::Result<End> {
        if self.way != Way::Block {
            match self.in_commands(extent, buf, millis) {
                // Not permitted, or not known to this driver.
                Err(error) if !is_gone(&error) && !self.node.is_gone() => self.way = Way::Block,
                Ok(End::Path { good }) if !self.node.is_gone() => {
                    return Ok(self.place_or_way(good, millis));
                }
                ended => return self.noted(ended, extent),
            }
        }
        let ended = self.by_block_layer(extent, buf, millis);
        self.noted(ended, extent)
    }

    fn noted(&mut self, ended: io::Result<End>, extent: Extent) -> io::Result<End> {
        if let Ok(End::Whole) = ended {
            self.well = Some(extent.start());
        }
        ended
    }

    /// In as many commands as an adapter needs, up to the first that fails.
    fn in_commands(&self, extent: Extent, buf: &mut [u8], millis: u32) -> io::Result<End> {
        let mut at = 0;
        for part in buf.chunks_mut(COMMAND_BYTES) {
            let here = Extent::new(extent.start() + at as u64, part.len() as u64)
                .expect("a part has bytes");
            match self.part(here, part, millis)? {
                End::Whole => at += part.len(),
                End::Medium { good, bad } => {
                    let good = at + good;
                    return Ok(End::Medium { good, bad });
                }
                End::Path { .. } => return Ok(End::Path { good: at }),
                End::Reset { .. } => return Ok(End::Reset { good: at }),
                End::Gone => return Ok(End::Gone),
            }
        }
        Ok(End::Whole)
    }

    fn part(&self, extent: Extent, buf: &mut [u8], millis: u32) -> io::Result<End> {
        Ok(match self.command(extent, buf, millis)? {
            Sense::Fine => End::Whole,
            Sense::Medium { lba } => self.around(extent, buf, lba, millis)?,
            Sense::Again | Sense::Path => End::Path { good: 0 },
            Sense::Reset => End::Reset { good: 0 },
            Sense::Gone => End::Gone,
        })
    }

    fn command(&self, extent: Extent, buf: &mut [u8], millis: u32) -> io::Result<Sense> {
        let sector = u64::from(self.node.geometry.logical_sector);
        let lba = extent.start() / sector;
        let sectors = u32::try_from(extent.len() / sector).expect("a command is 128 KiB at most");
        let mut told = Sense::Again;
        for attempt in 0..AGAIN {
            told = match self.way {
                Way::Nvme(namespace) => {
                    namespace.read(&self.node.file, lba, sectors, buf, millis)?
                }
                Way::Scsi | Way::Block => scsi::read(&self.node.file, lba, sectors, buf, millis)?,
            };
            if told != Sense::Again {
                break;
            }
            // After a reset each drive says once that there was one.
            if attempt > 0 {
                thread::sleep(SOON);
            }
        }
        Ok(told)
    }

    /// What stands before the bad sector, in a command that does not touch it: whether the failed one brought it is
    /// told differently by every adapter.
    fn around(
        &self,
        extent: Extent,
        buf: &mut [u8],
        lba: Option<u64>,
        millis: u32,
    ) -> io::Result<End> {
        let Some(bad) = lba.and_then(|lba| self.bad_place(lba, extent)) else {
            return Ok(End::Medium { good: 0, bad: None });
        };
        let Some(before) = Extent::between(extent.start(), bad.start()) else {
            return Ok(End::Medium {
                good: 0,
                bad: Some(bad),
            });
        };
        let len = usize::try_from(before.len()).expect("it lies in the buffer");
        Ok(match self.part(before, &mut buf[..len], millis)? {
            End::Whole => End::Medium {
                good: len,
                bad: Some(bad),
            },
            // Another one before it, or none of this is true.
            ended => ended,
        })
    }

    /// The physical sector around a sector that the drive named, as far as it was asked for.
    fn bad_place(&self, lba: u64, asked: Extent) -> Option<Extent> {
        let geometry = self.node.geometry;
        let sector = u64::from(geometry.logical_sector);
        let at = lba.checked_mul(sector).filter(|at| asked.contains(*at))?;
        Extent::new(at, sector)?
            .aligned_out(u64::from(geometry.physical_sector), geometry.size_bytes)?
            .intersect(asked)
    }

    fn by_block_layer(&self, extent: Extent, buf: &mut [u8], millis: u32) -> io::Result<End> {
        let mut filled = 0;
        while filled < buf.len() {
            let at = extent.start() + filled as u64;
            let error = match self.node.file.read_at(&mut buf[filled..], at) {
                Ok(0) => return Err(io::Error::from(Errno::ENXIO)),
                Ok(n) => {
                    filled += n;
                    continue;
                }
                Err(error) => error,
            };
            match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                Errno::EINTR => {}
                Errno::EINVAL if self.node.is_direct() => self.node.leave_direct()?,
                Errno::ENODATA | Errno::EILSEQ => {
                    return Ok(End::Medium {
                        good: filled,
                        bad: None,
                    });
                }
                Errno::EIO
                | Errno::ETIMEDOUT
                | Errno::ENOLINK
                | Errno::EREMOTEIO
                | Errno::EBADE
                    if !self.node.is_gone() =>
                {
                    return Ok(self.place_or_way(filled, millis));
                }
                _ => return Err(error),
            }
        }
        Ok(End::Whole)
    }

    /// Some drives and drivers have one word for everything: an aborted command, EIO. If a place that was well still
    /// is, it is the place.
    fn place_or_way(&self, good: usize, millis: u32) -> End {
        match self.well.is_none_or(|at| self.still_reads(at, millis)) {
            true => End::Medium { good, bad: None },
            false => End::Path { good },
        }
    }

    fn still_reads(&self, at: u64, millis: u32) -> bool {
        let sector = self.node.geometry.logical_sector;
        // No more than was read there: what stands behind it may be what is bad.
        let mut buffer = Bounce::new(sector.into());
        let buf = buffer.as_mut();
        if self.way == Way::Block {
            return self.node.file.read_exact_at(buf, at).is_ok();
        }
        let extent = Extent::new(at, sector.into()).expect("a sector has bytes");
        matches!(self.command(extent, buf, millis), Ok(Sense::Fine))
    }
}

/// What reaches it, tried on its first sector.
fn way_to(node: &Node, disk: Option<&SysDisk>) -> Way {
    let Some(disk) = disk else { return Way::Block };
    let sector = node.geometry.logical_sector;
    let mut buffer = Bounce::new(sector.into());
    if disk.name.starts_with("nvme") {
        return match Namespace::of(&node.file, sector) {
            Some(namespace)
                if namespace
                    .read(&node.file, 0, 1, buffer.as_mut(), PROBE_MILLIS)
                    .is_ok() =>
            {
                Way::Nvme(namespace)
            }
            _ => Way::Block,
        };
    }
    let is_scsi = disk.syspath.join("device/scsi_device").exists();
    match is_scsi && scsi::read(&node.file, 0, 1, buffer.as_mut(), PROBE_MILLIS).is_ok() {
        true => Way::Scsi,
        false => Way::Block,
    }
}

/// Longer than a drive needs to start.
const PROBE_MILLIS: u32 = 20_000;

pub fn is_gone(error: &io::Error) -> bool {
    matches!(
        Errno::from_raw(error.raw_os_error().unwrap_or(0)),
        Errno::ENODEV | Errno::ENXIO | Errno::ENOMEDIUM
    )
}
