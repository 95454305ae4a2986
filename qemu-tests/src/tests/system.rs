//! The main job on real system disks: imaged, restored or cloned by the booted image, and then they boot by themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::drive::{Bus, Drive};
use crate::failure::{Doing, Failure, Outcome, ensure};
use crate::firmware::Firmware;
use crate::lab::{Lab, digest};
use crate::machine::{BOOT_WITHIN, Machine, Running};

/// Reading, compressing and reading back 600 MB without KVM, beside another machine.
pub(super) const JOB_WITHIN: Duration = Duration::from_secs(1800);
pub(super) const SWITCHED_OFF_WITHIN: Duration = Duration::from_secs(300);

/// A disk from `disks/system`, with what it has to say of itself.
pub(super) struct System {
    disk: PathBuf,
    firmware: Firmware,
    /// What it prints when it boots.
    files: String,
    /// Of the files in its NTFS partition.
    documents: String,
    whole: String,
}

/// Two tests never make the same disk at once.
static MAKING: Mutex<()> = Mutex::new(());

impl System {
    /// A copy of the system disk for this test; the disk is made the first time it is asked for.
    pub(super) fn get(lab: &Lab, scheme: &str, firmware: Firmware) -> Outcome<System> {
        let cache = Path::new("build/cache/systems");
        let made = cache.join(format!("{scheme}.img"));
        let recipe = Path::new("qemu-tests/disks/system");
        let stamp = made.with_extension("recipe");
        {
            let _alone = MAKING
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if fs::read(&stamp).ok() != fs::read(recipe).ok() {
                let _ = fs::remove_file(&stamp);
                script("system", &[Path::new(scheme), &made, cache])?;
                fs::copy(recipe, &stamp).doing(stamp.display())?;
            }
        }
        let said = |extension: &str| {
            let path = cache.join(format!("{scheme}.img.{extension}"));
            fs::read_to_string(&path)
                .map(|text| text.trim().to_owned())
                .doing(path.display())
        };
        let disk = lab.folder.join("system.img");
        lab.tool(
            "coreutils",
            "cp",
            &[
                "--sparse=always",
                &absolute(&made)?,
                &disk.display().to_string(),
            ],
        )?;
        Ok(System {
            whole: digest(&disk)?,
            disk,
            firmware,
            files: said("digest")?,
            documents: said("ntfs-digest")?,
        })
    }

    pub(super) fn source(&self) -> Drive {
        Drive::new(Bus::Ahci, &self.disk, "SOURCE-0001")
    }

    pub(super) fn assert_untouched(&self) -> Outcome {
        let now = digest(&self.disk)?;
        ensure(now == self.whole, || {
            "the source disk has changed".to_owned()
        })
    }

    /// The disk boots without us and finds every file as it was; its checkers find nothing.
    pub(super) fn assert_boots(&self, lab: &Lab, bus: Bus, disk: &Path) -> Outcome {
        script("check", &[disk, Path::new(&self.documents)])?;
        let machine =
            Machine::new(self.firmware).drive(Drive::new(bus, disk, "RESTORED-1").first_to_boot());
        let mut running = lab.start(&machine)?;
        running
            .console
            .expect(&format!("SYSTEM-DIGEST {}", self.files), BOOT_WITHIN)?;
        running.ended(SWITCHED_OFF_WITHIN)
    }
}

fn absolute(path: &Path) -> Outcome<String> {
    let path = fs::canonicalize(path).doing(path.display())?;
    Ok(path.display().to_string())
}

pub(super) fn script(name: &str, words: &[&Path]) -> Outcome {
    let output = Command::new(Path::new("qemu-tests/disks").join(name))
        .args(words)
        .output()
        .doing(name)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("disks/{name}: {said}")))
    }
}

/// A disk in a USB case with one ext4 partition for images.
pub(super) fn store(lab: &Lab) -> Outcome<PathBuf> {
    let disk = lab.blank("store.img", 1000)?;
    let name = disk.display().to_string();
    lab.tool("gdisk", "sgdisk", &["--clear", "--new=1:1M:0", &name])?;
    lab.tool(
        "e2fsprogs",
        "mke2fs",
        &[
            "-q",
            "-t",
            "ext4",
            "-L",
            "STORE",
            "-E",
            "offset=1048576",
            &name,
            "990M",
        ],
    )?;
    Ok(disk)
}

/// The image of the product, unattended: started from the CD, handed its commands in a file.
pub(super) fn unattended(
    lab: &Lab,
    firmware: Firmware,
    drives: &[Drive],
    commands: &[String],
) -> Outcome<Running> {
    let medium = Drive::medium(Bus::Cd, &lab.image.iso).first_to_boot();
    let machine = Machine::new(firmware)
        .drive(medium)
        .job(&(commands.join("\n") + "\n"));
    let machine = drives.iter().cloned().fold(machine, Machine::drive);
    lab.start(&machine)
}

/// Waits for command `number` to end well, and returns what was said until then.
pub(super) fn done(running: &mut Running, number: usize) -> Outcome<String> {
    let said = running
        .console
        .expect(&format!("RESCUE-RUN: {number} exit "), JOB_WITHIN)?;
    running.console.expect("\n", BOOT_WITHIN)?;
    let all = running.console.everything();
    ensure(
        all.contains(&format!("RESCUE-RUN: {number} exit 0")),
        || format!("command {number} failed: {}", tail(&all)),
    )?;
    Ok(said)
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// The kernel's own count for the source is zero, and it stood read-only.
pub(super) fn assert_source_untouched_in(said: &str) -> Outcome {
    let line = said
        .lines()
        .map(str::trim_start)
        .find(|line| line.starts_with("source: ") && line.contains("sectors written"));
    let good = line.is_some_and(|l| {
        l.contains(", 0 sectors written") && l.contains("read-only in the kernel")
    });
    ensure(good, || {
        format!("the report does not show an untouched source: {line:?}")
    })
}

fn imaged_and_restored(lab: &Lab, scheme: &str, firmware: Firmware) -> Outcome {
    let system = System::get(lab, scheme, firmware)?;
    let (store, target) = (store(lab)?, lab.blank("target.img", 1500)?);
    let case = Drive::new(Bus::Usb, &store, "STORE-0002");

    let mut first = unattended(
        lab,
        firmware,
        &[system.source(), case.clone()],
        &["rescue image serial:SOURCE-0001 label:STORE --name pc".to_owned()],
    )?;
    let said = done(&mut first, 1)?;
    first.ended(SWITCHED_OFF_WITHIN)?;
    assert_source_untouched_in(&said)?;
    system.assert_untouched()?;

    let nvme = Drive::new(Bus::Nvme, &target, "TARGET-7A21");
    let mut second = unattended(
        lab,
        firmware,
        &[case, nvme],
        &[
            "rescue check label:STORE/pc.img.zst".to_owned(),
            "rescue restore label:STORE/pc.img.zst serial:TARGET-7A21 --approve 7A21".to_owned(),
        ],
    )?;
    done(&mut second, 2)?;
    second.ended(SWITCHED_OFF_WITHIN)?;
    let bus = if firmware == Firmware::Bios {
        Bus::Ahci
    } else {
        Bus::Nvme
    };
    system.assert_boots(lab, bus, &target)
}

fn cloned(lab: &Lab, scheme: &str, firmware: Firmware) -> Outcome {
    let system = System::get(lab, scheme, firmware)?;
    let target = lab.blank("target.img", 1500)?;
    let mut running = unattended(
        lab,
        firmware,
        &[
            system.source(),
            Drive::new(Bus::Nvme, &target, "TARGET-7A21"),
        ],
        &["rescue clone serial:SOURCE-0001 serial:TARGET-7A21 --approve 7A21".to_owned()],
    )?;
    let said = done(&mut running, 1)?;
    running.ended(SWITCHED_OFF_WITHIN)?;
    assert_source_untouched_in(&said)?;
    system.assert_untouched()?;
    let bus = if firmware == Firmware::Bios {
        Bus::Ahci
    } else {
        Bus::Nvme
    };
    system.assert_boots(lab, bus, &target)
}

pub fn gpt_system_imaged_restored_and_boots(lab: &Lab) -> Outcome {
    imaged_and_restored(lab, "gpt", Firmware::Uefi)
}

pub fn mbr_system_imaged_restored_and_boots(lab: &Lab) -> Outcome {
    imaged_and_restored(lab, "mbr", Firmware::Bios)
}

pub fn gpt_system_cloned_and_boots(lab: &Lab) -> Outcome {
    cloned(lab, "gpt", Firmware::Uefi)
}

pub fn mbr_system_cloned_and_boots(lab: &Lab) -> Outcome {
    cloned(lab, "mbr", Firmware::Bios)
}

/// The image and the block map that the booted image made of it leave the store, and bmaptool does the rest.
pub fn mbr_image_flashed_by_bmaptool_boots(lab: &Lab) -> Outcome {
    let system = System::get(lab, "mbr", Firmware::Bios)?;
    let store = store(lab)?;
    let mut running = unattended(
        lab,
        Firmware::Bios,
        &[
            system.source(),
            Drive::new(Bus::Virtio, &store, "STORE-0002"),
        ],
        &[
            "rescue image serial:SOURCE-0001 label:STORE --name pc".to_owned(),
            "!rescue export label:STORE/pc.img.zst /tmp/map --format bmap && mkdir -p /mnt && \
             blockdev --setrw /dev/vda && blockdev --setrw /dev/vda1 && mount -t ext4 /dev/vda1 /mnt && cp /tmp/map /mnt/pc.img.bmap && umount /mnt"
                .to_owned(),
        ],
    )?;
    done(&mut running, 2)?;
    running.ended(SWITCHED_OFF_WITHIN)?;
    system.assert_untouched()?;
    let name = format!("{}?offset=1048576", store.display());
    for file in ["pc.img.zst", "pc.img.bmap"] {
        let dump = format!("dump {file} {file}");
        lab.tool("e2fsprogs", "debugfs", &["-R", &dump, &name])?;
    }
    let words = ["copy", "--bmap", "pc.img.bmap", "pc.img.zst", "flashed.img"];
    lab.tool("bmap-tools", "bmaptool", &words)?;
    system.assert_boots(lab, Bus::Ahci, &lab.folder.join("flashed.img"))
}
