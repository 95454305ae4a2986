//! A failing disk with files goes into an image, by a program that is killed twice on the way.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::drive::{Bus, Drive};
use crate::failure::{Doing, Failure, Outcome, ensure};
use crate::firmware::Firmware;
use crate::lab::{Lab, digest};
use crate::machine::Machine;
use crate::shell::Shell;
use crate::tests::grow::wait_for_disks;
use crate::tests::pulled::{wait_until_written, written_kib};
use crate::tests::system::{JOB_WITHIN, SWITCHED_OFF_WITHIN, script, store};

const MIB: u64 = 242;
const SECTOR: usize = 512;
const IMAGE: &str = "rescue image serial:FAILING-0001 label:STORE --name failing --json";
/// What is written between two kills.
const SOME_KIB: u64 = 24 << 10;

/// From `disks/damaged`.
struct Damaged {
    disk: PathBuf,
    whole: String,
    bad: Vec<u64>,
    /// Partition, blank, path; ascending.
    files: Vec<String>,
}

pub fn failing_disk_imaged_killed_twice_and_restored(lab: &Lab) -> Outcome {
    let damaged = Damaged::make(lab)?;
    let (store, target) = (store(lab)?, lab.blank("target.img", MIB)?);
    let machine = Machine::new(Firmware::Bios)
        .kernel(lab.image.kernel(""))
        .job("rescue.shell=hvc0\n")
        .drive(Drive::new(Bus::Ahci, &damaged.disk, "FAILING-0001").bad(&damaged.bad))
        .drive(Drive::new(Bus::Nvme, &store, "STORE-0002"))
        .drive(Drive::new(Bus::Usb, &target, "TARGET-7A21"));
    let mut running = lab.start(&machine)?;
    let mut shell = running.shell()?;
    wait_for_disks(&mut shell, &["FAILING-0001", "STORE-0002", "TARGET-7A21"])?;
    for _ in 0..2 {
        begun_and_killed(&mut shell)?;
    }
    let answer = shell.ask_within(&format!("{IMAGE} 2>/tmp/said"), JOB_WITHIN)?;
    let said = shell.run("cat /tmp/said")?;
    ensure(answer.code == 2, || {
        format!("{IMAGE} ended with {}: {said}", answer.code)
    })?;
    let report: Value = serde_json::from_str(&answer.text).doing("the report")?;
    damaged.assert_named(&report)?;
    for command in [
        "rescue check label:STORE/failing.img.zst",
        "rescue restore label:STORE/failing.img.zst serial:TARGET-7A21 --approve 7A21",
    ] {
        let answer = shell.ask_within(&format!("{command} 2>&1"), JOB_WITHIN)?;
        ensure(matches!(answer.code, 0 | 2), || {
            format!("{command} ended with {}: {}", answer.code, answer.text)
        })?;
    }
    shell.leave("poweroff")?;
    running.ended(SWITCHED_OFF_WITHIN)?;
    damaged.assert_on(&target)
}

/// The job runs until it has written something, and gets no chance to say a word.
fn begun_and_killed(shell: &mut Shell) -> Outcome {
    let before = written_kib(shell)?;
    shell.run(&format!(
        "rm -f /tmp/said; {IMAGE} >/tmp/said 2>&1 </dev/null & echo $! >/tmp/pid"
    ))?;
    wait_until_written(shell, before + SOME_KIB)?;
    shell.run("kill -9 $(cat /tmp/pid) && ! wait $(cat /tmp/pid)")?;
    Ok(())
}

impl Damaged {
    fn make(lab: &Lab) -> Outcome<Damaged> {
        let disk = lab.folder.join("damaged.img");
        script("damaged", &[&disk])?;
        let lines = |extension: &str| -> Outcome<Vec<String>> {
            let path = disk.with_extension(extension);
            let text = fs::read_to_string(&path).doing(path.display())?;
            Ok(text.lines().map(str::to_owned).collect())
        };
        let number = |line: &String| line.parse().doing("a bad sector");
        Ok(Damaged {
            whole: digest(&disk)?,
            bad: lines("img.bad")?
                .iter()
                .map(number)
                .collect::<Outcome<_>>()?,
            files: lines("img.files")?,
            disk,
        })
    }

    /// The report names the files that the filesystems' own tools name, and no other.
    fn assert_named(&self, report: &Value) -> Outcome {
        let damaged = report["files"].as_array().ok_or_else(|| {
            Failure::new(format!("the report has no list of damaged files: {report}"))
        })?;
        let line = |file: &Value| {
            Some(format!(
                "{} {}",
                file["partition"].as_u64()?,
                file["path"].as_str()?
            ))
        };
        let mut named: Vec<String> = damaged.iter().filter_map(line).collect();
        named.sort();
        println!(
            "  {} bad sectors, {} damaged files named",
            self.bad.len(),
            named.len()
        );
        let sectors = |place: &Value| {
            let (start, len) = (place[0].as_u64()?, place[1].as_u64()?);
            Some(start / SECTOR as u64..(start + len).div_ceil(SECTOR as u64))
        };
        let lost = report["unreadable"].as_array().into_iter().flatten();
        let lost: Vec<u64> = lost.filter_map(sectors).flatten().collect();
        ensure(
            !lost.is_empty() && lost.iter().all(|sector| self.bad.contains(sector)),
            || format!("sectors that could be read are called lost: {lost:?}"),
        )?;
        ensure(named == self.files, || {
            format!("damaged are {:?}, named are {named:?}", self.files)
        })
    }

    /// Every byte is there but the bad sectors, which are zeros.
    fn assert_on(&self, target: &Path) -> Outcome {
        ensure(digest(&self.disk)? == self.whole, || {
            "the source has changed".into()
        })?;
        let read = |path: &Path| fs::read(path).doing(path.display());
        let (mut wanted, got) = (read(&self.disk)?, read(target)?);
        for sector in &self.bad {
            let at = usize::try_from(*sector).unwrap_or(usize::MAX) * SECTOR;
            wanted[at..at + SECTOR].fill(0);
        }
        let differs = |(n, (a, b)): (usize, (&[u8], &[u8]))| (a != b).then_some(n);
        let sectors = wanted.chunks(SECTOR).zip(got.chunks(SECTOR));
        let different: Vec<usize> = sectors.enumerate().filter_map(differs).collect();
        ensure(different.is_empty() && wanted.len() == got.len(), || {
            format!("{} sectors differ: {different:?}", different.len())
        })
    }
}
