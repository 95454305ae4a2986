//! The settings of a job, one a row.

use engine::request::{
    Ancestor, AtDamage, Coverage, Growth, LeaveOut, Options as Settings, Sealing, Set, Verification,
};

use crate::draft::Task;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Row {
    Name,
    Level,
    Coverage,
    LeaveOut,
    Parent,
    Parity,
    Sealing,
    Growth,
    Damage,
    Verification,
    Note,
}

/// zstd's levels that are worth their time, and a word for each.
const LEVELS: &[(i32, &str)] = &[
    (1, "fast"),
    (3, "balanced"),
    (9, "small"),
    (19, "smallest, very slow"),
];

/// In percent, and what it is good for.
const PARITIES: &[(Option<u8>, &str)] = &[
    (None, "none"),
    (Some(3), "3 % more, makes 2 % good"),
    (Some(10), "10 % more, makes 6 % good"),
];

fn left_out() -> [(Vec<LeaveOut>, &'static str); 3] {
    [
        (Vec::new(), "nothing"),
        (
            vec![LeaveOut::Set(Set::Swap)],
            "page, swap and hibernation files",
        ),
        (
            vec![LeaveOut::All],
            "these, temporary files, caches and trash",
        ),
    ]
}

impl Row {
    pub fn all(task: Task) -> &'static [Row] {
        match task {
            Task::Image => &[
                Row::Name,
                Row::Level,
                Row::Coverage,
                Row::LeaveOut,
                Row::Parent,
                Row::Parity,
                Row::Sealing,
                Row::Verification,
                Row::Note,
            ],
            Task::Clone => &[Row::Coverage, Row::Growth, Row::Verification],
            Task::Restore => &[Row::Growth, Row::Damage, Row::Verification],
            Task::Verify | Task::Check | Task::Mend | Task::Extract | Task::Words => &[],
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Row::Name => "Name",
            Row::Level => "Compression",
            Row::Coverage => "What is copied",
            Row::LeaveOut => "Left out",
            Row::Parent => "Already stored",
            Row::Parity => "Repair data",
            Row::Sealing => "Sealed",
            Row::Growth => "Room left over",
            Row::Damage => "Damaged places",
            Row::Verification => "Afterwards",
            Row::Note => "Note",
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            Row::Name => "The image becomes a file of this name, with .img.zst at its end.",
            Row::Level => {
                "Stronger compression makes a smaller image and takes longer. Fast is mostly as quick as the disk."
            }
            Row::Coverage => {
                "What the filesystems use is enough to get everything back that works. Every sector also keeps what \
                 was deleted, for those who want to search it later; it takes longer."
            }
            Row::LeaveOut => {
                "What a system writes for itself and nobody needs back. These files stay listed and read as zeros \
                 after a restore; the plan shows each rule and what it saves."
            }
            Row::Parent => {
                "With an older image of this disk in the same place, only what has changed since is stored. The new \
                 image needs the older one beside it."
            }
            Row::Parity => {
                "A part of the image that is damaged one day is made good by it: a bad place of the disk the image \
                 lies on, a fault of its copy."
            }
            Row::Sealing => {
                "A sealed image is encrypted: whoever has no passphrase sees nothing of what is in it. The passphrase is \
                 asked for next."
            }
            Row::Growth => {
                "When the disk is larger than the original: leave the room behind the last partition free, or let \
                 that partition and its filesystem grow into it."
            }
            Row::Damage => {
                "Where the image is damaged and has no parity that makes it good: finish with zeros there and list the \
                 files, which gets back the most; or stop at the first such place, so that no machine starts with holes \
                 in it."
            }
            Row::Verification => {
                "Reading everything back and comparing takes about as long again, and is the only proof."
            }
            Row::Note => {
                "A line that is kept with the image: why it was made, from whose computer."
            }
        }
    }

    /// The next value, or the one before.
    pub fn change(self, settings: &mut Settings, by: isize) {
        match self {
            Row::Level => {
                let at = LEVELS.iter().position(|(l, _)| *l == settings.level);
                settings.level = LEVELS[moved(at, by, LEVELS.len())].0;
            }
            Row::LeaveOut => {
                let sets = left_out();
                let at = sets.iter().position(|(s, _)| *s == settings.leave_out);
                settings.leave_out = sets[moved(at, by, sets.len())].0.clone();
            }
            Row::Parity => {
                let at = PARITIES.iter().position(|(p, _)| *p == settings.parity);
                settings.parity = PARITIES[moved(at, by, PARITIES.len())].0;
            }
            Row::Parent => {
                settings.parent = match settings.parent {
                    Ancestor::None => Ancestor::Newest,
                    Ancestor::Newest | Ancestor::Named(_) => Ancestor::None,
                }
            }
            Row::Sealing => {
                settings.sealing = match settings.sealing {
                    Sealing::Open => Sealing::Sealed,
                    Sealing::Sealed => Sealing::Open,
                }
            }
            Row::Coverage => {
                settings.coverage = match settings.coverage {
                    Coverage::Used => Coverage::Exact,
                    Coverage::Exact => Coverage::Used,
                }
            }
            Row::Growth => {
                settings.growth = match settings.growth {
                    Growth::Keep => Growth::LastPartition,
                    Growth::LastPartition => Growth::Keep,
                }
            }
            Row::Damage => {
                settings.at_damage = match settings.at_damage {
                    AtDamage::Stop => AtDamage::KeepGoing,
                    AtDamage::KeepGoing => AtDamage::Stop,
                }
            }
            Row::Verification => {
                settings.verification = match settings.verification {
                    Verification::ReadBack => Verification::Skip,
                    Verification::Skip => Verification::ReadBack,
                }
            }
            Row::Name | Row::Note => {}
        }
    }

    /// In words; of those that are typed the field has it.
    pub fn value(self, settings: &Settings) -> String {
        let words = match self {
            Row::Name | Row::Note => "",
            Row::Level => {
                let level = settings.level;
                let word = LEVELS.iter().find(|(l, _)| *l == level);
                return format!("{} (level {level})", word.map_or("", |(_, w)| w));
            }
            Row::LeaveOut => {
                let sets = left_out();
                let found = sets.iter().find(|(s, _)| *s == settings.leave_out);
                found.map_or("", |(_, words)| words)
            }
            Row::Parity => {
                let found = PARITIES.iter().find(|(p, _)| *p == settings.parity);
                found.map_or("", |(_, words)| words)
            }
            Row::Parent => match settings.parent {
                Ancestor::None => "is stored again: an image that needs no other",
                Ancestor::Newest | Ancestor::Named(_) => "is left to the newest image of this disk",
            },
            Row::Sealing => match settings.sealing {
                Sealing::Open => "no",
                Sealing::Sealed => "with a passphrase",
            },
            Row::Coverage => match settings.coverage {
                Coverage::Used => "what the filesystems use",
                Coverage::Exact => "every sector",
            },
            Row::Growth => match settings.growth {
                Growth::Keep => "stays free",
                Growth::LastPartition => "the last partition grows into it",
            },
            Row::Damage => match settings.at_damage {
                AtDamage::KeepGoing => "keep going: zeros, listed at the end",
                AtDamage::Stop => "stop at the first one",
            },
            Row::Verification => match settings.verification {
                Verification::ReadBack => "read everything back and compare",
                Verification::Skip => "nothing",
            },
        };
        words.to_owned()
    }
}

fn moved(at: Option<usize>, by: isize, count: usize) -> usize {
    at.unwrap_or(0).saturating_add_signed(by).min(count - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_is_one_of_the_values_offered() {
        let usual = Settings::default();
        for row in Row::all(Task::Image) {
            let typed = matches!(row, Row::Name | Row::Note);
            assert_eq!(row.value(&usual).is_empty(), typed, "{row:?}");
        }
        assert!(LEVELS.iter().any(|(level, _)| *level == usual.level));
    }

    #[test]
    fn there_and_back_is_as_before() {
        let tasks = [Task::Image, Task::Clone, Task::Restore];
        for row in tasks.iter().flat_map(|task| Row::all(*task)) {
            let mut settings = Settings::default();
            row.change(&mut settings, 1);
            let typed = matches!(row, Row::Name | Row::Note);
            assert_eq!(settings == Settings::default(), typed, "{row:?}");
            row.change(&mut settings, -1);
            assert_eq!(settings, Settings::default(), "{row:?}");
        }
    }
}
