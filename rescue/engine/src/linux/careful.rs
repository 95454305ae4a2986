//! A disk that may be failing: one command at a time, with a deadline, and with the drive's own word on errors.
//!
//! Where the kernel's block layer reads, a bad sector costs a whole request and says nothing of its place. A
//! command of our own is not repeated by the kernel, and the drive names the bad sector.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use disk::extent::Extent;
use disk::geometry::Geometry;

use crate::careful::{CarefulSource, Vitals};
use crate::health::Health;
use crate::host::HostError;
use crate::identity::Identity;
use crate::linux::Linux;
use crate::linux::health;
use crate::linux::link::{End, Link, Way, is_gone};
use crate::linux::settings::Settings;
use crate::linux::sysfs::SysDisk;
use crate::passes::{Answer, Errors, Patience};

/// Between two questions for the drive's counters.
const FEEL_EVERY: Duration = Duration::from_secs(300);

pub struct CarefulDisk {
    linux: Linux,
    identity: Identity,
    geometry: Geometry,
    absence: Duration,
    attached: Mutex<Attached>,
    resets: AtomicU32,
}

struct Attached {
    // Dropped first: it needs the device as it was.
    settings: Settings,
    link: Link,
    /// What the drive said of its health, and when.
    felt: Option<(Instant, Health)>,
}

pub fn open(
    linux: &Linux,
    identity: &Identity,
    absence: Duration,
) -> Result<CarefulDisk, HostError> {
    let attached = attach(linux, identity, absence)?;
    Ok(CarefulDisk {
        linux: linux.clone(),
        identity: identity.clone(),
        geometry: attached.link.node.geometry,
        absence,
        attached: Mutex::new(attached),
        resets: AtomicU32::new(0),
    })
}

fn attach(linux: &Linux, identity: &Identity, absence: Duration) -> Result<Attached, HostError> {
    let link = Link::wait(linux, identity, absence)?;
    let settings = Settings::make(&link, linux.sysfs().root());
    Ok(Attached {
        settings,
        link,
        felt: None,
    })
}

impl Attached {
    /// Its counters, as they were a few minutes ago at most: asking is a command of its own.
    fn feel(&mut self) -> Health {
        if let Some((when, health)) = &self.felt
            && when.elapsed() < FEEL_EVERY
        {
            return health.clone();
        }
        let health = self.link.disk.as_ref().and_then(health::of);
        let (_, health) = self
            .felt
            .insert((Instant::now(), health.unwrap_or_default()));
        health.clone()
    }
}

impl CarefulDisk {
    fn attached(&self) -> MutexGuard<'_, Attached> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the disk to come back and takes it again under whatever name it has.
    fn come_back(&self, attached: &mut Attached) -> Result<(), HostError> {
        self.resets.fetch_add(1, Ordering::Relaxed);
        attached.link.bring_back();
        // Before the new ones are made: it may be the same device.
        attached.settings = Settings::default();
        let again = attach(&self.linux, &self.identity, self.absence)?;
        if again.link.node.geometry != self.geometry {
            return Err(HostError(format!(
                "{} came back with another size; look at its adapter and repeat the command",
                self.identity
            )));
        }
        *attached = again;
        Ok(())
    }
}

impl CarefulSource for CarefulDisk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn errors(&self) -> Errors {
        match self.attached().link.way {
            Way::Scsi => Errors::Exact,
            // Few NVMe drives keep a log that names the sector.
            Way::Nvme(_) | Way::Block => Errors::Somewhere,
        }
    }

    fn settings(&self) -> Vec<String> {
        self.attached().settings.told()
    }

    fn read(
        &self,
        extent: Extent,
        buf: &mut [u8],
        patience: Patience,
    ) -> Result<Answer, HostError> {
        if extent.aligned_out(u64::from(self.geometry.logical_sector), u64::MAX) != Some(extent) {
            return Err(HostError(format!(
                "{} was to be read at {}, which is no sector's start: a fault of this program, please report it",
                self.identity,
                extent.start()
            )));
        }
        let mut attached = self.attached();
        let begun = Instant::now();
        let mut came_back = false;
        loop {
            let Attached { settings, link, .. } = &mut *attached;
            let millis = settings.wait_as_long_as(patience, &link.node.file);
            let end = match link.read(extent, buf, millis) {
                Ok(End::Path { .. } | End::Reset { .. }) if link.node.is_gone() => End::Gone,
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
            let answer = |good: usize, bad, path_error| {
                Ok(Answer {
                    good: good as u64,
                    bad,
                    path_error,
                    took: begun.elapsed(),
                })
            };
            match end {
                End::Whole => return answer(buf.len(), None, false),
                End::Medium { good, bad } => return answer(good, bad, false),
                End::Path { good } => return answer(good, None, true),
                End::Reset { good } => {
                    self.resets.fetch_add(1, Ordering::Relaxed);
                    link.bring_back();
                    settings.set_again(&link.node.file);
                    return answer(good, None, true);
                }
                // A place at which the disk goes away each time is as good as bad.
                End::Gone if came_back => return answer(0, None, false),
                End::Gone => {
                    self.come_back(&mut attached)?;
                    came_back = true;
                }
            }
        }
    }

    fn vitals(&self) -> Vitals {
        let mut attached = self.attached();
        let health = attached.feel();
        let sensor = attached.link.disk.as_ref().and_then(celsius);
        Vitals {
            celsius: sensor.or(health.celsius),
            resets: self.resets.load(Ordering::Relaxed),
            reallocated: health.reallocated,
        }
    }
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
