//! Options that several subcommands share.

use std::path::PathBuf;

use clap::Args;
use engine::request::{AtDamage, Coverage, Depth, Growth, Liveness, Verification};

/// Of encrypted volumes on what is read.
#[derive(Args, Debug)]
pub struct KeyWords {
    /// Opens encrypted volumes with the bytes of this file, all of them; - is standard input
    #[arg(long = "key-file", value_name = "FILE")]
    pub key_files: Vec<PathBuf>,
    /// Asks for the passphrases or recovery keys of encrypted volumes. What is used in them is copied as it
    /// stands, still encrypted; without a key they are taken whole
    #[arg(long)]
    pub unlock: bool,
}

#[derive(Args, Debug)]
pub struct Output {
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Extent {
    /// Every sector, those no filesystem uses too
    #[arg(long)]
    exact: bool,
}

impl Extent {
    pub fn coverage(&self) -> Coverage {
        if self.exact {
            Coverage::Exact
        } else {
            Coverage::Used
        }
    }
}

#[derive(Args, Debug)]
pub struct InUse {
    /// Copies a source that is mounted for writing: what changes meanwhile may come out torn
    #[arg(long)]
    live: bool,
}

impl InUse {
    pub fn liveness(&self) -> Liveness {
        if self.live {
            Liveness::Live
        } else {
            Liveness::AtRest
        }
    }
}

#[derive(Args, Debug)]
pub struct Grow {
    /// Gives the last partition and its filesystem the room of a larger disk
    #[arg(long)]
    grow: bool,
}

impl Grow {
    pub fn growth(&self) -> Growth {
        if self.grow {
            Growth::LastPartition
        } else {
            Growth::Keep
        }
    }
}

#[derive(Args, Debug)]
pub struct Check {
    /// Does not read back what was written
    #[arg(long)]
    no_verify: bool,
}

impl Check {
    pub fn verification(&self) -> Verification {
        if self.no_verify {
            Verification::Skip
        } else {
            Verification::ReadBack
        }
    }
}

#[derive(Args, Debug)]
pub struct Damaged {
    /// Finishes where the image is damaged beyond what its parity makes good, with zeros there, and lists the places
    /// and files. Without it the restore stops at the first such place, with exit code 2
    #[arg(long)]
    keep_going: bool,
}

impl Damaged {
    pub fn at_damage(&self) -> AtDamage {
        if self.keep_going {
            AtDamage::KeepGoing
        } else {
            AtDamage::Stop
        }
    }
}

#[derive(Args, Debug)]
pub struct Deep {
    /// Reads the filesystems in it too, file by file: everything they need has to be there
    #[arg(long)]
    deep: bool,
}

impl Deep {
    pub fn depth(&self) -> Depth {
        if self.deep {
            Depth::Filesystems
        } else {
            Depth::Chunks
        }
    }
}

#[derive(Args, Debug)]
pub struct Approval {
    /// Consents without a terminal: the last four characters of the destination's serial, or the name of the
    /// existing regular file that is overwritten; for a store from which images are removed its name
    #[arg(long, value_name = "WORD")]
    pub approve: Option<String>,
}

#[derive(Args, Debug)]
pub struct MapFile {
    /// Where the state of the job is kept (GNU ddrescue's format); the same command goes on from it. Otherwise
    /// it is kept beside a regular file, and for a disk below $XDG_STATE_HOME/rescue
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
}

impl MapFile {
    pub fn path(&self) -> Option<PathBuf> {
        self.map.clone()
    }
}

/// Bytes, with k, M, G or T for thousands and Ki, Mi, Gi or Ti for 1024s; at least 1 MB.
pub fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor: u64 = match &text[digits.len()..] {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return Err("write a number with k, M, G, T, Ki, Mi, Gi or Ti".into()),
    };
    let bytes = digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor));
    match bytes {
        Some(bytes) if bytes >= 1_000_000 => Ok(bytes),
        Some(_) => Err("it is at least 1M".into()),
        None => Err("write a number with k, M, G, T, Ki, Mi, Gi or Ti".into()),
    }
}
