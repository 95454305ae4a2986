//! Areas that are read slowly: from the far end to where it becomes slow, then forwards, each for its time.

use std::time::Duration;

use disk::extent::Extent;

use super::ground::{End, Ground, Reach};
use super::walk::{From, Walk};

#[derive(Debug)]
pub struct Slow {
    class: usize,
    /// For one area; `None` without a limit.
    budget: Option<Duration>,
    at: u64,
    work: Option<(Walk, From)>,
    spent: Duration,
}

impl Slow {
    pub fn new(class: usize, budget: Option<Duration>) -> Slow {
        Slow {
            class,
            budget,
            at: 0,
            work: None,
            spent: Duration::ZERO,
        }
    }

    pub fn ask(&mut self, ground: &mut Ground) -> Option<Extent> {
        loop {
            if let Some((walk, from)) = &self.work {
                if let Some(piece) = walk.ask(ground, self.class, Reach::All) {
                    return Some(piece);
                }
                let (rest, from) = (walk.rest(), *from);
                self.work = None;
                if let (From::End, Some(rest)) = (from, rest) {
                    self.forwards(rest, ground);
                }
                continue;
            }
            let window = Extent::between(self.at, ground.size())?;
            let area = ground.slow_areas().within(window).next()?;
            self.at = area.end();
            self.spent = Duration::ZERO;
            self.work = Some((Walk::new(area, From::End, ground.stride()), From::End));
        }
    }

    pub fn tell(&mut self, asked: Extent, end: &End, ground: &mut Ground) {
        let Some((walk, from)) = &mut self.work else {
            return;
        };
        walk.tell(asked, end);
        self.spent = self.spent.saturating_add(end.took);
        let rest = walk.rest();
        let over = self.budget.is_some_and(|budget| self.spent >= budget);
        if end.slow && *from == From::End {
            self.work = None;
            rest.into_iter()
                .for_each(|rest| self.forwards(rest, ground));
        } else if over {
            self.work = None;
        }
    }

    fn forwards(&mut self, rest: Extent, ground: &Ground) {
        self.work = Some((Walk::new(rest, From::Start, ground.stride()), From::Start));
    }
}
