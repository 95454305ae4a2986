//! Everything once, forwards, in long reads; whatever fails or is slow is left at once.

use disk::extent::Extent;

use super::edges::Edges;
use super::ground::{End, Ground, Reach};
use super::stripes::{Advice, Hint, Stripes};
use super::{Pass, TOUCH};

/// First step over slow reads.
const SLOW_STEP: u64 = 4 << 20;
/// Errors close to each other: the step grows to this much without a run.
const CLOSE_STEP: u64 = 16 << 20;
/// Single errors that are looked at for a run too short for two steps.
const LESSONS: u32 = 24;
/// Longer runs are no stripes.
const LONGEST_RUN: u64 = 1 << 30;

#[derive(Debug)]
pub struct Sweep {
    class: usize,
    at: u64,
    /// End of the last good read.
    good_end: u64,
    last_error: Option<u64>,
    /// Left out behind an error.
    step: u64,
    slow_step: u64,
    slow_row: u32,
    lessons: u32,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Ahead,
    /// Is a single error the begin of a run?
    Look(Leave),
    Leave(Leave),
    Edges(Edges, Resume),
}

/// Away from an error until something is good again.
#[derive(Clone, Copy, Debug)]
struct Leave {
    error: Extent,
    floor: u64,
    /// Behind the last error.
    low: u64,
    from: u64,
    step: u64,
    errors: u32,
    hint: Option<Hint>,
}

/// Where the sweep goes on after measuring.
#[derive(Clone, Copy, Debug)]
struct Resume {
    at: u64,
}

impl Sweep {
    pub fn new(class: usize, ground: &Ground) -> Sweep {
        Sweep {
            class,
            at: 0,
            good_end: 0,
            last_error: None,
            step: first_step(ground),
            slow_step: SLOW_STEP,
            slow_row: 0,
            lessons: LESSONS,
            phase: Phase::Ahead,
        }
    }

    pub fn ask(&mut self, ground: &mut Ground, stripes: &mut Stripes) -> Option<(Extent, Pass)> {
        loop {
            match &mut self.phase {
                Phase::Ahead => {
                    return self
                        .ahead(ground, stripes)
                        .map(|piece| (piece, Pass::Sweep));
                }
                Phase::Look(leave) => {
                    let leave = *leave;
                    let at = leave.error.end() + 4 * TOUCH;
                    let look = Extent::between(at, (at + TOUCH).min(ground.size()));
                    let look = look.filter(|look| ground.last_known_bad(*look).is_none());
                    match look {
                        Some(look) => return Some((look, Pass::Measure)),
                        None => self.phase = Phase::Leave(leave),
                    }
                }
                Phase::Leave(leave) => {
                    let from = leave.from.saturating_add(leave.step);
                    let ahead = ground.behind(from);
                    match ahead
                        .and_then(|ahead| ground.next(self.class, ahead, TOUCH, Reach::Fresh))
                    {
                        Some(piece) => return Some((piece, Pass::Sweep)),
                        None => (self.phase, self.at) = (Phase::Ahead, ground.size()),
                    }
                }
                Phase::Edges(edges, resume) => match edges.ask(ground) {
                    Some(piece) => return Some((piece, Pass::Measure)),
                    None => {
                        let (edges, resume) = (*edges, *resume);
                        self.learn(edges, ground, stripes);
                        (self.phase, self.at) = (Phase::Ahead, resume.at);
                    }
                },
            }
        }
    }

    pub fn tell(&mut self, asked: Extent, end: &End, ground: &mut Ground, stripes: &Stripes) {
        match &mut self.phase {
            Phase::Ahead => match end.error {
                None => self.good(asked, end.slow, ground),
                Some(error) => self.error(asked, error, ground, stripes),
            },
            Phase::Look(leave) => {
                let leave = *leave;
                self.looked(leave, end, stripes);
            }
            Phase::Leave(leave) => {
                let leave = *leave;
                self.left(leave, asked, end, ground);
            }
            Phase::Edges(edges, _) => edges.tell(asked, end, ground),
        }
    }

    fn ahead(&mut self, ground: &mut Ground, stripes: &mut Stripes) -> Option<Extent> {
        loop {
            let most = if self.slow_row > 0 {
                TOUCH
            } else {
                ground.stride()
            };
            let ahead = ground.behind(self.at)?;
            let piece = ground.next(self.class, ahead, most, Reach::Fresh)?;
            let start = piece.start();
            if start
                .checked_sub(1)
                .is_some_and(|before| ground.is_bad(before))
            {
                // The neighbourhood of an error of an earlier pass or job.
                self.at = start + first_step(ground);
                continue;
            }
            match stripes.advice(start) {
                Advice::Hold(stripe) => {
                    let stripe = stripe.aligned_out(ground.sector(), ground.size());
                    let Some(stripe) = stripe else { continue };
                    ground.hold_stripe(stripe);
                    self.at = stripe.end();
                }
                Advice::Until(limit) => {
                    let limit = limit / ground.sector() * ground.sector();
                    return Extent::between(
                        start,
                        piece.end().min(limit.max(start + ground.sector())),
                    );
                }
            }
        }
    }

    fn good(&mut self, asked: Extent, slow: bool, ground: &mut Ground) {
        self.good_end = asked.end();
        self.at = asked.end();
        if !slow {
            (self.slow_step, self.slow_row) = (SLOW_STEP, 0);
            return;
        }
        let next = (asked.end() + self.slow_step).min(ground.size());
        Extent::between(asked.end(), next)
            .into_iter()
            .for_each(|left| ground.hold_slow(left));
        self.at = next;
        self.slow_row += 1;
        self.slow_step = (self.slow_step * 2).min((ground.size() / 200).max(SLOW_STEP));
    }

    fn error(&mut self, asked: Extent, error: Extent, ground: &Ground, stripes: &Stripes) {
        let first = first_step(ground);
        let near = self
            .last_error
            .is_some_and(|last| error.start() - last.min(error.start()) < 8 * self.step);
        self.step = if near {
            (self.step * 2).min(CLOSE_STEP.max(first))
        } else {
            first
        };
        self.last_error = Some(error.start());
        let hint = stripes.hint(error.start());
        let floor = if error.start() > asked.start() {
            error.start()
        } else {
            self.good_end
        };
        let mut leave = Leave {
            error,
            floor: floor.max(error.start().saturating_sub(64 << 20)),
            low: error.end(),
            from: error.start(),
            step: self.step,
            errors: 0,
            hint,
        };
        if let Some(hint) = hint {
            leave.step = hint.behind.saturating_sub(leave.from).max(ground.sector());
        }
        let look = hint.is_none() && self.lessons > 0 && !stripes.is_foretelling();
        self.phase = if look {
            Phase::Look(leave)
        } else {
            Phase::Leave(leave)
        };
    }

    /// In a run already: it may be as long as the one before.
    fn looked(&mut self, mut leave: Leave, end: &End, stripes: &Stripes) {
        self.lessons -= 1;
        if let Some(error) = end.error {
            (leave.low, leave.from, leave.errors) = (error.end(), error.start(), 1);
            if let Some(length) = stripes.usual_length() {
                let behind = leave.error.start() + length + 2 * TOUCH;
                leave.step = behind.saturating_sub(leave.from).max(TOUCH);
            }
        }
        self.phase = Phase::Leave(leave);
    }

    fn left(&mut self, mut leave: Leave, asked: Extent, end: &End, ground: &Ground) {
        let arrived = end.error.is_none_or(|error| error.start() > asked.start());
        if !arrived {
            let error = end.error.unwrap_or(asked);
            leave.errors += 1;
            leave.low = error.end();
            leave.from = error.start();
            let distance = leave
                .hint
                .filter(|_| leave.errors < 3)
                .map(|hint| hint.distance / 20);
            let most = (ground.size() / 100).max(first_step(ground));
            leave.step = distance
                .unwrap_or(leave.step.saturating_mul(2))
                .clamp(TOUCH, most.max(TOUCH));
            self.last_error = Some(error.start());
            self.phase = Phase::Leave(leave);
            return;
        }
        let good_end = end.error.map_or(asked.end(), Extent::start);
        (self.good_end, self.at) = (good_end, good_end);
        let long = asked.start() - leave.error.start() > LONGEST_RUN;
        if (leave.errors == 0 && leave.hint.is_none()) || long {
            self.phase = Phase::Ahead;
            return;
        }
        let begin = leave.hint.and_then(|hint| hint.begin);
        let near = begin
            .unwrap_or(leave.error.start())
            .min(leave.error.start());
        let floor = if begin.is_some() { near } else { leave.floor };
        self.phase = Phase::Edges(
            Edges::new(floor, near, leave.low, asked.start()),
            Resume { at: good_end },
        );
    }

    fn learn(&mut self, edges: Edges, ground: &mut Ground, stripes: &mut Stripes) {
        let Some(run) = edges.run() else { return };
        let first = stripes.measured(run);
        if !stripes.is_foretelling() {
            return;
        }
        let known: Vec<Extent> = if first {
            stripes.known().collect()
        } else {
            vec![run]
        };
        for run in known {
            let run = run.aligned_out(ground.sector(), ground.size());
            run.into_iter().for_each(|run| ground.hold_stripe(run));
        }
        self.lessons = LESSONS;
    }
}

/// The neighbourhood of an error.
fn first_step(ground: &Ground) -> u64 {
    let step = (ground.size() / 100_000).max(1 << 20);
    step / ground.sector() * ground.sector()
}
