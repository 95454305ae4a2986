//! The passes in their order, class by class.

use std::collections::VecDeque;
use std::time::Duration;

use disk::extent::Extent;

use super::approach::Approach;
use super::ground::{End, FREE, Ground, METADATA};
use super::probes::Probes;
use super::slow::Slow;
use super::stripes::Stripes;
use super::sweep::Sweep;
use super::trim::Trim;
use super::{Ask, Depth, Habits, Pass, Patience};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Sweep(usize),
    Approach(usize),
    Trim(usize, Pass),
    Slow(usize, Option<Duration>),
    Probes(usize),
    /// Nothing is hopeless from here on.
    Wake,
    Everything(usize),
}

#[derive(Debug)]
enum Stage {
    Sweep(Sweep),
    Approach(Approach),
    Trim(Trim, Pass),
    Slow(Slow),
    Probes(Probes),
}

#[derive(Debug)]
pub struct Stages {
    steps: VecDeque<Step>,
    stage: Option<Stage>,
    stripes: Stripes,
}

impl Stages {
    pub fn new(habits: Habits) -> Stages {
        let mut steps = VecDeque::new();
        for class in METADATA..=FREE {
            steps.push_back(Step::Sweep(class));
            steps.push_back(Step::Approach(class));
            steps.push_back(Step::Trim(class, Pass::Trim));
            steps.push_back(Step::Slow(class, Some(habits.slow_budget)));
        }
        for class in METADATA..=FREE {
            steps.push_back(Step::Probes(class));
            steps.push_back(Step::Trim(class, Pass::Trim));
            // What trimming left is touched sector by sector.
            steps.push_back(Step::Probes(class));
        }
        for class in METADATA..=FREE {
            steps.push_back(Step::Slow(class, None));
        }
        let mut stages = Stages {
            steps,
            stage: None,
            stripes: Stripes::default(),
        };
        if habits.depth == Depth::Everything {
            stages.everything();
        }
        stages
    }

    pub fn everything(&mut self) {
        self.until_the_end(Pass::Trim);
    }

    pub fn retry(&mut self) {
        self.until_the_end(Pass::Retry);
    }

    fn until_the_end(&mut self, pass: Pass) {
        self.steps.push_back(Step::Wake);
        for class in METADATA..=FREE {
            self.steps.push_back(Step::Trim(class, pass));
            self.steps.push_back(Step::Everything(class));
            self.steps.push_back(Step::Trim(class, pass));
            self.steps.push_back(Step::Everything(class));
        }
    }

    /// A read that was asked for will not be answered: areas have changed.
    pub fn forget_ask(&mut self) {
        if let Some(Stage::Probes(probes)) = &mut self.stage {
            probes.forget_ask();
        }
    }

    pub fn predicted(&self) -> Option<Extent> {
        self.stripes.expected()
    }

    pub fn ask(&mut self, ground: &mut Ground) -> Option<Ask> {
        loop {
            let Some(stage) = &mut self.stage else {
                let step = self.steps.pop_front()?;
                self.begin(step, ground);
                continue;
            };
            let piece = match stage {
                Stage::Sweep(sweep) => sweep.ask(ground, &mut self.stripes),
                Stage::Approach(approach) => {
                    approach.ask(ground).map(|piece| (piece, Pass::Approach))
                }
                Stage::Trim(trim, pass) => trim.ask(ground).map(|piece| (piece, *pass)),
                Stage::Slow(slow) => slow.ask(ground).map(|piece| (piece, Pass::Slow)),
                Stage::Probes(probes) => probes.ask(ground),
            };
            match piece {
                Some((extent, pass)) => {
                    return Some(Ask {
                        extent,
                        pass,
                        patience: patience(pass),
                    });
                }
                None => self.stage = None,
            }
        }
    }

    pub fn tell(&mut self, ask: &Ask, end: &End, ground: &mut Ground) {
        match &mut self.stage {
            Some(Stage::Sweep(sweep)) => sweep.tell(ask.extent, end, ground, &self.stripes),
            Some(Stage::Approach(approach)) => approach.tell(ask.extent, end, ground),
            Some(Stage::Trim(trim, _)) => trim.tell(ask.extent, end, ground),
            Some(Stage::Slow(slow)) => slow.tell(ask.extent, end, ground),
            Some(Stage::Probes(probes)) => probes.tell(ask.extent, end, ground),
            None => {}
        }
    }

    fn begin(&mut self, step: Step, ground: &mut Ground) {
        self.stage = match step {
            Step::Sweep(class) => {
                self.stripes = Stripes::default();
                Some(Stage::Sweep(Sweep::new(class, ground)))
            }
            Step::Approach(class) => Some(Stage::Approach(Approach::new(class))),
            Step::Trim(class, pass) => Some(Stage::Trim(Trim::new(class), pass)),
            Step::Slow(class, budget) => Some(Stage::Slow(Slow::new(class, budget))),
            Step::Probes(class) => Some(Stage::Probes(Probes::new(class))),
            Step::Everything(class) => Some(Stage::Probes(Probes::of_everything(class))),
            Step::Wake => {
                ground.wake_the_dead();
                None
            }
        };
    }
}

fn patience(pass: Pass) -> Patience {
    match pass {
        Pass::Trim | Pass::Scrape | Pass::Retry => Patience::Scrape,
        _ => Patience::Sweep,
    }
}
