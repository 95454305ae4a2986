//! One system from disk to disk over every bus: each but the first is restored to and imaged from, and each boots (by the BIOS:
//! QEMU's UEFI looks at no cards).

use std::path::PathBuf;

use crate::drive::{Bus, Drive};
use crate::failure::Outcome;
use crate::firmware::Firmware;
use crate::lab::Lab;
use crate::tests::system::{
    SWITCHED_OFF_WITHIN, System, assert_source_untouched_in, done, store, unattended,
};

struct Target {
    bus: Bus,
    name: &'static str,
    /// How a job names it.
    disk: &'static str,
    approve: &'static str,
    /// A card's is a power of two.
    mib: u64,
}

const fn target(
    bus: Bus,
    name: &'static str,
    disk: &'static str,
    approve: &'static str,
    mib: u64,
) -> Target {
    Target {
        bus,
        name,
        disk,
        approve,
        mib,
    }
}

/// None smaller than the one before; a card's serial is QEMU's own.
const TARGETS: &[Target] = &[
    target(Bus::Nvme, "nvme", "serial:NVME-7A21", "7A21", 1210),
    target(Bus::Usb, "usb", "serial:USB-7B22", "7B22", 1220),
    target(Bus::Virtio, "virtio", "serial:VIRTIO-7C23", "7C23", 1230),
    target(Bus::Ahci, "ahci", "serial:AHCI-7D24", "7D24", 1240),
    target(Bus::Sd, "sd", "/dev/mmcblk0", "beef", 2048),
];

pub fn mbr_system_goes_over_every_bus_and_boots(lab: &Lab) -> Outcome {
    let system = System::get(lab, "mbr", Firmware::Bios)?;
    let store = store(lab)?;
    let mut drives = vec![
        system.source(),
        Drive::new(Bus::Virtio, &store, "STORE-0002"),
    ];
    let mut commands = Vec::new();
    let mut from = "serial:SOURCE-0001";
    let mut files: Vec<PathBuf> = Vec::new();
    for target in TARGETS {
        let file = lab.blank(&format!("{}.img", target.name), target.mib)?;
        let serial = target.disk.trim_start_matches("serial:");
        drives.push(Drive::new(target.bus, &file, serial));
        files.push(file);
        let (name, disk, approve) = (target.name, target.disk, target.approve);
        commands.push(format!("rescue image {from} label:STORE --name {name}"));
        commands.push(format!(
            "rescue restore label:STORE/{name}.img.zst {disk} --approve {approve}"
        ));
        from = disk;
    }
    // There are six SATA ports.
    drives.sort_by_key(|drive| drive.bus != Bus::Ahci);
    let mut running = unattended(lab, Firmware::Bios, &drives, &commands)?;
    for number in 1..=commands.len() {
        let said = done(&mut running, number)?;
        if number % 2 == 1 {
            assert_source_untouched_in(&said)?;
        }
    }
    running.ended(SWITCHED_OFF_WITHIN)?;
    system.assert_untouched()?;
    for (target, file) in TARGETS.iter().zip(&files) {
        system.assert_boots(lab, target.bus, file)?;
        println!("  boots from {}", target.name);
    }
    Ok(())
}
