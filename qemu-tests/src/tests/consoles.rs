//! What stands on the consoles, and what happens when it falls.

use std::time::Duration;

use crate::failure::Outcome;
use crate::firmware::Firmware;
use crate::lab::Lab;
use crate::machine::Machine;

const WITHIN: Duration = Duration::from_secs(300);

pub fn screen_program_that_crashes_is_started_again(lab: &Lab) -> Outcome {
    let machine = Machine::new(Firmware::Bios)
        .kernel(lab.image.kernel(""))
        .job("rescue.shell=hvc0\n");
    let mut running = lab.start(&machine)?;
    let mut shell = running.shell()?;
    shell.until("pidof rescue-tui | wc -w", "2", WITHIN)?;
    shell.run("kill -KILL $(pidof rescue-tui)")?;
    let log = "cat /run/rescue/log";
    shell.until(
        log,
        "tty1: the screen program of rescue ended with signal 9 and was started again",
        WITHIN,
    )?;
    shell.until(
        log,
        "ttyS0: the screen program of rescue ended with signal 9 and was started again",
        WITHIN,
    )?;
    shell.until("pidof rescue-tui | wc -w", "2", WITHIN)?;
    // Five times in a row, and a shell takes its place.
    for _ in 0..8 {
        shell.ask("kill -KILL $(pidof rescue-tui); sleep 1")?;
    }
    shell.until("while pidof rescue-tui; do kill -KILL $(pidof rescue-tui); sleep 1; done; cat /run/rescue/log", "5 times; this is a shell", WITHIN)?;
    running.console.expect("5 times; this is a shell", WITHIN)?;
    running.console.send("echo al''ive\n")?;
    running.console.expect("alive", WITHIN)?;
    shell.leave("reboot")?;
    // The machine was started so that a restart ends it.
    running.ended(WITHIN)
}
