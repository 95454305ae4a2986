//! The used map of a filesystem of 1 TB with many small files, every third deleted: how long it takes to read, how
//! much is read, and what peers need for the same.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;

use nix::fcntl::{FallocateFlags, fallocate};

use crate::measure::{self, Measure};
use crate::work::Work;

pub const FILES: u64 = 2_000_000;
const SIZE: &str = "1T";
/// Files of one directory.
const EACH: u64 = 1000;
const FILE_BYTES: u16 = 4096;
const AT_MOST_MIB: f64 = 64.0;
const AT_MOST_OF_PARTCLONE: f64 = 1.0;

struct Large {
    kind: &'static str,
    mkfs: &'static str,
    mount: &'static str,
    /// Files are made by a program of its own in place of the kernel: so many times fewer.
    scale: u64,
    /// Reads the free space too; what else it does is its own.
    peer: &'static str,
}

const ALL: &[Large] = &[
    Large {
        kind: "ext4",
        mkfs: "mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=1",
        mount: "mount -o loop,noinit_itable",
        scale: 1,
        peer: "dumpe2fs",
    },
    Large {
        kind: "xfs",
        mkfs: "mkfs.xfs -q -K",
        mount: "mount -o loop",
        scale: 1,
        peer: "xfs_db -r -c freesp",
    },
    Large {
        kind: "btrfs",
        mkfs: "mkfs.btrfs -q -K",
        mount: "mount -o loop",
        scale: 1,
        peer: "btrfs inspect-internal dump-tree -t extent",
    },
    Large {
        kind: "ntfs",
        mkfs: "mkntfs -q -Q -F",
        mount: "ntfs-3g -o big_writes",
        scale: 20,
        peer: "ntfsresize --info --force",
    },
];

/// Prints a table for each filesystem; false when a limit was missed.
pub fn run(work: &Work, rescue: &Path, files: u64, repeat: usize) -> Result<bool, String> {
    let mut met = true;
    for large in ALL {
        let disk = PathBuf::from(work.path("large-map.img"));
        let files = files / large.scale;
        large.make(&disk, files)?;
        println!(
            "\nthe used map of {SIZE} of {}, {files} files of {FILE_BYTES} bytes made, every third deleted",
            large.kind
        );
        met &= large.contest(work, rescue, &disk, repeat)?;
        std::fs::remove_file(&disk).map_err(|error| format!("{}: {error}", disk.display()))?;
    }
    Ok(met)
}

impl Large {
    fn make(&self, disk: &Path, files: u64) -> Result<(), String> {
        let at = disk.with_extension("mnt");
        let (file, mounted) = (disk.display(), at.display());
        measure::run(&format!(
            "truncate -s {SIZE} {file}; {} {file}; mkdir -p {mounted}; {} {file} {mounted}",
            self.mkfs, self.mount
        ))?;
        let filled = fill(&at, files).map_err(|error| format!("{mounted}: {error}"));
        measure::run(&format!("umount {mounted}; rmdir {mounted}"))?;
        filled
    }

    fn contest(
        &self,
        work: &Work,
        rescue: &Path,
        disk: &Path,
        repeat: usize,
    ) -> Result<bool, String> {
        let (disk, nosleep) = (disk.display(), work.path("nosleep.so"));
        let domain = work.path("domain");
        let contestants = [
            ("rescue map", format!("{} map {disk}", rescue.display())),
            (
                "partclone -D, no sleeps",
                format!(
                    "export LD_PRELOAD={nosleep}; partclone.{} -q -L /dev/null -D -s {disk} -O {domain}; rm -f {domain}",
                    self.kind
                ),
            ),
            (self.peer, format!("{} {disk}", self.peer)),
        ];
        // What the shell around them reads.
        let shell = measure::run("true")?;
        let mut all = vec![Vec::new(); contestants.len()];
        for _ in 0..repeat {
            for ((_, script), measures) in contestants.iter().zip(&mut all) {
                measures.push(measure::run(script)?);
            }
        }
        println!(
            "  {:<44} {:>8} {:>8} {:>9} {:>10} {:>9}",
            "", "wall s", "cpu s", "peak MiB", "reads", "MB read"
        );
        let medians = all.iter().map(|measures| median(measures));
        let medians: Vec<Measure> = medians.collect();
        for ((name, _), median) in contestants.iter().zip(&medians) {
            println!(
                "  {name:<44} {:>8.2} {:>8.2} {:>9.0} {:>10} {:>9.1}",
                median.wall_s,
                median.cpu_s,
                median.peak_kib as f64 / 1024.0,
                median.reads.saturating_sub(shell.reads),
                median.read_bytes.saturating_sub(shell.read_bytes) as f64 / 1e6
            );
        }
        Ok(met(&medians))
    }
}

fn met(medians: &[Measure]) -> bool {
    let [ours, partclone, ..] = medians else {
        return false;
    };
    let goals = [
        (
            "wall / partclone",
            ours.wall_s / partclone.wall_s,
            AT_MOST_OF_PARTCLONE,
        ),
        (
            "peak memory, MiB",
            ours.peak_kib as f64 / 1024.0,
            AT_MOST_MIB,
        ),
    ];
    let mut met = true;
    for (words, value, at_most) in goals {
        let missed = value.is_nan() || value > at_most;
        met &= !missed;
        println!(
            "  {words:<44} {value:>8.2} at most {at_most:.2}{}",
            if missed { "  MISSED" } else { "" }
        );
    }
    met
}

/// The run in the middle by wall time.
fn median(measures: &[Measure]) -> Measure {
    let mut sorted = measures.to_vec();
    sorted.sort_by(|a, b| a.wall_s.total_cmp(&b.wall_s));
    sorted[sorted.len() / 2]
}

/// By threads, each with directories of its own; the deletes come last, so that nothing takes their room.
fn fill(at: &Path, files: u64) -> std::io::Result<()> {
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let directories = files.div_ceil(EACH);
    for work in [make_directory, thin_directory] {
        thread::scope(|scope| {
            let all: Vec<_> = (0..threads)
                .map(|first| {
                    scope.spawn(move || {
                        (first..directories)
                            .step_by(usize::try_from(threads).expect("it was a usize"))
                            .try_for_each(|n| work(&at.join(format!("d{n:05}"))))
                    })
                })
                .collect();
            all.into_iter()
                .try_for_each(|thread| thread.join().expect("a thread that makes files has no bug"))
        })?;
    }
    Ok(())
}

fn make_directory(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir(directory)?;
    for n in 0..EACH {
        let file = File::create(directory.join(format!("file{n:04}")))?;
        // Room without bytes: the maps are the same, and the machine's memory is not filled.
        match fallocate(&file, FallocateFlags::empty(), 0, i64::from(FILE_BYTES)) {
            Err(nix::errno::Errno::EOPNOTSUPP) => {
                std::io::Write::write_all(&mut &file, &[0x55; FILE_BYTES as usize])?;
            }
            done => done?,
        }
    }
    Ok(())
}

fn thin_directory(directory: &Path) -> std::io::Result<()> {
    (0..EACH)
        .step_by(3)
        .try_for_each(|n| std::fs::remove_file(directory.join(format!("file{n:04}"))))
}
