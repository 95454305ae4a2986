//! Disks with files on them, for jobs that need no system that boots.

use std::fs;
use std::path::{Path, PathBuf};

use crate::drive::{Bus, Drive};
use crate::failure::{Doing, Outcome, ensure};
use crate::lab::{Lab, digest};
use crate::tests::system::script;

/// The filesystem of the last partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    Ntfs,
}

#[derive(Debug)]
pub struct Data {
    pub disk: PathBuf,
    pub serial: String,
    pub whole: String,
    /// Of the files in its last partition.
    pub files: String,
}

impl Data {
    /// A disk of `mib` with `fill_mib` of files.
    pub fn make(lab: &Lab, serial: &str, kind: Kind, mib: u64, fill_mib: u64) -> Outcome<Self> {
        let disk = lab.folder.join(format!("{serial}.img"));
        let kind = match kind {
            Kind::Ext4 => "ext4",
            Kind::Ntfs => "ntfs",
        };
        let (mib, fill) = (mib.to_string(), fill_mib.to_string());
        let words = [&disk, Path::new(&mib), Path::new(kind), Path::new(&fill)];
        script("data", &words)?;
        let files = disk.with_extension("img.digest");
        let files = fs::read_to_string(&files).doing(files.display())?;
        Ok(Self {
            whole: digest(&disk)?,
            disk,
            serial: serial.to_owned(),
            files: files.trim().to_owned(),
        })
    }

    pub fn drive(&self, bus: Bus) -> Drive {
        Drive::new(bus, &self.disk, &self.serial)
    }

    pub fn assert_untouched(&self) -> Outcome {
        let now = digest(&self.disk)?;
        ensure(now == self.whole, || {
            format!("the source disk {} has changed", self.serial)
        })
    }

    /// Every byte is on the other disk, which has the same size.
    pub fn assert_equal(&self, other: &Path) -> Outcome {
        let now = digest(other)?;
        ensure(now == self.whole, || {
            format!("{} is not equal to {}", other.display(), self.serial)
        })
    }

    /// Every checker is content with the other disk, which has the files of this one.
    pub fn assert_files_on(&self, other: &Path) -> Outcome {
        script("check", &[other, Path::new(&self.files)])
    }
}
