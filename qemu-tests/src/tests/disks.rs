//! Disks on every bus, from the beginning and later.

use std::time::Duration;

use crate::drive::{Bus, Drive};
use crate::failure::Outcome;
use crate::firmware::Firmware;
use crate::lab::Lab;
use crate::machine::Machine;

const WITHIN: Duration = Duration::from_secs(90);

pub fn every_bus_on_384_mib(lab: &Lab) -> Outcome {
    let mut machine = Machine::new(Firmware::Bios)
        .memory_mib(384)
        .kernel(lab.image.kernel(""))
        .job("rescue.shell=ttyS1\n");
    // An SD card's size is a power of two; each disk has a size of its own.
    for (bus, serial, mib) in [
        (Bus::Ahci, "AHCI-1", 65),
        (Bus::Nvme, "NVME-1", 66),
        (Bus::Usb, "USB-1", 67),
        (Bus::Virtio, "VIRTIO-1", 68),
        (Bus::Sd, "", 128),
    ] {
        let file = lab.blank(&format!("{mib}.img"), mib)?;
        machine = machine.drive(Drive::new(bus, &file, serial));
    }
    let mut running = lab.start(&machine)?;
    let mut shell = running.shell()?;
    for mib in [65, 66, 67, 68, 128] {
        let sectors = (mib << 11).to_string();
        shell.until("cat /sys/block/*/size | tr '\\n' ' '", &sectors, WITHIN)?;
    }
    Ok(())
}

pub fn disks_come_and_go(lab: &Lab) -> Outcome {
    let machine = Machine::new(Firmware::Bios)
        .kernel(lab.image.kernel(""))
        .job("rescue.shell=ttyS1\n");
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
