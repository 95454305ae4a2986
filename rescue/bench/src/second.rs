//! The second image of a disk, after some of its files changed, beside other programs' second backup.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::contestant::{self, Contestant};
use crate::work::Work;

pub const JOB: &str = "second image";

/// First argument of the process that reads: a disk, and a map of what is in use on it.
pub const READ_USED: &str = "--read-used";

/// As a reader does that does nothing else: one thread, 1 MiB at a time.
pub fn read_used(args: Vec<String>) -> ExitCode {
    let [disk, map] = &args[..] else {
        return ExitCode::FAILURE;
    };
    match read(disk, map) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {disk}, {map}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(disk: &str, map: &str) -> std::io::Result<()> {
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let disk = File::open(disk)?;
    let mut buffer = vec![0; 1 << 20];
    for row in std::fs::read_to_string(map)?.lines() {
        let words: Vec<&str> = row.split_whitespace().collect();
        let [start, len, "+"] = words[..] else {
            continue;
        };
        let (Some(mut at), Some(len)) = (number(start), number(len)) else {
            continue;
        };
        let end = at + len;
        while at < end {
            let want = usize::try_from(end - at)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let got = disk.read_at(&mut buffer[..want], at)?;
            if got == 0 {
                break;
            }
            at += got as u64;
        }
    }
    Ok(())
}

/// Makes `later.img`: the disk after 3 % of its files were rewritten; and what everybody has of the disk before.
pub fn prepare(work: &Work, rescue: &Path) -> Result<(), String> {
    let output = Command::new("bash")
        .args(["-c", include_str!("later.sh"), "later.sh", &work.path("")])
        .arg(rescue)
        .output()
        .map_err(|e| format!("bash: {e}"))?;
    match output.status.success() {
        true => {
            println!("{}", String::from_utf8_lossy(&output.stdout).trim());
            Ok(())
        }
        false => Err(format!(
            "the disk after the change could not be made: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

pub fn all(work: &Work, rescue: &Path) -> Vec<Contestant> {
    let here = Here(work);
    let (disk, to) = (here.path("later.img"), here.path(""));
    let ours = format!(
        "{} image {disk} {to} --name second --parent first --no-verify",
        rescue.display()
    );
    let mut all = vec![here.one(contestant::RESCUE, ours, "second.img.zst")];
    all.extend(here.floors(&disk));
    all.extend(here.peers(&disk));
    all
}

struct Here<'a>(&'a Work);

impl Here<'_> {
    fn path(&self, name: &str) -> String {
        self.0.path(name)
    }

    fn one(&self, name: &str, script: String, output: &str) -> Contestant {
        Contestant {
            job: JOB,
            name: name.into(),
            before: Some(format!("rm -f {}", self.path(output))),
            script,
            output: vec![self.path(output)],
            after: Vec::new(),
        }
    }

    /// What nobody can do without: reading what is in use, and storing what has changed.
    fn floors(&self, disk: &str) -> Vec<Contestant> {
        let (map, none) = (self.path("later.map"), self.path("none"));
        let zstd = |name: &str, what: &str| {
            let (from, to) = (self.path(what), format!("{what}.zst"));
            let script = format!("zstd -q -f -1 {from} -o {}", self.path(&to));
            self.one(name, script, &to)
        };
        let reads = format!("{} {READ_USED} {disk} {map}; : >{none}", exe());
        vec![
            self.one("reading what is in use once", reads, "none"),
            zstd("changed 64 KiB leaves | zstd -1", "leaves"),
            zstd("changed chunks of 4 MiB | zstd -1", "chunks"),
        ]
    }

    fn peers(&self, disk: &str) -> Vec<Contestant> {
        let (qcow2, first) = (self.path("second.qcow2"), self.path("disk.img"));
        let borg = format!(
            "export BORG_BASE_DIR={} BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes \
             BORG_RELOCATED_REPO_ACCESS_IS_OK=yes; \
             borg create --chunker-params fixed,4194304 --compression zstd,1 {}::second {disk}",
            self.path("borg.base"),
            self.path("borg")
        );
        let restic = format!(
            "export RESTIC_PASSWORD=x RESTIC_CACHE_DIR={}; restic -q -r {} backup {disk}",
            self.path("restic.base"),
            self.path("restic")
        );
        let qemu = format!(
            "qemu-img create -q -f qcow2 -b {disk} -F raw {qcow2}; \
             qemu-img rebase -f qcow2 -b {first} -F raw {qcow2}"
        );
        vec![
            self.one("qemu-img rebase", qemu, "second.qcow2"),
            self.repository("borg create, fixed chunks", borg, "borg"),
            self.repository("restic backup", restic, "restic"),
        ]
    }

    /// It and its cache are put back to what they were after the first backup; what it grew by is the size of the second, told as the
    /// size of an empty file.
    fn repository(&self, name: &str, script: String, of: &str) -> Contestant {
        let at = self.path(of);
        let grown = format!(
            "truncate -s $(($(du -sb {at} | cut -f1) - $(du -sb {at}.first | cut -f1))) {at}.size"
        );
        Contestant {
            before: Some(format!(
                "rm -rf {at} {at}.base {at}.size; cp -r {at}.first {at}; cp -r {at}.base.first {at}.base"
            )),
            ..self.one(name, format!("{script}; {grown}"), &format!("{of}.size"))
        }
    }
}

/// This very program: its other words are for its own use.
fn exe() -> String {
    std::env::current_exe().map_or_else(|_| "bench".into(), |exe| exe.display().to_string())
}
