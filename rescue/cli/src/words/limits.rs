//! How far a job goes on a failing disk.

use std::time::Duration;

use clap::Args;
use engine::limits::Limits;
use engine::passes::Depth;

#[derive(Args, Debug)]
#[command(next_help_heading = "On a failing disk")]
pub struct LimitWords {
    /// Reads every sector of areas that look dead too; without it they are left after a few touches
    #[arg(long)]
    scrape_all: bool,
    /// Rounds in which sectors that failed alone are asked for again
    #[arg(long, short = 'r', value_name = "N", default_value_t = 0)]
    retries: u32,
    /// Stops after so many failed reads
    #[arg(long, value_name = "N")]
    max_bad_reads: Option<u64>,
    /// Stops when nothing was gained for so many minutes
    #[arg(long, value_name = "MINUTES")]
    max_idle: Option<u32>,
    /// Stops when the disk is hotter
    #[arg(long, value_name = "DEGREES")]
    max_celsius: Option<i32>,
    /// Stops when the disk or its bus was reset so many times
    #[arg(long, value_name = "N")]
    max_resets: Option<u32>,
    /// Stops when the drive has replaced so many sectors since the job began, by its own count
    #[arg(long, value_name = "N")]
    max_reallocated: Option<u64>,
    /// How long a disk that has gone is waited for
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u32,
}

impl LimitWords {
    pub fn limits(&self) -> Limits {
        Limits {
            depth: match self.scrape_all {
                true => Depth::Everything,
                false => Depth::Yield,
            },
            retries: self.retries,
            bad_reads: self.max_bad_reads,
            idle: self
                .max_idle
                .map(|m| Duration::from_secs(60 * u64::from(m))),
            celsius: self.max_celsius,
            resets: self.max_resets,
            reallocated: self.max_reallocated,
            absence: Duration::from_secs(u64::from(self.wait)),
        }
    }
}
