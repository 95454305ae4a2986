//! Which images a rule keeps: so many of the newest, and of each of so many days, weeks and months the newest.

use std::collections::{BTreeMap, BTreeSet};

use crate::manifest::DiskStory;
use crate::shelf::{Label, Shelved};

/// How many of each; an image that any of them keeps is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Keep {
    pub last: usize,
    pub daily: usize,
    /// Weeks begin on Mondays.
    pub weekly: usize,
    pub monthly: usize,
}

impl Keep {
    pub fn is_nothing(&self) -> bool {
        *self == Keep::default()
    }

    /// Places in the list of what no rule keeps. Each disk has its own images; what has no date, or cannot be read as it
    /// is, stays.
    pub fn going(&self, all: &[Shelved]) -> BTreeSet<usize> {
        let mut disks: BTreeMap<String, Vec<(String, usize)>> = BTreeMap::new();
        for (nth, one) in all.iter().enumerate().filter(|(_, one)| one.is_whole()) {
            if let Ok(label) = &one.label
                && let Some(made) = made(label)
            {
                let disk = disks.entry(disk_of(label)).or_default();
                disk.push((made.to_owned(), nth));
            }
        }
        disks
            .into_values()
            .flat_map(|images| self.going_of(images))
            .collect()
    }

    fn going_of(&self, mut images: Vec<(String, usize)>) -> Vec<usize> {
        images.sort_unstable();
        images.reverse();
        let newest_of = |most: usize, period: &dyn Fn(&str) -> String| {
            let mut seen = BTreeSet::new();
            let first = images
                .iter()
                .filter(|(made, _)| seen.insert(period(made)))
                .map(|(_, nth)| *nth);
            first.take(most).collect::<BTreeSet<usize>>()
        };
        let mut kept = newest_of(self.daily, &|made| part(made, 10));
        kept.extend(newest_of(self.weekly, &week));
        kept.extend(newest_of(self.monthly, &|made| part(made, 7)));
        kept.extend(images.iter().take(self.last).map(|(_, nth)| *nth));
        let all = images.iter().map(|(_, nth)| *nth);
        all.filter(|nth| !kept.contains(nth)).collect()
    }
}

/// When it was finished, RFC 3339; only what begins with a date.
pub fn made(label: &Label) -> Option<&str> {
    let made = label.ended.as_deref().or(label.started.as_deref())?;
    days(made).is_some().then_some(made)
}

/// What tells one disk's images from those of another: what the disk says of itself, and where it says nothing what it
/// was called and which table it has.
pub fn disk_of(label: &Label) -> String {
    let disk = &label.disk;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let says = [text(&disk.serial), text(&disk.wwn), text(&disk.model)].join("|");
    match names_itself(disk) {
        true => format!("{says}|{}", disk.size_bytes),
        false => {
            let table = label.table_id.clone().unwrap_or_else(|| text(&disk.path));
            format!("{says}|{}|{table}", disk.size_bytes)
        }
    }
}

/// Whether a disk has a serial number or a WWN.
pub fn names_itself(disk: &DiskStory) -> bool {
    let known = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.trim().is_empty());
    known(&disk.serial) || known(&disk.wwn)
}

fn part(made: &str, len: usize) -> String {
    made.chars().take(len).collect()
}

fn week(made: &str) -> String {
    // 1970-01-01 was a Thursday.
    let days = days(made).unwrap_or_default();
    (days + 3).div_euclid(7).to_string()
}

/// Since 1970-01-01, of a text that begins with a date (Howard Hinnant, "chrono-compatible low-level date
/// algorithms").
fn days(made: &str) -> Option<i64> {
    let mut parts = made.get(..10)?.split('-');
    let mut number = || parts.next()?.parse::<i64>().ok();
    let (year, month, day) = (number()?, number()?, number()?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 0 {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    Some(era * 146_097 + of_era - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(days("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(days("2000-02-29T23:59:59Z"), Some(11_016));
        assert_eq!(days("2100-01-01"), Some(47_482));
        for wrong in ["", "yesterday", "2026-13-01", "2026-1-1", "é026-01-01"] {
            assert_eq!(days(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn each_rule_keeps_the_newest_of_its_periods() {
        let dates = [
            "2026-01-05T08:00:00Z", // Monday
            "2026-01-11T08:00:00Z", // Sunday of the same week
            "2026-01-12T08:00:00Z",
            "2026-01-12T18:00:00Z",
            "2026-02-01T08:00:00Z",
            "2026-02-02T08:00:00Z",
        ];
        let images = || {
            let of = |(nth, made): (usize, &&str)| ((*made).to_owned(), nth);
            dates.iter().enumerate().map(of).collect::<Vec<_>>()
        };
        let kept = |keep: Keep| {
            let going = keep.going_of(images());
            let stays = |nth: &usize| !going.contains(nth);
            (0..dates.len()).filter(stays).collect::<Vec<_>>()
        };
        let none = Keep::default();
        assert_eq!(kept(Keep { last: 2, ..none }), [4, 5]);
        assert_eq!(kept(Keep { daily: 3, ..none }), [3, 4, 5]);
        assert_eq!(kept(Keep { weekly: 4, ..none }), [1, 3, 4, 5]);
        assert_eq!(kept(Keep { monthly: 9, ..none }), [3, 5]);
        let both = Keep {
            monthly: 2,
            weekly: 1,
            last: 1,
            ..none
        };
        assert_eq!(kept(both), [3, 5]);
    }
}
