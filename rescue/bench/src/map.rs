//! The used map of a filesystem of 1 TB with many small files, every third deleted: how long it takes to read, how
//! much is read, and what peers need for the same.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;

use nix::fcntl::{FallocateFlags, fallocate};

use crate::measure::{self, Measure};
use crate::ntfs;
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
    filled: Filled,
    /// Reads the free space too; what else it does is its own.
    peer: &'static str,
}

enum Filled {
    /// Mounted by this command, then file by file.
    By(&'static str),
    /// Without a driver, which would take hours: see [`ntfs`].
    Written,
}

const ALL: &[Large] = &[
    Large {
        kind: "ext4",
        mkfs: "mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=1",
        filled: Filled::By("mount -o loop,noinit_itable"),
        peer: "dumpe2fs",
    },
    Large {
        kind: "xfs",
        mkfs: "mkfs.xfs -q -K",
        filled: Filled::By("mount -o loop"),
        peer: "xfs_db -r -c freesp",
    },
    Large {
        kind: "btrfs",
        mkfs: "mkfs.btrfs -q -K",
        filled: Filled::By("mount -o loop"),
        peer: "btrfs inspect-internal dump-tree -t extent",
    },
    Large {
        kind: "ntfs",
        mkfs: "mkntfs -q -Q -F",
        filled: Filled::Written,
        peer: "ntfsresize --info --force",
    },
];

/// Prints a table for each filesystem; false when a limit was missed.
pub fn run(
    work: &Work,
    rescue: &Path,
    files: u64,
    repeat: usize,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<bool, String> {
    let mut met = true;
    let named = |large: &&Large| wanted(&format!("used map of {}", large.kind));
    for large in ALL.iter().filter(named) {
        let disk = PathBuf::from(work.path("large-map.img"));
        large.make(&disk, files)?;
        println!(
            "\nthe used map of {SIZE} of {}, {}",
            large.kind,
            large.described(files)
        );
        met &= large.contest(work, rescue, &disk, repeat)?;
        std::fs::remove_file(&disk).map_err(|error| format!("{}: {error}", disk.display()))?;
    }
    Ok(met)
}

impl Large {
    fn described(&self, files: u64) -> String {
        match self.filled {
            Filled::By(_) => {
                format!("{files} files of {FILE_BYTES} bytes made, every third deleted")
            }
            Filled::Written => format!("{files} files, and half as many deleted between them"),
        }
    }

    fn make(&self, disk: &Path, files: u64) -> Result<(), String> {
        let file = disk.display();
        measure::run(&format!("truncate -s {SIZE} {file}; {} {file}", self.mkfs))?;
        match self.filled {
            Filled::Written => ntfs::fill(disk, files).map_err(|error| format!("{file}: {error}")),
            Filled::By(mount) => {
                let at = disk.with_extension("mnt");
                let mounted = at.display();
                measure::run(&format!("mkdir -p {mounted}; {mount} {file} {mounted}"))?;
                let filled = fill(&at, files).map_err(|error| format!("{mounted}: {error}"));
                measure::run(&format!("umount {mounted}; rmdir {mounted}"))?;
                filled
            }
        }
    }

    fn contest(
        &self,
        work: &Work,
        rescue: &Path,
        disk: &Path,
        repeat: usize,
    ) -> Result<bool, String> {
        let (disk, nosleep) = (disk.display(), work.path("nosleep.so"));
        let (domain, map) = (work.path("domain"), work.path("map"));
        let ours = format!("{} map {disk} >{map}", rescue.display());
        // Tells the kernel that nothing of the file is needed in memory any more (dd(1), nocache).
        let forget =
            format!("dd of={disk} oflag=nocache conv=notrunc,fdatasync count=0 status=none");
        let partclone = format!(
            "export LD_PRELOAD={nosleep}; partclone.{} -q -L /dev/null -D -s {disk} -O {domain}; rm -f {domain}",
            self.kind
        );
        let contestants = [
            Contestant::new("rescue map, in memory", "true", &ours),
            Contestant::new("partclone -D, no sleeps, in memory", "true", &partclone),
            Contestant::new("rescue map, from the disk", &forget, &ours),
            Contestant::new(
                "partclone -D, no sleeps, from the disk",
                &forget,
                &partclone,
            ),
            Contestant::new(self.peer, "true", &format!("{} {disk}", self.peer)),
        ];
        // What the shell around them reads.
        let shell = measure::run("true")?;
        // Into memory, for those that come first.
        measure::run(&ours)?;
        let mut all = vec![Vec::new(); contestants.len()];
        for _ in 0..repeat {
            for (contestant, measures) in contestants.iter().zip(&mut all) {
                measure::run(&contestant.before)?;
                measures.push(measure::run(&contestant.script)?);
            }
        }
        let medians: Vec<Measure> = all.iter().map(|measures| median(measures)).collect();
        let rows = contestants.iter().zip(&medians);
        print(rows.map(|(one, median)| (one.name, median)), shell);
        println!("  extents: {}", extents(&map)?);
        Ok(met(&medians))
    }
}

/// `before` is not measured.
struct Contestant {
    name: &'static str,
    before: String,
    script: String,
}

impl Contestant {
    fn new(name: &'static str, before: &str, script: &str) -> Contestant {
        Contestant {
            name,
            before: before.into(),
            script: script.into(),
        }
    }
}

fn print<'a>(rows: impl Iterator<Item = (&'static str, &'a Measure)>, shell: Measure) {
    println!(
        "  {:<46} {:>8} {:>8} {:>9} {:>10} {:>9}",
        "", "wall s", "cpu s", "peak MiB", "reads", "MB read"
    );
    for (name, median) in rows {
        println!(
            "  {name:<46} {:>8.2} {:>8.2} {:>9.0} {:>10} {:>9.1}",
            median.wall_s,
            median.cpu_s,
            median.peak_kib as f64 / 1024.0,
            median.reads.saturating_sub(shell.reads),
            median.read_bytes.saturating_sub(shell.read_bytes) as f64 / 1e6
        );
    }
}

/// Used ones, as the map file says.
fn extents(map: &str) -> Result<usize, String> {
    let text = std::fs::read_to_string(map).map_err(|error| format!("{map}: {error}"))?;
    Ok(text.lines().filter(|line| line.ends_with('+')).count())
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
            "  {words:<46} {value:>8.2} at most {at_most:.2}{}",
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
        fallocate(&file, FallocateFlags::empty(), 0, i64::from(FILE_BYTES))?;
    }
    Ok(())
}

fn thin_directory(directory: &Path) -> std::io::Result<()> {
    (0..EACH)
        .step_by(3)
        .try_for_each(|n| std::fs::remove_file(directory.join(format!("file{n:04}"))))
}
