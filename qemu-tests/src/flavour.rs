//! The image with Debian's signed kernel and modules, and the one with a kernel of our own.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use crate::accelerator;
use crate::drive::{Bus, Drive};
use crate::failure::{Doing, Outcome};
use crate::firmware::Firmware;
use crate::lab::{Image, Lab};
use crate::machine::{BOOT_WITHIN, Machine};
use crate::tests::boot::FIRST_FRAME;

/// What the ISO of our own kernel may have.
const MOST_OWN_BYTES: u64 = 32_000_000;
const MEMORY_MIB: u32 = 384;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flavour {
    #[default]
    Debian,
    Own,
}

impl Flavour {
    pub fn named(word: Option<&String>) -> Result<Self, String> {
        match word.map(String::as_str) {
            Some("debian") => Ok(Self::Debian),
            Some("own") => Ok(Self::Own),
            _ => Err("--flavour needs debian or own".to_owned()),
        }
    }

    pub fn iso(self) -> &'static str {
        match self {
            Self::Debian => "build/rescue.iso",
            Self::Own => "build/own/rescue.iso",
        }
    }

    /// Nobody whom firmware trusts has signed our own kernel.
    pub fn has(self, test: &str) -> bool {
        self == Self::Debian || !test.starts_with("secure_boot")
    }
}

#[derive(Debug)]
struct Figures {
    iso: u64,
    kernel: u64,
    initramfs: u64,
    /// From the kernel's start, in seconds.
    first_frame: f64,
    available_kib: u64,
}

/// Both on the same machine, one after the other; fails when our own kernel is larger or slower than it may be.
pub fn side_by_side(folder: &Path) -> Outcome<ExitCode> {
    // Before the first one starts.
    let images = [
        Image::at(Path::new(Flavour::Debian.iso()))?,
        Image::at(Path::new(Flavour::Own.iso()))?,
    ];
    let accelerator = accelerator::probe(&images[0], folder);
    let lab = |image| Lab::open(image, &folder.join("side-by-side"), accelerator);
    let debian = measure(&lab(&images[0])?)?;
    let own = measure(&lab(&images[1])?)?;
    println!("{}", table(&debian, &own));
    let good = own.iso <= MOST_OWN_BYTES && own.first_frame < debian.first_frame;
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn measure(lab: &Lab) -> Outcome<Figures> {
    let size = |path: &Path| fs::metadata(path).map(|m| m.len()).doing(path.display());
    let medium = Drive::medium(Bus::Cd, &lab.image.iso).first_to_boot();
    let machine = Machine::new(Firmware::Bios)
        .memory_mib(MEMORY_MIB)
        .drive(medium)
        .job("rescue.shell=hvc0\n");
    let mut running = lab.start(&machine)?;
    let mut shell = running.shell()?;
    // Only once the number is there too.
    let look = "grep 'first frame .*[0-9] s' /run/rescue/log; true";
    let log = shell.until(look, FIRST_FRAME, BOOT_WITHIN)?;
    let memory = shell.run("awk '/^MemAvailable/ { print $2 }' /proc/meminfo")?;
    Ok(Figures {
        iso: size(&lab.image.iso)?,
        kernel: size(&lab.image.vmlinuz)?,
        initramfs: size(&lab.image.initramfs)?,
        first_frame: seconds(&log)
            .ok_or("no time stands behind the first frame")
            .doing(log)?,
        available_kib: memory
            .trim()
            .parse()
            .ok()
            .ok_or("no number")
            .doing(memory)?,
    })
}

/// The first number behind the words: two screens may write into each other's lines.
fn seconds(log: &str) -> Option<f64> {
    let (_, behind) = log.split_once(FIRST_FRAME)?;
    behind.split_whitespace().find_map(|word| word.parse().ok())
}

fn table(debian: &Figures, own: &Figures) -> String {
    let mega = |bytes: u64| format!("{}.{:02} MB", bytes / 1_000_000, bytes / 10_000 % 100);
    let rows = [
        ("", "debian".to_owned(), "own".to_owned()),
        ("ISO", mega(debian.iso), mega(own.iso)),
        ("kernel", mega(debian.kernel), mega(own.kernel)),
        ("initramfs", mega(debian.initramfs), mega(own.initramfs)),
        (
            "kernel's start to first screen",
            format!("{:.1} s", debian.first_frame),
            format!("{:.1} s", own.first_frame),
        ),
        (
            "memory left of 384 MiB",
            format!("{} MiB", debian.available_kib >> 10),
            format!("{} MiB", own.available_kib >> 10),
        ),
    ];
    let rows = rows.map(|(what, debian, own)| format!("{what:<32}{debian:>12}{own:>12}"));
    rows.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_of_secure_boot_are_not_of_our_own_flavour() {
        assert!(Flavour::Debian.has("secure_boot_cd") && Flavour::Own.has("bios_cd"));
        assert!(!Flavour::Own.has("secure_boot_cd"));
        assert!(Flavour::named(Some(&"other".to_owned())).is_err());
    }

    #[test]
    fn the_time_of_the_first_frame_is_the_number_behind_it() {
        let log = format!("1.00 RESCUE-INIT: start\n{FIRST_FRAME} at 4.25 s\n");
        assert_eq!(seconds(&log), Some(4.25));
        let mixed = format!("{FIRST_FRAME} {FIRST_FRAME} 5.91 s\n5.87 s\n");
        assert_eq!(seconds(&mixed), Some(5.91));
        assert_eq!(seconds("nothing"), None);
    }

    #[test]
    fn both_flavours_stand_in_one_row() {
        let debian = Figures {
            iso: 46_130_000,
            kernel: 1,
            initramfs: 1,
            first_frame: 9.5,
            available_kib: 102_400,
        };
        let own = Figures {
            first_frame: 4.04,
            ..Figures {
                iso: 17_050_000,
                kernel: 1,
                initramfs: 1,
                first_frame: 0.0,
                available_kib: 204_800,
            }
        };
        let table = table(&debian, &own);
        assert!(table.contains("46.13 MB    17.05 MB"), "{table}");
        assert!(table.contains("9.5 s       4.0 s"), "{table}");
        assert!(table.contains("100 MiB     200 MiB"), "{table}");
    }
}
