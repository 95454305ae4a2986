//! What is still to be read, as areas.

use disk::extent::Extent;

use super::TOUCH;
use super::ground::{Ground, Reach};

/// The first hole at or behind `from`: pieces with less than a touch between them are one.
pub fn next(ground: &Ground, class: usize, from: u64, reach: Reach) -> Option<Extent> {
    let size = ground.size();
    let first = ground.next(class, from, size, reach)?;
    let mut end = first.end();
    while let Some(more) = ground.next(class, end, size, reach)
        && more.start() - end <= TOUCH
    {
        end = more.end();
    }
    Extent::between(first.start(), end)
}

/// How many bytes of a hole are still to be read.
pub fn weight(ground: &Ground, class: usize, hole: Extent, reach: Reach) -> u64 {
    let (mut at, mut sum) = (hole.start(), 0);
    while let Some(piece) = ground.next(class, at, hole.end().saturating_sub(at), reach)
        && piece.start() < hole.end()
    {
        at = piece.end();
        sum += piece.len();
    }
    sum
}
