//! Finding devices in sysfs by what they are.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::device::{Device, Errno};
use crate::pattern::matches;

/// A name and a pattern for its value; without a pattern any value will do.
type Field = (OsString, Option<OsString>);

/// What is looked for, and what was found. Different kinds of conditions must all hold.
#[derive(Clone, Debug, Default)]
pub struct Search {
    root: PathBuf,
    /// One of these patterns; none: any.
    pub subsystems: Vec<OsString>,
    /// None of these patterns.
    pub other_subsystems: Vec<OsString>,
    /// One of these patterns; none: any.
    pub sysnames: Vec<OsString>,
    /// Each of these.
    pub attributes: Vec<Field>,
    /// None of these.
    pub other_attributes: Vec<Field>,
    /// One of these; none: any. Names are patterns too.
    pub properties: Vec<Field>,
    /// No device has a tag without udevd.
    pub tags: Vec<OsString>,
    pub parent: Option<Device>,
    pub readiness: Readiness,
    found: BTreeMap<Key, PathBuf>,
}

/// Whether a device must be known to udevd.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Readiness {
    #[default]
    Any,
    /// Without udevd only what has no node and is no network interface.
    Initialized,
}

/// By path, what is made of other devices last.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    stacked: bool,
    path: PathBuf,
}

impl Search {
    pub fn new(root: &Path) -> Search {
        Search {
            root: root.to_owned(),
            ..Search::default()
        }
    }

    pub fn found(&self) -> impl Iterator<Item = &Path> {
        self.found.values().map(PathBuf::as_path)
    }

    pub fn add(&mut self, syspath: &Path) -> Result<(), Errno> {
        let device = Device::from_syspath(&self.root, syspath)?;
        self.take(device);
        Ok(())
    }

    pub fn scan_devices(&mut self) {
        self.found.clear();
        if !self.tags.is_empty() {
            return;
        }
        if let Some(parent) = self.parent.clone() {
            self.scan_below(parent.syspath().to_owned());
            return;
        }
        for bus in folders(&self.root.join("bus")) {
            self.scan_folder(&bus.join("devices"));
        }
        for class in folders(&self.root.join("class")) {
            self.scan_folder(&class);
        }
    }

    /// Modules, buses and drivers.
    pub fn scan_subsystems(&mut self) {
        self.found.clear();
        let buses = self.root.join("bus");
        let mut places = vec![self.root.join("module"), buses.clone()];
        places.extend(folders(&buses).into_iter().map(|bus| bus.join("drivers")));
        for place in places {
            self.scan_folder(&place);
        }
    }

    fn scan_folder(&mut self, folder: &Path) {
        for path in folders(folder) {
            if let Ok(device) = Device::from_syspath(&self.root, &path)
                && self.wants(&device)
            {
                self.take(device);
            }
        }
    }

    /// A device and all below it. Links are not followed, so this ends.
    fn scan_below(&mut self, top: PathBuf) {
        let mut paths = vec![top];
        while let Some(path) = paths.pop() {
            if let Ok(device) = Device::from_syspath(&self.root, &path)
                && self.wants(&device)
            {
                self.take(device);
            }
            let below = fs::read_dir(path).into_iter().flatten().flatten();
            paths.extend(
                below
                    .filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()))
                    .map(|entry| entry.path()),
            );
        }
    }

    fn take(&mut self, device: Device) {
        let devpath = device.devpath();
        let within = |dir: &[u8]| devpath.as_bytes().windows(dir.len()).any(|w| w == dir);
        let key = Key {
            stacked: within(b"/block/md") || within(b"/block/dm-"),
            path: devpath.clone().into(),
        };
        self.found.insert(key, device.syspath().to_owned());
    }

    fn wants(&self, device: &Device) -> bool {
        let any = |patterns: &[OsString], text: &OsStr| patterns.iter().any(|p| matches(p, text));
        let Some(subsystem) = device.subsystem() else {
            return false;
        };
        let named = self.sysnames.is_empty() || any(&self.sysnames, &device.sysname());
        (self.subsystems.is_empty() || any(&self.subsystems, &subsystem))
            && !any(&self.other_subsystems, &subsystem)
            && named
            && self
                .attributes
                .iter()
                .all(|field| has_attribute(device, field))
            && !self
                .other_attributes
                .iter()
                .any(|field| has_attribute(device, field))
            && self.has_property(device)
            && self.is_ready(device)
    }

    fn has_property(&self, device: &Device) -> bool {
        self.properties.is_empty()
            || device.properties().iter().any(|(name, value)| {
                let same = |(n, v): &Field| {
                    matches(n, name) && v.as_ref().is_none_or(|v| matches(v, value))
                };
                self.properties.iter().any(same)
            })
    }

    fn is_ready(&self, device: &Device) -> bool {
        match self.readiness {
            Readiness::Any => true,
            Readiness::Initialized => device.devnum() == 0 && device.property("IFINDEX").is_none(),
        }
    }
}

fn has_attribute(device: &Device, (name, pattern): &Field) -> bool {
    device.attribute(name).is_ok_and(|value| {
        pattern
            .as_ref()
            .is_none_or(|p| matches(p, OsStr::from_bytes(&value)))
    })
}

/// Folders in a folder, links to folders included.
fn folders(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}
