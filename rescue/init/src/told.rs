//! Gathers what the machine was told: the kernel command line, then the job file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::loader::Loader;
use crate::settings::{JobFile, Settings};

/// Where the owner of a virtual machine puts a job: `-fw_cfg name=opt/org.rescue/job,file=…`.
const FW_CFG_JOB: &str = "opt/org.rescue/job";
const FW_CFG_DEVICE: &str = "/sys/bus/acpi/devices/QEMU0002:00";
const FW_CFG_FILES: &str = "/sys/firmware/qemu_fw_cfg/by_name";

const JOB_FILE_LIMIT: u64 = 1 << 20;

/// Never fails: what cannot be read becomes a complaint in the settings.
pub fn settings() -> Settings {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let mut settings = Settings::from_kernel_line(&line);
    let Some((path, asked_for)) = job_path(&settings) else {
        return settings;
    };
    match read_bounded(&path) {
        Ok(text) => settings.add_job_file(&text),
        Err(error) if asked_for => settings.complaints.push(format!(
            "the job file {} cannot be read: {error}",
            path.display()
        )),
        // No job was handed over.
        Err(_) => {}
    }
    settings
}

/// The path, and whether somebody named it.
fn job_path(settings: &Settings) -> Option<(PathBuf, bool)> {
    match &settings.job_file {
        Some(JobFile::Path(path)) => Some((PathBuf::from(path), true)),
        Some(JobFile::FwCfg(name)) => {
            load_fw_cfg(settings);
            Some((fw_cfg_path(name), true))
        }
        None if Path::new(FW_CFG_DEVICE).exists() => {
            load_fw_cfg(settings);
            Some((fw_cfg_path(FW_CFG_JOB), false))
        }
        None => None,
    }
}

fn load_fw_cfg(settings: &Settings) {
    // Built in or absent is as good: the file is there or it is not.
    if !Path::new(FW_CFG_FILES).exists()
        && let Ok(mut loader) = Loader::for_this_kernel(settings.clone())
    {
        loader.load("qemu_fw_cfg");
    }
}

fn fw_cfg_path(name: &str) -> PathBuf {
    Path::new(FW_CFG_FILES).join(name).join("raw")
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(JOB_FILE_LIMIT)
        .read_to_string(&mut text)?;
    Ok(text)
}
