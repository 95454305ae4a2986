//! Who uses a disk now: mounts, swap, and kernel devices on top of it.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::makedev;

use crate::host::{MountMode, Use};
use crate::linux::sysfs::SysDisk;

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    pub device_number: u64,
    /// What part of the filesystem is seen: `/` for all of it.
    pub root: PathBuf,
    pub at: PathBuf,
    pub read_only: bool,
    pub kind: String,
    pub source: PathBuf,
    /// Of the filesystem: one that is seen read-only here may be written through another mount.
    pub mode: MountMode,
}

/// Mounts and swap of the whole machine, read once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Uses {
    pub mounts: Vec<Mount>,
    /// Devices and files.
    pub swaps: Vec<PathBuf>,
}

impl Uses {
    pub fn read(proc: &Path) -> Uses {
        let text = |path: &str| fs::read_to_string(proc.join(path)).unwrap_or_default();
        Uses {
            mounts: text("self/mountinfo").lines().filter_map(mount).collect(),
            swaps: text("swaps").lines().skip(1).filter_map(swap).collect(),
        }
    }

    pub fn of_disk(&self, disk: &SysDisk) -> Vec<Use> {
        let whole = (disk.number, &disk.node, &disk.syspath);
        let parts = disk
            .partitions
            .iter()
            .map(|p| (p.device_number, &p.node, &p.syspath));
        let mut uses = Vec::new();
        for (number, node, syspath) in std::iter::once(whole).chain(parts) {
            uses.extend(self.mounted(number, node));
            uses.extend(self.swaps.iter().filter(|s| *s == node).map(|_| Use::Swap {
                device: node.clone(),
            }));
            for holder in holders(syspath) {
                uses.push(Use::Held {
                    device: node.clone(),
                    by: holder.title.clone(),
                });
                uses.extend(self.of_holder(&holder, HOLDERS_DEEP));
            }
        }
        uses
    }

    fn mounted(&self, number: u64, node: &Path) -> impl Iterator<Item = Use> {
        let mounts = self.mounts.iter().filter(move |m| m.is_of(number, node));
        mounts.map(|m| Use::Mounted {
            device: node.to_owned(),
            at: m.at.clone(),
            mode: m.mode,
        })
    }

    /// What stands on a volume writes to the disk below it.
    fn of_holder(&self, holder: &Holder, deep: u32) -> Vec<Use> {
        let mut uses: Vec<Use> = match holder.number {
            Some(number) => self.mounted(number, &holder.node).collect(),
            None => Vec::new(),
        };
        if deep > 0 {
            for above in holders(&holder.syspath) {
                uses.extend(self.of_holder(&above, deep - 1));
            }
        }
        uses
    }

    /// Of a regular file: the loop device that shows it as a disk, and swap.
    pub fn of_file(&self, path: &Path, devices: &[SysDisk]) -> Vec<Use> {
        let device = path.to_owned();
        let backed = |disk: &&SysDisk| {
            let file = fs::read_to_string(disk.syspath.join("loop/backing_file"));
            file.is_ok_and(|file| Path::new(file.trim_end_matches('\n')) == path)
        };
        let loops = devices.iter().filter(backed).flat_map(|disk| {
            let held = Use::Held {
                device: device.clone(),
                by: disk.node.display().to_string(),
            };
            std::iter::once(held).chain(self.of_disk(disk))
        });
        let swaps = self.swaps.iter().filter(|s| *s == path).map(|_| Use::Swap {
            device: device.clone(),
        });
        loops.chain(swaps).collect()
    }
}

impl Mount {
    /// By number, and by name for filesystems that have a number of their own (btrfs).
    pub fn is_of(&self, number: u64, node: &Path) -> bool {
        self.device_number == number || self.source == node
    }
}

/// LVM on LUKS on RAID, and room to spare.
const HOLDERS_DEEP: u32 = 8;

/// A kernel device on top of another.
struct Holder {
    /// `dm-0 (vg-root)`.
    title: String,
    /// As mounts name it: `/dev/mapper/vg-root`.
    node: PathBuf,
    number: Option<u64>,
    syspath: PathBuf,
}

fn holders(syspath: &Path) -> Vec<Holder> {
    let entries = fs::read_dir(syspath.join("holders"))
        .into_iter()
        .flatten()
        .flatten();
    let holder = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = |file: &str| fs::read_to_string(entry.path().join(file)).ok();
        let mapped = text("dm/name").map(|name| name.trim().to_owned());
        Holder {
            node: match &mapped {
                Some(mapped) => Path::new("/dev/mapper").join(mapped),
                None => Path::new("/dev").join(&name),
            },
            number: text("dev").and_then(|dev| number(dev.trim())),
            syspath: entry.path(),
            title: mapped.map_or(name.clone(), |mapped| format!("{name} ({mapped})")),
        }
    };
    let mut holders: Vec<Holder> = entries.map(holder).collect();
    holders.sort_by(|a, b| a.title.cmp(&b.title));
    holders
}

/// `major:minor`.
fn number(text: &str) -> Option<u64> {
    let (major, minor) = text.split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// `36 35 98:0 /root /at opts optional… - kind source superopts` (Documentation/filesystems/proc.rst, 3.5).
fn mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let device_number = number(left.next()?)?;
    let mut right = right.split(' ');
    Some(Mount {
        device_number,
        root: path(left.next()?),
        at: path(left.next()?),
        read_only: left.next()?.split(',').any(|option| option == "ro"),
        kind: right.next()?.to_owned(),
        source: path(right.next()?),
        mode: match right
            .next()
            .is_some_and(|all| all.split(',').any(|option| option == "ro"))
        {
            true => MountMode::ReadOnly,
            false => MountMode::ReadWrite,
        },
    })
}

fn swap(line: &str) -> Option<PathBuf> {
    line.split_ascii_whitespace().next().map(path)
}

/// The kernel writes blanks and backslashes of a path as `\040`.
fn path(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = bytes
            .get(at + 1..at + 4)
            .and_then(|d| str::from_utf8(d).ok());
        let escaped = digits.and_then(|d| u8::from_str_radix(d, 8).ok());
        match escaped.filter(|_| *byte == b'\\') {
            Some(escaped) => {
                plain.push(escaped);
                at += 4;
            }
            None => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
    std::ffi::OsString::from_vec(plain).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read() {
        let line = r"98 1 8:17 / /mnt/my\040disk rw,noatime shared:5 - ext4 /dev/sdb1 ro,stripe=4";
        assert_eq!(
            mount(line).unwrap(),
            Mount {
                device_number: makedev(8, 17),
                root: "/".into(),
                at: "/mnt/my disk".into(),
                read_only: false,
                kind: "ext4".into(),
                source: "/dev/sdb1".into(),
                mode: MountMode::ReadOnly,
            }
        );
        for broken in [
            "",
            "98 1 8 / /x rw - ext4 a b",
            "98 1 8:x / /x rw - ext4 a b",
            "98 1 8:1 / /x rw",
        ] {
            assert_eq!(mount(broken), None);
        }
    }

    #[test]
    fn a_backslash_that_escapes_nothing_stays() {
        assert_eq!(path(r"a\134b\9c\"), Path::new(r"a\b\9c\"));
    }
}
