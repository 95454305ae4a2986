//! The stripes of a dead head: seen in the runs of errors measured so far, and foretold.
//!
//! A drive fills one surface after the other, a stripe each, so a dead head leaves holes at regular distances
//! that change slowly with the place (fewer sectors a track towards the inner edge). The distance is taken as a
//! linear function of the place; the length of a stripe is a constant part of the distance.

use disk::extent::Extent;

/// Shorter runs are no stripes.
const SHORTEST: f64 = 524_288.0;
/// Runs that fit each other before one is foretold.
const ENOUGH: usize = 4;
/// Runs that are remembered before anything is foretold.
const RUNS: usize = 16;
/// How much of the distance a stripe may be: drives have two to some twenty heads.
const PART: std::ops::Range<f64> = 0.03..0.8;
/// More stripes are not missed between two runs.
const FARTHEST: f64 = 4.0;
/// Runs that the distance is made from.
const MEMORY: usize = 9;
/// At least every so many stripes one is measured.
const RAREST: u32 = 64;
/// Runs in a row that fit nothing, after which nothing is foretold.
const MISSES: u32 = 4;

#[derive(Clone, Copy, PartialEq, Debug)]
struct Mark {
    index: f64,
    near: f64,
    far: f64,
}

/// Stripe `index` begins at `near(index)`.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Model {
    last: Mark,
    /// Distance at the last mark, and its change by a byte of place.
    distance: f64,
    slope: f64,
    /// Length of a stripe as a part of the distance.
    part: f64,
}

impl Model {
    fn distance(&self, index: f64) -> f64 {
        self.distance * (self.slope * (index - self.last.index)).exp()
    }

    fn near(&self, index: f64) -> f64 {
        let steps = index - self.last.index;
        let bend = self.slope * steps;
        let grown = if bend.abs() < 1e-9 {
            steps
        } else {
            bend.exp_m1() / self.slope
        };
        self.last.near + self.distance * grown
    }

    fn far(&self, index: f64) -> f64 {
        self.near(index) + self.part * self.distance(index)
    }

    /// The stripe whose begin is nearest.
    fn index(&self, near: f64) -> f64 {
        let steps = (near - self.last.near) / self.distance;
        let bent = self.slope * steps;
        let steps = if bent.abs() < 1e-9 || bent <= -1.0 {
            steps
        } else {
            bent.ln_1p() / self.slope
        };
        self.last.index + steps.round()
    }
}

/// What to do at a place of the sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advice {
    /// Read, not beyond this place.
    Until(u64),
    /// A stripe is expected here: leave it for later.
    Hold(Extent),
}

/// Where an error belongs that is at or in an expected stripe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hint {
    /// Behind the stripe, as it is expected.
    pub behind: u64,
    /// Where it begins, when the error was not at its begin.
    pub begin: Option<u64>,
    pub distance: u64,
}

#[derive(Debug, Default)]
pub struct Stripes {
    /// Begin and end of what was measured before anything was foretold.
    runs: Vec<(f64, f64)>,
    marks: Vec<Mark>,
    model: Option<Model>,
    /// The stripe that comes next.
    index: f64,
    /// Every so many are measured; so many were held since.
    every: u32,
    since: u32,
    misses: u32,
    /// How far off the last forecasts were, in bytes.
    off: Vec<f64>,
}

impl Stripes {
    pub fn is_foretelling(&self) -> bool {
        self.model.is_some()
    }

    /// The next stripe as it is expected.
    pub fn expected(&self) -> Option<Extent> {
        let model = self.model?;
        Extent::between(place(model.near(self.index)), place(model.far(self.index)))
    }

    /// The runs that made the forecast.
    pub fn known(&self) -> impl Iterator<Item = Extent> + '_ {
        self.marks
            .iter()
            .filter_map(|mark| Extent::between(place(mark.near), place(mark.far)))
    }

    /// How long runs are, while nothing is foretold yet.
    pub fn usual_length(&self) -> Option<u64> {
        let recent = self.runs.iter().rev().take(5);
        let mut lengths: Vec<f64> = recent.map(|(near, far)| far - near).collect();
        lengths.sort_unstable_by(f64::total_cmp);
        let middle = lengths
            .get(lengths.len() / 2)
            .filter(|_| self.model.is_none())?;
        Some(place(*middle))
    }

    pub fn advice(&mut self, at: u64) -> Advice {
        let Some(model) = self.model else {
            return Advice::Until(u64::MAX);
        };
        let margin = self.margin(&model);
        while self.since < self.every {
            let low = place(model.near(self.index) - margin);
            let high = place(model.far(self.index) + margin);
            if at < low {
                return Advice::Until(low);
            }
            (self.index, self.since) = (self.index + 1.0, self.since + 1);
            if let Some(rest) = Extent::between(at, high) {
                return Advice::Hold(rest);
            }
        }
        Advice::Until(u64::MAX)
    }

    pub fn hint(&self, error: u64) -> Option<Hint> {
        let model = self.model?;
        let margin = self.margin(&model);
        let error = error as f64;
        let nearest = model.index(error);
        let distance = model.distance(nearest);
        [nearest, nearest - 1.0].into_iter().find_map(|index| {
            let (near, far) = (model.near(index), model.far(index) + margin);
            let at_begin = (error - near).abs() < 0.1 * distance && error < far;
            let inside = error > near && error < far + 0.1 * distance;
            (at_begin || inside).then_some(Hint {
                behind: place(far.max(error + 0.02 * distance)),
                begin: (!at_begin).then_some(place(near)),
                distance: place(distance),
            })
        })
    }

    /// A run of errors was measured. True when stripes are foretold from it for the first time.
    pub fn measured(&mut self, run: Extent) -> bool {
        let (near, far) = (run.start() as f64, run.end() as f64);
        match self.model {
            Some(model) => {
                self.compare(&model, near, far);
                false
            }
            None => self.learn(near, far),
        }
    }

    /// Runs of like length at like distances, or at few times the shortest of them, are stripes; what else was
    /// measured between them is not.
    fn learn(&mut self, near: f64, far: f64) -> bool {
        if far - near < SHORTEST {
            return false;
        }
        if self.runs.len() >= RUNS {
            self.runs.remove(0);
        }
        self.runs.push((near, far));
        let like = |(low, high): &&(f64, f64)| (0.67..1.5).contains(&((high - low) / (far - near)));
        let alike: Vec<(f64, f64)> = self.runs.iter().filter(like).copied().collect();
        let from = alike.len().checked_sub(ENOUGH);
        let Some(marks) = from.and_then(|from| chain(&alike[from..])) else {
            return false;
        };
        let before = std::mem::replace(&mut self.marks, marks);
        self.model = self.fit().filter(|model| PART.contains(&model.part));
        if self.model.is_none() {
            self.marks = before;
            return false;
        }
        (self.every, self.since, self.misses) = (2, 0, 0);
        self.off.clear();
        self.index = self.marks.last().map_or(0.0, |mark| mark.index + 1.0);
        true
    }

    fn compare(&mut self, model: &Model, near: f64, far: f64) {
        let index = model.index(near);
        let distance = model.distance(index);
        let off_near = (near - model.near(index)).abs();
        let off_far = (far - model.far(index)).abs();
        let length = (far - near) / (model.part * distance);
        if index <= model.last.index || off_near > 0.25 * distance || !(0.5..1.6).contains(&length)
        {
            self.misses += 1;
            if self.misses >= MISSES {
                *self = Stripes {
                    runs: vec![(near, far)],
                    ..Stripes::default()
                };
            }
            return;
        }
        self.misses = 0;
        let good = off_near.max(off_far) <= self.margin(model);
        self.every = if good {
            (self.every * 2).min(RAREST)
        } else {
            (self.every / 2).max(1)
        };
        self.off.push(off_near.max(off_far));
        self.marks.push(Mark { index, near, far });
        if self.marks.len() > MEMORY {
            self.marks.remove(0);
        }
        self.model = self.fit().or(self.model);
        (self.index, self.since) = (index + 1.0, 0);
    }

    /// A line through the distances between the marks, each as good as it is long.
    fn fit(&self) -> Option<Model> {
        let last = *self.marks.last()?;
        let pairs: Vec<(f64, f64, f64)> = self
            .marks
            .windows(2)
            .map(|pair| {
                let steps = pair[1].index - pair[0].index;
                let middle = f64::midpoint(pair[0].near, pair[1].near) - last.near;
                (middle, (pair[1].near - pair[0].near) / steps, steps * steps)
            })
            .collect();
        let weight: f64 = pairs.iter().map(|(_, _, w)| w).sum();
        let x0 = pairs.iter().map(|(x, _, w)| x * w).sum::<f64>() / weight;
        let y0 = pairs.iter().map(|(_, y, w)| y * w).sum::<f64>() / weight;
        let xx: f64 = pairs.iter().map(|(x, _, w)| w * (x - x0) * (x - x0)).sum();
        let xy: f64 = pairs.iter().map(|(x, y, w)| w * (x - x0) * (y - y0)).sum();
        let slope = if pairs.len() >= 5 && xx > 0.0 {
            (xy / xx).clamp(-0.002, 0.002)
        } else {
            0.0
        };
        let distance = y0 - slope * x0;
        if !distance.is_finite() || distance < SHORTEST {
            return None;
        }
        let model = Model {
            last,
            distance,
            slope,
            part: 0.0,
        };
        let mut parts: Vec<f64> = self
            .marks
            .iter()
            .rev()
            .take(5)
            .map(|mark| (mark.far - mark.near) / model.distance(mark.index))
            .collect();
        parts.sort_unstable_by(f64::total_cmp);
        Some(Model {
            part: parts[parts.len() / 2],
            ..model
        })
    }

    /// Held on both sides of a stripe, for what the forecast may be off.
    fn margin(&self, model: &Model) -> f64 {
        let most = (0.02 * model.distance).max(1_048_576.0);
        let worst = self
            .off
            .iter()
            .rev()
            .take(4)
            .fold(0.0_f64, |worst, off| worst.max(*off));
        if self.off.len() < 2 {
            return (0.01 * model.distance).clamp(262_144.0, most);
        }
        (2.0 * worst).clamp(65_536.0, most)
    }
}

/// The runs with their stripe's number, if their distances are those of stripes.
fn chain(runs: &[(f64, f64)]) -> Option<Vec<Mark>> {
    let gaps = runs.windows(2).map(|pair| pair[1].0 - pair[0].0);
    let shortest = gaps.fold(f64::INFINITY, f64::min);
    let mut marks: Vec<Mark> = Vec::with_capacity(runs.len());
    for (near, far) in runs.iter().copied() {
        let mut index = 0.0;
        if let Some(last) = marks.last() {
            let times = (near - last.near) / shortest;
            if (times - times.round()).abs() > 0.12 || !(1.0..=FARTHEST).contains(&times.round()) {
                return None;
            }
            index = last.index + times.round();
        }
        marks.push(Mark { index, near, far });
    }
    Some(marks)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place on a disk, far below 2^53"
)]
fn place(at: f64) -> u64 {
    at.max(0.0) as u64
}
