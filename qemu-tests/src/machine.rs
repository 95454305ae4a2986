//! A made-up PC: described first, then started, then spoken to.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::drive::Drive;
use crate::failure::{Doing, Failure, Outcome};
use crate::firmware::Firmware;
use crate::qmp::Qmp;
use crate::serial::{End, Serial};
use crate::shell::Shell;

/// A boot on a very busy host without KVM.
pub const BOOT_WITHIN: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyboard {
    Ps2,
    /// The machine has no other one.
    Usb,
}

/// What the console stands on. The shell of a test has `hvc0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// The console on `ttyS0`.
    Serial,
    /// No serial port at all.
    None,
}

/// A kernel started without a boot loader, for speed.
#[derive(Debug, Clone)]
pub struct Kernel {
    pub vmlinuz: PathBuf,
    pub initramfs: PathBuf,
    pub line: String,
}

#[derive(Debug, Clone)]
pub struct Machine {
    pub firmware: Firmware,
    pub memory_mib: u32,
    pub keyboard: Keyboard,
    pub ports: Ports,
    pub drives: Vec<Drive>,
    pub kernel: Option<Kernel>,
    /// Handed to the guest as the job file of BOOT: settings and commands, a line each.
    pub job: String,
    /// Further words for QEMU.
    pub extra: Vec<String>,
}

impl Machine {
    pub fn new(firmware: Firmware) -> Self {
        Self {
            firmware,
            memory_mib: 1024,
            keyboard: Keyboard::Ps2,
            ports: Ports::Serial,
            drives: Vec::new(),
            kernel: None,
            job: String::new(),
            extra: Vec::new(),
        }
    }

    #[must_use]
    pub fn drive(mut self, drive: Drive) -> Self {
        self.drives.push(drive);
        self
    }

    #[must_use]
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    #[must_use]
    pub fn keyboard(mut self, keyboard: Keyboard) -> Self {
        self.keyboard = keyboard;
        self
    }

    #[must_use]
    pub fn ports(mut self, ports: Ports) -> Self {
        self.ports = ports;
        self
    }

    #[must_use]
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = Some(kernel);
        self
    }

    #[must_use]
    pub fn job(mut self, text: &str) -> Self {
        self.job = text.to_owned();
        self
    }

    #[must_use]
    pub fn extra(mut self, words: &[&str]) -> Self {
        self.extra
            .extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Starts it. `folder` takes its logs.
    ///
    /// # Errors
    /// When QEMU is missing or refuses the machine.
    pub fn start(&self, folder: &Path, accelerator: &str) -> Outcome<Running> {
        fs::create_dir_all(folder).doing(folder.display())?;
        // A socket's path has at most 107 bytes (unix(7)), a clone's may be longer. Once connected it is not needed.
        let sockets = tempfile::tempdir().doing("a folder for sockets")?;
        let words = self.arguments(folder, sockets.path(), accelerator)?;
        fs::write(folder.join("qemu.words"), words.join("\n")).doing("qemu.words")?;
        let log = File::create(folder.join("qemu.log")).doing("qemu.log")?;
        let process = Command::new("qemu-system-x86_64")
            .args(&words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().doing("qemu.log")?)
            .stderr(log)
            .spawn()
            .doing("qemu-system-x86_64 cannot be started; install the package qemu-system-x86")?;
        Running::meet(process, folder, sockets.path())
    }

    fn arguments(&self, folder: &Path, sockets: &Path, accelerator: &str) -> Outcome<Vec<String>> {
        let mut words = self.firmware.arguments(folder)?;
        let memory = self.memory_mib.to_string();
        let plain = [
            "-accel",
            accelerator,
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            &memory,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-vga",
            "std",
            "-no-reboot",
            "-S",
            "-device",
            "qemu-xhci,id=xhci",
        ];
        words.extend(plain.map(str::to_owned));
        words.extend(self.lines(folder, sockets));
        if self.keyboard == Keyboard::Usb {
            words.extend(["-device", "usb-kbd,bus=xhci.0"].map(str::to_owned));
        }
        for (at, drive) in self.drives.iter().enumerate() {
            words.extend(drive.arguments(at));
            words.extend(drive.card_arguments(at));
        }
        if let Some(kernel) = &self.kernel {
            words.extend([
                "-kernel".to_owned(),
                kernel.vmlinuz.display().to_string(),
                "-initrd".to_owned(),
                kernel.initramfs.display().to_string(),
                "-append".to_owned(),
                kernel.line.clone(),
            ]);
        }
        if !self.job.is_empty() {
            let file = folder.join("job");
            fs::write(&file, &self.job).doing("the job file")?;
            words.push("-fw_cfg".to_owned());
            words.push(format!("name=opt/org.rescue/job,file={}", file.display()));
        }
        words.extend(self.extra.iter().cloned());
        Ok(words)
    }

    /// QMP, and the serial lines with their logs.
    fn lines(&self, folder: &Path, sockets: &Path) -> Vec<String> {
        let socket = |name: &str| format!("{},server=on,wait=off", sockets.join(name).display());
        let mut words = vec!["-qmp".to_owned(), format!("unix:{}", socket("qmp"))];
        for line in ["serial0", "serial1"] {
            let log = folder.join(format!("{line}.log"));
            words.push("-chardev".to_owned());
            words.push(format!(
                "socket,id={line},path={},logfile={}",
                socket(line),
                log.display()
            ));
        }
        if self.ports == Ports::Serial {
            words.extend(["-serial", "chardev:serial0"].map(str::to_owned));
        }
        // Not a second serial port: of a busy machine's, characters came twice.
        let shell = ["virtio-serial-pci", "virtconsole,chardev=serial1"];
        for device in shell {
            words.extend(["-device", device].map(str::to_owned));
        }
        words
    }
}

/// A machine that runs; it ends with this value.
#[derive(Debug)]
pub struct Running {
    process: Child,
    folder: PathBuf,
    pub qmp: Qmp,
    /// The first serial line, a console of the guest.
    pub console: Serial,
    /// `hvc0`; with `rescue.shell=hvc0` a shell is on it.
    second: Option<Serial>,
    pub started: Instant,
}

impl Running {
    fn meet(mut process: Child, folder: &Path, sockets: &Path) -> Outcome<Self> {
        let met: Outcome<_> = (|| {
            let qmp = Qmp::connect(&sockets.join("qmp"))?;
            let console = Serial::connect(&sockets.join("serial0"), End::Terminal)?;
            let second = Serial::connect(&sockets.join("serial1"), End::Plain)?;
            Ok((qmp, console, second))
        })();
        match met {
            Ok((mut qmp, console, second)) => {
                qmp.ask("cont", json!({}))?;
                Ok(Self {
                    process,
                    folder: folder.to_owned(),
                    qmp,
                    console,
                    second: Some(second),
                    started: Instant::now(),
                })
            }
            Err(failure) => {
                let _ = process.kill();
                let _ = process.wait();
                let said = fs::read_to_string(folder.join("qemu.log")).unwrap_or_default();
                Err(Failure::new(format!("{failure}; QEMU said: {said}")))
            }
        }
    }

    /// What QEMU itself said so far: its warnings, and the events that were asked for with `-trace`.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Outcome<String> {
        let log = self.folder.join("qemu.log");
        fs::read_to_string(&log).doing(log.display())
    }

    /// The guest's shell.
    ///
    /// # Errors
    /// When the guest does not get that far.
    pub fn shell(&mut self) -> Outcome<Shell> {
        let line = self.second.take();
        Shell::meet(line.expect("a test asks for the shell once"), BOOT_WITHIN)
    }

    /// # Errors
    /// When QEMU cannot write it.
    pub fn screenshot(&mut self, name: &str) -> Outcome<PathBuf> {
        let png = self.folder.join(format!("{name}.png"));
        self.qmp.screenshot(&png)?;
        Ok(png)
    }

    /// Waits until the guest switched itself off.
    ///
    /// # Errors
    /// When it does not, in time.
    pub fn ended(mut self, within: Duration) -> Outcome {
        let end = Instant::now() + within;
        while Instant::now() < end {
            if let Some(status) = self.process.try_wait().doing("QEMU")? {
                return match status.success() {
                    true => Ok(()),
                    false => Err(Failure::new(format!("QEMU ended with {status}"))),
                };
            }
            sleep(Duration::from_millis(50));
        }
        Err(Failure::new(format!(
            "the machine did not switch itself off within {within:?}"
        )))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its answer does not matter: after this the process is gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
