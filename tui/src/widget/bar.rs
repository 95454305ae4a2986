//! The partitions of a disk to scale, each with what is used of it.

use disk::layout::{Content, Layout, Owner, Region};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::theme::Theme;
use crate::widget::text::{fit, width};
use crate::world::used_bytes;

/// A partition takes at least this much, or nobody would see it.
const LEAST: usize = 4;

/// A stretch of the bar.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    pub name: String,
    pub bytes: u64,
    /// `None`: not known, taken as used whole.
    pub used_bytes: Option<u64>,
    pub kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Partition,
    /// In no partition and large enough to be worth a look.
    Free,
}

/// The partitions in disk order, and gaps of more than a hundredth of the disk.
pub fn parts(layout: &Layout) -> Vec<Part> {
    let worth = layout.geometry.size_bytes / 100;
    layout
        .regions
        .iter()
        .filter_map(|region| part(region, worth))
        .collect()
}

fn part(region: &Region, worth: u64) -> Option<Part> {
    let bytes = region.extent.len();
    let (name, content, kind) = match &region.owner {
        Owner::Partition { partition, content } => {
            (partition.number.to_string(), Some(content), Kind::Partition)
        }
        Owner::Disk(content) => (String::new(), Some(content), Kind::Partition),
        Owner::Gap if bytes > worth => ("free".into(), None, Kind::Free),
        Owner::Gap | Owner::Table => return None,
    };
    let (label, used_bytes) = match content {
        Some(content @ Content::Filesystem(f)) => (f.label.clone(), used_bytes(content)),
        Some(content @ Content::Layer(l)) => (l.label.clone(), used_bytes(content)),
        // An empty disk would look like a full one without a word.
        Some(Content::Unknown(_)) => (Some("not known".into()), None),
        None => (None, None),
    };
    let name = match label.filter(|l| !l.is_empty()) {
        Some(label) => format!("{name} {label}").trim().to_owned(),
        None => name,
    };
    Some(Part {
        name,
        bytes,
        used_bytes,
        kind,
    })
}

/// Columns for each part: the least first, the rest by size; together exactly `columns`, as far as all fit.
pub fn shares(parts: &[Part], columns: usize) -> Vec<usize> {
    let count = parts.len();
    if count == 0 {
        return Vec::new();
    }
    let least = LEAST.min(columns / count);
    let spare = columns - least * count;
    let total: u128 = parts
        .iter()
        .map(|p| u128::from(p.bytes))
        .sum::<u128>()
        .max(1);
    let mut before = 0u128;
    let mut shares = Vec::with_capacity(count);
    let at = |bytes: u128| usize::try_from(bytes * spare as u128 / total).unwrap_or(spare);
    for part in parts {
        let start = at(before);
        before += u128::from(part.bytes);
        shares.push(least + at(before) - start);
    }
    shares
}

/// Two rows: the names, and below them how full each is.
pub fn draw(parts: &[Part], theme: Theme, area: Rect, buf: &mut Buffer) {
    let mut x = area.x;
    for (n, (part, share)) in parts
        .iter()
        .zip(shares(parts, usize::from(area.width).saturating_sub(1)))
        .enumerate()
    {
        let Some(inner) = share.checked_sub(1) else {
            continue;
        };
        let style = match part.kind {
            Kind::Partition => theme.part(n),
            Kind::Free => theme.plain(),
        };
        buf.set_string(x, area.y, theme.pick("│", "|"), theme.frame());
        buf.set_string(x, area.y + 1, theme.pick("│", "|"), theme.frame());
        let name = theme.clean(&part.name);
        let short = match width(&name) > inner {
            true => name.split(' ').next().unwrap_or_default().to_owned(),
            false => name,
        };
        buf.set_string(x + 1, area.y, fit(&short, inner), style);
        buf.set_string(x + 1, area.y + 1, filling(part, inner, theme), style);
        x += u16::try_from(share).expect("a share is at most the width");
    }
    // The end of the disk, in the column that was kept for it.
    if x > area.x {
        for y in [area.y, area.y + 1] {
            buf.set_string(x, y, theme.pick("│", "|"), theme.frame());
        }
    }
}

fn filling(part: &Part, columns: usize, theme: Theme) -> String {
    if part.kind == Kind::Free {
        return " ".repeat(columns);
    }
    let used = part.used_bytes.unwrap_or(part.bytes).min(part.bytes);
    let scaled = u128::from(used) * columns as u128;
    // Anything used shows, and nothing looks full that is not.
    let full = usize::try_from(scaled.div_ceil(u128::from(part.bytes.max(1)))).unwrap_or(columns);
    let full = if used < part.bytes {
        full.min(columns.saturating_sub(1))
    } else {
        full
    };
    format!(
        "{}{}",
        theme.full().repeat(full),
        theme.light().repeat(columns - full)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u64]) -> Vec<Part> {
        let part = |&bytes| Part {
            name: String::new(),
            bytes,
            used_bytes: Some(0),
            kind: Kind::Partition,
        };
        bytes.iter().map(part).collect()
    }

    #[test]
    fn shares_fill_the_bar_and_the_smallest_is_seen() {
        assert_eq!(shares(&of(&[1, 1_000_000, 3_000_000]), 72), [4, 19, 49]);
        assert_eq!(shares(&of(&[]), 72), [] as [usize; 0]);
        assert_eq!(shares(&of(&[0, 0]), 72), [4, 4]);
        let many = of(&[7; 200]);
        assert_eq!(shares(&many, 72).len(), 200);
        for sizes in [vec![u64::MAX; 5], vec![1, 2, 3, u64::MAX], vec![9; 17]] {
            assert_eq!(shares(&of(&sizes), 72).iter().sum::<usize>(), 72);
        }
    }
}
