//! A disk that may be failing: one command at a time, with a deadline, and with the drive's own word on errors.
//!
//! Where the kernel's block layer reads, a bad sector costs a whole request and says nothing of its place. A SCSI
//! command of our own (SG_IO) is not repeated by the kernel, and its sense data has the bad sector.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use disk::extent::Extent;
use disk::geometry::Geometry;
use nix::errno::Errno;

use crate::careful::{CarefulSource, Vitals};
use crate::host::HostError;
use crate::identity::Identity;
use crate::linux::node::{Access, Node, open_trouble};
use crate::linux::sense::{self, Sense};
use crate::linux::sysfs::SysDisk;
use crate::linux::{Linux, find, ioctl, protect};
use crate::passes::{Answer, Errors, Patience};

/// Of one SCSI command: what every adapter takes, in bytes and in scattered pages.
const COMMAND_BYTES: usize = 128 << 10;
/// Longer than a drive tries on its own when nobody told it not to.
const SWEEP_MILLIS: u32 = 20_000;
const SCRAPE_MILLIS: u32 = 40_000;
/// Between two looks for a disk that has gone.
const LOOK: Duration = Duration::from_millis(500);

pub struct CarefulDisk {
    linux: Linux,
    identity: Identity,
    geometry: Geometry,
    absence: Duration,
    link: Mutex<Link>,
    /// Whether SCSI commands of our own reach it.
    scsi: AtomicBool,
    resets: AtomicU32,
}

/// The disk as it is attached now.
struct Link {
    node: Node,
    /// `None` for a regular file.
    disk: Option<SysDisk>,
    /// A place that could be read: it tells a bad place from a bad way.
    well: Option<u64>,
}

/// How one command ended.
enum End {
    /// So many bytes arrived from the start; less than were asked: the rest failed.
    Medium {
        good: usize,
        bad: Option<Extent>,
    },
    Path,
    Gone,
    Whole,
}

pub fn open(
    linux: &Linux,
    identity: &Identity,
    absence: Duration,
) -> Result<CarefulDisk, HostError> {
    let link = Link::wait(linux, identity, absence)?;
    let careful = CarefulDisk {
        linux: linux.clone(),
        identity: identity.clone(),
        geometry: link.node.geometry,
        absence,
        scsi: AtomicBool::new(link.is_scsi()),
        link: Mutex::new(link),
        resets: AtomicU32::new(0),
    };
    careful.probe();
    Ok(careful)
}

impl CarefulDisk {
    /// Whether commands of our own are taken, on the first sector.
    fn probe(&self) {
        let sector = self.geometry.logical_sector as usize;
        let mut buffer = super::bounce::Bounce::new(4096);
        let extent = Extent::new(0, sector as u64).expect("a sector has bytes");
        let link = self.link();
        if self.scsi.load(Ordering::Relaxed)
            && link
                .by_command(extent, &mut buffer.as_mut()[..sector], SWEEP_MILLIS)
                .is_err()
        {
            self.scsi.store(false, Ordering::Relaxed);
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, link: &mut Link, extent: Extent, buf: &mut [u8], millis: u32) -> io::Result<End> {
        if self.scsi.load(Ordering::Relaxed) {
            match link.in_commands(extent, buf, millis) {
                Err(error) if !is_gone(&error) => self.scsi.store(false, Ordering::Relaxed),
                ended => return ended,
            }
        }
        link.by_block_layer(extent, buf)
    }

    /// Waits for the disk to come back and takes it again under whatever name it has.
    fn come_back(&self, link: &mut Link) -> Result<(), HostError> {
        self.resets.fetch_add(1, Ordering::Relaxed);
        if let Some(disk) = &link.disk {
            // The error handler of the kernel gives a drive up for good; it may be well again by now.
            let state = disk.syspath.join("device/state");
            if fs::read_to_string(&state).is_ok_and(|state| state.trim() == "offline") {
                let _ = fs::write(&state, "running");
            }
        }
        let again = Link::wait(&self.linux, &self.identity, self.absence)?;
        if again.node.geometry != self.geometry {
            return Err(HostError(format!(
                "{} came back with another size; look at its adapter and repeat the command",
                self.identity
            )));
        }
        *link = again;
        Ok(())
    }
}

impl CarefulSource for CarefulDisk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn errors(&self) -> Errors {
        match self.scsi.load(Ordering::Relaxed) {
            true => Errors::Exact,
            false => Errors::Somewhere,
        }
    }

    fn read(
        &self,
        extent: Extent,
        buf: &mut [u8],
        patience: Patience,
    ) -> Result<Answer, HostError> {
        let millis = match patience {
            Patience::Sweep => SWEEP_MILLIS,
            Patience::Scrape => SCRAPE_MILLIS,
        };
        let mut link = self.link();
        let begun = Instant::now();
        let mut came_back = false;
        loop {
            let end = match self.ask(&mut link, extent, buf, millis) {
                Ok(end) => end,
                Err(error) if is_gone(&error) || link.node.is_gone() => End::Gone,
                Err(error) => {
                    return Err(HostError(format!(
                        "{} cannot be read at {}: {error}; repeat the command, or look at the kernel's log",
                        link.node.title,
                        extent.start()
                    )));
                }
            };
            let answer = |good: usize, bad, path_error| Answer {
                good: good as u64,
                bad,
                path_error,
                took: begun.elapsed(),
            };
            return Ok(match end {
                End::Whole => {
                    link.well = Some(extent.start());
                    answer(buf.len(), None, false)
                }
                End::Medium { good, bad } => answer(good, bad, false),
                End::Gone if !came_back => {
                    self.come_back(&mut link)?;
                    came_back = true;
                    continue;
                }
                // A place at which the disk goes away each time is as good as bad.
                End::Path | End::Gone => answer(0, None, !came_back),
            });
        }
    }

    fn vitals(&self) -> Vitals {
        let link = self.link();
        Vitals {
            celsius: link.disk.as_ref().and_then(celsius),
            resets: self.resets.load(Ordering::Relaxed),
        }
    }
}

impl Link {
    fn wait(linux: &Linux, identity: &Identity, absence: Duration) -> Result<Link, HostError> {
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
        Ok(Link {
            node: node.of_disk(identity),
            disk,
            well: None,
        })
    }

    fn is_scsi(&self) -> bool {
        self.disk
            .as_ref()
            .is_some_and(|disk| disk.syspath.join("device/scsi_device").exists())
    }

    /// In as many commands as an adapter needs, up to the first that fails.
    fn in_commands(&self, extent: Extent, buf: &mut [u8], millis: u32) -> io::Result<End> {
        let mut at = 0;
        for part in buf.chunks_mut(COMMAND_BYTES) {
            let here = Extent::new(extent.start() + at as u64, part.len() as u64)
                .expect("a part has bytes");
            let end = self.by_command(here, part, millis)?;
            match end {
                End::Whole => at += part.len(),
                End::Medium { good, bad } => {
                    return Ok(End::Medium {
                        good: at + good,
                        bad,
                    });
                }
                End::Path if at > 0 => {
                    return Ok(End::Medium {
                        good: at,
                        bad: None,
                    });
                }
                End::Path | End::Gone => return Ok(end),
            }
        }
        Ok(End::Whole)
    }

    fn by_command(&self, extent: Extent, buf: &mut [u8], millis: u32) -> io::Result<End> {
        let sector = u64::from(self.node.geometry.logical_sector);
        let sectors = u32::try_from(extent.len() / sector).expect("a command is 128 KiB at most");
        let command = sense::read_16(extent.start() / sector, sectors);
        let end = ioctl::scsi_read(&self.node.file, &command, buf, millis)?;
        if end.host_status != 0 {
            return Ok(of_adapter(end.host_status));
        }
        if end.status == 0 && end.missing == 0 {
            return Ok(End::Whole);
        }
        match sense::decode(&end.sense) {
            Sense::Fine if end.missing == 0 => Ok(End::Whole),
            Sense::Fine | Sense::Path => Ok(End::Path),
            Sense::Gone => Ok(End::Gone),
            Sense::Medium { lba } => self.around(extent, buf, lba, millis),
        }
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
        let geometry = self.node.geometry;
        let bad = lba
            .and_then(|lba| lba.checked_mul(u64::from(geometry.logical_sector)))
            .filter(|at| extent.contains(*at))
            .and_then(|at| Extent::new(at, u64::from(geometry.logical_sector)))
            .and_then(|bad| {
                bad.aligned_out(u64::from(geometry.physical_sector), geometry.size_bytes)
            })
            .and_then(|bad| bad.intersect(extent));
        let Some(bad) = bad else {
            return Ok(End::Medium { good: 0, bad: None });
        };
        let good = match Extent::between(extent.start(), bad.start()) {
            Some(before) => {
                let len = usize::try_from(before.len()).expect("it lies in the buffer");
                match self.by_command(before, &mut buf[..len], millis)? {
                    End::Whole => len,
                    _ => 0,
                }
            }
            None => 0,
        };
        Ok(End::Medium {
            good,
            // What is before it was not read: the bad place alone would leave that out.
            bad: (good as u64 == bad.start() - extent.start()).then_some(bad),
        })
    }

    fn by_block_layer(&self, extent: Extent, buf: &mut [u8]) -> io::Result<End> {
        let mut filled = 0;
        while filled < buf.len() {
            match self
                .node
                .file
                .read_at(&mut buf[filled..], extent.start() + filled as u64)
            {
                Ok(0) => return Err(io::Error::from(Errno::ENXIO)),
                Ok(n) => filled += n,
                Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
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
                        return Ok(self.place_or_way(filled));
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(End::Whole)
    }

    /// Some drivers have one word for everything. If a place that was well still is, it is the place.
    fn place_or_way(&self, good: usize) -> End {
        let mut buffer = super::bounce::Bounce::new(4096);
        let well = self
            .well
            .is_some_and(|at| self.node.file.read_exact_at(buffer.as_mut(), at).is_ok());
        match well || self.well.is_none() {
            true => End::Medium { good, bad: None },
            false => End::Path,
        }
    }
}

/// `DID_…` of the kernel's <scsi/scsi_status.h>.
fn of_adapter(status: u16) -> End {
    const NO_CONNECT: u16 = 1;
    const BAD_TARGET: u16 = 4;
    match status {
        NO_CONNECT | BAD_TARGET => End::Gone,
        _ => End::Path,
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        Errno::from_raw(error.raw_os_error().unwrap_or(0)),
        Errno::ENODEV | Errno::ENXIO | Errno::ENOMEDIUM
    )
}

/// From the drive's own sensor, where the kernel shows one.
fn celsius(disk: &SysDisk) -> Option<i32> {
    let device = disk.syspath.join("device");
    let below = |directory: PathBuf| -> Vec<PathBuf> {
        let found = fs::read_dir(directory).into_iter().flatten().flatten();
        found.map(|entry| entry.path()).collect()
    };
    let sensors = below(device.join("hwmon"))
        .into_iter()
        .chain(below(device).into_iter().filter(|path| {
            path.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with("hwmon"))
        }));
    let thousandths = sensors
        .filter_map(|sensor| fs::read_to_string(sensor.join("temp1_input")).ok())
        .find_map(|text| text.trim().parse::<i32>().ok())?;
    Some(thousandths / 1000)
}

impl std::fmt::Debug for CarefulDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CarefulDisk({})", self.identity)
    }
}
