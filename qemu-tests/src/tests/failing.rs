//! Disks with bad sectors, behind the kernel's real drivers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::drive::{Bus, Drive};
use crate::failure::{Doing, Outcome, ensure};
use crate::firmware::Firmware;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::shell::Shell;
use crate::tests::data::{Data, Kind};
use crate::tests::grow::wait_for_disks;
use crate::tests::system::{JOB_WITHIN, SWITCHED_OFF_WITHIN, script};
use crate::tests::touches::{self, Reads};

const SECTOR: usize = 512;
const MIB: u64 = 120;
/// Single ones, a pair, a run; in FAT and in ext4, in files and in free space.
const BAD: [u64; 11] = [
    9_000, 100_000, 100_001, 120_000, 120_001, 120_002, 120_003, 120_004, 150_007, 199_999, 230_000,
];
/// The kernel waits 20 seconds for a command, and then for the resets.
const LOST: Duration = Duration::from_secs(240);
/// Of the kernel's made-up disk.
const DEBUG_MIB: u64 = 48;
const DEBUG_BAD: u64 = 40_000;
/// Sectors that no program reads alone: see [`touches`].
const MARKS: u64 = 70_000;

struct Failing {
    data: Data,
    bus: Bus,
    target: PathBuf,
    target_serial: String,
    /// Its first mark.
    mark: u64,
}

/// The same disk on each bus that PCs have, cloned sector by sector, and after that read by GNU ddrescue as on any
/// other Linux.
pub fn no_bad_sector_is_touched_more_than_twice(lab: &Lab) -> Outcome {
    let tools = lab.folder.join("tools.img");
    script("tools", &[&tools])?;
    let mut disks = Vec::new();
    for (nth, bus) in (0..).zip([Bus::Ahci, Bus::Nvme, Bus::Usb]) {
        let target_serial = format!("TO-{nth}A21");
        disks.push(Failing {
            data: Data::make(lab, &format!("FAILING-000{nth}"), Kind::Ext4, MIB, 40)?,
            bus,
            target: lab.blank(&format!("{target_serial}.img"), MIB)?,
            target_serial,
            mark: MARKS + nth * 100,
        });
    }
    let mut machine = Machine::new(Firmware::Bios)
        .kernel(lab.image.kernel(""))
        .job("rescue.shell=hvc0\n")
        .extra(&["-trace", touches::EVENT]);
    for disk in &disks {
        machine = machine.drive(disk.data.drive(disk.bus).bad(&BAD));
    }
    for disk in &disks {
        machine = machine.drive(Drive::new(Bus::Virtio, &disk.target, &disk.target_serial));
    }
    machine = machine.drive(Drive::new(Bus::Virtio, &tools, "TOOLS-0002"));
    let mut running = lab.start(&machine)?;
    let mut shell = running.shell()?;
    let serials: Vec<&str> = disks.iter().map(|d| d.data.serial.as_str()).collect();
    wait_for_disks(&mut shell, &serials)?;
    wait_for_disks(&mut shell, &["TOOLS-0002"])?;
    shell.run(
        "mkdir -p /tools && mount -t ext4 -o ro /dev/vdd /tools && mount --bind /dev /tools/dev && \
         mount -t tmpfs none /tools/tmp && tool() { chroot /tools /bin/\"$@\"; }",
    )?;
    for disk in &disks {
        disk.rescue(&mut shell)?;
    }
    let log = running.log()?;
    shell.leave("poweroff")?;
    running.ended(SWITCHED_OFF_WITHIN)?;
    let reads = Reads::of_log(&log);
    let told: Vec<Outcome> = disks
        .iter()
        .map(|disk| disk.assert_touches(&reads))
        .collect();
    for disk in &disks {
        disk.assert_rescued()?;
    }
    told.into_iter().collect()
}

/// Every so many commands one is never answered, beside sectors that are bad: the kernel's own made-up SCSI disk.
pub fn a_lost_command_does_not_end_the_run(lab: &Lab) -> Outcome {
    let (tools, target) = (
        lab.folder.join("tools.img"),
        lab.blank("target.img", DEBUG_MIB)?,
    );
    script("tools", &[&tools, Path::new("scsi_debug")])?;
    let machine = Machine::new(Firmware::Bios)
        .kernel(lab.image.kernel(""))
        .job("rescue.shell=hvc0\n")
        .drive(Drive::new(Bus::Virtio, &target, "TARGET-7A21"))
        .drive(Drive::new(Bus::Virtio, &tools, "TOOLS-0002"));
    let mut running = lab.start(&machine)?;
    let mut shell = running.shell()?;
    wait_for_disks(&mut shell, &["TARGET-7A21", "TOOLS-0002"])?;
    let options = "/sys/bus/pseudo/drivers/scsi_debug";
    shell.run(&format!(
        "mkdir -p /tools && mount -t ext4 -o ro /dev/vdb /tools && insmod /tools/scsi_debug.ko \
         dev_size_mb={DEBUG_MIB} medium_error_start={DEBUG_BAD} medium_error_count=10"
    ))?;
    shell.until("ls /dev/sda", "/dev/sda", LOST)?;
    shell.run(&format!(
        "dd if=/dev/urandom of=/tmp/wanted bs=1M count={DEBUG_MIB} && for n in 1 2 3; do blockdev --setrw /dev/sda; \
         dd if=/tmp/wanted of=/dev/sda bs=1M conv=fsync && break; sleep 2; done && \
         dd if=/dev/zero of=/tmp/wanted bs=512 seek={DEBUG_BAD} count=10 conv=notrunc && \
         echo 600 >{options}/every_nth && echo 6 >{options}/opts"
    ))?;
    let clone =
        "rescue clone /dev/sda serial:TARGET-7A21 --exact --map /tmp/map --approve 7A21 2>&1";
    let answer = shell.ask_within(clone, JOB_WITHIN)?;
    shell.run(&format!("echo 0 >{options}/opts"))?;
    ensure(answer.code == 2, || {
        format!("{clone} ended with {}: {}", answer.code, answer.text)
    })?;
    let map = shell.run("cat /tmp/map")?;
    ensure(
        bad_sectors(&map) == (DEBUG_BAD..DEBUG_BAD + 10).collect::<Vec<_>>(),
        || format!("the map has other bad sectors: {map}"),
    )?;
    shell.run(&format!(
        "dd if=/dev/vda bs=1M count={DEBUG_MIB} | cmp - /tmp/wanted"
    ))?;
    let account =
        shell.run("grep -h -i -o 'aborts=[0-9]*\\|RESETs.*' /proc/scsi/scsi_debug/*; true")?;
    println!("  {}", account.replace('\n', "; "));
    shell.leave("poweroff")?;
    running.ended(SWITCHED_OFF_WITHIN)
}

impl Failing {
    /// By us, and then by ddrescue.
    fn rescue(&self, shell: &mut Shell) -> Outcome {
        let (serial, to) = (&self.data.serial, &self.target_serial);
        let approve = &to[to.len() - 4..];
        let clone = format!(
            "rescue clone serial:{serial} serial:{to} --exact --map /tmp/{serial}.map --approve {approve} 2>&1"
        );
        let answer = shell.ask_within(&clone, JOB_WITHIN)?;
        let code = answer.code;
        ensure(code == 2, || {
            format!("{clone} ended with {code}: {}", answer.text)
        })?;
        let map = shell.run(&format!("cat /tmp/{serial}.map"))?;
        ensure(bad_sectors(&map) == BAD, || {
            format!("the map of {serial} has other bad sectors: {map}")
        })?;
        let path = shell.run(&format!(
            "rescue disks --json serial:{serial} | tr ',' '\\n' | sed -n 's/.*\"path\": *\"\\([^\"]*\\)\".*/\\1/p' | head -n 1"
        ))?;
        touches::mark(shell, &path, self.mark)?;
        repeats(shell, 5)?;
        let ddrescue = format!("tool ddrescue -d -f -q {path} /dev/null /tmp/{serial}.map");
        let answer = shell.ask_within(&ddrescue, JOB_WITHIN)?;
        ensure(answer.code == 0, || {
            format!("{ddrescue} ended with {}: {}", answer.code, answer.text)
        })?;
        repeats(shell, 0)?;
        touches::mark(shell, &path, self.mark + 1)
    }

    fn assert_touches(&self, reads: &Reads<'_>) -> Outcome {
        let ours = reads.between(None, self.mark, &BAD)?;
        let theirs = reads.between(Some(self.mark), self.mark + 1, &BAD)?;
        let most = |touches: &BTreeMap<u64, u32>| touches.values().max().copied().unwrap_or(0);
        let sum = |touches: &BTreeMap<u64, u32>| touches.values().sum::<u32>();
        println!(
            "  {:?}: each of {} bad sectors asked for at most {} times by rescue ({} in all), {} times by ddrescue ({})",
            self.bus,
            BAD.len(),
            most(&ours),
            sum(&ours),
            most(&theirs),
            sum(&theirs)
        );
        ensure(ours.values().all(|n| (1..=2).contains(n)), || {
            format!("on {:?} the bad sectors were touched {ours:?}", self.bus)
        })
    }

    /// Everything but the bad sectors is there, those are zeros, and the source is as it was.
    fn assert_rescued(&self) -> Outcome {
        self.data.assert_untouched()?;
        let read = |path: &Path| fs::read(path).doing(path.display());
        let mut wanted = read(&self.data.disk)?;
        for sector in BAD {
            let at = usize::try_from(sector).unwrap_or(usize::MAX) * SECTOR;
            wanted[at..at + SECTOR].fill(0);
        }
        ensure(read(&self.target)? == wanted, || {
            format!("the clone of {} has other bytes", self.data.serial)
        })
    }
}

/// How often the kernel's drivers repeat a command: five times, where nobody told them otherwise.
fn repeats(shell: &mut Shell, times: u32) -> Outcome {
    shell.run(&format!(
        "for at in /sys/class/scsi_disk/*/max_retries /sys/module/nvme_core/parameters/max_retries; do \
         echo {times} >$at; done"
    ))?;
    Ok(())
}

/// Of a map file of GNU ddrescue.
fn bad_sectors(map: &str) -> Vec<u64> {
    let number = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
    let run = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [start, len, "-"] => Some((number(start)? / 512, number(len)? / 512)),
            _ => None,
        }
    };
    map.lines()
        .filter_map(run)
        .flat_map(|(start, len)| start..start + len)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_says_which_sectors_are_bad() {
        let map =
            "# Mapfile\n0x0 ? 1\n0x00000000 0x00000400 +\n0x00000400 0x00000400 -\n0x800 0x200 ?\n";
        assert_eq!(bad_sectors(map), [2, 3]);
    }
}
