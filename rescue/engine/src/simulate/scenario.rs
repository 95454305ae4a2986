//! The ways in which a made-up drive fails.

use super::random::Random;

/// What is wrong with a drive, and what it does beside it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub damage: Damage,
    /// Every bad read makes two more bad sectors around it on average; after 3000 of them the drive is dead.
    pub worsening: bool,
    pub bus: Bus,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Damage {
    /// 2000 single sectors.
    Scattered,
    /// 40 places of 8 MiB with 50 bad sectors each.
    Scratches,
    /// 64 MiB at 12 % of the disk.
    DeadZone,
    /// One of four heads; stripes of about so many MiB.
    DeadHead(f64),
    /// 4 GiB at 10 % of the disk: every sector costs 50 ms.
    SlowZone,
}

/// What lies between the drive and the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bus {
    Sound,
    /// The drive is gone for five minutes after every 500 bad reads.
    Vanishing,
    /// A USB bridge gives zeros for what the drive could not read, and says that all went well.
    Zeros,
}

const fn plain(name: &'static str, damage: Damage) -> Scenario {
    Scenario {
        name,
        damage,
        worsening: false,
        bus: Bus::Sound,
    }
}

const fn worsening(name: &'static str, damage: Damage) -> Scenario {
    Scenario {
        worsening: true,
        ..plain(name, damage)
    }
}

pub const SCENARIOS: &[Scenario] = &[
    plain("scattered", Damage::Scattered),
    plain("scratches", Damage::Scratches),
    plain("dead-zone", Damage::DeadZone),
    plain("dead-head", Damage::DeadHead(16.0)),
    plain("dead-head-2mib", Damage::DeadHead(2.0)),
    plain("dead-head-64mib", Damage::DeadHead(64.0)),
    plain("slow-zone", Damage::SlowZone),
    worsening("worsening-scattered", Damage::Scattered),
    worsening("worsening-scratches", Damage::Scratches),
    worsening("worsening-dead-head", Damage::DeadHead(16.0)),
    Scenario {
        bus: Bus::Vanishing,
        ..plain("vanishing", Damage::Scattered)
    },
    Scenario {
        bus: Bus::Zeros,
        ..plain("zeros", Damage::Scattered)
    },
];

impl Scenario {
    pub fn find(name: &str) -> Option<Scenario> {
        SCENARIOS.iter().copied().find(|one| one.name == name)
    }
}

impl Damage {
    /// The first sector of a disk of `sectors` and how many of them, for each bad or weak place.
    pub fn places(self, sectors: u64, seed: u64) -> Vec<(u64, u64)> {
        let mut random = Random(seed.wrapping_mul(1_000_003));
        match self {
            Damage::Scattered => (0..2000).map(|_| (random.next() % sectors, 1)).collect(),
            Damage::Scratches => {
                let mut places = Vec::new();
                for _ in 0..40 {
                    let begin = random.next() % (sectors - 4096);
                    places.extend((0..50).map(|_| (begin + random.next() % 2048, 1)));
                }
                places
            }
            Damage::DeadZone => vec![(part(sectors, 0.12), (64 << 20) / 4096)],
            Damage::SlowZone => vec![(part(sectors, 0.10), (4 << 30) / 4096)],
            Damage::DeadHead(mib) => stripes(sectors, mib),
        }
    }
}

fn stripes(sectors: u64, mib: f64) -> Vec<(u64, u64)> {
    let (mut places, mut at, mut head) = (Vec::new(), 0, 0);
    while at < sectors {
        let bytes = mib * (1.12 - 0.56 * at as f64 / sectors as f64) * 1_048_576.0;
        let len = part(1, bytes) / 4096;
        if head == 2 {
            places.push((at, len.min(sectors - at)));
        }
        at += len.max(1);
        head = (head + 1) % 4;
    }
    places
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of a disk is not negative"
)]
pub fn part(whole: u64, part: f64) -> u64 {
    (whole as f64 * part) as u64
}
