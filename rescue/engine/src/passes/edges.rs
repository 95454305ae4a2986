//! Where a run of errors begins and ends, to a touch: what the stripes of a dead head are known by.

use disk::extent::Extent;

use super::ground::{End, Ground};
use super::{MOST, TOUCH};

/// The near border is found by reading forwards to the first error, the far one by reading backwards from the
/// first good place: one bad read each, at most two.
#[derive(Clone, Copy, Debug)]
pub struct Edges {
    phase: Phase,
    near: u64,
    /// Behind what is known to be bad.
    low: u64,
    /// Known to be good.
    high: u64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Near { at: u64 },
    Far,
    Done,
}

impl Edges {
    /// `floor..error` was not read; `low` lies behind the last error, `high` is good.
    pub fn new(floor: u64, error: u64, low: u64, high: u64) -> Edges {
        Edges {
            phase: Phase::Near { at: floor },
            near: error,
            low,
            high,
        }
    }

    /// Where the run was found to lie.
    pub fn run(&self) -> Option<Extent> {
        Extent::between(self.near, self.high)
    }

    pub fn ask(&mut self, ground: &Ground) -> Option<Extent> {
        loop {
            let piece = match self.phase {
                Phase::Near { at } => Extent::between(at, self.near.min(at + ground.stride())),
                Phase::Far => {
                    let low = self.low.max(self.high.saturating_sub(self.step(ground)));
                    Extent::between(low, self.high)
                }
                Phase::Done => return None,
            };
            let known = piece.and_then(|piece| ground.last_known_bad(piece));
            match (self.phase, piece, known) {
                (_, Some(piece), None) => return Some(piece),
                (Phase::Near { .. }, Some(_), Some(known)) => {
                    self.phase = Phase::Near { at: known }
                }
                (Phase::Near { .. }, None, _) => self.phase = Phase::Far,
                (Phase::Far, Some(piece), Some(known)) if known < piece.end() => {
                    self.low = known;
                    return Extent::between(known, piece.end());
                }
                _ => self.phase = Phase::Done,
            }
        }
    }

    pub fn tell(&mut self, asked: Extent, end: &End, ground: &Ground) {
        match (self.phase, end.error) {
            (Phase::Near { .. }, None) => self.phase = Phase::Near { at: asked.end() },
            (Phase::Near { .. }, Some(error)) => {
                self.near = error.start();
                self.phase = Phase::Far;
            }
            (_, None) => self.high = asked.start(),
            (_, Some(error)) => {
                self.low = error.end();
                if asked.len() <= TOUCH.max(ground.sector()) {
                    self.phase = Phase::Done;
                }
            }
        }
    }

    fn step(&self, ground: &Ground) -> u64 {
        let touch = TOUCH.max(ground.sector());
        if !ground.exact() {
            return touch;
        }
        let step = (self.high.saturating_sub(self.low) / 32).clamp(touch, MOST);
        step / ground.sector() * ground.sector()
    }
}
