//! Which drive it is: model, serial, WWN, firmware and how it is attached, from sysfs attributes.
//!
//! There is no udevd and so no `ID_SERIAL`; each bus keeps these in its own place. Everything here was written by
//! a drive's firmware, and is cleaned before anybody sees it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use disk::fields::{Fields, text};
use udev::Device;

use crate::host::Transport;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hardware {
    pub transport: Transport,
    pub vendor: Option<String>,
    pub model: Option<String>,
    pub serial: Option<String>,
    pub wwn: Option<String>,
    pub firmware: Option<String>,
    /// Only for a drive that has neither serial nor WWN.
    pub location: Option<String>,
}

pub fn of(device: &Device, sysfs: &Path) -> Hardware {
    let transport = transport(device);
    let mut found = match transport {
        Transport::Nvme => nvme(device),
        Transport::Mmc => mmc(device),
        Transport::Usb => usb(device),
        Transport::Loop => Hardware {
            model: Some("loop device".into()),
            ..of_transport(transport)
        },
        _ if device.syspath().join("device/vendor").exists() && is_scsi(device) => {
            scsi(device, transport)
        }
        Transport::Virtio => Hardware {
            serial: attribute(device, "serial"),
            model: Some("VirtIO disk".into()),
            ..of_transport(transport)
        },
        _ => Hardware {
            serial: attribute(device, "serial"),
            ..of_transport(transport)
        },
    };
    if found.serial.is_none() && found.wwn.is_none() {
        found.location = location(device, sysfs);
    }
    found
}

fn of_transport(transport: Transport) -> Hardware {
    Hardware {
        transport,
        vendor: None,
        model: None,
        serial: None,
        wwn: None,
        firmware: None,
        location: None,
    }
}

fn transport(device: &Device) -> Transport {
    let above = |subsystem| matches!(device.parent_with_subsystem(subsystem), Ok(Some(_)));
    let name = device.sysname().to_string_lossy();
    let path = device.devpath().as_bytes();
    let step = |start: &[u8]| {
        let digit_follows = |part: &[u8]| {
            part.strip_prefix(start)
                .and_then(<[u8]>::first)
                .is_some_and(u8::is_ascii_digit)
        };
        path.split(|b| *b == b'/').any(digit_follows)
    };
    if name.starts_with("loop") {
        Transport::Loop
    } else if name.starts_with("nvme") {
        Transport::Nvme
    } else if name.starts_with("mmcblk") {
        Transport::Mmc
    } else if above("usb") {
        Transport::Usb
    } else if step(b"ata") {
        Transport::Sata
    } else if step(b"end_device-") {
        Transport::Sas
    } else if above("virtio") {
        Transport::Virtio
    } else if is_scsi(device) {
        Transport::Scsi
    } else {
        Transport::Other
    }
}

fn is_scsi(device: &Device) -> bool {
    matches!(device.parent_with_subsystem("scsi"), Ok(Some(_)))
}

/// The namespace has the WWN; its controller, or with multipath its subsystem, the rest.
fn nvme(device: &Device) -> Hardware {
    let above = device.parent();
    let of_drive = |name| above.as_ref().and_then(|d| attribute(d, name));
    Hardware {
        model: of_drive("model"),
        serial: of_drive("serial"),
        firmware: of_drive("firmware_rev"),
        wwn: attribute(device, "wwid").filter(|id| is_wwn(id)),
        ..of_transport(Transport::Nvme)
    }
}

fn mmc(device: &Device) -> Hardware {
    Hardware {
        model: attribute(device, "device/name"),
        serial: attribute(device, "device/serial"),
        firmware: attribute(device, "device/fwrev"),
        ..of_transport(Transport::Mmc)
    }
}

/// A stick's SCSI layer has no serial: the USB device below it has.
fn usb(device: &Device) -> Hardware {
    let of_scsi = scsi(device, Transport::Usb);
    let stick = device.parent_with_subsystem_devtype("usb", "usb_device");
    let serial = stick.ok().flatten().and_then(|d| attribute(&d, "serial"));
    Hardware {
        serial: serial.or(of_scsi.serial.clone()),
        ..of_scsi
    }
}

fn scsi(device: &Device, transport: Transport) -> Hardware {
    let ata = (transport == Transport::Sata)
        .then(|| AtaIdentity::read(device))
        .flatten();
    let by_ata = |field: fn(&AtaIdentity) -> Option<String>| ata.as_ref().and_then(field);
    Hardware {
        vendor: attribute(device, "device/vendor").filter(|vendor| vendor != "ATA"),
        model: by_ata(AtaIdentity::model).or_else(|| attribute(device, "device/model")),
        serial: by_ata(AtaIdentity::serial).or_else(|| unit_serial(device)),
        firmware: by_ata(AtaIdentity::firmware).or_else(|| attribute(device, "device/rev")),
        wwn: attribute(device, "device/wwid").filter(|id| is_wwn(id)),
        ..of_transport(transport)
    }
}

/// SCSI vital product data page 80h: 4 bytes of head, then the serial (SPC-4, 7.8.17).
fn unit_serial(device: &Device) -> Option<String> {
    let page = fs::read(device.syspath().join("device/vpd_pg80")).ok()?;
    let len = usize::from(Fields(&page).be16(2)?);
    known(&text(page.get(4..)?.get(..len).or(page.get(4..))?))
}

/// The drive's own answer to ATA IDENTIFY DEVICE, as libata puts it into vital product data page 89h at byte 60
/// (SAT-3, 12.4.2). The SCSI attributes cut the model to 16 characters and have no serial.
struct AtaIdentity(Vec<u8>);

impl AtaIdentity {
    fn read(device: &Device) -> Option<AtaIdentity> {
        let page = fs::read(device.syspath().join("device/vpd_pg89")).ok()?;
        Some(AtaIdentity(page.get(60..60 + 512)?.to_owned()))
    }

    /// Words 10 to 19.
    fn serial(&self) -> Option<String> {
        self.text(10, 10)
    }

    /// Words 23 to 26.
    fn firmware(&self) -> Option<String> {
        self.text(23, 4)
    }

    /// Words 27 to 46.
    fn model(&self) -> Option<String> {
        self.text(27, 20)
    }

    /// The first character of each pair is in the high byte of a little-endian word.
    fn text(&self, word: usize, words: usize) -> Option<String> {
        let bytes = Fields(&self.0).bytes(2 * word, 2 * words)?;
        let swapped: Vec<u8> = bytes.chunks_exact(2).flat_map(|w| [w[1], w[0]]).collect();
        known(&text(&swapped))
    }
}

/// World-wide names proper; `t10.` and `nvme.` only repeat vendor, model and serial.
fn is_wwn(id: &str) -> bool {
    ["naa.", "eui.", "uuid."]
        .iter()
        .any(|kind| id.starts_with(kind))
}

/// Where it is plugged in: the path of the device below it. A loop device is as good as its file, dm and md have
/// ids of their own.
fn location(device: &Device, sysfs: &Path) -> Option<String> {
    let own = ["loop/backing_file", "dm/uuid", "md/uuid"];
    let above = || {
        let syspath = device.parent()?.syspath().to_owned();
        let below = syspath.strip_prefix(sysfs.join("devices")).ok()?;
        known(&below.to_string_lossy())
    };
    own.iter()
        .find_map(|name| attribute(device, name))
        .or_else(above)
        .or_else(|| known(&device.sysname().to_string_lossy()))
}

fn attribute(device: &Device, name: &str) -> Option<String> {
    known(&text(device.attribute_value(name)?.as_bytes()))
}

/// What says nothing is nothing.
fn known(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
