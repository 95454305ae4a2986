//! A disk of a made-up machine, and how it is connected.

use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    Ahci,
    Nvme,
    /// A stick or a disk in a USB case.
    Usb,
    Virtio,
    Sd,
    Cd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadWrite,
    ReadOnly,
}

#[derive(Debug, Clone)]
pub struct Drive {
    pub bus: Bus,
    pub file: PathBuf,
    pub serial: String,
    pub access: Access,
    /// Only on NVMe, USB and virtio can it be 4096.
    pub sector_bytes: u32,
    pub boots: bool,
    /// Sectors of 512 bytes that cannot be read.
    pub bad: Vec<u64>,
}

impl Drive {
    pub fn new(bus: Bus, file: &Path, serial: &str) -> Self {
        Self {
            bus,
            file: file.to_owned(),
            serial: serial.to_owned(),
            access: Access::ReadWrite,
            sector_bytes: 512,
            boots: false,
            bad: Vec::new(),
        }
    }

    /// A CD or a stick with the image on it; nothing is ever written to it.
    pub fn medium(bus: Bus, iso: &Path) -> Self {
        Self {
            access: Access::ReadOnly,
            ..Self::new(bus, iso, "MEDIUM")
        }
    }

    #[must_use]
    pub fn first_to_boot(mut self) -> Self {
        self.boots = true;
        self
    }

    #[must_use]
    pub fn sector_bytes(mut self, bytes: u32) -> Self {
        self.sector_bytes = bytes;
        self
    }

    #[must_use]
    pub fn bad(mut self, sectors: &[u64]) -> Self {
        self.bad = sectors.to_vec();
        self
    }

    /// The device's name on QEMU's control line, for `unplug`.
    pub fn id(at: usize) -> String {
        format!("dev{at}")
    }

    /// QEMU's words for the drive that stands at `at` in the machine's list.
    pub fn arguments(&self, at: usize) -> Vec<String> {
        let file = self.file.display();
        let mut node = format!("if=none,id=drive{at},format=raw,");
        match self.bad.is_empty() {
            true => node.push_str(&format!("file={file}")),
            false => node.push_str(&format!("file.driver=blkdebug,file.image.filename={file}")),
        }
        for (n, sector) in self.bad.iter().enumerate() {
            let rule = format!("file.inject-error.{n}");
            node.push_str(&format!(
                ",{rule}.event=read_aio,{rule}.errno=5,{rule}.sector={sector}"
            ));
        }
        match self.access {
            Access::ReadOnly => node.push_str(",readonly=on"),
            // A test's disks need not outlive the host.
            Access::ReadWrite => node.push_str(",cache=unsafe"),
        }
        if self.bus == Bus::Cd {
            node.push_str(",media=cdrom");
        }
        vec![
            "-drive".to_owned(),
            node,
            "-device".to_owned(),
            self.device(at),
        ]
    }

    fn device(&self, at: usize) -> String {
        let (id, serial) = (Self::id(at), &self.serial);
        let mut device = match self.bus {
            // Each SATA port takes one drive.
            Bus::Ahci => {
                format!("ide-hd,bus=ide.{at},serial={serial},rerror=report,werror=report")
            }
            Bus::Cd => format!("ide-cd,bus=ide.{at}"),
            Bus::Nvme => format!("nvme,serial={serial}"),
            Bus::Usb => {
                format!(
                    "usb-storage,bus=xhci.0,removable=on,serial={serial},rerror=report,werror=report"
                )
            }
            Bus::Virtio => format!("virtio-blk-pci,serial={serial},rerror=report,werror=report"),
            Bus::Sd => format!("sdhci-pci,id=sdhci{at}"),
        };
        if self.sector_bytes != 512 {
            let bytes = self.sector_bytes;
            device.push_str(&format!(
                ",logical_block_size={bytes},physical_block_size={bytes}"
            ));
        }
        if self.bus == Bus::Sd {
            // The card is a second device, which knows no boot order.
            return device;
        }
        if self.boots {
            device.push_str(",bootindex=1");
        }
        format!("{device},id={id},drive=drive{at}")
    }

    /// A card sits in a reader, which is a device of its own.
    pub fn card_arguments(&self, at: usize) -> Vec<String> {
        if self.bus != Bus::Sd {
            return Vec::new();
        }
        let id = Self::id(at);
        vec![
            "-device".to_owned(),
            format!("sd-card,id={id},drive=drive{at}"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_that_boots_says_so_and_no_error_stops_the_machine() {
        let drive = Drive::new(Bus::Ahci, Path::new("/d/a.img"), "SER-1").first_to_boot();
        assert_eq!(
            drive.arguments(3),
            [
                "-drive",
                "if=none,id=drive3,format=raw,file=/d/a.img,cache=unsafe",
                "-device",
                "ide-hd,bus=ide.3,serial=SER-1,rerror=report,werror=report,bootindex=1,id=dev3,drive=drive3"
            ]
        );
    }

    #[test]
    fn the_medium_is_never_written() {
        let words = Drive::medium(Bus::Usb, Path::new("r.iso")).arguments(0);
        assert!(words[1].ends_with(",readonly=on"));
    }
}
