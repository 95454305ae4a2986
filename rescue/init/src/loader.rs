//! Puts modules into the kernel, each after what it needs.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use crate::index::{Index, Module};
use crate::settings::Settings;

/// The kernel inflates the module itself (linux/module.h; since Linux 5.17).
const MODULE_INIT_COMPRESSED_FILE: u32 = 4;

#[derive(Debug)]
pub struct Loader {
    folder: PathBuf,
    index: Index,
    settings: Settings,
    loaded: HashSet<String>,
    complaints: Vec<String>,
}

impl Loader {
    /// For the running kernel.
    ///
    /// # Errors
    /// When the kernel has no modules here, as one with everything built in.
    pub fn for_this_kernel(settings: Settings) -> io::Result<Self> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let folder = Path::new("/lib/modules").join(release.trim());
        Ok(Self {
            index: Index::read(&folder)?,
            folder,
            settings,
            loaded: HashSet::new(),
            complaints: Vec::new(),
        })
    }

    pub fn loaded(&self) -> usize {
        self.loaded.len()
    }

    /// Sentences about modules the kernel refused, since the last call.
    pub fn take_complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.complaints)
    }

    /// Loads what a name or an alias stands for; false when that is nothing, or when it failed.
    pub fn load(&mut self, name: &str) -> bool {
        let index = std::mem::take(&mut self.index);
        let wanted = match index.module(name) {
            Some(module) => vec![module],
            None => self.allowed(&index, name),
        };
        let mut all = !wanted.is_empty();
        for module in wanted {
            for step in index.order(module) {
                let inserted = self.insert(step);
                all &= inserted || step != module;
            }
        }
        self.index = index;
        all
    }

    /// A blacklist keeps a module from being loaded for a device, not from being asked for by name.
    fn allowed<'a>(&self, index: &'a Index, alias: &str) -> Vec<&'a Module> {
        let blacklist = &self.settings.module_blacklist;
        let mut modules = index.named(alias);
        modules.retain(|module| !blacklist.contains(&module.name));
        modules
    }

    fn insert(&mut self, module: &Module) -> bool {
        if self.loaded.contains(&module.name) {
            return true;
        }
        match self.finit(module) {
            Ok(()) => {
                self.loaded.insert(module.name.clone());
                true
            }
            // No such device in this machine: the usual answer, and no news.
            Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => false,
            Err(error) => {
                self.complaints.push(format!(
                    "the kernel refused module {}: {error}",
                    module.name
                ));
                false
            }
        }
    }

    fn finit(&self, module: &Module) -> io::Result<()> {
        let file = File::open(self.folder.join(&module.path))?;
        let options = self.settings.module_options.get(&module.name);
        let options = CString::new(options.map_or("", String::as_str))?;
        let compressed = !module.path.ends_with(".ko");
        let flags = if compressed {
            ModuleInitFlags::from_bits_retain(MODULE_INIT_COMPRESSED_FILE)
        } else {
            ModuleInitFlags::empty()
        };
        match finit_module(&file, &options, flags) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
