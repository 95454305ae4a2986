//! The words of the jobs, and the requests they make.

use std::path::PathBuf;

use clap::Args;
use engine::request::{
    Action, Ancestor, DiskName, LeaveOut, Options, Place, Request, Sealing, Unlock,
};

use super::limits::LimitWords;
use super::option::{
    self, Approval, Check, Damaged, Extent, Grow, InUse, KeyWords, MapFile, Output,
};

#[derive(Args, Debug)]
pub struct ImageWords {
    pub source: DiskName,
    pub store: Place,
    /// The image will be STORE/NAME.img.zst
    #[arg(long)]
    pub name: String,
    /// Zstandard level, 1 (fast) to 19
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=19))]
    pub level: i32,
    /// A note kept in the image
    #[arg(long)]
    pub note: Option<String>,
    /// Adds parity of so many percent (2 without a number): what of the file is damaged one day, 'rescue repair' makes
    /// good
    #[arg(long, value_name = "PERCENT", num_args = 0..=1, default_missing_value = "2",
        value_parser = clap::value_parser!(u8).range(1..=50))]
    pub parity: Option<u8>,
    /// Stores only what the image STORE/NAME.img.zst does not have; without it the new one cannot be read. auto is
    /// the newest finished image of the same disk there, none makes a full image
    #[arg(long, value_name = "auto|none|NAME", default_value = "none")]
    pub parent: Ancestor,
    /// Longest file of the image: 4G, 700Mi. It lies in as many as it needs; on FAT without being asked
    #[arg(long, value_name = "SIZE", value_parser = option::size)]
    pub volume_size: Option<u64>,
    /// Seals the image: nobody can read it without the passphrase, nor see what is in it
    #[arg(long)]
    pub seal: bool,
    /// Leaves out the content of files that nobody needs back: swap (page, swap and hibernation files), temp, caches,
    /// trash, all of these sets, or the files and folders that a pattern means ('*.iso', 'home/*/Downloads'). They
    /// keep their names and sizes and read as zeros; nothing is left out of a filesystem that is not clean
    #[arg(long, value_name = "SET|GLOB")]
    pub leave_out: Vec<LeaveOut>,
    #[command(flatten)]
    pub keys: KeyWords,
    #[command(flatten)]
    pub coverage: Extent,
    #[command(flatten)]
    pub live: InUse,
    #[command(flatten)]
    pub verification: Check,
    #[command(flatten)]
    pub consent: Approval,
    /// Writes what of the disk the image has as a map file of GNU ddrescue, when the image is done
    #[arg(long, value_name = "FILE")]
    pub map: Option<PathBuf>,
    #[command(flatten)]
    pub limits: LimitWords,
    #[command(flatten)]
    pub output: Output,
}

impl ImageWords {
    pub fn request(&self, unlock: Unlock) -> Request {
        Request {
            action: Action::Image {
                source: self.source.clone(),
                store: self.store.clone(),
                name: self.name.clone(),
            },
            options: Options {
                unlock,
                level: self.level,
                note: self.note.clone(),
                parity: self.parity,
                parent: self.parent.clone(),
                volume_bytes: self.volume_size,
                leave_out: self.leave_out.clone(),
                sealing: match self.seal {
                    true => Sealing::Sealed,
                    false => Sealing::Open,
                },
                coverage: self.coverage.coverage(),
                liveness: self.live.liveness(),
                verification: self.verification.verification(),
                map: self.map.clone(),
                limits: Box::new(self.limits.limits()),
                ..Options::default()
            },
        }
    }
}

#[derive(Args, Debug)]
pub struct RestoreWords {
    pub image: Place,
    pub destination: DiskName,
    #[command(flatten)]
    pub keys: KeyWords,
    #[command(flatten)]
    pub growth: Grow,
    #[command(flatten)]
    pub damaged: Damaged,
    #[command(flatten)]
    pub verification: Check,
    #[command(flatten)]
    pub consent: Approval,
    #[command(flatten)]
    pub map: MapFile,
    #[command(flatten)]
    pub output: Output,
}

impl RestoreWords {
    pub fn request(&self, unlock: Unlock) -> Request {
        Request {
            action: Action::Restore {
                image: self.image.clone(),
                destination: self.destination.clone(),
            },
            options: Options {
                unlock,
                growth: self.growth.growth(),
                at_damage: self.damaged.at_damage(),
                verification: self.verification.verification(),
                map: self.map.path(),
                ..Options::default()
            },
        }
    }
}

#[derive(Args, Debug)]
pub struct CloneWords {
    pub source: DiskName,
    pub destination: DiskName,
    #[command(flatten)]
    pub keys: KeyWords,
    #[command(flatten)]
    pub coverage: Extent,
    #[command(flatten)]
    pub live: InUse,
    #[command(flatten)]
    pub growth: Grow,
    #[command(flatten)]
    pub verification: Check,
    #[command(flatten)]
    pub consent: Approval,
    #[command(flatten)]
    pub map: MapFile,
    #[command(flatten)]
    pub limits: LimitWords,
    #[command(flatten)]
    pub output: Output,
}

impl CloneWords {
    pub fn request(&self, unlock: Unlock) -> Request {
        Request {
            action: Action::Clone {
                source: self.source.clone(),
                destination: self.destination.clone(),
            },
            options: Options {
                unlock,
                coverage: self.coverage.coverage(),
                liveness: self.live.liveness(),
                growth: self.growth.growth(),
                verification: self.verification.verification(),
                map: self.map.path(),
                limits: Box::new(self.limits.limits()),
                ..Options::default()
            },
        }
    }
}
