//! The real [`Host`]: disks by udev and sysfs, direct I/O, mounts.

mod boot_medium;
mod bounce;
mod fingerprint;
mod ioctl;
mod node;
mod probe;
mod sink;
mod source;

use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use disk::geometry::Geometry;
use disk::source::{BlockSink, BlockSource};

use crate::host::{Disk, Host, HostError, OpenPlace, Protection, Transport};
use crate::identity::Identity;
use crate::inventory::is_named;
use crate::linux::boot_medium::BootMedium;
use crate::linux::node::{Access, Node, open_trouble};
use crate::linux::probe::{Probed, probe};
use crate::linux::sink::DirectSink;
use crate::linux::source::DirectSource;
use crate::permit::{Target, WritePermit};
use crate::request::{DiskName, Place};
use crate::transport::dir::DirStore;

/// Where Linux shows itself; a test makes its own.
#[derive(Clone, Debug)]
pub struct Roots {
    pub sys: PathBuf,
    pub proc: PathBuf,
    pub dev: PathBuf,
    pub run: PathBuf,
}

impl Default for Roots {
    fn default() -> Roots {
        Roots {
            sys: "/sys".into(),
            proc: "/proc".into(),
            dev: "/dev".into(),
            run: "/run".into(),
        }
    }
}

/// The machine this program runs on.
#[derive(Debug)]
pub struct Linux {
    roots: Roots,
    media: BootMedium,
}

impl Default for Linux {
    fn default() -> Linux {
        Linux::at(Roots::default())
    }
}

impl Linux {
    pub fn at(roots: Roots) -> Linux {
        let line = std::fs::read_to_string(roots.proc.join("cmdline")).unwrap_or_default();
        Linux {
            media: BootMedium::from_command_line(&line),
            roots,
        }
    }

    /// A regular file as a disk.
    fn file(&self, path: &Path) -> Result<Disk, HostError> {
        let failed = |error| open_trouble(path, &error, "another program has it");
        let path = path.canonicalize().map_err(failed)?;
        let size_bytes = path.metadata().map_err(failed)?.len();
        let Probed {
            geometry,
            fingerprint,
            layout,
            systems,
            ..
        } = probe(&path, &self.roots.sys, &self.media);
        let geometry = geometry.unwrap_or(Geometry::of_file(size_bytes));
        Ok(Disk {
            identity: Identity {
                serial: None,
                wwn: None,
                model: None,
                location: None,
                size_bytes: geometry.size_bytes,
                fingerprint,
                file: Some(path.clone()),
            },
            transport: Transport::File,
            vendor: None,
            firmware: None,
            geometry,
            rotational: None,
            read_only: nix::unistd::access(&path, nix::unistd::AccessFlags::W_OK).is_err(),
            removable: false,
            boot_medium: false,
            uses: Vec::new(),
            layout,
            systems,
            path,
        })
    }

    /// The disk or file of an identity, wherever it is now.
    fn locate(&self, identity: &Identity) -> Result<Disk, HostError> {
        if let Some(file) = &identity.file {
            let found = self.file(file)?;
            if found.identity.same_device(identity) {
                return Ok(found);
            }
            return Err(HostError(format!(
                "{} has changed since it was looked at; repeat the command",
                file.display()
            )));
        }
        Err(HostError(format!(
            "{identity} is not among the disks of this machine; connect it and repeat the command"
        )))
    }

    fn find_path(&self, path: &Path) -> Result<Vec<Disk>, HostError> {
        let kind = match path.metadata() {
            Ok(found) => found.file_type(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if path.starts_with(&self.roots.dev) {
                    return Err(HostError(format!(
                        "there is no {}; `rescue disks` lists the disks of this machine",
                        path.display()
                    )));
                }
                return Ok(Vec::new());
            }
            Err(error) => return Err(open_trouble(path, &error, "another program has it")),
        };
        if kind.is_file() {
            return Ok(vec![self.file(path)?]);
        }
        let shown = path.display();
        Err(HostError(if kind.is_dir() {
            format!("{shown} is a directory, not a disk; name a disk or a regular file")
        } else if kind.is_block_device() {
            format!("{shown} is not among the disks of this machine")
        } else {
            format!("{shown} is neither a disk nor a regular file")
        }))
    }
}

impl Host for Linux {
    fn disks(&self) -> Result<Vec<Disk>, HostError> {
        Ok(Vec::new())
    }

    fn find(&self, name: &DiskName) -> Result<Vec<Disk>, HostError> {
        match name {
            DiskName::Path(path) => self.find_path(path),
            _ => Ok(self
                .disks()?
                .into_iter()
                .filter(|disk| is_named(disk, name))
                .collect()),
        }
    }

    fn open_source(&self, identity: &Identity) -> Result<Box<dyn BlockSource>, HostError> {
        let disk = self.locate(identity)?;
        let node = Node::open(&disk.path, Access::Read, &self.roots.sys)
            .map_err(|error| open_trouble(&disk.path, &error, "another program has it"))?;
        Ok(Box::new(DirectSource::new(node)))
    }

    fn open_destination(&self, permit: &WritePermit) -> Result<Box<dyn BlockSink>, HostError> {
        let identity = match permit.target() {
            Target::NewFile { path, size_bytes } => {
                return Ok(Box::new(DirectSink::create(path, *size_bytes)?));
            }
            Target::Disk(identity) => identity,
            Target::Store { .. } => {
                return Err(HostError(
                    "the permit is for a store, not for a disk; repeat the command".into(),
                ));
            }
        };
        let disk = self.locate(identity)?;
        if disk.identity != *identity {
            return Err(HostError(format!(
                "{identity} has changed since the plan was shown; look at it again and repeat the command"
            )));
        }
        let sink = sink::open_existing(&disk.path, &self.roots.sys)
            .map_err(|error| open_trouble(&disk.path, &error, "another program has it"))?;
        Ok(Box::new(sink))
    }

    fn open_place(
        &self,
        place: &Place,
        _permit: Option<&WritePermit>,
    ) -> Result<OpenPlace, HostError> {
        let Place::Path(path) = place else {
            return Err(HostError(format!(
                "{place} cannot be mounted yet; mount it and name the directory"
            )));
        };
        let (dir, name) = if path.is_dir() {
            (path.as_path(), String::new())
        } else {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
            let dir = path.parent().filter(|p| !p.as_os_str().is_empty());
            (dir.unwrap_or(Path::new(".")), name.unwrap_or_default())
        };
        let store = DirStore::open(dir).map_err(|error| HostError(error.to_string()))?;
        Ok(OpenPlace {
            free_bytes: image::store::Store::free_bytes(&store),
            store: Box::new(store),
            name,
            disk: None,
        })
    }

    fn protect_all_but(
        &self,
        _source: Option<&Identity>,
        _permits: &[&WritePermit],
    ) -> Result<Protection, HostError> {
        Ok(Protection::lasting())
    }

    fn sectors_written(&self, _identity: &Identity) -> Option<u64> {
        None
    }

    fn kernel_read_only(&self, _identity: &Identity) -> Option<bool> {
        None
    }

    fn reread_table(&self, _permit: &WritePermit) -> Result<(), HostError> {
        Ok(())
    }

    fn grow_filesystem(&self, permit: &WritePermit, partition: u32) -> Result<String, HostError> {
        let _ = permit;
        Err(HostError(format!(
            "the filesystem of partition {partition} keeps its size; grow it from the restored system"
        )))
    }
}
