//! The kernel's file systems at the start, and everything else away at the end.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::sync;

use crate::log::Log;

struct Place {
    kind: &'static str,
    path: &'static str,
    options: &'static str,
}

const PLACES: &[Place] = &[
    place("proc", "/proc", ""),
    place("sysfs", "/sys", ""),
    place("devtmpfs", "/dev", "mode=0755"),
    place("devpts", "/dev/pts", "mode=0620,ptmxmode=0666"),
    place("tmpfs", "/dev/shm", "mode=1777"),
    place("tmpfs", "/run", "mode=0755"),
    place("tmpfs", "/tmp", "mode=1777"),
    place("securityfs", "/sys/kernel/security", ""),
];

const fn place(kind: &'static str, path: &'static str, options: &'static str) -> Place {
    Place {
        kind,
        path,
        options,
    }
}

/// Mounts them all; what could not be mounted comes back as sentences.
pub fn mount_all() -> Vec<String> {
    PLACES.iter().filter_map(mount_one).collect()
}

fn mount_one(place: &Place) -> Option<String> {
    // In sysfs the folder exists or the kernel has no such file system; elsewhere we make it.
    let _ = fs::create_dir_all(place.path);
    let result = mount(
        Some(place.kind),
        place.path,
        Some(place.kind),
        MsFlags::MS_NOSUID,
        Some(place.options),
    );
    match result {
        Ok(()) | Err(Errno::EBUSY) => None,
        Err(errno) => Some(format!(
            "{} cannot be mounted at {}: {errno}",
            place.kind, place.path
        )),
    }
}

/// Writes everything out and takes every disk's file system away, the last mounted first.
pub fn quiesce() -> ExitCode {
    let mut log = Log::silent();
    sync();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for path in foreign_mounts(&mounts) {
        let gone = umount2(Path::new(&path), MntFlags::empty())
            .or_else(|_| umount2(Path::new(&path), MntFlags::MNT_DETACH));
        if let Err(errno) = gone {
            log.say(format_args!("{path} cannot be unmounted: {errno}"));
        }
    }
    sync();
    ExitCode::SUCCESS
}

/// Mount points not made by `mount_all`, the last first, from the text of `/proc/self/mounts`.
fn foreign_mounts(mounts: &str) -> Vec<String> {
    let paths = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let mut foreign: Vec<String> = paths
        .map(unescape)
        .filter(|path| path != "/" && PLACES.iter().all(|place| place.path != path))
        .collect();
    foreign.reverse();
    foreign
}

/// The kernel writes a space in a path as `\040`.
fn unescape(path: &str) -> String {
    let mut plain = String::new();
    let mut rest = path;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4);
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if byte.is_ascii() => {
                plain.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            _ => {
                plain.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    #[test]
    fn only_mounts_of_others_are_taken_away_and_the_last_first() {
        let mounts = "\
rootfs / rootfs rw 0 0
proc /proc proc rw,nosuid 0 0
tmpfs /run tmpfs rw 0 0
/dev/sdb1 /run/rescue/places/my\\040disk ext4 rw 0 0
//nas/share /run/rescue/places/nas cifs rw 0 0
";
        assert_eq!(
            foreign_mounts(mounts),
            ["/run/rescue/places/nas", "/run/rescue/places/my disk"]
        );
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "[\\\\0-7a é]{0,20}", text in any::<String>()) {
            unescape(&path);
            foreign_mounts(&text);
        }
    }
}
