//! Loads a module for every device there is, and for every device that comes later.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, setsockopt,
    socket, sockopt::RcvBufForce,
};

use crate::loader::Loader;
use crate::log::{Log, Uptime};
use crate::settings::Settings;
use crate::uevent::Uevent;

/// Holds one line once every device present at the start has been looked at.
pub const PLUGGED: &str = "/run/rescue/plugged";

/// Needed although no alias of a device asks for them in time: partitions and optical disks,
/// SMART, sticks that are slow to answer, images as disks.
const ALWAYS: &[&str] = &[
    "sd_mod",
    "sr_mod",
    "sg",
    "nvme",
    "usb-storage",
    "uas",
    "loop",
    "evdev",
];

/// The kernel's broadcasts of devices that come and go (netlink group 1).
const KERNEL_GROUP: u32 = 1;
const RECEIVE_BUFFER: usize = 8 << 20;

pub fn run() -> ExitCode {
    let mut log = Log::silent();
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let loader = match Loader::for_this_kernel(Settings::from_kernel_line(&line)) {
        Ok(loader) => loader,
        Err(error) => {
            log.say(format_args!(
                "this kernel's list of modules cannot be read ({error}); only drivers built into the kernel work"
            ));
            return finish_plugging("no modules");
        }
    };
    // Before the walk: a device that comes during it is then seen twice, never not at all.
    let events = match listen() {
        Ok(events) => events,
        Err(error) => {
            log.say(format_args!(
                "the kernel does not tell of new devices: {error}"
            ));
            return ExitCode::FAILURE;
        }
    };
    let mut plug = Plug {
        loader,
        done: HashSet::new(),
        log,
    };
    plug.walk();
    for name in ALWAYS {
        plug.loader.load(name);
    }
    plug.tell();
    let summary = format!("modules {} loaded,", plug.loader.loaded());
    plug.log.milestone(&summary);
    finish_plugging(&format!("{summary} {}", Uptime::now()));
    plug.follow(&events)
}

fn finish_plugging(line: &str) -> ExitCode {
    match fs::write(PLUGGED, format!("{line}\n")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn listen() -> io::Result<OwnedFd> {
    let events = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkKObjectUEvent,
    )?;
    setsockopt(&events, RcvBufForce, &RECEIVE_BUFFER)?;
    bind(events.as_raw_fd(), &NetlinkAddr::new(0, KERNEL_GROUP))?;
    Ok(events)
}

#[derive(Debug)]
struct Plug {
    loader: Loader,
    /// Aliases whose modules are all loaded.
    done: HashSet<String>,
    log: Log,
}

impl Plug {
    fn walk(&mut self) {
        for alias in aliases_below(Path::new("/sys/devices")) {
            self.take(&alias);
        }
    }

    fn take(&mut self, alias: &str) {
        if !self.done.contains(alias) && self.loader.load(alias) {
            self.done.insert(alias.to_owned());
        }
    }

    fn tell(&mut self) {
        for complaint in self.loader.take_complaints() {
            self.log.say(format_args!("{complaint}"));
        }
    }

    /// For ever.
    fn follow(&mut self, events: &OwnedFd) -> ExitCode {
        let mut message = vec![0; 16 << 10];
        loop {
            match recvfrom::<NetlinkAddr>(events.as_raw_fd(), &mut message) {
                // Only the kernel has no process id; any program could send the rest.
                Ok((len, Some(sender))) if sender.pid() == 0 => {
                    let event = Uevent::parse(&message[..len]);
                    if let Some(alias) = event.and_then(|event| event.wanted_alias()) {
                        self.take(alias);
                    }
                }
                Ok(_) | Err(Errno::EINTR) => {}
                // Events were lost: look at everything again.
                Err(Errno::ENOBUFS) => self.walk(),
                Err(errno) => {
                    self.log.say(format_args!(
                        "the kernel's messages of new devices ended: {errno}"
                    ));
                    return ExitCode::FAILURE;
                }
            }
            self.tell();
        }
    }
}

/// The content of every `modalias` file, each once.
fn aliases_below(top: &Path) -> Vec<String> {
    let mut open: Vec<PathBuf> = vec![top.to_owned()];
    let mut seen = HashSet::new();
    let mut aliases = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            // Links lead to other places of the same tree.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            } else if entry.file_name() == "modalias"
                && let Ok(alias) = fs::read_to_string(entry.path())
                && seen.insert(alias.trim().to_owned())
            {
                aliases.push(alias.trim().to_owned());
            }
        }
    }
    aliases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_of_the_device_tree_is_found_once_and_links_are_not_followed() {
        let top = tempfile::tempdir().unwrap();
        for device in ["pci0/a", "pci0/a/usb1", "pci0/b"] {
            fs::create_dir_all(top.path().join(device)).unwrap();
        }
        fs::write(top.path().join("pci0/a/modalias"), "pci:v1\n").unwrap();
        fs::write(top.path().join("pci0/b/modalias"), "pci:v1\n").unwrap();
        fs::write(top.path().join("pci0/a/usb1/modalias"), "usb:v2\n").unwrap();
        std::os::unix::fs::symlink("../..", top.path().join("pci0/a/up")).unwrap();
        let mut aliases = aliases_below(top.path());
        aliases.sort();
        assert_eq!(aliases, ["pci:v1", "usb:v2"]);
    }
}
