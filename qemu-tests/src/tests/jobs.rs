//! Work without anybody at the keyboard, told on the kernel command line or handed over in a file.

use std::time::Duration;

use crate::failure::{Outcome, ensure};
use crate::firmware::Firmware;
use crate::lab::Lab;
use crate::machine::{BOOT_WITHIN, Machine};

const SWITCHED_OFF_WITHIN: Duration = Duration::from_secs(300);

/// The commands of the kernel command line come first, then those of the file.
pub fn unattended_job_switches_off(lab: &Lab) -> Outcome {
    let line = "rescue.settle=1 rescue.run=\"!echo first; echo again\"";
    let machine = Machine::new(Firmware::Bios)
        .kernel(lab.image.kernel(line))
        .job("rescue --help\n# a comment\n!cat /proc/uptime\n");
    let mut running = lab.start(&machine)?;
    for said in [
        "RESCUE-INIT: start ",
        "RESCUE-INIT: settled ",
        "first",
        "again",
        "RESCUE-RUN: 1 exit 0",
        "RESCUE-RUN: 2 start rescue --help",
        "RESCUE-RUN: 2 exit 0",
        "RESCUE-RUN: 3 exit 0",
        "RESCUE-RUN: end, 3 of 3 succeeded",
        "RESCUE-INIT: powering off",
    ] {
        running.console.expect(said, BOOT_WITHIN)?;
    }
    running.ended(SWITCHED_OFF_WITHIN)
}

pub fn failed_job_stays_and_shows_why(lab: &Lab) -> Outcome {
    let machine = Machine::new(Firmware::Bios)
        .kernel(lab.image.kernel("rescue.settle=1"))
        .job("rescue.shell=hvc0\n!echo before\n!exit 3\n!echo never\n");
    let mut running = lab.start(&machine)?;
    for said in [
        "RESCUE-RUN: 1 exit 0",
        "RESCUE-RUN: 2 exit 3",
        "1 further commands were not run, because this one failed",
        "RESCUE-RUN: end, 1 of 3 succeeded",
    ] {
        running.console.expect(said, BOOT_WITHIN)?;
    }
    let mut shell = running.shell()?;
    shell.until(
        "cat /run/rescue/log",
        "RESCUE-RUN: end",
        SWITCHED_OFF_WITHIN,
    )?;
    let log = shell.run("cat /run/rescue/log")?;
    ensure(!log.lines().any(|line| line == "never"), || {
        "a command ran after one that failed".to_owned()
    })?;
    shell.leave("poweroff")?;
    running.ended(SWITCHED_OFF_WITHIN)
}
