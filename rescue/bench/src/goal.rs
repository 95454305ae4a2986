//! The ratios that are aimed at, and whether this run met them.

use crate::contest::Result;
use crate::contestant::Contestant;

struct Goal {
    job: &'static str,
    peer: &'static str,
    what: What,
    at_most: f64,
}

#[derive(Clone, Copy)]
enum What {
    /// Our wall time over the peer's.
    Wall,
    /// Our wall time over what the peer would take without the sleeps of its progress thread: its own time here times
    /// the factor that was measured once between the two builds (0.3.23 as shipped, 0.3.47 without the sleeps).
    WallWithoutSleeps { factor: f64 },
    /// Our output over the peer's.
    Size,
    /// Our own peak in MiB; the peer's name says whose job it is.
    Memory,
}

const GOALS: &[Goal] = &[
    Goal {
        job: "clone",
        peer: "dd 4M",
        what: What::Wall,
        at_most: 0.75,
    },
    Goal {
        job: "clone",
        peer: "cat",
        what: What::Wall,
        at_most: 0.85,
    },
    Goal {
        job: "clone used",
        peer: "partclone -b",
        what: What::Wall,
        at_most: 0.12,
    },
    Goal {
        job: "clone used",
        peer: "partclone -b",
        what: What::WallWithoutSleeps { factor: 1.35 / 6.4 },
        at_most: 0.5,
    },
    Goal {
        job: "image 3",
        peer: "partclone | zstd -T0 -3",
        what: What::Wall,
        at_most: 0.5,
    },
    Goal {
        job: "image 3",
        peer: "partclone | zstd -T0 -3",
        what: What::WallWithoutSleeps { factor: 8.4 / 22.4 },
        at_most: 0.75,
    },
    Goal {
        job: "image 3",
        peer: "partclone | zstd -T0 -3",
        what: What::Size,
        at_most: 1.0,
    },
    Goal {
        job: "image 3",
        peer: "",
        what: What::Memory,
        at_most: 64.0,
    },
    Goal {
        job: "image 1",
        peer: "partclone | zstd -T0 -1",
        what: What::WallWithoutSleeps { factor: 8.4 / 22.4 },
        at_most: 0.5,
    },
    Goal {
        job: "image 1",
        peer: "partclone | zstd -T0 -1",
        what: What::Size,
        at_most: 1.01,
    },
    Goal {
        job: "restore",
        peer: "zstd -d | partclone.restore",
        what: What::Wall,
        at_most: 0.25,
    },
    Goal {
        job: "restore",
        peer: "zstd -d | partclone.restore",
        what: What::WallWithoutSleeps {
            factor: 4.65 / 16.0,
        },
        at_most: 0.5,
    },
    Goal {
        job: "restore",
        peer: "zstd -d | dd",
        what: What::Wall,
        at_most: 0.5,
    },
    Goal {
        job: "restore",
        peer: "",
        what: What::Memory,
        at_most: 32.0,
    },
    Goal {
        job: "check",
        peer: "zstd -t",
        what: What::Wall,
        at_most: 0.5,
    },
];

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
        let Some(ours) = find(goal.job, "rescue") else {
            continue;
        };
        let peer = find(goal.job, goal.peer);
        let (words, value) = match (goal.what, peer) {
            (What::Memory, _) => ("peak memory, MiB".to_owned(), ours.peak_mib),
            (_, None) => continue,
            (What::Wall, Some(peer)) => {
                (format!("wall / {}", goal.peer), ours.wall_s / peer.wall_s)
            }
            (What::WallWithoutSleeps { factor }, Some(peer)) => (
                format!("wall / {} × {factor:.2} (without its sleeps)", goal.peer),
                ours.wall_s / (peer.wall_s * factor),
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
