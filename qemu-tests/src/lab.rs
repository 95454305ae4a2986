//! Where one test works: the image under test, a folder of its own, and machines.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Doing, Failure, Outcome};
use crate::machine::{Kernel, Machine, Running};

/// What is tested: the ISO, and the kernel and initramfs in it for starting them directly.
#[derive(Debug, Clone)]
pub struct Image {
    pub iso: PathBuf,
    pub vmlinuz: PathBuf,
    pub initramfs: PathBuf,
}

impl Image {
    /// `mkiso.sh` leaves the parts beside the ISO.
    ///
    /// # Errors
    /// When it was not built.
    pub fn at(iso: &Path) -> Outcome<Self> {
        let iso = fs::canonicalize(iso).doing(format!(
            "{} is missing; build it with ./mkiso.sh",
            iso.display()
        ))?;
        let beside = |name: &str| iso.with_file_name(name);
        Ok(Self {
            vmlinuz: beside("vmlinuz"),
            initramfs: beside("initrd.img"),
            iso,
        })
    }

    pub fn kernel(&self, line: &str) -> Kernel {
        Kernel {
            vmlinuz: self.vmlinuz.clone(),
            initramfs: self.initramfs.clone(),
            line: format!(
                "quiet loglevel=3 panic=-1 nvme_core.max_retries=0 console=ttyS0,115200 console=tty0 {line}"
            ),
        }
    }
}

#[derive(Debug)]
pub struct Lab {
    pub image: Image,
    pub folder: PathBuf,
    accelerator: String,
    machines: Cell<u32>,
}

impl Lab {
    /// With an empty folder.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(image: &Image, folder: &Path, accelerator: &str) -> Outcome<Self> {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).doing(folder.display())?;
        Ok(Self {
            image: image.clone(),
            folder: fs::canonicalize(folder).doing(folder.display())?,
            accelerator: accelerator.to_owned(),
            machines: Cell::new(0),
        })
    }

    /// # Errors
    /// When QEMU refuses the machine.
    pub fn start(&self, machine: &Machine) -> Outcome<Running> {
        self.machines.set(self.machines.get() + 1);
        let folder = self.folder.join(format!("machine{}", self.machines.get()));
        machine.start(&folder, &self.accelerator)
    }

    /// A disk of zeros.
    ///
    /// # Errors
    /// When the host has no room.
    pub fn blank(&self, name: &str, mib: u64) -> Outcome<PathBuf> {
        let path = self.folder.join(name);
        let file = File::create(&path).doing(path.display())?;
        file.set_len(mib << 20).doing(path.display())?;
        Ok(path)
    }

    /// A copy the test may change.
    ///
    /// # Errors
    /// When the host has no room.
    pub fn copy(&self, of: &Path, name: &str) -> Outcome<PathBuf> {
        let path = self.folder.join(name);
        fs::copy(of, &path).doing(path.display())?;
        Ok(path)
    }

    /// Runs a tool of the host that has to succeed; returns what it printed.
    ///
    /// # Errors
    /// When it is missing or fails, with its words.
    pub fn tool(&self, package: &str, name: &str, words: &[&str]) -> Outcome<String> {
        let output = Command::new(name)
            .args(words)
            .current_dir(&self.folder)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .doing(format!(
                "{name} cannot be started; install the package {package}"
            ))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(format!("{name} {}: {said}", words.join(" "))))
    }
}

/// The digest of a whole file.
///
/// # Errors
/// When it cannot be read.
pub fn digest(path: &Path) -> Outcome<String> {
    let mut hasher = blake3::Hasher::new();
    let mut file = File::open(path).doing(path.display())?;
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece).doing(path.display())? {
            0 => return Ok(hasher.finalize().to_string()),
            len => hasher.update(&piece[..len]),
        };
    }
}

/// Copies `from` into `to` at an offset, as `dd conv=notrunc seek=` does.
///
/// # Errors
/// When one of them cannot be opened, read or written.
pub fn place(from: &Path, to: &Path, at: u64) -> Outcome {
    let mut source = File::open(from).doing(from.display())?;
    let mut target = File::options().write(true).open(to).doing(to.display())?;
    target.seek(SeekFrom::Start(at)).doing(to.display())?;
    io::copy(&mut source, &mut target).doing(to.display())?;
    target.flush().doing(to.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_placed_into_a_disk_leaves_the_rest_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (part, disk) = (folder.path().join("part"), folder.path().join("disk"));
        fs::write(&part, b"xyz").unwrap();
        fs::write(&disk, b"0123456789").unwrap();
        place(&part, &disk, 4).unwrap();
        assert_eq!(fs::read(&disk).unwrap(), b"0123xyz789");
        assert_eq!(digest(&part).unwrap(), blake3::hash(b"xyz").to_string());
    }
}
