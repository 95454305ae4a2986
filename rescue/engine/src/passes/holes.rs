//! What is still to be read, as areas.

use disk::extent::Extent;

use super::TOUCH;
use super::ground::{Ground, Reach};

/// The first hole at or behind `from`: pieces with less than a touch between them are one.
pub fn next(ground: &Ground, class: usize, from: u64, reach: Reach) -> Option<Extent> {
    let first = ground.next(class, ground.behind(from)?, u64::MAX, reach)?;
    let mut end = first.end();
    while let Some(near) = Extent::new(end, TOUCH)
        && let Some(more) = ground.next(class, near, 1, reach)
    {
        let rest = ground.behind(more.start())?;
        end = ground.next(class, rest, u64::MAX, reach)?.end();
    }
    Extent::between(first.start(), end)
}

/// How many bytes of a hole are still to be read.
pub fn weight(ground: &Ground, class: usize, hole: Extent, reach: Reach) -> u64 {
    let open = ground.open(class, hole, reach);
    open.map(Extent::len).sum()
}
