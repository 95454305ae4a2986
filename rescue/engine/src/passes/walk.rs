//! Reading an area from one end until the first error.

use disk::extent::Extent;

use super::TOUCH;
use super::ground::{End, Ground, Reach};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    Start,
    End,
}

/// Begins with small reads: the error may be near.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Walk {
    from: From,
    start: u64,
    end: u64,
    step: u64,
    longest: u64,
    pace: Pace,
    ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pace {
    /// Longer and longer, to the first error.
    Growing,
    /// Always half of what is left, beyond every error: to the border of what is dead.
    Halving,
}

impl Walk {
    pub fn new(area: Extent, from: From, longest: u64) -> Walk {
        let (start, end) = (area.start(), area.end());
        Walk {
            from,
            start,
            end,
            step: TOUCH,
            longest,
            pace: Pace::Growing,
            ended: false,
        }
    }

    /// From the end of an area that lies behind an error and before what is good.
    pub fn to_border(area: Extent) -> Walk {
        Walk {
            step: area.len() / 2,
            pace: Pace::Halving,
            ..Walk::new(area, From::End, TOUCH)
        }
    }

    /// What was not passed yet.
    pub fn rest(&self) -> Option<Extent> {
        Extent::between(self.start, self.end)
    }

    /// `None` when it came to the other end, or to an error.
    pub fn ask(&self, ground: &Ground, class: usize, reach: Reach) -> Option<Extent> {
        let rest = self.rest().filter(|_| !self.ended)?;
        let step = self.step.max(ground.sector());
        match self.from {
            From::End => ground.previous(class, rest, step, reach),
            From::Start => ground.next(class, rest, step, reach),
        }
    }

    pub fn tell(&mut self, asked: Extent, end: &End) {
        if self.pace == Pace::Halving {
            (self.start, self.end) = match end.error {
                Some(error) => (error.end(), asked.end()),
                None => (self.start, asked.start()),
            };
            self.step = self.end.saturating_sub(self.start) / 2;
            return;
        }
        match (self.from, end.error) {
            (From::Start, Some(error)) => (self.start, self.ended) = (error.end(), true),
            (From::End, Some(error)) => (self.end, self.ended) = (error.start(), true),
            (From::Start, None) => self.start = asked.end(),
            (From::End, None) => self.end = asked.start(),
        }
        self.step = (self.step * 2).min(self.longest).max(TOUCH);
    }
}
