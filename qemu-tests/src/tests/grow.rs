//! The last partition and its filesystem take the room of a larger disk.

use std::path::Path;
use std::time::Duration;

use crate::drive::{Bus, Drive};
use crate::failure::{Outcome, ensure};
use crate::firmware::Firmware;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::shell::Shell;
use crate::tests::data::{Data, Kind};
use crate::tests::system::{JOB_WITHIN, SWITCHED_OFF_WITHIN, store};

const WITHIN: Duration = Duration::from_secs(300);
const LARGE_MIB: u64 = 900;

pub fn clone_grows_the_last_ext4_partition(lab: &Lab) -> Outcome {
    let small = Data::make(lab, "SMALL-0001", Kind::Ext4, 400, 80)?;
    let large = lab.blank("large.img", LARGE_MIB)?;
    let machine = Machine::new(Firmware::Bios)
        .kernel(lab.image.kernel(""))
        .job("rescue.shell=hvc0\n")
        .drive(small.drive(Bus::Ahci))
        .drive(Drive::new(Bus::Nvme, &large, "LARGE-7A21"));
    let mut running = lab.start(&machine)?;
    let mut shell = running.shell()?;
    wait_for_disks(&mut shell, &["SMALL-0001", "LARGE-7A21"])?;
    job(
        &mut shell,
        "rescue clone serial:SMALL-0001 serial:LARGE-7A21 --grow --approve 7A21",
    )?;
    shell.leave("poweroff")?;
    running.ended(SWITCHED_OFF_WITHIN)?;
    assert_grown(lab, &small, &large)
}

pub fn restore_grows_the_last_ext4_partition(lab: &Lab) -> Outcome {
    let small = Data::make(lab, "SMALL-0001", Kind::Ext4, 400, 80)?;
    let (store, large) = (store(lab)?, lab.blank("large.img", LARGE_MIB)?);
    let machine = Machine::new(Firmware::Bios)
        .kernel(lab.image.kernel(""))
        .job("rescue.shell=hvc0\n")
        .drive(small.drive(Bus::Nvme))
        .drive(Drive::new(Bus::Virtio, &store, "STORE-0002"))
        .drive(Drive::new(Bus::Usb, &large, "LARGE-7A21"));
    let mut running = lab.start(&machine)?;
    let mut shell = running.shell()?;
    wait_for_disks(&mut shell, &["SMALL-0001", "STORE-0002", "LARGE-7A21"])?;
    job(
        &mut shell,
        "rescue image serial:SMALL-0001 label:STORE --name small",
    )?;
    job(
        &mut shell,
        "rescue restore label:STORE/small.img.zst serial:LARGE-7A21 --grow --approve 7A21",
    )?;
    shell.leave("poweroff")?;
    running.ended(SWITCHED_OFF_WITHIN)?;
    assert_grown(lab, &small, &large)
}

/// All of these serial numbers are in the inventory.
pub(super) fn wait_for_disks(shell: &mut Shell, serials: &[&str]) -> Outcome {
    for serial in serials {
        shell.until("rescue disks", serial, WITHIN)?;
    }
    Ok(())
}

pub(super) fn job(shell: &mut Shell, command: &str) -> Outcome {
    let answer = shell.ask_within(&format!("{command} 2>&1"), JOB_WITHIN)?;
    ensure(answer.code == 0, || {
        format!("{command} ended with {}: {}", answer.code, answer.text)
    })
}

/// The partition ends with the disk; the filesystem with the partition: that the checkers look at.
fn assert_grown(lab: &Lab, small: &Data, large: &Path) -> Outcome {
    small.assert_untouched()?;
    small.assert_files_on(large)?;
    let name = large.display().to_string();
    let info = lab.tool("gdisk", "sgdisk", &["--info=2", &name])?;
    let last = info
        .lines()
        .find_map(|line| line.strip_prefix("Last sector: "))
        .and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
    // The second table takes 33 sectors; the end is rounded down to a MiB.
    let least = (LARGE_MIB - 2) << 11;
    ensure(last.is_some_and(|last| last >= least), || {
        format!("the last partition did not grow: {info}")
    })
}
