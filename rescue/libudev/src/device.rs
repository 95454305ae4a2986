//! One device as sysfs shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use libc::{EINVAL, EISDIR, ENODEV, ENOENT, EPERM};

/// An errno, as libudev hands them out.
pub type Errno = libc::c_int;

pub type Properties = BTreeMap<OsString, OsString>;

#[derive(Clone, Debug)]
pub struct Device {
    /// Where sysfs is.
    root: PathBuf,
    /// The device's own directory, without symbolic links.
    syspath: PathBuf,
    /// What the kernel said of it in an event; `None` for one that was found in sysfs.
    event: Option<Properties>,
}

impl Device {
    /// `ENODEV` where there is no device.
    pub fn from_syspath(root: &Path, syspath: &Path) -> Result<Device, Errno> {
        if !syspath.starts_with(root) {
            return Err(EINVAL);
        }
        let real_root = root.canonicalize().map_err(errno_of)?;
        let syspath = syspath.canonicalize().map_err(|e| {
            if e.kind() == io::ErrorKind::NotFound {
                ENODEV
            } else {
                errno_of(e)
            }
        })?;
        let below = syspath.strip_prefix(&real_root).map_err(|_| EINVAL)?;
        let exists = if below.starts_with("devices") {
            syspath.join("uevent").exists()
        } else {
            syspath.is_dir()
        };
        if !exists {
            return Err(ENODEV);
        }
        Ok(Device {
            root: real_root,
            syspath,
            event: None,
        })
    }

    /// `kind` is `b` or `c`.
    pub fn from_devnum(root: &Path, kind: u8, devnum: libc::dev_t) -> Result<Device, Errno> {
        let kind = match kind {
            b'b' => "block",
            b'c' => "char",
            _ => return Err(EINVAL),
        };
        let number = format!("{}:{}", libc::major(devnum), libc::minor(devnum));
        Device::from_syspath(root, &root.join("dev").join(kind).join(number))
    }

    pub fn from_name(root: &Path, subsystem: &OsStr, sysname: &OsStr) -> Result<Device, Errno> {
        let file = OsString::from_vec(
            sysname
                .as_bytes()
                .iter()
                .map(|b| if *b == b'/' { b'!' } else { *b })
                .collect(),
        );
        let mut places = Vec::new();
        if subsystem == "subsystem" {
            places.extend(["subsystem", "bus", "class"].map(|d| root.join(d).join(&file)));
        } else if subsystem == "module" {
            places.push(root.join("module").join(&file));
        } else if subsystem == "drivers"
            && let Some((bus, driver)) = split_once(sysname, b':')
        {
            places.push(root.join("bus").join(bus).join("drivers").join(driver));
        }
        places.push(root.join("bus").join(subsystem).join("devices").join(&file));
        places.push(root.join("class").join(subsystem).join(&file));
        let found = places
            .iter()
            .find_map(|p| Device::from_syspath(root, p).ok());
        found.ok_or(ENODEV)
    }

    /// `b8:0`, `c1:3`, `n2`, `+usb:1-1`.
    pub fn from_id(root: &Path, id: &OsStr) -> Result<Device, Errno> {
        let (kind, rest) = id.as_bytes().split_first().ok_or(EINVAL)?;
        let text = str::from_utf8(rest).map_err(|_| EINVAL)?;
        match kind {
            b'b' | b'c' => {
                let (major, minor) = text.split_once(':').ok_or(EINVAL)?;
                let number = |n: &str| n.parse::<libc::c_uint>().map_err(|_| EINVAL);
                Device::from_devnum(root, *kind, libc::makedev(number(major)?, number(minor)?))
            }
            b'n' => Device::from_interface(root, text),
            b'+' => {
                let (subsystem, sysname) =
                    split_once(OsStr::from_bytes(rest), b':').ok_or(EINVAL)?;
                Device::from_name(root, subsystem, sysname)
            }
            _ => Err(EINVAL),
        }
    }

    fn from_interface(root: &Path, index: &str) -> Result<Device, Errno> {
        let interfaces = fs::read_dir(root.join("class/net")).map_err(|_| ENODEV)?;
        interfaces
            .flatten()
            .filter_map(|entry| Device::from_syspath(root, &entry.path()).ok())
            .find(|d| {
                d.attribute(OsStr::new("ifindex"))
                    .is_ok_and(|v| v == index.as_bytes())
            })
            .ok_or(ENODEV)
    }

    /// From what the kernel sent of an event. The device may be gone already.
    pub fn from_event(root: &Path, properties: Properties) -> Result<Device, Errno> {
        let devpath = properties.get(OsStr::new("DEVPATH")).ok_or(EINVAL)?;
        let below = devpath.as_bytes().strip_prefix(b"/").ok_or(EINVAL)?;
        let below = Path::new(OsStr::from_bytes(below));
        let plain = |c| matches!(c, std::path::Component::Normal(_));
        if !below.components().all(plain) || !properties.contains_key(OsStr::new("SUBSYSTEM")) {
            return Err(EINVAL);
        }
        Ok(Device {
            root: root.to_owned(),
            syspath: root.join(below),
            event: Some(properties),
        })
    }

    pub fn syspath(&self) -> &Path {
        &self.syspath
    }

    /// The path below sysfs, from its `/` on.
    pub fn devpath(&self) -> OsString {
        let below = self.syspath.strip_prefix(&self.root);
        let mut path = OsString::from("/");
        path.push(below.expect("a device lies below the root it was made from"));
        path
    }

    /// The name of its directory; the kernel writes `!` there for the `/` of a name.
    pub fn sysname(&self) -> OsString {
        let name = self.syspath.file_name().unwrap_or_default().as_bytes();
        OsString::from_vec(
            name.iter()
                .map(|b| if *b == b'!' { b'/' } else { *b })
                .collect(),
        )
    }

    /// How many digits end the name. A name of digits alone has no number.
    pub fn sysnum_digits(&self) -> usize {
        let name = self.sysname();
        let digits = name
            .as_bytes()
            .iter()
            .rev()
            .take_while(|b| b.is_ascii_digit())
            .count();
        if digits == name.len() { 0 } else { digits }
    }

    pub fn subsystem(&self) -> Option<OsString> {
        if let Some(event) = &self.event {
            return event.get(OsStr::new("SUBSYSTEM")).cloned();
        }
        if let Some(name) = self.link("subsystem") {
            return Some(name);
        }
        let devpath = self.devpath();
        let path = devpath.as_bytes();
        let within = |dir: &[u8]| path.windows(dir.len()).any(|w| w == dir);
        if path.starts_with(b"/module/") {
            Some("module".into())
        } else if within(b"/drivers/") || path.ends_with(b"/drivers") {
            Some("drivers".into())
        } else if path.starts_with(b"/class/") || path.starts_with(b"/bus/") {
            Some("subsystem".into())
        } else {
            None
        }
    }

    pub fn driver(&self) -> Option<OsString> {
        self.link("driver")
            .or_else(|| self.event.as_ref()?.get(OsStr::new("DRIVER")).cloned())
    }

    pub fn property(&self, name: &str) -> Option<OsString> {
        self.properties().remove(OsStr::new(name))
    }

    /// What the kernel tells of the device, by name.
    pub fn properties(&self) -> Properties {
        let mut all = match &self.event {
            Some(event) => event.clone(),
            None => self.uevent(),
        };
        if let Some(name) = all.get_mut(OsStr::new("DEVNAME"))
            && !name.as_bytes().starts_with(b"/")
        {
            let mut path = OsString::from("/dev/");
            path.push(&*name);
            *name = path;
        }
        all.insert("DEVPATH".into(), self.devpath());
        for (name, value) in [("SUBSYSTEM", self.subsystem()), ("DRIVER", self.driver())] {
            if let Some(value) = value {
                all.insert(name.into(), value);
            }
        }
        all
    }

    /// `NAME=value` lines of the file `uevent`.
    fn uevent(&self) -> Properties {
        let bytes = fs::read(self.syspath.join("uevent")).unwrap_or_default();
        bytes
            .split(|b| *b == b'\n')
            .filter_map(|line| split_once(OsStr::from_bytes(line), b'='))
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    pub fn devnum(&self) -> libc::dev_t {
        let all = self.properties();
        let number = |name: &str| {
            let text = all.get(OsStr::new(name))?.to_str()?;
            text.parse::<libc::c_uint>().ok()
        };
        match (number("MAJOR"), number("MINOR")) {
            (Some(major), minor) => libc::makedev(major, minor.unwrap_or(0)),
            _ => 0,
        }
    }

    pub fn parent(&self) -> Option<Device> {
        let mut above = self.syspath.parent()?;
        // `devices`, `class`, `bus`: the first floor of sysfs has no devices.
        while above.parent()? != self.root && above != self.root {
            if let Ok(found) = Device::from_syspath(&self.root, above) {
                return Some(found);
            }
            above = above.parent()?;
        }
        None
    }

    /// A file of the device, without the newlines at its end; of the links `driver`, `subsystem` and `module`
    /// the name they lead to.
    pub fn attribute(&self, name: &OsStr) -> Result<Vec<u8>, Errno> {
        let path = self.syspath.join(Path::new(name));
        let found = path.symlink_metadata().map_err(errno_of)?;
        if found.is_symlink() {
            let core = name == "driver" || name == "subsystem" || name == "module";
            let target = core.then(|| self.link(name)).flatten();
            return target.map(OsString::into_vec).ok_or(EINVAL);
        }
        if found.is_dir() {
            return Err(EISDIR);
        }
        if found.permissions().mode() & 0o400 == 0 {
            return Err(EPERM);
        }
        let mut value = fs::read(&path).map_err(errno_of)?;
        while value.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
            value.pop();
        }
        Ok(value)
    }

    pub fn set_attribute(&self, name: &OsStr, value: &OsStr) -> Result<(), Errno> {
        let value = value.as_bytes();
        let kept = value
            .iter()
            .rposition(|b| !matches!(b, b'\n' | b'\r'))
            .map_or(0, |at| at + 1);
        fs::OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(self.syspath.join(Path::new(name)))
            .and_then(|mut file| file.write_all(&value[..kept]))
            .map_err(errno_of)
    }

    /// Names of all files and links of the device, those of its folders included, without its child devices.
    pub fn attributes(&self) -> BTreeSet<OsString> {
        let mut names = BTreeSet::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let path = self.syspath.join(&folder);
            if !folder.as_os_str().is_empty() && path.join("uevent").exists() {
                continue;
            }
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                let name = folder.join(entry.file_name());
                let Ok(found) = entry.path().symlink_metadata() else {
                    continue;
                };
                if found.is_dir() {
                    folders.push(name);
                } else if (found.is_file() || found.is_symlink())
                    && found.permissions().mode() & 0o600 != 0
                {
                    names.insert(name.into_os_string());
                }
            }
        }
        names
    }

    /// The last name a link of the device leads to.
    fn link(&self, name: impl AsRef<Path>) -> Option<OsString> {
        let target = fs::read_link(self.syspath.join(name)).ok()?;
        target.file_name().map(OsStr::to_owned)
    }
}

pub fn split_once(text: &OsStr, at: u8) -> Option<(&OsStr, &OsStr)> {
    let bytes = text.as_bytes();
    let found = bytes.iter().position(|b| *b == at)?;
    Some((
        OsStr::from_bytes(&bytes[..found]),
        OsStr::from_bytes(&bytes[found + 1..]),
    ))
}

fn errno_of(error: io::Error) -> Errno {
    error.raw_os_error().unwrap_or(ENOENT)
}
