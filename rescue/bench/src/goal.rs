//! The ratios that are aimed at, and whether this run met them.

use crate::contest::Result;
use crate::contestant::{self, Contestant};

struct Goal {
    job: &'static str,
    /// Which of ours.
    ours: &'static str,
    peer: &'static str,
    what: What,
    at_most: f64,
}

#[derive(Clone, Copy)]
enum What {
    /// Our wall time over the peer's.
    Wall,
    /// Our output over the peer's.
    Size,
    /// Our own peak in MiB.
    Memory,
}

const GOALS: &[Goal] = &[
    wall("clone", "dd 4M", 0.75),
    wall("clone", "cat", 0.85),
    wall("clone", "older rescue", 1.02),
    wall("clone used", "partclone -b", 0.12),
    wall("clone used", "partclone -b, no sleeps", 0.5),
    wall("image 3", "partclone | zstd -T0 -3", 0.5),
    wall("image 3", "partclone | zstd -T0 -3, no sleeps", 0.75),
    size("image 3", "partclone | zstd -T0 -3", 1.0),
    memory("image 3", 64.0),
    wall("image 1", "partclone | zstd -T0 -1, no sleeps", 0.5),
    size("image 1", "partclone | zstd -T0 -1", 1.01),
    memory("image 1", 64.0),
    wall("restore", "zstd -d | partclone.restore", 0.25),
    wall("restore", "zstd -d | partclone.restore, no sleeps", 0.5),
    wall("restore", "zstd -d | dd", 0.5),
    memory("restore", 32.0),
    wall("check", "zstd -d | partclone.chkimg, no sleeps", 0.5),
    wall("check", "zstd -t", 0.5),
    memory("check", 32.0),
    wall("second image", "reading what is in use once", 1.1),
    wall("second image", "qemu-img rebase", 0.33),
    wall("second image", "borg create, fixed chunks", 0.33),
    wall("second image", "restic backup", 0.33),
    size("second image", "changed 64 KiB leaves | zstd -1", 1.3),
    size("second image", "changed chunks of 4 MiB | zstd -1", 1.3),
    size("second image", "borg create, fixed chunks", 0.8),
    size("second image", "restic backup", 0.8),
    memory("second image", 64.0),
    sealed("image 3", 1.25),
    sealed("restore", 1.25),
    sealed("check", 1.25),
];

const fn wall(job: &'static str, peer: &'static str, at_most: f64) -> Goal {
    Goal {
        job,
        ours: contestant::RESCUE,
        peer,
        what: What::Wall,
        at_most,
    }
}

const fn size(job: &'static str, peer: &'static str, at_most: f64) -> Goal {
    Goal {
        what: What::Size,
        ..wall(job, peer, at_most)
    }
}

const fn memory(job: &'static str, at_most: f64) -> Goal {
    Goal {
        what: What::Memory,
        ..wall(job, "", at_most)
    }
}

/// What a passphrase may cost; deriving the key, which takes as long for a small disk as for a large one, is in it.
const fn sealed(job: &'static str, at_most: f64) -> Goal {
    Goal {
        ours: contestant::SEALED,
        ..wall(job, contestant::RESCUE, at_most)
    }
}

/// True when every goal whose contestants ran was met.
pub fn print(contestants: &[Contestant], results: &[Result]) -> bool {
    let find = |job: &str, name: &str| {
        contestants
            .iter()
            .position(|c| c.job == job && c.name == name)
            .map(|at| results[at])
    };
    println!(
        "\n{:<12} {:<58} {:>8} {:>8}",
        "job", "ratio", "here", "at most"
    );
    let mut met = true;
    for goal in GOALS {
        let Some(ours) = find(goal.job, goal.ours) else {
            continue;
        };
        let peer = find(goal.job, goal.peer);
        let (words, value) = match (goal.what, peer) {
            (What::Memory, _) => ("peak memory, MiB".to_owned(), ours.peak_mib),
            (_, None) => continue,
            (What::Wall, Some(peer)) => (
                match goal.ours {
                    contestant::RESCUE => format!("wall / {}", goal.peer),
                    other => format!("wall of {other} / {}", goal.peer),
                },
                ours.wall_s / peer.wall_s,
            ),
            (What::Size, Some(peer)) => (
                format!("size / {}", goal.peer),
                ours.output_bytes.unwrap_or(0) as f64 / peer.output_bytes.unwrap_or(0) as f64,
            ),
        };
        let missed = value.is_nan() || value > goal.at_most;
        met &= !missed;
        println!(
            "{:<12} {words:<58} {value:>8.2} {:>8.2}{}",
            goal.job,
            goal.at_most,
            if missed { "  MISSED" } else { "" }
        );
    }
    met
}
