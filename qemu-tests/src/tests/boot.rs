//! Every way the image starts on a PC.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::drive::{Bus, Drive};
use crate::failure::{Doing, Outcome, ensure};
use crate::firmware::Firmware;
use crate::lab::{Lab, place};
use crate::machine::{BOOT_WITHIN, Keyboard, Machine, Ports, Running};
use crate::screen::{self, Size};
use crate::shell::Shell;

/// Nothing but a shell beside the interface: the job file every boot test hands over.
const WATCH: &str = "rescue.shell=hvc0\n";
pub(crate) const FIRST_FRAME: &str = "RESCUE-TUI: first frame";
const CHANGE_WITHIN: Duration = Duration::from_secs(300);

pub fn bios_cd(lab: &Lab) -> Outcome {
    let (_machine, mut shell) = boot(lab, Firmware::Bios, medium(lab, Bus::Cd))?;
    check_system(&mut shell, Firmware::Bios)
}

pub fn bios_usb_on_a_text_screen(lab: &Lab) -> Outcome {
    let (mut machine, mut shell) = boot(lab, Firmware::Bios, medium(lab, Bus::Usb))?;
    check_system(&mut shell, Firmware::Bios)?;
    let expected = Size {
        width: 720,
        height: 400,
    };
    check_screen(&mut machine, &mut shell, "25 80", &expected)
}

pub fn uefi_cd_with_a_usb_keyboard(lab: &Lab) -> Outcome {
    let machine = machine(Firmware::Uefi, medium(lab, Bus::Cd))
        .keyboard(Keyboard::Usb)
        .extra(&["-machine", "i8042=off"]);
    let (mut machine, mut shell) = start(lab, &machine)?;
    check_system(&mut shell, Firmware::Uefi)?;
    let expected = Size {
        width: 800,
        height: 600,
    };
    check_screen(&mut machine, &mut shell, "37 100", &expected)
}

pub fn uefi_usb(lab: &Lab) -> Outcome {
    let (_machine, mut shell) = boot(lab, Firmware::Uefi, medium(lab, Bus::Usb))?;
    check_system(&mut shell, Firmware::Uefi)
}

/// The ISO written onto an internal disk.
pub fn uefi_nvme(lab: &Lab) -> Outcome {
    let disk = lab.blank("disk.img", 256)?;
    place(&lab.image.iso, &disk, 0)?;
    let drive = Drive::new(Bus::Nvme, &disk, "NVME-1").first_to_boot();
    let (_machine, mut shell) = boot(lab, Firmware::Uefi, drive)?;
    check_system(&mut shell, Firmware::Uefi)
}

pub fn secure_boot_cd(lab: &Lab) -> Outcome {
    let (_machine, mut shell) = boot(lab, Firmware::SecureBoot, medium(lab, Bus::Cd))?;
    check_system(&mut shell, Firmware::SecureBoot)
}

/// Everything runs from memory: drivers that were never loaded still load after the stick is gone.
pub fn secure_boot_usb_without_the_stick(lab: &Lab) -> Outcome {
    let (mut machine, mut shell) = boot(lab, Firmware::SecureBoot, medium(lab, Bus::Usb))?;
    check_system(&mut shell, Firmware::SecureBoot)?;
    shell.until("ls /sys/block", "sd", CHANGE_WITHIN)?;
    machine.qmp.unplug(&Drive::id(0))?;
    shell.until("ls /sys/block | grep -c ^sd", "0", CHANGE_WITHIN)?;
    shell.run("! grep -q ^btrfs /proc/modules")?;
    shell.run(
        "dd if=/dev/zero of=/tmp/fs bs=1M count=8 2>/dev/null && mke2fs -F /tmp/fs >/dev/null",
    )?;
    shell.run("modprobe loop && mount -t ext4 -o loop,ro /tmp/fs /mnt && umount /mnt")?;
    shell.run("modprobe btrfs && grep -q ^btrfs /proc/modules")?;
    let folder = shell.run("rescue --help >/dev/null; echo $?")?;
    ensure(folder == "0", || {
        format!("rescue --help ended with {folder}")
    })?;
    machine_takes_keys(&mut machine, &mut shell)
}

/// One byte of the kernel is another one: the boot loader must not start it.
pub fn secure_boot_refuses_a_changed_kernel(lab: &Lab) -> Outcome {
    let iso = lab.copy(&lab.image.iso, "changed.iso")?;
    change_kernel(lab, &iso)?;
    let drive = Drive::medium(Bus::Cd, &iso).first_to_boot();
    let mut machine = lab.start(&machine(Firmware::SecureBoot, drive))?;
    machine.console.expect("bad shim signature", BOOT_WITHIN)?;
    let said = machine.console.everything();
    ensure(!said.contains("RESCUE-INIT"), || {
        "a kernel with a changed byte was started under Secure Boot".to_owned()
    })
}

fn change_kernel(lab: &Lab, iso: &PathBuf) -> Outcome {
    let mut bytes = fs::read(iso).doing(iso.display())?;
    let kernel = fs::read(&lab.image.vmlinuz).doing(lab.image.vmlinuz.display())?;
    let head = &kernel[..4096];
    // Files of the ISO are whole and begin at a sector.
    let start = (0..bytes.len() - head.len())
        .step_by(2048)
        .find(|at| &bytes[*at..*at + head.len()] == head);
    let start = start
        .ok_or("the kernel is not in the ISO in one piece")
        .doing("changed.iso")?;
    bytes[start + kernel.len() / 2] ^= 1;
    fs::write(iso, bytes).doing(iso.display())
}

/// The files of the ISO copied onto a stick, as people do.
pub fn secure_boot_from_files_on_a_fat_stick(lab: &Lab) -> Outcome {
    let stick = fat_stick(lab)?;
    lab.tool(
        "xorriso",
        "xorriso",
        &[
            "-osirrox",
            "on",
            "-indev",
            &lab.image.iso.to_string_lossy(),
            "-extract",
            "/",
            "tree",
        ],
    )?;
    lab.tool("coreutils", "chmod", &["-R", "u+w", "tree"])?;
    for part in [".disk", ".rescue", "EFI", "boot"] {
        lab.tool(
            "mtools",
            "mcopy",
            &["-s", "-i", &stick, &format!("tree/{part}"), "::/"],
        )?;
    }
    let drive = Drive::new(Bus::Usb, &lab.folder.join("stick.img"), "STICK").first_to_boot();
    let (_machine, mut shell) = boot(lab, Firmware::SecureBoot, drive)?;
    check_system(&mut shell, Firmware::SecureBoot)
}

/// A boot loader of somebody else starts the ISO as a file on his own disk.
pub fn uefi_loopback(lab: &Lab) -> Outcome {
    let stick = fat_stick(lab)?;
    let grub = "build/cache/packages/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed";
    let grub = fs::canonicalize(grub).doing(grub)?;
    fs::write(
        lab.folder.join("grub.cfg"),
        "search --file --set=isodev /images/rescue.iso\nset iso_path=/images/rescue.iso\n\
         loopback loop ($isodev)$iso_path\nset root=(loop)\nset timeout=0\n\
         configfile /boot/grub/loopback.cfg\n",
    )
    .doing("grub.cfg")?;
    for folder in ["EFI", "EFI/BOOT", "boot", "boot/grub", "images"] {
        lab.tool("mtools", "mmd", &["-i", &stick, &format!("::/{folder}")])?;
    }
    for (file, to) in [
        (grub.to_string_lossy().as_ref(), "EFI/BOOT/BOOTX64.EFI"),
        ("grub.cfg", "boot/grub/grub.cfg"),
        (
            lab.image.iso.to_string_lossy().as_ref(),
            "images/rescue.iso",
        ),
    ] {
        lab.tool(
            "mtools",
            "mcopy",
            &["-i", &stick, file, &format!("::/{to}")],
        )?;
    }
    let drive = Drive::new(Bus::Usb, &lab.folder.join("stick.img"), "STICK").first_to_boot();
    let mut machine = lab.start(&machine(Firmware::Uefi, drive))?;
    // The other boot loader's menu is ours, without a time limit of its own.
    machine
        .console
        .expect("Rescue, safe graphics", BOOT_WITHIN)?;
    machine.qmp.keys(&["ret"])?;
    check_system(&mut machine.shell()?, Firmware::Uefi)
}

/// A stick with a table and one FAT partition; returns mtools' name of the partition.
fn fat_stick(lab: &Lab) -> Outcome<String> {
    lab.blank("part.img", 190)?;
    lab.tool(
        "dosfstools",
        "mkfs.vfat",
        &["-F", "32", "-n", "STICK", "part.img"],
    )?;
    let stick = lab.blank("stick.img", 192)?;
    fs::write(
        lab.folder.join("table"),
        "label: gpt\nstart=2048, size=389120, type=uefi\n",
    )
    .doing("table")?;
    lab.tool("fdisk", "sh", &["-c", "sfdisk -q stick.img < table"])?;
    place(&lab.folder.join("part.img"), &stick, 2048 * 512)?;
    Ok("stick.img@@1M".to_owned())
}

/// From another computer, by a network card's own boot ROM.
pub fn bios_network(lab: &Lab) -> Outcome {
    let served = lab.folder.join("served");
    fs::create_dir(&served).doing("served")?;
    fs::copy(&lab.image.vmlinuz, served.join("vmlinuz")).doing("vmlinuz")?;
    fs::copy(&lab.image.initramfs, served.join("initrd.img")).doing("initrd.img")?;
    let line = lab.image.kernel("").line;
    fs::write(
        served.join("boot.ipxe"),
        format!("#!ipxe\nkernel tftp://10.0.2.2/vmlinuz initrd=initrd.img {line}\ninitrd tftp://10.0.2.2/initrd.img\nboot\n"),
    )
    .doing("boot.ipxe")?;
    let net = format!(
        "user,id=n0,tftp={},bootfile=boot.ipxe,restrict=on",
        served.display()
    );
    let machine = Machine::new(Firmware::Bios).job(WATCH).extra(&[
        "-netdev",
        &net,
        "-device",
        "virtio-net-pci,netdev=n0,bootindex=1",
    ]);
    let (_machine, mut shell) = start(lab, &machine)?;
    shell.run("test -e /run/rescue/live")?;
    Ok(())
}

/// The second entry of the menu, for screens on which the first one stays dark.
pub fn uefi_safe_graphics(lab: &Lab) -> Outcome {
    let mut machine = lab.start(&machine(Firmware::Uefi, medium(lab, Bus::Usb)))?;
    machine
        .console
        .expect("Rescue, safe graphics", BOOT_WITHIN)?;
    machine.qmp.keys(&["down", "ret"])?;
    let mut shell = machine.shell()?;
    shell.run("grep -q nomodeset /proc/cmdline")?;
    let expected = Size {
        width: 800,
        height: 600,
    };
    check_screen(&mut machine, &mut shell, "37 100", &expected)
}

/// Most PCs have no serial port: the console on it must then do no harm.
pub fn no_serial_port(lab: &Lab) -> Outcome {
    let machine = Machine::new(Firmware::Bios)
        .drive(medium(lab, Bus::Cd))
        .ports(Ports::None)
        .job("rescue.shell=hvc0\n");
    let (mut running, mut shell) = start(lab, &machine)?;
    check_system(&mut shell, Firmware::Bios)?;
    shell.run("[ \"$(cat /sys/class/tty/ttyS0/type)\" = 0 ]")?;
    machine_takes_keys(&mut running, &mut shell)
}

fn medium(lab: &Lab, bus: Bus) -> Drive {
    Drive::medium(bus, &lab.image.iso).first_to_boot()
}

fn machine(firmware: Firmware, drive: Drive) -> Machine {
    Machine::new(firmware).drive(drive).job(WATCH)
}

fn boot(lab: &Lab, firmware: Firmware, drive: Drive) -> Outcome<(Running, Shell)> {
    start(lab, &machine(firmware, drive))
}

fn start(lab: &Lab, machine: &Machine) -> Outcome<(Running, Shell)> {
    let mut running = lab.start(machine)?;
    let shell = running.shell()?;
    Ok((running, shell))
}

/// The kernel knows its medium, and how far it may be trusted.
fn check_system(shell: &mut Shell, firmware: Firmware) -> Outcome {
    shell.run("test -e /run/rescue/live")?;
    let line = shell.run("cat /proc/cmdline")?;
    let filled = |key: &str| {
        line.split_whitespace()
            .any(|w| w.strip_prefix(key).is_some_and(|v| !v.is_empty()))
    };
    ensure(filled("rescue.media=") && filled("rescue.bootfs="), || {
        format!("the kernel was not told of its medium: {line}")
    })?;
    // boot_params.secure_boot: 0 without UEFI, 2 switched off, 3 enforced (linux/efi.h).
    let state = shell.run(
        "dd if=/sys/kernel/boot_params/data bs=1 skip=492 count=1 2>/dev/null | od -An -tu1",
    )?;
    let lockdown = shell.run(
        // A kernel without that part cannot be locked down.
        "cat /sys/kernel/security/lockdown 2>/dev/null || echo '[none]'",
    )?;
    let (expected, locked) = match firmware {
        Firmware::Bios => ("0", false),
        Firmware::Uefi => ("2", false),
        Firmware::SecureBoot => ("3", true),
    };
    ensure(state.trim() == expected, || {
        format!("the kernel says Secure Boot state {state}, not {expected}")
    })?;
    ensure(lockdown.contains("[none]") != locked, || {
        format!("the kernel's lockdown is {lockdown}")
    })?;
    if locked {
        shell.run("dmesg | grep -q 'Kernel is locked down from EFI Secure Boot'")?;
    }
    Ok(())
}

/// The interface is on a screen of this size and takes keys.
fn check_screen(
    machine: &mut Running,
    shell: &mut Shell,
    rows_columns: &str,
    pixels: &Size,
) -> Outcome {
    let text = shell.run("stty size </dev/tty1")?;
    ensure(text == rows_columns, || {
        format!("the screen has {text} rows and columns, not {rows_columns}")
    })?;
    tell_first_frame(shell)?;
    machine_takes_keys(machine, shell)?;
    let shot = screen::size(&machine.screenshot("screen")?)?;
    ensure(shot == *pixels, || {
        format!("the screen has {shot:?}, not {pixels:?}")
    })
}

/// How long it took from the start of the kernel to the first picture, as the guest's own log has it.
fn tell_first_frame(shell: &mut Shell) -> Outcome {
    let log = shell.until("cat /run/rescue/log", FIRST_FRAME, CHANGE_WITHIN)?;
    let time = log.lines().find_map(|line| line.split(FIRST_FRAME).nth(1));
    println!(
        "  from the kernel's start to the first screen:{}",
        time.unwrap_or_default()
    );
    Ok(())
}

/// A key changes what the interface shows on the first console.
fn machine_takes_keys(machine: &mut Running, shell: &mut Shell) -> Outcome {
    let shown = "md5sum </dev/vcs1";
    shell.until(
        "tr -d ' ' </dev/vcs1 | wc -c | awk '{ print ($1 > 40 ? \"drawn\" : \"blank\") }'",
        "drawn",
        CHANGE_WITHIN,
    )?;
    std::thread::sleep(Duration::from_secs(1));
    let before = shell.run(shown)?;
    let end = std::time::Instant::now() + CHANGE_WITHIN;
    while std::time::Instant::now() < end {
        machine.qmp.keys(&["down"])?;
        if shell.run(shown)? != before {
            return Ok(());
        }
    }
    machine.screenshot("no-key-arrived")?;
    ensure(false, || {
        "the screen did not change when a key was pressed".to_owned()
    })
}
