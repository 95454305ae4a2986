//! Wired networks: a card's driver is there, its link comes up, and an address is handed out.

use std::time::Duration;

use crate::failure::{Outcome, ensure};
use crate::firmware::Firmware;
use crate::lab::Lab;
use crate::machine::Machine;

/// As QEMU names them, and the drivers of Linux.
const CARDS: &[(&str, &str)] = &[
    ("e1000e", "e1000e"),
    ("e1000", "e1000"),
    ("rtl8139", "8139cp"),
    ("virtio-net-pci", "virtio_net"),
];
const WITHIN: Duration = Duration::from_secs(120);

/// What the client of busybox calls with each answer.
const TAKE: &str = "cat >/tmp/take <<'END'\n#!/bin/sh\n[ $1 != bound ] || echo \"LEASE $interface $ip $router\"\nEND\nchmod +x /tmp/take";

pub fn an_address_is_had_on_every_wired_card(lab: &Lab) -> Outcome {
    let mut machine = Machine::new(Firmware::Bios)
        .kernel(lab.image.kernel(""))
        .job("rescue.shell=hvc0\n");
    for (at, (card, _)) in CARDS.iter().enumerate() {
        let net = format!("user,id=n{at},net=10.0.{}.0/24,restrict=on", at + 10);
        let device = format!("{card},netdev=n{at},mac=52:54:00:00:00:{at:02}");
        machine = machine.extra(&["-netdev", &net, "-device", &device]);
    }
    let mut running = lab.start(&machine)?;
    let mut shell = running.shell()?;
    shell.run(TAKE)?;
    for (at, (card, driver)) in CARDS.iter().enumerate() {
        let name =
            format!("$(grep -l 52:54:00:00:00:{at:02} /sys/class/net/*/address | cut -d/ -f5)");
        shell.until(&format!("echo found {name}"), "found e", WITHIN)?;
        let bound = shell.run(&format!(
            "basename $(readlink -f /sys/class/net/{name}/device/driver)"
        ))?;
        let is_driven = bound.contains(driver);
        ensure(is_driven || bound.contains("virtio"), || {
            format!("{card} is driven by {bound}")
        })?;
        let answer = shell.run(&format!(
            "n={name}; ip link set $n up && udhcpc -f -n -q -t 20 -T 1 -i $n -s /tmp/take 2>&1"
        ))?;
        let lease = format!("10.0.{}.15", at + 10);
        ensure(answer.contains("LEASE") && answer.contains(&lease), || {
            format!("{card} got no address: {answer}")
        })?;
        println!("  {card}: {lease}");
    }
    Ok(())
}
