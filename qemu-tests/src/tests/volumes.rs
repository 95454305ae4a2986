//! The power fails while files are written on logical and encrypted volumes.

use std::path::Path;

use crate::drive::{Bus, Drive};
use crate::failure::{Outcome, ensure};
use crate::firmware::Firmware;
use crate::lab::{Lab, digest};
use crate::machine::{Machine, Running};
use crate::shell::Shell;
use crate::tests::grow::{job, wait_for_disks};
use crate::tests::power_cut::{assert_all, mount, there, write_late, written};
use crate::tests::system::{SWITCHED_OFF_WITHIN, script, store};

/// The device that each is mounted from, and the kind.
const VOLUMES: &[(&str, &str)] = &[
    ("/dev/mapper/vg-ext", "ext4"),
    ("/dev/mapper/vg-btr", "btrfs"),
    ("/dev/mapper/vg-xfs", "xfs"),
    ("/dev/mapper/locked", "ext4"),
];
const KEY: &str = "a passphrase of this test";
const SIZE_MIB: u64 = 760;

/// A physical volume with three logical ones, and a LUKS2 container.
pub fn what_was_fsynced_in_volumes_before_a_power_cut_is_in_the_image(lab: &Lab) -> Outcome {
    let disk = lab.blank("cut.img", SIZE_MIB)?;
    script("halves", &[&disk])?;
    let tools = lab.folder.join("tools.img");
    script("tools", &[&tools])?;
    let (store, target) = (store(lab)?, lab.blank("target.img", SIZE_MIB)?);

    let (running, mut shell) = with_tools(lab, &disk, &tools)?;
    make(&mut shell)?;
    let mut sums = Vec::new();
    for (nth, (device, kind)) in VOLUMES.iter().enumerate() {
        mount(&mut shell, device, kind)?;
        sums.push(written(&mut shell, nth)?);
    }
    write_late(&mut shell, VOLUMES.len())?;
    drop(running);
    let whole = digest(&disk)?;

    let machine = Machine::new(Firmware::Bios)
        .kernel(lab.image.kernel(""))
        .job("rescue.shell=hvc0\n")
        .drive(Drive::new(Bus::Ahci, &disk, "CUT-0001"))
        .drive(Drive::new(Bus::Nvme, &store, "STORE-0002"))
        .drive(Drive::new(Bus::Usb, &target, "TARGET-7A21"));
    let mut running = lab.start(&machine)?;
    let mut shell = running.shell()?;
    wait_for_disks(&mut shell, &["CUT-0001", "STORE-0002", "TARGET-7A21"])?;
    let disks = shell.run("rescue disks | grep -A14 CUT-0001")?;
    shell.run(&format!("printf %s '{KEY}' >/tmp/key"))?;
    job(
        &mut shell,
        "rescue image serial:CUT-0001 label:STORE --name cut --key-file /tmp/key",
    )?;
    let unlocked = shell.run("rescue info label:STORE/cut.img.zst | grep unlocked")?;
    ensure(unlocked.lines().count() == 1, || {
        format!("the encrypted volume is not unlocked: {unlocked}")
    })?;
    job(
        &mut shell,
        "rescue restore label:STORE/cut.img.zst serial:TARGET-7A21 --approve 7A21",
    )?;
    shell.leave("poweroff")?;
    running.ended(SWITCHED_OFF_WITHIN)?;
    ensure(digest(&disk)? == whole, || "the source has changed".into())?;

    let (running, mut shell) = with_tools(lab, &target, &tools)?;
    open(&mut shell)?;
    let mut told = Vec::new();
    for (nth, (device, kind)) in VOLUMES.iter().enumerate() {
        mount(&mut shell, device, kind)?;
        told.push(there(&mut shell, device, &sums[nth])?);
    }
    shell.leave("poweroff")?;
    running.ended(SWITCHED_OFF_WITHIN)?;
    assert_all(&told, &disks)
}

/// The disk is `/dev/vda`; `tool NAME …` runs a tool of the other one, again where the live system made the disk
/// read-only in between.
fn with_tools(lab: &Lab, disk: &Path, tools: &Path) -> Outcome<(Running, Shell)> {
    let machine = Machine::new(Firmware::Bios)
        .kernel(lab.image.kernel(""))
        .job("rescue.shell=hvc0\n")
        .drive(Drive::new(Bus::Virtio, disk, "CUT-0001"))
        .drive(Drive::new(Bus::Virtio, tools, "TOOLS-0002"));
    let mut running = lab.start(&machine)?;
    let mut shell = running.shell()?;
    wait_for_disks(&mut shell, &["CUT-0001", "TOOLS-0002"])?;
    shell.run(&format!(
        "mkdir -p /mnt /tools && mount -t ext4 -o ro /dev/vdb /tools && \
         for at in dev proc sys; do mount --bind /$at /tools/$at; done; \
         mount -t tmpfs none /tools/run; mount -t tmpfs none /tools/tmp; printf %s '{KEY}' >/tools/tmp/key; \
         modprobe dm-mod; modprobe dm-crypt; \
         tool() {{ for n in 1 2 3; do for b in /dev/vda*; do blockdev --setrw $b; done; \
         chroot /tools /bin/$@ 2>&1 && return; sleep 2; done; false; }}"
    ))?;
    Ok((running, shell))
}

fn make(shell: &mut Shell) -> Outcome {
    shell.run(
        "tool cryptsetup luksFormat -q --type luks2 --pbkdf-memory 32768 --pbkdf-parallel 1 \
         --pbkdf-force-iterations 4 /dev/vda2 /tmp/key && tool lvm pvcreate -q /dev/vda1 && \
         tool lvm vgcreate -q vg /dev/vda1 && tool lvm lvcreate -q -an -Wn -Zn -L 64m -n ext vg && \
         tool lvm lvcreate -q -an -Wn -Zn -L 120m -n btr vg && tool lvm lvcreate -q -an -Wn -Zn -L 304m -n xfs vg",
    )?;
    open(shell)?;
    shell.run(
        "tool mke2fs -q -F -t ext4 /dev/mapper/vg-ext && tool mke2fs -q -F -t ext4 /dev/mapper/locked && \
         tool mkfs.btrfs -q -f /dev/mapper/vg-btr && tool mkfs.xfs -q -f /dev/mapper/vg-xfs",
    )?;
    Ok(())
}

fn open(shell: &mut Shell) -> Outcome {
    shell.run(
        "tool lvm vgchange -q -ay vg && \
         tool cryptsetup open --disable-keyring --key-file /tmp/key /dev/vda2 locked && ls /dev/mapper",
    )?;
    Ok(())
}
