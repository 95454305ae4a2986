//! Disks that come and go, as the kernel of this machine tells it.

#![allow(clippy::unwrap_used, reason = "a test that stops has failed")]

use std::fs;
use std::time::{Duration, Instant};

use engine::host::Host;
use engine::inventory::{Change, watch};
use engine::linux::Linux;

#[test]
fn a_change_of_a_disk_is_heard_and_one_of_a_loop_device_is_not() {
    let disks = Linux::default().disks().unwrap();
    let disk = &disks
        .first()
        .expect("this machine has no disk to hear of")
        .path;
    let name = disk.file_name().unwrap().to_str().unwrap();
    let watch = watch().unwrap();
    // The kernel repeats an event for root who writes its name here; nothing happens to the device.
    let repeat = |name: &str, event: &str| {
        fs::write(format!("/sys/class/block/{name}/uevent"), event).expect("this test needs root");
    };
    let asked = Instant::now();
    assert_eq!(watch.next_within(Duration::from_millis(50)).unwrap(), None);
    assert!(asked.elapsed() >= Duration::from_millis(50));
    repeat("loop0", "change");
    repeat(name, "change");
    repeat(name, "add");
    repeat(name, "remove");
    let next = || watch.next_within(Duration::from_secs(10)).unwrap();
    assert_eq!(next(), Some(Change::Changed(disk.clone())));
    assert_eq!(next(), Some(Change::Added(disk.clone())));
    assert_eq!(next(), Some(Change::Removed(disk.clone())));
    assert_eq!(watch.next_within(Duration::ZERO).unwrap(), None);
}
