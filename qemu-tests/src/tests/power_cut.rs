//! The power fails while files are written: what had been fsynced is in the image, and comes back.

use std::time::Duration;

use crate::drive::{Bus, Drive};
use crate::failure::{Failure, Outcome, ensure};
use crate::firmware::Firmware;
use crate::lab::{Lab, digest};
use crate::machine::Machine;
use crate::shell::Shell;
use crate::tests::grow::{job, wait_for_disks};
use crate::tests::system::{SWITCHED_OFF_WITHIN, script, store};

/// As `disks/cut` numbers them; each is its module's name.
const KINDS: &[&str] = &[
    "ext4", "ext3", "xfs", "btrfs", "f2fs", "vfat", "exfat", "ntfs3", "nilfs2",
];
/// Its map is known to the program, its files are not.
const UNREAD: &[&str] = &["nilfs2"];
const FILES: usize = 40;
const SIZE_MIB: u64 = 1070;
const WITHIN: Duration = Duration::from_secs(300);

pub fn what_was_fsynced_before_a_power_cut_is_in_the_image(lab: &Lab) -> Outcome {
    let disk = lab.blank("cut.img", SIZE_MIB)?;
    script("cut", &[&disk])?;
    let (store, target) = (store(lab)?, lab.blank("target.img", SIZE_MIB)?);
    let sums = cut_off(lab, &disk)?;
    let whole = digest(&disk)?;

    let machine = Machine::new(Firmware::Bios)
        .kernel(lab.image.kernel(""))
        .job("rescue.shell=hvc0\n")
        .drive(Drive::new(Bus::Ahci, &disk, "CUT-0001"))
        .drive(Drive::new(Bus::Nvme, &store, "STORE-0002"))
        .drive(Drive::new(Bus::Virtio, &target, "TARGET-7A21"));
    let mut running = lab.start(&machine)?;
    let mut shell = running.shell()?;
    wait_for_disks(&mut shell, &["CUT-0001", "STORE-0002", "TARGET-7A21"])?;
    let disks = shell.run("rescue disks | grep -A16 CUT-0001")?;
    job(
        &mut shell,
        "rescue image serial:CUT-0001 label:STORE --name cut",
    )?;
    job(
        &mut shell,
        "rescue restore label:STORE/cut.img.zst serial:TARGET-7A21 --approve 7A21",
    )?;
    let mut told = Vec::new();
    for (nth, kind) in KINDS.iter().enumerate() {
        if !UNREAD.contains(kind) {
            assert_read_by_us(&mut shell, kind, nth + 1, &sums[nth])?;
        }
        mount(&mut shell, &format!("/dev/vda{}", nth + 1), kind)?;
        told.push(there(&mut shell, kind, &sums[nth])?);
    }
    shell.leave("poweroff")?;
    running.ended(SWITCHED_OFF_WITHIN)?;
    ensure(digest(&disk)? == whole, || "the source has changed".into())?;
    assert_all(&told, &disks)
}

/// The program reads by itself what the kernel then mounts: a file from the source's partition, still dirty.
fn assert_read_by_us(shell: &mut Shell, kind: &str, number: usize, sums: &str) -> Outcome {
    let copied = shell.run(&format!(
        "rescue ls /dev/sda{number} | grep -c ' f[0-9]*$'; mkdir -p /tmp/{kind} && \
         rescue cp /dev/sda{number} f17 /tmp/{kind} >/tmp/said 2>&1 && cd /tmp/{kind} && sha256sum f17; cd /"
    ))?;
    let [count, sum] = copied.lines().collect::<Vec<_>>()[..] else {
        return Err(Failure::new(format!("{kind}: {copied}")));
    };
    ensure(count == FILES.to_string() && sums.contains(sum), || {
        format!("{kind}: its partition is read as {copied}")
    })
}

/// How many of the files are in `/mnt` as they were.
pub(super) fn there(shell: &mut Shell, what: &str, sums: &str) -> Outcome<String> {
    let now = shell.run("cd /mnt && sha256sum f*; cd / && umount /mnt")?;
    let count = sums.lines().filter(|line| now.contains(*line)).count();
    Ok(format!("{what} {count} of {FILES}"))
}

pub(super) fn assert_all(told: &[String], disk: &str) -> Outcome {
    println!("  after the restore: {}", told.join(", "));
    let all = format!(" {FILES} of {FILES}");
    ensure(told.iter().all(|one| one.ends_with(&all)), || {
        format!("files are lost: {}; the disk was {disk}", told.join(", "))
    })
}

/// Files are written and fsynced on every filesystem, others are being written when the machine loses its power.
fn cut_off(lab: &Lab, disk: &std::path::Path) -> Outcome<Vec<String>> {
    let machine = Machine::new(Firmware::Bios)
        .kernel(lab.image.kernel(""))
        .job("rescue.shell=hvc0\n")
        .drive(Drive::new(Bus::Virtio, disk, "CUT-0001"));
    let mut running = lab.start(&machine)?;
    let mut shell = running.shell()?;
    wait_for_disks(&mut shell, &["CUT-0001"])?;
    let mut sums = Vec::new();
    for (nth, kind) in KINDS.iter().enumerate() {
        mount(&mut shell, &format!("/dev/vda{}", nth + 1), kind)?;
        sums.push(written(&mut shell, nth)?);
    }
    write_late(&mut shell, KINDS.len())?;
    drop(running);
    Ok(sums)
}

/// Moves what is mounted out of the way, and writes and fsyncs files on it; their sums.
pub(super) fn written(shell: &mut Shell, nth: usize) -> Outcome<String> {
    let at = format!("/cut{nth}");
    shell.run(&format!(
        "mkdir {at} && mount --move /mnt {at} && cd {at} && for n in $(seq {FILES}); do \
         dd if=/dev/urandom of=f$n bs=64k count=4 conv=fsync 2>/dev/null; done; cd /"
    ))?;
    shell.run(&format!("cd {at} && sha256sum f*; cd /"))
}

/// Not one of these is asked for again; they only keep every journal open.
pub(super) fn write_late(shell: &mut Shell, count: usize) -> Outcome {
    for nth in 0..count {
        shell.run(&format!(
            "cd /cut{nth} && dd if=/dev/urandom of=late bs=64k count=8 2>/dev/null; cd /"
        ))?;
    }
    Ok(())
}

/// The live system keeps disks read-only and looks at them now and then: it may do so between the two commands, and
/// a journal cannot be replayed then. The kernel's NTFS mounts what was not unmounted only when it is forced to.
pub(super) fn mount(shell: &mut Shell, device: &str, kind: &str) -> Outcome {
    let options = if kind == "ntfs3" { "-o force" } else { "" };
    let command = format!(
        "mkdir -p /mnt; modprobe {kind} 2>/dev/null; for n in 1 2 3; do \
         for b in /dev/vda* {device}; do blockdev --setrw $b; done; \
         mount -t {kind} {options} {device} /mnt 2>&1 && break; sleep 2; done; \
         grep -q ' /mnt ' /proc/mounts || {{ dmesg | tail -4; false; }}"
    );
    let answer = shell.ask_within(&command, WITHIN)?;
    ensure(answer.code == 0, || {
        format!("{kind} cannot be mounted: {}", answer.text)
    })
}
