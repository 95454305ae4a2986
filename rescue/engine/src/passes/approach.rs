//! What was left around errors is read from its far side towards the damage, then from the near side.

use disk::extent::Extent;

use super::ground::{End, Ground, Reach};
use super::walk::{From, Walk};
use super::{TOUCH, holes};

/// Longest read towards damage.
const LONGEST: u64 = 256 << 10;

/// One class: first its holes in disk order, then what lies at the borders of held stripes.
#[derive(Debug)]
pub struct Approach {
    class: usize,
    at: u64,
    part: Part,
    work: Option<Work>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Holes,
    Stripes,
}

#[derive(Clone, Copy, Debug)]
struct Work {
    area: Extent,
    walk: Walk,
    side: From,
    /// Between the error that was met from the end and what is good behind it.
    border: Option<Walk>,
}

impl Approach {
    pub fn new(class: usize) -> Approach {
        Approach {
            class,
            at: 0,
            part: Part::Holes,
            work: None,
        }
    }

    pub fn ask(&mut self, ground: &mut Ground) -> Option<Extent> {
        loop {
            if let Some(mut work) = self.work {
                let border = work.border.take();
                if let Some(piece) =
                    border.and_then(|walk| walk.ask(ground, self.class, Reach::Fresh))
                {
                    return Some(piece);
                }
                self.work = Some(work);
                if let Some(piece) = self.step(&work, ground) {
                    return Some(piece);
                }
                self.turn(work, ground);
                continue;
            }
            match self.find(ground) {
                Some(area) => self.begin(area, ground),
                None if self.part == Part::Holes => (self.part, self.at) = (Part::Stripes, 0),
                None => return None,
            }
        }
    }

    pub fn tell(&mut self, asked: Extent, end: &End, ground: &mut Ground) {
        let Some(work) = &mut self.work else { return };
        if let Some(border) = &mut work.border {
            border.tell(asked, end);
            return;
        }
        work.walk.tell(asked, end);
        if let (From::End, Part::Holes, Some(error)) = (work.side, self.part, end.error) {
            work.border = Extent::between(error.end(), asked.end()).map(Walk::to_border);
        }
        if end.slow {
            work.walk
                .rest()
                .into_iter()
                .for_each(|rest| ground.hold_slow(rest));
            self.work = None;
        }
    }

    fn reach(&self) -> Reach {
        match self.part {
            Part::Holes => Reach::Fresh,
            Part::Stripes => Reach::Left,
        }
    }

    fn find(&mut self, ground: &Ground) -> Option<Extent> {
        let area = match self.part {
            Part::Holes => holes::next(ground, self.class, self.at, Reach::Fresh)?,
            Part::Stripes => {
                let window = Extent::between(self.at, ground.size())?;
                ground.stripe_areas().within(window).next()?
            }
        };
        self.at = area.end();
        Some(area)
    }

    /// From the end first, unless what lies behind it is bad.
    fn begin(&mut self, area: Extent, ground: &Ground) {
        let walk = Walk::new(area, From::End, LONGEST);
        self.work = Some(Work {
            area,
            walk,
            side: From::End,
            border: None,
        });
        if ground.is_bad(area.end()) {
            self.work = Some(Work {
                area,
                walk: Walk::new(area, From::Start, LONGEST),
                side: From::Start,
                border: None,
            });
        }
    }

    fn step(&self, work: &Work, ground: &Ground) -> Option<Extent> {
        let start = work.area.start();
        let from_bad =
            ground.is_bad(start) || start.checked_sub(1).is_some_and(|at| ground.is_bad(at));
        if work.side == From::Start
            && from_bad
            && work.walk.rest().is_some_and(|rest| rest.start() == start)
        {
            return None;
        }
        let piece = work.walk.ask(ground, self.class, self.reach())?;
        if self.part == Part::Holes {
            return Some(piece);
        }
        // A stripe is touched at its borders only, unless what was read there was good: its inside is expected to
        // be dead.
        let border = (work.area.len() / 16).clamp(2 * TOUCH, 1 << 20);
        let rest = work.walk.rest()?;
        let wanted = match work.side {
            From::Start => rest.start() > start || piece.start() < start + border,
            From::End => rest.end() < work.area.end() || piece.end() + border > work.area.end(),
        };
        wanted.then_some(piece)
    }

    /// The other side, or the end of this area.
    fn turn(&mut self, work: Work, ground: &mut Ground) {
        self.work = match (work.side, work.walk.rest()) {
            (From::End, Some(rest)) => {
                let walk = Walk::new(rest, From::Start, LONGEST);
                Some(Work {
                    walk,
                    side: From::Start,
                    ..work
                })
            }
            (_, rest) => {
                rest.into_iter()
                    .for_each(|rest| ground.enclose(self.class, rest));
                None
            }
        };
    }
}
