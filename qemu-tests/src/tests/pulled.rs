//! The source is pulled out while it is read, put in again, and the same command goes on.

use std::thread::sleep;
use std::time::Duration;

use crate::drive::{Bus, Drive};
use crate::failure::{Failure, Outcome, ensure};
use crate::firmware::Firmware;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::shell::Shell;
use crate::tests::data::{Data, Kind};
use crate::tests::grow::{job, wait_for_disks};
use crate::tests::system::{SWITCHED_OFF_WITHIN, store};

/// How long the source is away when it comes back in time.
const ABSENT: Duration = Duration::from_secs(4);
const WITHIN: Duration = Duration::from_secs(300);
const IMAGE: &str = "rescue image serial:PULLED-0001 label:STORE --name pulled";
/// Part of the disk is in the unfinished file by then.
const SOME_KIB: u64 = 20 << 10;

pub fn source_pulled_while_it_is_imaged(lab: &Lab) -> Outcome {
    let source = Data::make(lab, "PULLED-0001", Kind::Ext4, 400, 200)?;
    let (store, target) = (store(lab)?, lab.blank("target.img", 400)?);
    let machine = Machine::new(Firmware::Bios)
        .kernel(lab.image.kernel(""))
        .job("rescue.shell=hvc0\n")
        .drive(source.drive(Bus::Usb))
        .drive(Drive::new(Bus::Nvme, &store, "STORE-0002"))
        .drive(Drive::new(Bus::Ahci, &target, "TARGET-7A21"));
    let mut running = lab.start(&machine)?;
    let mut shell = running.shell()?;
    wait_for_disks(&mut shell, &["PULLED-0001", "STORE-0002", "TARGET-7A21"])?;

    // Connected again while the job waits for it: the job goes on.
    begin(&mut shell, "")?;
    wait_until_written(&mut shell, SOME_KIB)?;
    running.qmp.unplug(&Drive::id(0))?;
    sleep(ABSENT);
    running
        .qmp
        .plug_usb("again", &source.disk, &source.serial)?;
    let said = shell.until("cat /tmp/said", "ENDED", WITHIN)?;
    ensure(said.contains("ENDED 0"), || {
        format!("the job whose source came back said: {said}")
    })?;

    // Not connected again: a sentence, and the same command goes on later.
    shell.run("rm /tmp/said")?;
    let before = written_kib(&mut shell)?;
    begin(&mut shell, "2 --wait 3")?;
    wait_until_written(&mut shell, before + SOME_KIB)?;
    running.qmp.unplug("again")?;
    let said = shell.until("cat /tmp/said", "ENDED", WITHIN)?;
    let sentence = said.lines().find(|line| line.starts_with("failed: "));
    let good = sentence.is_some_and(|line| {
        line.contains("PULLED-0001") && line.contains("is no longer there; connect it again")
    });
    ensure(said.contains("ENDED 1") && good, || {
        format!("the job that lost its source said: {said}")
    })?;
    println!("  {}", sentence.unwrap_or_default().trim());

    running
        .qmp
        .plug_usb("third", &source.disk, &source.serial)?;
    wait_for_disks(&mut shell, &["PULLED-0001"])?;
    job(&mut shell, &format!("{IMAGE}2"))?;
    for image in ["pulled", "pulled2"] {
        job(
            &mut shell,
            &format!("rescue check label:STORE/{image}.img.zst"),
        )?;
    }
    job(
        &mut shell,
        "rescue restore label:STORE/pulled2.img.zst serial:TARGET-7A21 --approve 7A21",
    )?;
    shell.leave("poweroff")?;
    running.ended(SWITCHED_OFF_WITHIN)?;
    source.assert_untouched()?;
    source.assert_equal(&target)
}

fn begin(shell: &mut Shell, more: &str) -> Outcome {
    shell.run(&format!(
        "({IMAGE}{more}; echo ENDED $?) >/tmp/said 2>&1 </dev/null & true"
    ))?;
    Ok(())
}

/// Linux' Documentation/block/stat.rst: the seventh number is the sectors written.
pub(super) fn written_kib(shell: &mut Shell) -> Result<u64, Failure> {
    let sectors = shell.run("awk '{ print $7 }' /sys/block/nvme0n1/stat")?;
    Ok(sectors.parse::<u64>().unwrap_or_default() / 2)
}

pub(super) fn wait_until_written(shell: &mut Shell, kib: u64) -> Outcome {
    for _ in 0..240 {
        if written_kib(shell)? > kib {
            return Ok(());
        }
        let said = shell.run("cat /tmp/said")?;
        ensure(!said.contains("ENDED"), || {
            format!("the job ended before the disk was pulled: {said}")
        })?;
        sleep(Duration::from_millis(250));
    }
    Err(Failure::new("nothing was written into the store"))
}
