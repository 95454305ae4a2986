//! A machine made of files: sysfs, procfs and device nodes in a temporary directory; and loop devices.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use engine::linux::{Linux, Roots};

pub struct Machine {
    dir: tempfile::TempDir,
    next_minor: std::cell::Cell<u32>,
}

/// What stands in the node of a made disk.
pub enum Node<'a> {
    /// A regular file with these first bytes, as long as the disk.
    Bytes(&'a [u8]),
    /// A real block device under another name.
    Device(&'a Path),
}

impl Machine {
    pub fn new() -> Machine {
        let dir = tempfile::tempdir().unwrap();
        for folder in [
            "sys/class/block",
            "sys/bus",
            "sys/dev/block",
            "proc/self",
            "dev",
            "run",
        ] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::write(
            dir.path().join("proc/swaps"),
            "Filename Type Size Used Priority\n",
        )
        .unwrap();
        fs::write(dir.path().join("proc/self/mountinfo"), "").unwrap();
        fs::write(dir.path().join("proc/cmdline"), "quiet\n").unwrap();
        Machine {
            dir,
            next_minor: std::cell::Cell::new(0),
        }
    }

    pub fn roots(&self) -> Roots {
        let at = |name| self.dir.path().join(name);
        Roots {
            sys: at("sys"),
            proc: at("proc"),
            dev: at("dev"),
            run: at("run"),
            state: Some(at("state")),
        }
    }

    pub fn host(&self) -> Linux {
        Linux::at(self.roots())
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub fn write(&self, below: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// It is the rescue system.
    pub fn live(&self) {
        self.write("run/rescue/live", "");
    }

    /// A device that is no disk: `path` is below `/sys/devices`.
    pub fn device(&self, path: &str, subsystem: &str, uevent: &str, attributes: &[(&str, &[u8])]) {
        let folder = self.path("sys/devices").join(path);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("uevent"), uevent).unwrap();
        let bus = self.path("sys/bus").join(subsystem);
        fs::create_dir_all(&bus).unwrap();
        let _ = symlink(bus, folder.join("subsystem"));
        for (name, value) in attributes {
            fs::write(folder.join(name), value).unwrap();
        }
    }

    /// A disk of `above/block/name` (`above/name` for NVMe), and its node.
    pub fn disk(
        &self,
        above: &str,
        name: &str,
        size: u64,
        attributes: &[(&str, &str)],
        node: &Node<'_>,
    ) {
        let folder = self.path("sys/devices").join(above);
        let folder = if name.starts_with("nvme") {
            folder
        } else {
            folder.join("block")
        };
        let folder = folder.join(name);
        fs::create_dir_all(folder.join("queue")).unwrap();
        symlink(self.path("sys/devices").join(above), folder.join("device")).unwrap();
        let at = self.path("dev").join(name);
        let (major, minor) = match node {
            Node::Bytes(bytes) => {
                fs::write(&at, bytes).unwrap();
                File::options()
                    .write(true)
                    .open(&at)
                    .unwrap()
                    .set_len(size)
                    .unwrap();
                let minor = self.next_minor.get();
                self.next_minor.set(minor + 16);
                (4000, u64::from(minor))
            }
            Node::Device(path) => {
                let number = path.metadata().unwrap().rdev();
                symlink(path, &at).unwrap();
                (nix::sys::stat::major(number), nix::sys::stat::minor(number))
            }
        };
        self.block(&folder, name, "disk", major, minor);
        let usual = [
            ("size", (size / 512).to_string()),
            ("ro", "0".into()),
            ("removable", "0".into()),
        ];
        for (attribute, value) in usual {
            fs::write(folder.join(attribute), value + "\n").unwrap();
        }
        fs::write(folder.join("queue/logical_block_size"), "512\n").unwrap();
        fs::write(folder.join("queue/physical_block_size"), "512\n").unwrap();
        fs::write(folder.join("queue/rotational"), "1\n").unwrap();
        for (attribute, value) in attributes {
            let path = folder.join(attribute);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{value}\n")).unwrap();
        }
    }

    /// `disk` is its path below `/sys/devices`.
    pub fn partition(&self, disk: &str, name: &str, number: u32) {
        let folder = self.path("sys/devices").join(disk).join(name);
        fs::create_dir_all(&folder).unwrap();
        self.block(&folder, name, "partition", 4001, u64::from(number));
        for (attribute, value) in [
            ("partition", number),
            ("start", 2048 * number),
            ("size", 2048),
        ] {
            fs::write(folder.join(attribute), format!("{value}\n")).unwrap();
        }
        fs::write(self.path("dev").join(name), "").unwrap();
    }

    fn block(&self, folder: &Path, name: &str, devtype: &str, major: u64, minor: u64) {
        let uevent = format!("MAJOR={major}\nMINOR={minor}\nDEVNAME={name}\nDEVTYPE={devtype}\n");
        fs::write(folder.join("uevent"), uevent).unwrap();
        fs::write(folder.join("dev"), format!("{major}:{minor}\n")).unwrap();
        symlink(self.path("sys/class/block"), folder.join("subsystem")).unwrap();
        symlink(folder, self.path("sys/class/block").join(name)).unwrap();
        symlink(
            folder,
            self.path("sys/dev/block").join(format!("{major}:{minor}")),
        )
        .unwrap();
    }
}

/// A loop device on a file, taken down when dropped. Needs root.
pub struct Loop {
    pub node: PathBuf,
    pub file: PathBuf,
}

impl Loop {
    pub fn new(file: &Path, options: &[&str]) -> Loop {
        let out = Command::new("losetup")
            .args(["-f", "--show"])
            .args(options)
            .arg(file)
            .output();
        let out = out.expect("losetup is missing; install the package mount");
        let told = String::from_utf8_lossy(&out.stderr);
        assert!(
            out.status.success(),
            "{told}; loop devices need root and a kernel with loop devices"
        );
        let node = PathBuf::from(String::from_utf8(out.stdout).unwrap().trim());
        assert!(node.metadata().unwrap().file_type().is_block_device());
        // The flag of an earlier user of this number outlives its file.
        tool(
            "util-linux",
            "blockdev",
            &["--setrw", node.to_str().unwrap()],
        );
        Loop {
            node,
            file: file.to_owned(),
        }
    }

    /// Its directory in the real sysfs.
    pub fn sys(&self, below: &str) -> String {
        let path = Path::new("/sys/block")
            .join(self.node.file_name().unwrap())
            .join(below);
        fs::read_to_string(path).unwrap().trim().to_owned()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("blockdev")
            .arg("--setrw")
            .arg(&self.node)
            .status();
        let _ = Command::new("losetup").arg("-d").arg(&self.node).status();
    }
}

/// Runs a tool that comes with `package`.
pub fn tool(package: &str, name: &str, arguments: &[&str]) {
    let out = Command::new(name).args(arguments).output();
    let out = out.unwrap_or_else(|_| panic!("{name} is missing; install the package {package}"));
    assert!(
        out.status.success(),
        "{name} {arguments:?}: {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}

/// Different in every sector.
pub fn numbered(len: usize) -> Vec<u8> {
    (0..len / 8)
        .flat_map(|i| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect()
}

/// On a filesystem with direct I/O, which /tmp may not be.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}
