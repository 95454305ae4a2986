//! KVM only after a guest really booted with it: on many hosts `/dev/kvm` is there and does not work.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::failure::Outcome;
use crate::firmware::Firmware;
use crate::lab::Image;
use crate::machine::Machine;

const PROBE_WITHIN: Duration = Duration::from_secs(30);

/// QEMU's word for the fastest way to run a guest here.
pub fn probe(image: &Image, folder: &Path) -> &'static str {
    let openable = File::options().read(true).write(true).open("/dev/kvm");
    if openable.is_ok() && boots_with_kvm(image, &folder.join("kvm-probe")).unwrap_or(false) {
        return "kvm";
    }
    "tcg"
}

fn boots_with_kvm(image: &Image, folder: &Path) -> Outcome<bool> {
    let machine = Machine::new(Firmware::Bios).kernel(image.kernel(""));
    let mut running = machine.start(folder, "kvm")?;
    let end = Instant::now() + PROBE_WITHIN;
    while Instant::now() < end {
        let second = Duration::from_secs(1);
        if running.console.expect("RESCUE-INIT: start", second).is_ok() {
            return Ok(true);
        }
        // A processor KVM cannot handle stops the machine.
        if running.qmp.ask("query-status", json!({}))?["running"] != true {
            return Ok(false);
        }
    }
    Ok(false)
}
