//! Disks on every bus, from the beginning and later.

use std::time::Duration;

use crate::drive::{Bus, Drive};
use crate::failure::{Outcome, ensure};
use crate::firmware::Firmware;
use crate::lab::Lab;
use crate::machine::Machine;

const WITHIN: Duration = Duration::from_secs(300);

/// Bus, serial, size in MiB, and what the inventory calls the transport. A card's size is a power of
/// two, and its serial is QEMU's own.
const DISKS: &[(Bus, &str, u64, &str)] = &[
    (Bus::Ahci, "AHCI-1", 65, "SATA"),
    (Bus::Nvme, "NVME-1", 66, "NVMe"),
    (Bus::Usb, "USB-1", 67, "USB"),
    (Bus::Virtio, "VIRTIO-1", 68, "virtio"),
    (Bus::Sd, "", 128, "SD"),
];

pub fn every_bus_on_384_mib(lab: &Lab) -> Outcome {
    let mut machine = Machine::new(Firmware::Bios)
        .memory_mib(384)
        .kernel(lab.image.kernel(""))
        .job("rescue.shell=hvc0\n");
    for (bus, serial, mib, _) in DISKS {
        let file = lab.blank(&format!("{mib}.img"), *mib)?;
        machine = machine.drive(Drive::new(*bus, &file, serial));
    }
    let mut running = lab.start(&machine)?;
    let mut shell = running.shell()?;
    for (_, _, mib, _) in DISKS {
        let sectors = (mib << 11).to_string();
        shell.until("cat /sys/block/*/size | tr '\\n' ' '", &sectors, WITHIN)?;
    }
    let listed = shell.run("rescue disks")?;
    for (_, serial, _, transport) in DISKS {
        let line = listed
            .lines()
            .find(|line| line.contains(serial) && line.contains(transport));
        ensure(line.is_some(), || {
            format!("the inventory has no {transport} disk {serial}: {listed}")
        })?;
    }
    // QEMU's SATA disk has SMART, its NVMe drive the health log; the others tell nothing.
    let health: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("health: "))
        .collect();
    let good = |line: &&str| line.starts_with("good, ");
    ensure(health.len() == 2 && health.iter().all(good), || {
        format!("two drives tell of their health: {health:?} in {listed}")
    })?;
    println!("  health: {}", health.join("; "));
    let writable = shell.run(
        "for d in /sys/block/*; do [ -e $d/device ] && [ $(cat $d/ro) = 0 ] && echo $d; done; true",
    )?;
    ensure(writable.is_empty(), || {
        format!("the kernel would write to {writable}")
    })?;
    // Linux' Documentation/block/stat.rst: the seventh number is the sectors written.
    let written = shell.run("cat /sys/block/[svnm]*/stat | awk '{ s += $7 } END { print s }'")?;
    ensure(written == "0", || format!("{written} sectors were written"))
}

pub fn disks_come_and_go(lab: &Lab) -> Outcome {
    let machine = Machine::new(Firmware::Bios)
        .kernel(lab.image.kernel(""))
        .job("rescue.shell=hvc0\n");
    let mut running = lab.start(&machine)?;
    let mut shell = running.shell()?;
    let first = lab.blank("first.img", 65)?;
    let sizes = "cat /sys/block/sd*/size 2>&1";
    running.qmp.plug_usb("stick", &first, "STICK-1")?;
    shell.until(sizes, "133120", WITHIN)?;
    running.qmp.unplug("stick")?;
    shell.until(sizes, "No such file", WITHIN)?;
    let second = lab.blank("second.img", 66)?;
    running.qmp.plug_usb("other", &second, "STICK-2")?;
    shell.until(sizes, "135168", WITHIN)?;
    Ok(())
}
