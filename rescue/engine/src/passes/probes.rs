//! The inside of holes: single touches where they promise most, and what they find good is followed.

use std::collections::BinaryHeap;

use disk::extent::Extent;

use super::ground::{End, Ground, Reach};
use super::walk::{From, Walk};
use super::{Pass, TOUCH, holes};

/// Before the first touch.
const CHANCE: f64 = 0.5;
/// What a bad touch leaves of it.
const AFTER_BAD: f64 = 0.75;
/// Below it a hole is left.
const HOPELESS: f64 = 0.05;

/// One class.
#[derive(Debug)]
pub struct Probes {
    class: usize,
    reach: Reach,
    hopeless: f64,
    begun: bool,
    /// Holes between which nothing is good have one chance.
    families: Vec<Family>,
    waiting: BinaryHeap<Hole>,
    work: Option<Work>,
    /// Of all foretold stripes: they share what is known of them.
    stripe_touches: u32,
    stripe_good: u32,
}

#[derive(Clone, Copy, Debug)]
struct Family {
    chance: f64,
    touches: u32,
    stripe: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Hole {
    /// Expected bytes; first, for it is what holes are ordered by.
    worth: u64,
    area: Extent,
    family: usize,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Touch {
        hole: Hole,
        piece: Extent,
    },
    /// From a good touch outwards.
    Follow {
        hole: Hole,
        walk: Walk,
        other: Option<Extent>,
        from: From,
    },
    Scrape {
        hole: Hole,
        at: u64,
    },
}

impl Probes {
    pub fn new(class: usize) -> Probes {
        Probes {
            class,
            reach: Reach::Left,
            hopeless: HOPELESS,
            begun: false,
            families: Vec::new(),
            waiting: BinaryHeap::new(),
            work: None,
            stripe_touches: 0,
            stripe_good: 0,
        }
    }

    /// Until nothing is left.
    pub fn of_everything(class: usize) -> Probes {
        Probes {
            reach: Reach::All,
            hopeless: 0.0,
            ..Probes::new(class)
        }
    }

    pub fn ask(&mut self, ground: &mut Ground) -> Option<(Extent, Pass)> {
        if !self.begun {
            self.begun = true;
            self.gather(ground);
        }
        loop {
            match self.work {
                None => {
                    let hole = self.waiting.pop()?;
                    self.begin(hole, ground);
                }
                Some(Work::Touch { piece, .. }) => return Some((piece, Pass::Probe)),
                Some(Work::Follow {
                    hole,
                    walk,
                    other,
                    from,
                }) => {
                    if let Some(piece) = walk.ask(ground, self.class, self.reach) {
                        return Some((piece, Pass::Probe));
                    }
                    self.work = None;
                    walk.rest()
                        .into_iter()
                        .for_each(|rest| self.push(rest, hole.family));
                    if let (Some(other), From::Start) = (other, from) {
                        let walk = Walk::new(other, From::End, ground.stride());
                        self.work = Some(Work::Follow {
                            hole,
                            walk,
                            other: None,
                            from: From::End,
                        });
                    }
                }
                Some(Work::Scrape { hole, at }) => {
                    let rest = Extent::between(at, hole.area.end());
                    match rest.and_then(|rest| ground.next(self.class, rest, TOUCH, self.reach)) {
                        Some(piece) => return Some((piece, Pass::Scrape)),
                        None => self.work = None,
                    }
                }
            }
        }
    }

    pub fn tell(&mut self, asked: Extent, end: &End, ground: &Ground) {
        let good_end = end.error.map_or(asked.end(), Extent::start);
        match self.work.take() {
            Some(Work::Touch { hole, .. }) => self.touched(hole, asked, end, ground),
            Some(Work::Follow {
                hole,
                mut walk,
                other,
                from,
            }) => {
                walk.tell(asked, end);
                // What lies behind the error in this read is no part of the walk any more.
                if let (From::End, Some(error)) = (from, end.error) {
                    let above = Extent::between(error.end(), asked.end());
                    above
                        .into_iter()
                        .for_each(|above| self.push(above, hole.family));
                }
                self.work = Some(Work::Follow {
                    hole,
                    walk,
                    other,
                    from,
                });
            }
            Some(Work::Scrape { hole, .. }) => {
                let at = end.error.map_or(good_end, Extent::end);
                // The place of an error may lie behind bytes that did not arrive.
                let at = if good_end > asked.start()
                    || end.error.is_none_or(|e| e.start() == asked.start())
                {
                    at
                } else {
                    asked.start()
                };
                self.work = Some(Work::Scrape { hole, at });
            }
            None => {}
        }
    }

    /// The hole of a touch that will not be answered waits again.
    pub fn forget_ask(&mut self) {
        if let Some(Work::Touch { hole, .. }) = self.work {
            self.work = None;
            self.waiting.push(hole);
        }
    }

    fn gather(&mut self, ground: &Ground) {
        let mut at = 0;
        let mut last_end = None;
        while let Some(area) = holes::next(ground, self.class, at, self.reach) {
            let stripe = ground
                .stripe_areas()
                .contains(area.start() + area.len() / 2);
            let good_between = last_end.is_none_or(|end| {
                let gap = Extent::between(end, area.start());
                gap.is_none_or(|gap| ground.map().finished.within(gap).next().is_some())
            });
            if good_between {
                self.families.push(Family {
                    chance: CHANCE,
                    touches: 0,
                    stripe,
                });
            }
            self.push(area, self.families.len().saturating_sub(1));
            at = area.end();
            last_end = Some(at);
        }
    }

    fn push(&mut self, area: Extent, family: usize) {
        let chance = self.chance(family);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not more than the length"
        )]
        let worth = (area.len() as f64 * chance) as u64;
        self.waiting.push(Hole {
            worth,
            area,
            family,
        });
    }

    fn chance(&self, family: usize) -> f64 {
        let family = self.families[family];
        if !family.stripe {
            return family.chance;
        }
        let all = 2.0 * f64::from(self.stripe_good + 1) / f64::from(self.stripe_touches + 2);
        family.chance * all.min(1.0)
    }

    fn begin(&mut self, hole: Hole, ground: &mut Ground) {
        if self.chance(hole.family) < self.hopeless {
            let weight = holes::weight(ground, self.class, hole.area, self.reach);
            if weight > 0 {
                ground.give_up(hole.area, self.families[hole.family].touches);
            }
            return;
        }
        let Some(first) = ground.next(self.class, hole.area, TOUCH, self.reach) else {
            return;
        };
        let Some(area) = Extent::between(first.start(), hole.area.end()) else {
            return;
        };
        if area.len() <= TOUCH {
            self.work = Some(Work::Scrape {
                hole,
                at: area.start(),
            });
            return;
        }
        let sector = ground.sector();
        let middle = (area.start() + area.len() / 2) / sector * sector;
        let touch = TOUCH.max(sector);
        let upper = Extent::between(middle, area.end());
        let piece = upper.and_then(|upper| ground.next(self.class, upper, touch, self.reach));
        let piece = Some(piece.unwrap_or(first));
        let hole = Hole { area, ..hole };
        self.work = piece.map(|piece| Work::Touch { hole, piece });
    }

    fn touched(&mut self, hole: Hole, asked: Extent, end: &End, ground: &Ground) {
        let family = &mut self.families[hole.family];
        family.touches += 1;
        let good = end.error.is_none();
        family.chance = if good {
            CHANCE
        } else {
            family.chance * AFTER_BAD
        };
        if family.stripe {
            self.stripe_touches += 1;
            self.stripe_good += u32::from(good);
        }
        let before = Extent::between(
            hole.area.start(),
            end.error.map_or(asked.start(), Extent::start),
        );
        let behind = Extent::between(end.error.map_or(asked.end(), Extent::end), hole.area.end());
        if !good {
            before
                .into_iter()
                .chain(behind)
                .for_each(|rest| self.push(rest, hole.family));
            return;
        }
        let (first, other, from) = match (behind, before) {
            (Some(behind), before) => (behind, before, From::Start),
            (None, Some(before)) => (before, None, From::End),
            (None, None) => return,
        };
        let walk = Walk::new(first, from, ground.stride());
        self.work = Some(Work::Follow {
            hole,
            walk,
            other,
            from,
        });
    }
}
