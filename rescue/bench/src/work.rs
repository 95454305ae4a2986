//! The disk that every contestant works on.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the disk and its partitions lie; results go beside them.
#[derive(Clone, Debug)]
pub struct Work {
    pub directory: PathBuf,
    size_mib: u64,
    used_bytes: u64,
}

impl Work {
    pub fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    pub fn size_mib(&self) -> u64 {
        self.size_mib
    }

    pub fn described(&self) -> String {
        format!(
            "disk: {} MiB, {:.0} MB of it used; in {}; {} processors ({}), {} MiB of memory, Linux {}",
            self.size_mib,
            self.used_bytes as f64 / 1e6,
            self.directory.display(),
            std::thread::available_parallelism().map_or(1, usize::from),
            field("/proc/cpuinfo", "model name"),
            field("/proc/meminfo", "MemTotal")
                .trim_end_matches(" kB")
                .parse::<u64>()
                .map_or(0, |kib| kib / 1024),
            std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
        )
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // Several GiB in memory: gone with the program. Nothing can be done about a failure here.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// What the first line with this name says; nothing where there is none.
fn field(path: &str, name: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or_else(String::new, |(_, value)| value.trim().into())
}

pub fn make(parent: &Path, size_mib: u64) -> Result<Work, String> {
    let directory = parent.join(format!("rescue-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let mut work = Work {
        directory,
        size_mib,
        used_bytes: 0,
    };
    let output = Command::new("bash")
        .args([
            "-c",
            include_str!("make.sh"),
            "make.sh",
            &work.path(""),
            &size_mib.to_string(),
        ])
        .output()
        .map_err(|e| format!("bash: {e}"))?;
    if !output.status.success() {
        return Err(format!(
            "the disk could not be made: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    work.used_bytes = used(&work)?;
    Ok(work)
}

/// By the reference tools, not by ours: blocks in use of ext4 and clusters of NTFS.
fn used(work: &Work) -> Result<u64, String> {
    let script = format!(
        "e=$(dumpe2fs -h {} 2>/dev/null | awk -F: '/^Block count/{{b=$2}} /^Free blocks/{{f=$2}} /^Block size/{{s=$2}} END{{printf \"%.0f\", (b-f)*s}}'); \
         n=$(ntfsinfo -fm {} | awk -F: '/Volume Size in Clusters/{{v=$2}} /Free Clusters/{{f=$2}} /Cluster Size/{{s=$2}} END{{printf \"%.0f\", (v-f)*s}}'); echo $((e+n))",
        work.path("p2.img"),
        work.path("p3.img")
    );
    let output = Command::new("bash")
        .args(["-c", &script])
        .output()
        .map_err(|e| e.to_string())?;
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .map_err(|_| "the used bytes of the disk could not be counted".into())
}
