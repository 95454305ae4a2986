//! A PC with little memory does the same work.

use crate::drive::{Bus, Drive};
use crate::failure::{Failure, Outcome, ensure};
use crate::firmware::Firmware;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::tests::data::{Data, Kind};
use crate::tests::system::{SWITCHED_OFF_WITHIN, done, store};

/// Writes down, every half second, how much memory each process of ours has had at most, and what is left.
const WATCH: &str = "!( while :; do for p in $(pidof rescue); do echo \
    $(tr '\\0' ' ' </proc/$p/cmdline | cut -d' ' -f2,3 | tr ' ' _) \
    $(awk '/^VmHWM/ { print $2 }' /proc/$p/status) \
    $(awk '/^MemAvailable/ { print $2 }' /proc/meminfo); done; sleep 0.5; done ) \
    >/tmp/memory 2>/dev/null </dev/null &";
const TELL: &str = "!awk 'NF == 3 { if ($2 > most[$1]) most[$1] = $2; if (!($1 in left) || $3 < left[$1]) left[$1] = $3 } \
    END { for (job in most) print \"MEMORY\", job, most[job], left[job], \"KIB\" }' /tmp/memory";
const KILLED: &str =
    "!! dmesg | grep -i -e 'out of memory' -e 'oom-kill' -e 'page allocation failure'";

/// So much less than the machine has that the kernel's caches keep some room.
const MOST_MIB: u64 = 128;

/// An NVMe, an AHCI and a USB disk are imaged one after the other, then checked, then one is restored.
pub fn imaged_checked_and_restored_on_384_mib(lab: &Lab) -> Outcome {
    let ahci = Data::make(lab, "AHCI-0001", Kind::Ext4, 400, 160)?;
    let nvme = Data::make(lab, "NVME-0002", Kind::Ntfs, 600, 160)?;
    let usb = Data::make(lab, "USB-0003", Kind::Ext4, 300, 100)?;
    let (store, target) = (store(lab)?, lab.blank("target.img", 400)?);
    let commands = [
        WATCH,
        "rescue image serial:AHCI-0001 label:STORE --name ahci",
        "rescue image serial:NVME-0002 label:STORE --name nvme",
        "rescue image serial:USB-0003 label:STORE --name usb",
        "rescue check label:STORE/nvme.img.zst",
        "rescue restore label:STORE/ahci.img.zst serial:TARGET-7A21 --approve 7A21",
        TELL,
        KILLED,
    ];
    let machine = Machine::new(Firmware::Bios)
        .memory_mib(384)
        .job(&(commands.join("\n") + "\n"))
        .drive(Drive::medium(Bus::Cd, &lab.image.iso).first_to_boot())
        .drive(ahci.drive(Bus::Ahci))
        .drive(nvme.drive(Bus::Nvme))
        .drive(usb.drive(Bus::Usb))
        .drive(Drive::new(Bus::Virtio, &store, "STORE-0004"))
        .drive(Drive::new(Bus::Ahci, &target, "TARGET-7A21"));
    let mut running = lab.start(&machine)?;
    for number in 1..=commands.len() {
        done(&mut running, number)?;
    }
    let said = running.console.everything();
    running.ended(SWITCHED_OFF_WITHIN)?;
    tell_memory(&said)?;
    for disk in [&ahci, &nvme, &usb] {
        disk.assert_untouched()?;
    }
    ahci.assert_equal(&target)
}

/// Prints how much each job took.
fn tell_memory(said: &str) -> Outcome {
    let mut jobs = 0;
    for line in said.lines().filter(|line| line.starts_with("MEMORY ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, job, most, left, _] = words.as_slice() else {
            return Err(Failure::new(format!("not understood: {line}")));
        };
        let mib = |kib: &str| kib.parse::<u64>().unwrap_or_default() >> 10;
        println!(
            "  {job} took {} MiB at most, {} MiB were left",
            mib(most),
            mib(left)
        );
        ensure(mib(most) <= MOST_MIB, || {
            format!("{job} took more than {MOST_MIB} MiB: {line}")
        })?;
        jobs += 1;
    }
    ensure(jobs == 5, || {
        format!("the memory of {jobs} jobs is known, not of 5")
    })
}
