//! Requests as the command lines that ask for them.

use std::fmt;

use image::retain::Keep;
use serde::{Serialize, Serializer};

use super::{
    Action, Ancestor, AtDamage, Coverage, Depth, Growth, Listen, Liveness, Options, Place, Remedy,
    Request, Sealing, Verification, Writes,
};

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The words are the same, but for the map: one reads it, the other writes it.
        if self.options.rescued.is_some() {
            let action = self.action.to_string().replacen("image", "import", 1);
            return write!(f, "rescue {action}{}", self.options);
        }
        write!(f, "rescue {}{}", self.action, self.options)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Clone {
                source,
                destination,
            } => write!(f, "clone {} {}", quoted(source), quoted(destination))?,
            Action::Image {
                source,
                store,
                name,
            } => {
                write!(
                    f,
                    "image {} {} --name {}",
                    quoted(source),
                    quoted(store),
                    quoted(name)
                )?;
            }
            Action::Restore { image, destination } => {
                write!(f, "restore {} {}", quoted(image), quoted(destination))?
            }
            Action::Verify { against, disk } => {
                write!(f, "verify {} {}", quoted(against), quoted(disk))?;
            }
            Action::Extract { from, paths, to } => {
                write!(f, "cp {}", quoted(from))?;
                paths
                    .iter()
                    .try_for_each(|path| write!(f, " {}", quoted(path)))?;
                write!(f, " {}", quoted(to))?;
            }
            Action::Check { image } => write!(f, "check {}", quoted(image))?,
            Action::Export { from, file, format } => {
                let file = quoted(file.display());
                write!(f, "export {} {file} --format {format}", quoted(from))?;
            }
            Action::Merge { image, onto } => {
                write!(f, "merge {}", quoted(image))?;
                if let Some(onto) = onto {
                    write!(f, " --onto {}", quoted(onto))?;
                }
            }
            Action::Mend { image, with } => write!(f, "{} {}", word(*with), quoted(image))?,
            Action::Prune { store, keep } => {
                write!(f, "prune {}", quoted(store))?;
                kept(f, keep)?;
            }
            Action::Serve {
                image,
                listen,
                writes,
            } => served(f, image, listen, *writes)?,
            Action::Mount { image, directory } => {
                let directory = directory.display().to_string();
                write!(f, "mount {} {}", quoted(image), quoted(&directory))?;
            }
        }
        Ok(())
    }
}

fn word(with: Remedy) -> &'static str {
    match with {
        Remedy::Index => "reindex",
        Remedy::Parity => "repair",
    }
}

fn served(
    f: &mut fmt::Formatter<'_>,
    image: &Place,
    listen: &Listen,
    writes: Writes,
) -> fmt::Result {
    write!(f, "serve {}", quoted(image))?;
    match listen {
        Listen::Tcp(address) => write!(f, " --listen {address}")?,
        Listen::Unix(path) => write!(f, " --socket {}", quoted(path.display()))?,
    }
    match writes {
        Writes::ThrownAway => f.write_str(" --overlay"),
        Writes::Refused => Ok(()),
    }
}

fn kept(f: &mut fmt::Formatter<'_>, keep: &Keep) -> fmt::Result {
    let rules = [
        ("last", keep.last),
        ("daily", keep.daily),
        ("weekly", keep.weekly),
        ("monthly", keep.monthly),
    ];
    let mut given = rules.iter().filter(|(_, count)| *count > 0);
    given.try_for_each(|(rule, count)| write!(f, " --keep-{rule} {count}"))
}

/// Those that are not as usual, each after a space.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Options::default();
        if self.level != usual.level {
            write!(f, " --level {}", self.level)?;
        }
        if let Some(bytes) = self.volume_bytes {
            write!(f, " --volume-size {bytes}")?;
        }
        if self.coverage == Coverage::Exact {
            f.write_str(" --exact")?;
        }
        if self.growth == Growth::LastPartition {
            f.write_str(" --grow")?;
        }
        if self.verification == Verification::Skip {
            f.write_str(" --no-verify")?;
        }
        if self.at_damage == AtDamage::KeepGoing {
            f.write_str(" --keep-going")?;
        }
        if self.depth == Depth::Filesystems {
            f.write_str(" --deep")?;
        }
        if self.liveness == Liveness::Live {
            f.write_str(" --live")?;
        }
        for file in &self.unlock.files {
            write!(f, " --key-file {}", quoted(file.display()))?;
        }
        if self.unlock.was_asked() {
            f.write_str(" --unlock")?;
        }
        if let Some(map) = self.rescued.as_ref().or(self.map.as_ref()) {
            write!(f, " --map {}", quoted(map.display()))?;
        }
        if let Some(percent) = self.parity {
            write!(f, " --parity {percent}")?;
        }
        if let Some(note) = &self.note {
            write!(f, " --note {}", quoted(note))?;
        }
        if self.parent != Ancestor::None {
            write!(f, " --parent {}", quoted(&self.parent))?;
        }
        if self.sealing == Sealing::Sealed {
            f.write_str(" --seal")?;
        }
        for word in &self.leave_out {
            write!(f, " --leave-out {}", quoted(word))?;
        }
        self.limits.fmt(f)
    }
}

/// As the command line that asks for it.
impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// As a POSIX shell reads it back.
fn quoted(word: impl fmt::Display) -> String {
    let word = word.to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
