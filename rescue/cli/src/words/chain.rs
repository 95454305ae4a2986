//! The words of what looks after a store.

use clap::Args;
use engine::request::{Action, Options, Place, Remedy, Request};
use image::retain::Keep;

use super::option::{Approval, Output};

#[derive(Args, Debug)]
pub struct MergeWords {
    image: Place,
    /// Keeps this ancestor as the parent, and folds what lies between into the image; without it the image becomes
    /// a full one
    #[arg(long, value_name = "NAME")]
    onto: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

impl MergeWords {
    pub fn request(&self) -> Request {
        Request {
            action: Action::Merge {
                image: self.image.clone(),
                onto: self.onto.clone(),
            },
            options: Options::default(),
        }
    }
}

#[derive(Args, Debug)]
pub struct MendWords {
    image: Place,
    #[command(flatten)]
    pub output: Output,
}

impl MendWords {
    pub fn reindex(&self) -> Request {
        self.request(Remedy::Index)
    }

    pub fn repair(&self) -> Request {
        self.request(Remedy::Parity)
    }

    fn request(&self, with: Remedy) -> Request {
        Request {
            action: Action::Mend {
                image: self.image.clone(),
                with,
            },
            options: Options::default(),
        }
    }
}

#[derive(Args, Debug)]
pub struct PruneWords {
    store: Place,
    /// Keeps the newest N images of each disk
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_last: usize,
    /// Keeps the newest image of each of the last N days that have one
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_daily: usize,
    /// Likewise of weeks, which begin on Mondays
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_weekly: usize,
    /// Likewise of months
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_monthly: usize,
    #[command(flatten)]
    pub consent: Approval,
    #[command(flatten)]
    pub output: Output,
}

impl PruneWords {
    pub fn request(&self) -> Request {
        Request {
            action: Action::Prune {
                store: self.store.clone(),
                keep: Keep {
                    last: self.keep_last,
                    daily: self.keep_daily,
                    weekly: self.keep_weekly,
                    monthly: self.keep_monthly,
                },
            },
            options: Options::default(),
        }
    }
}
