//! The kernel's lock on a block device: while it is held nobody mounts it, stacks on it or claims it too.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// An open with `O_EXCL`, which holds for the device and against all its partitions. Any number of others may
/// still read.
#[derive(Debug)]
pub struct Claim(File);

impl Claim {
    /// `EBUSY` when somebody has it.
    pub fn take(node: &Path) -> io::Result<Claim> {
        let flags = OFlag::O_EXCL | OFlag::O_NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits())
            .open(node)?;
        Ok(Claim(file))
    }

    /// Waits for those who hold it for a moment only: other programs that look, and our own inventory.
    pub fn take_patiently(node: &Path) -> io::Result<Claim> {
        const TRIES: u32 = 40;
        for _ in 0..TRIES {
            match Claim::take(node) {
                Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32) => {
                    sleep(Duration::from_millis(25));
                }
                taken => return taken,
            }
        }
        Claim::take(node)
    }

    pub fn device(&self) -> &File {
        &self.0
    }

    pub fn device_number(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.rdev())
    }
}
