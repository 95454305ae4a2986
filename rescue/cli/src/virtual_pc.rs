//! A made-up PC of QEMU on the disk of an image: no network, nothing that it writes stays.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use engine::event::Cancel;
use serde_json::{Value, json};

const PROGRAM: &str = "qemu-system-x86_64";
const BEGINS_WITHIN: Duration = Duration::from_secs(60);
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Code and empty variables of UEFI firmware, where distributions have them.
const UEFI: &[(&str, &str)] = &[
    (
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    (
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/OVMF/OVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
        "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
    ),
    (
        "/usr/share/edk2/ovmf/OVMF_CODE.fd",
        "/usr/share/edk2/ovmf/OVMF_VARS.fd",
    ),
    (
        "/usr/share/qemu/ovmf-x86_64-code.bin",
        "/usr/share/qemu/ovmf-x86_64-vars.bin",
    ),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Firmware {
    Bios,
    Uefi,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Screen {
    /// Nobody sees it; after so long it is written to a file, and the PC is switched off.
    Picture { file: PathBuf, after: Duration },
    /// In a window, until it is closed or the PC is switched off.
    Window,
}

#[derive(Clone, Debug)]
pub struct VirtualPc {
    pub firmware: Firmware,
    pub memory_mib: u32,
    /// By the processor itself where it can.
    pub with_kvm: bool,
    pub sector_bytes: u32,
    pub screen: Screen,
}

impl VirtualPc {
    /// With the disk that is served at `nbd`; `folder` takes its sockets and variables. What it says at the end.
    ///
    /// # Errors
    /// A sentence with the remedy.
    pub fn run(&self, nbd: &Path, folder: &Path, cancel: &Cancel) -> Result<String, String> {
        let said = folder.join("qemu.log");
        let log = File::create(&said).map_err(|error| format!("{}: {error}", said.display()))?;
        let mut command = Command::new(PROGRAM);
        command.args(self.words(nbd, folder)?);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().map_err(|error| {
            format!("{PROGRAM} cannot be started: {error}; install the package qemu-system-x86")
        })?;
        let begun = Instant::now();
        let mut running = Running(child);
        let ended = self.watch(&mut running, &folder.join("qmp"), cancel);
        match ended {
            Ok(End::Shown(words)) => Ok(words),
            Ok(End::SwitchedOff) => Ok(format!(
                "the PC switched itself off after {} s",
                begun.elapsed().as_secs()
            )),
            Ok(End::Cancelled) => Ok("the PC was switched off".into()),
            Err(why) => {
                let said = std::fs::read_to_string(&said).unwrap_or_default();
                let first = said.lines().find(|line| !line.contains("warning:"));
                Err(format!(
                    "{why}{}",
                    first.map_or(String::new(), |line| format!(": {line}"))
                ))
            }
        }
    }

    fn watch(&self, running: &mut Running, qmp: &Path, cancel: &Cancel) -> Result<End, String> {
        let mut line = Line::connect(qmp, running)?;
        let begun = Instant::now();
        loop {
            if let Some(status) = running.ended()? {
                return match status {
                    true => Ok(End::SwitchedOff),
                    false => Err("QEMU gave up".into()),
                };
            }
            if cancel.is_cancelled() {
                return Ok(End::Cancelled);
            }
            match &self.screen {
                Screen::Picture { file, after } if begun.elapsed() >= *after => {
                    line.picture(file)?;
                    return Ok(End::Shown(format!(
                        "the screen after {} s is in {}",
                        after.as_secs(),
                        file.display()
                    )));
                }
                _ => std::thread::sleep(POLL),
            }
        }
    }

    fn words(&self, nbd: &Path, folder: &Path) -> Result<Vec<String>, String> {
        let mut words: Vec<String> = [
            "-nodefaults",
            "-no-user-config",
            "-machine",
            "q35",
            "-cpu",
            "max",
            "-smp",
            "2",
        ]
        .map(str::to_owned)
        .into();
        let mut more = |pair: [&str; 2]| words.extend(pair.map(str::to_owned));
        if self.with_kvm {
            more(["-accel", "kvm"]);
        }
        more(["-accel", "tcg"]);
        more(["-m", &self.memory_mib.to_string()]);
        more(["-vga", "std"]);
        more([
            "-display",
            if self.screen == Screen::Window {
                "gtk"
            } else {
                "none"
            },
        ]);
        let disk = json!({ "driver": "nbd", "node-name": "disk",
            "server": { "type": "unix", "path": nbd.display().to_string() } });
        more(["-blockdev", &disk.to_string()]);
        more(["-device", &self.disk()]);
        // A tablet: the pointer of a window is where the mouse is.
        more(["-device", "qemu-xhci"]);
        more(["-device", "usb-tablet"]);
        let socket = folder.join("qmp").display().to_string().replace(',', ",,");
        more(["-qmp", &format!("unix:{socket},server=on,wait=off")]);
        if self.firmware == Firmware::Uefi {
            words.extend(uefi(folder)?);
        }
        Ok(words)
    }

    /// SATA knows only sectors of 512 bytes.
    fn disk(&self) -> String {
        match self.sector_bytes {
            512 => "ide-hd,drive=disk,bus=ide.0".into(),
            bytes => format!(
                "nvme,serial=RESCUE,drive=disk,logical_block_size={bytes},physical_block_size={bytes}"
            ),
        }
    }
}

fn uefi(folder: &Path) -> Result<Vec<String>, String> {
    let there = |(code, vars): &&(&str, &str)| Path::new(code).exists() && Path::new(vars).exists();
    let (code, vars) = UEFI.iter().find(there).ok_or(
        "no UEFI firmware for QEMU is installed; install the package ovmf, or give --firmware bios",
    )?;
    let own = folder.join("vars.fd");
    std::fs::copy(vars, &own).map_err(|error| format!("{}: {error}", own.display()))?;
    let flash = |file: &str, words: &str| {
        let file = file.replace(',', ",,");
        [
            "-drive".to_owned(),
            format!("if=pflash,format=raw,file={file}{words}"),
        ]
    };
    let (code, own) = (
        flash(code, ",readonly=on"),
        flash(&own.display().to_string(), ""),
    );
    Ok(code.into_iter().chain(own).collect())
}

enum End {
    Shown(String),
    SwitchedOff,
    Cancelled,
}

/// Ends with this value.
struct Running(Child);

impl Running {
    fn ended(&mut self) -> Result<Option<bool>, String> {
        let status = self
            .0
            .try_wait()
            .map_err(|error| format!("{PROGRAM}: {error}"))?;
        Ok(status.map(|status| status.success()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// QEMU's control line: one JSON object a line.
struct Line(BufReader<UnixStream>);

impl Line {
    fn connect(socket: &Path, running: &mut Running) -> Result<Line, String> {
        let begun = Instant::now();
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(_) if running.ended()?.is_some() => return Err("QEMU gave up".into()),
                Err(error) if begun.elapsed() > BEGINS_WITHIN => {
                    return Err(format!("QEMU does not answer: {error}"));
                }
                Err(_) => std::thread::sleep(POLL),
            }
        };
        let _ = stream.set_read_timeout(Some(ANSWERS_WITHIN));
        let mut line = Line(BufReader::new(stream));
        line.receive()?;
        line.ask("qmp_capabilities", json!({}))?;
        Ok(line)
    }

    fn receive(&mut self) -> Result<Value, String> {
        let mut text = String::new();
        let len = self
            .0
            .read_line(&mut text)
            .map_err(|error| format!("QEMU does not answer: {error}"))?;
        match len {
            0 => Err("QEMU closed its control line".into()),
            _ => serde_json::from_str(&text)
                .map_err(|error| format!("QEMU's answer is not understood: {error}")),
        }
    }

    fn ask(&mut self, command: &str, arguments: Value) -> Result<(), String> {
        let line = json!({ "execute": command, "arguments": arguments });
        writeln!(self.0.get_mut(), "{line}")
            .map_err(|error| format!("QEMU takes no {command}: {error}"))?;
        loop {
            let answer = self.receive()?;
            if let Some(error) = answer.get("error") {
                let why = error["desc"].as_str().unwrap_or("it does not say why");
                return Err(format!("QEMU refuses {command}: {why}"));
            }
            if answer.get("return").is_some() {
                return Ok(());
            }
        }
    }

    fn picture(&mut self, file: &Path) -> Result<(), String> {
        let format = match file.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("ppm") => "ppm",
            _ => "png",
        };
        let file =
            std::path::absolute(file).map_err(|error| format!("{}: {error}", file.display()))?;
        self.ask(
            "screendump",
            json!({ "filename": file.display().to_string(), "format": format }),
        )
    }
}
