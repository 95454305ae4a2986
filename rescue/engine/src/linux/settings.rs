//! What a suspect disk and the kernel are told so that a bad sector costs seconds and not minutes; taken back when
//! it is dropped.
//!
//! A drive that retries for longer than the kernel waits is reset for every bad sector: the drive's own limit (SCT
//! error recovery control, ACS-3, 8.3.4) is set as low as it takes, the kernel's above it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use disk::fields::Fields;

use crate::linux::ioctl::ScsiData;
use crate::linux::link::{Link, Way};
use crate::linux::scsi::{self, Ata};
use crate::passes::Patience;

/// Longer than a drive tries on its own when nobody told it not to.
const SWEEP_MILLIS: u32 = 20_000;
const SCRAPE_MILLIS: u32 = 40_000;
/// Of a command that only sets something.
const QUICK_MILLIS: u32 = 5_000;
/// What drives take as their lowest limit, in tenths of a second: some from one second on, most from 6.5 or 7.
const SWEEP_TENTHS: [u16; 5] = [10, 20, 40, 65, 70];
const SCRAPE_TENTHS: [u16; 1] = [70];

#[derive(Debug, Default)]
pub struct Settings {
    /// A file of sysfs and what stood in it.
    kernel: Vec<(PathBuf, String)>,
    drive: Option<Drive>,
    told: Vec<String>,
}

/// An ATA drive that takes commands of our own.
#[derive(Debug)]
struct Drive {
    /// To give back what was set, when the disk's other users are gone.
    file: File,
    /// Its limit for reads before, in tenths of a second; 0: none.
    recovery_before: Option<u16>,
    /// What it is now.
    recovery: Option<u16>,
    patience: Patience,
    look_ahead: Option<()>,
}

impl Settings {
    pub fn make(link: &Link, sysfs: &Path) -> Settings {
        let mut settings = Settings::default();
        let Some(disk) = &link.disk else {
            return settings;
        };
        settings.drive = Drive::of(link, &disk.syspath);
        settings.tell_drive();
        let seconds = SWEEP_MILLIS.div_ceil(1000).to_string();
        for (name, value, words) in [
            ("queue/read_ahead_kb", "0", "the kernel reads nothing ahead"),
            (
                "device/timeout",
                seconds.as_str(),
                "the kernel waits 20 seconds for a command",
            ),
            (
                "device/eh_timeout",
                "5",
                "the kernel waits 5 seconds for a reset",
            ),
        ] {
            settings.set(&disk.syspath.join(name), value, words);
        }
        // Of every NVMe drive there is: only where our own commands, which nobody repeats, do not reach it.
        if disk.name.starts_with("nvme") && link.way == Way::Block {
            let retries = sysfs.join("module/nvme_core/parameters/max_retries");
            settings.set(&retries, "0", "the NVMe driver repeats nothing");
        }
        settings
    }

    /// One line for each: what was set, and what could not be.
    pub fn told(&self) -> Vec<String> {
        self.told.clone()
    }

    /// How long a command may take now.
    pub fn wait_as_long_as(&mut self, patience: Patience, device: &File) -> u32 {
        if let Some(drive) = &mut self.drive
            && drive.patience != patience
        {
            drive.patience = patience;
            drive.limit_recovery(device);
        }
        match patience {
            Patience::Sweep => SWEEP_MILLIS,
            Patience::Scrape => SCRAPE_MILLIS,
        }
    }

    /// A drive forgets it when it is reset.
    pub fn set_again(&mut self, device: &File) {
        if let Some(drive) = &mut self.drive {
            drive.limit_recovery(device);
            if drive.look_ahead.is_some() {
                look_ahead(device, Switch::Off);
            }
        }
    }

    fn set(&mut self, file: &Path, value: &str, words: &str) {
        let Ok(before) = fs::read_to_string(file) else {
            return;
        };
        let before = before.trim().to_owned();
        if before == value {
            return;
        }
        match fs::write(file, value) {
            Ok(()) => {
                self.told.push(format!("{words} (before: {before})"));
                self.kernel.push((file.to_owned(), before));
            }
            Err(error) => self
                .told
                .push(format!("{} stays at {before}: {error}", file.display())),
        }
    }

    fn tell_drive(&mut self) {
        let Some(drive) = &self.drive else { return };
        self.told
            .push(match (drive.recovery, drive.recovery_before) {
                (Some(now), before) => format!(
                    "the drive gives a bad sector up after {} (before: {})",
                    seconds(now),
                    before.map_or("unknown".to_owned(), seconds)
                ),
                (None, _) => {
                    "the drive cannot be told to give bad sectors up sooner; each may take long"
                        .to_owned()
                }
            });
        if drive.look_ahead.is_some() {
            self.told.push("the drive reads nothing ahead".to_owned());
        }
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        // A disk that has gone took its settings with it.
        for (file, before) in self.kernel.drain(..).rev() {
            let _ = fs::write(file, before);
        }
        let Some(drive) = &self.drive else { return };
        if let (Some(_), Some(before)) = (drive.recovery, drive.recovery_before) {
            set_recovery(&drive.file, before);
        }
        if drive.look_ahead.is_some() {
            look_ahead(&drive.file, Switch::On);
        }
    }
}

/// `7.0 s`
fn seconds(tenths: u16) -> String {
    match tenths {
        0 => "no limit".to_owned(),
        _ => format!("{}.{} s", tenths / 10, tenths % 10),
    }
}

impl Drive {
    /// Only where it is known that ATA commands reach it: a bridge that does not know them may lock up.
    fn of(link: &Link, syspath: &Path) -> Option<Drive> {
        if link.way != Way::Scsi || !syspath.join("device/vpd_pg89").exists() {
            return None;
        }
        let file = link.node.file.try_clone().ok()?;
        let identity = identify(&file)?;
        let mut drive = Drive {
            recovery_before: identity.recovery.then(|| recovery(&file)).flatten(),
            recovery: None,
            patience: Patience::Sweep,
            look_ahead: (identity.look_ahead && look_ahead(&file, Switch::Off)).then_some(()),
            file,
        };
        if identity.recovery {
            let file = drive.file.try_clone().ok()?;
            drive.limit_recovery(&file);
        }
        Some(drive)
    }

    /// The lowest limit that it takes.
    fn limit_recovery(&mut self, device: &File) {
        let limits: &[u16] = match self.patience {
            Patience::Sweep => &SWEEP_TENTHS,
            Patience::Scrape => &SCRAPE_TENTHS,
        };
        self.recovery = limits
            .iter()
            .copied()
            .find(|tenths| set_recovery(device, *tenths))
            .or(self.recovery);
    }
}

/// What IDENTIFY DEVICE says of what can be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Able {
    recovery: bool,
    /// It is on, and can be switched off.
    look_ahead: bool,
}

fn identify(device: &File) -> Option<Able> {
    let mut page = [0; 512];
    let command = Ata {
        command: 0xEC,
        count: 1,
        ..Ata::default()
    };
    scsi::ata(device, command, ScsiData::In(&mut page), QUICK_MILLIS)
        .ok()
        .flatten()?;
    able(&page)
}

/// ACS-3, 7.12.7: word 85 bit 6, look-ahead is enabled; word 206, SCT command transport in bit 0 and its error
/// recovery control in bit 3.
fn able(page: &[u8]) -> Option<Able> {
    let page = Fields(page);
    let (enabled, transport) = (page.u16(2 * 85)?, page.u16(2 * 206)?);
    Some(Able {
        recovery: transport & 0b1001 == 0b1001,
        look_ahead: enabled & 1 << 6 != 0,
    })
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Switch {
    On,
    Off,
}

/// SET FEATURES: enable or disable read look-ahead. Says whether it was taken.
fn look_ahead(device: &File, to: Switch) -> bool {
    let command = Ata {
        command: 0xEF,
        features: match to {
            Switch::On => 0xAA,
            Switch::Off => 0x55,
        },
        ..Ata::default()
    };
    let taken = scsi::ata(device, command, ScsiData::None, QUICK_MILLIS);
    matches!(taken, Ok(Some(_)))
}

const ERROR_RECOVERY: u16 = 3;
const SET: u16 = 1;
const TELL: u16 = 2;
const OF_READS: u16 = 1;

fn set_recovery(device: &File, tenths: u16) -> bool {
    sct(device, [ERROR_RECOVERY, SET, OF_READS, tenths]).is_some()
}

fn recovery(device: &File) -> Option<u16> {
    let told = sct(device, [ERROR_RECOVERY, TELL, OF_READS, 0])?;
    Some(u16::from(told.count) | u16::from(told.lba[0]) << 8)
}

/// An SCT command: written to log E0h, which is no place of the medium.
fn sct(device: &File, words: [u16; 4]) -> Option<crate::linux::sense::AtaStatus> {
    let command = Ata {
        command: 0xB0,
        features: 0xD6,
        count: 1,
        lba: [0xE0, 0x4F, 0xC2],
    };
    let mut page = [0; 512];
    for (place, word) in page.chunks_exact_mut(2).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    scsi::ata(device, command, ScsiData::Out(&page), QUICK_MILLIS)
        .ok()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_drive_can_be_told_stands_in_its_identity() {
        let mut page = [0; 512];
        let none = Able {
            recovery: false,
            look_ahead: false,
        };
        assert_eq!(able(&page), Some(none));
        page[2 * 85] = 0x40;
        page[2 * 206] = 0x09;
        let both = Able {
            recovery: true,
            look_ahead: true,
        };
        assert_eq!(able(&page), Some(both));
        assert_eq!(able(&page[..412]), None);
    }

    #[test]
    fn a_setting_of_the_kernel_is_told_and_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("timeout");
        fs::write(&file, "30\n").unwrap();
        let mut settings = Settings::default();
        settings.set(&file, "20", "it waits 20 seconds");
        settings.set(&folder.path().join("not-there"), "1", "nothing");
        assert_eq!(fs::read_to_string(&file).unwrap(), "20");
        assert_eq!(settings.told(), ["it waits 20 seconds (before: 30)"]);
        drop(settings);
        assert_eq!(fs::read_to_string(&file).unwrap(), "30");
    }

    #[test]
    fn a_limit_is_said_in_seconds() {
        assert_eq!(seconds(70), "7.0 s");
        assert_eq!(seconds(0), "no limit");
    }
}
