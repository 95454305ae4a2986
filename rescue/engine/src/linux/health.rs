//! Asking a drive for its health: by commands of our own where they are known to reach it, by smartmontools where
//! they are installed and ours are not.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;

use crate::health::{Health, NVME_BYTES, Verdict};
use crate::host::Transport;
use crate::linux::ioctl::ScsiData;
use crate::linux::nvme;
use crate::linux::scsi::{self, Ata};
use crate::linux::sense::AtaStatus;
use crate::linux::sysfs::SysDisk;

const QUICK_MILLIS: u32 = 5_000;
/// A drive that is busy with a bad sector answers late.
const PATIENCE: Duration = Duration::from_secs(15);
const REPORT_BYTES: u64 = 1 << 20;

/// What a drive says; `None` where it says nothing, or nobody may ask.
pub fn of(disk: &SysDisk) -> Option<Health> {
    match disk.hardware.transport {
        Transport::Nvme => of_nvme(&open(&disk.node)?),
        // What is no ATA drive, or stands behind something that does not say that it is one, may lock up.
        _ if disk.syspath.join("device/vpd_pg89").exists() => of_ata(&open(&disk.node)?),
        Transport::Usb | Transport::Sas | Transport::Scsi => of_smartctl(&disk.node),
        _ => None,
    }
}

fn open(node: &Path) -> Option<File> {
    let flags = (OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags).open(node).ok()
}

fn of_nvme(device: &File) -> Option<Health> {
    const HEALTH: u8 = 2;
    let mut page = [0; NVME_BYTES];
    nvme::log(device, HEALTH, &mut page)?;
    Health::of_nvme(&page)
}

fn of_ata(device: &File) -> Option<Health> {
    const DATA: u8 = 0xD0;
    const THRESHOLDS: u8 = 0xD1;
    let page = |features| {
        let mut page = [0; 512];
        smart(device, features, ScsiData::In(&mut page)).map(|_| page)
    };
    let values = page(DATA)?;
    let limits = page(THRESHOLDS);
    Health::of_ata(
        &values,
        limits.as_ref().map(|page| &page[..]),
        verdict(device),
    )
}

/// SMART RETURN STATUS (ACS-3, 7.48.8): two registers come back as they were sent, or turned around.
fn verdict(device: &File) -> Verdict {
    let told = smart(device, 0xDA, ScsiData::None);
    match told.map(|status| [status.lba[1], status.lba[2]]) {
        Some([0x4F, 0xC2]) => Verdict::Good,
        Some([0xF4, 0x2C]) => Verdict::Failing,
        _ => Verdict::Unknown,
    }
}

fn smart(device: &File, features: u8, data: ScsiData<'_>) -> Option<AtaStatus> {
    let command = Ata {
        command: 0xB0,
        features,
        count: u8::from(matches!(data, ScsiData::In(_))),
        lba: [0, 0x4F, 0xC2],
    };
    scsi::ata(device, command, data, QUICK_MILLIS)
        .ok()
        .flatten()
}

/// The live image has none; where it is installed it knows what USB bridges want.
fn of_smartctl(node: &Path) -> Option<Health> {
    let mut child = Command::new("smartctl")
        .args(["--json=c", "--all"])
        .arg(node)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let told = child.stdout.take()?;
    let reader = thread::spawn(move || {
        let mut report = Vec::new();
        let read = told.take(REPORT_BYTES).read_to_end(&mut report);
        read.is_ok().then_some(report)
    });
    let until = Instant::now() + PATIENCE;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > until {
            let _ = child.kill();
        }
        thread::sleep(Duration::from_millis(20));
    }
    let report = reader.join().ok().flatten()?;
    Health::of_smartctl(&serde_json::from_slice(&report).ok()?)
}
