//! QEMU's control line: one JSON object a line, answers and events mixed.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::failure::{Doing, Failure, Outcome};

/// Between two keys: the guest's driver asks for one at a time.
const BETWEEN_KEYS: Duration = Duration::from_millis(150);
const ANSWER_WITHIN: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub struct Qmp {
    to: UnixStream,
    from: BufReader<UnixStream>,
    events: Vec<Value>,
}

impl Qmp {
    /// # Errors
    /// When nothing listens at `socket` or it is not QEMU.
    pub fn connect(socket: &Path) -> Outcome<Self> {
        let to = connect_soon(socket)?;
        to.set_read_timeout(Some(ANSWER_WITHIN))
            .doing("QEMU's control line")?;
        let from = to.try_clone().doing("QEMU's control line")?;
        let mut qmp = Self {
            to,
            from: BufReader::new(from),
            events: Vec::new(),
        };
        qmp.receive()?;
        qmp.ask("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    fn receive(&mut self) -> Outcome<Value> {
        let mut line = String::new();
        let len = self
            .from
            .read_line(&mut line)
            .doing("QEMU does not answer")?;
        if len == 0 {
            return Err(Failure::new("QEMU closed its control line"));
        }
        serde_json::from_str(&line).doing("QEMU's answer is not understood")
    }

    /// # Errors
    /// What QEMU says against it.
    pub fn ask(&mut self, command: &str, arguments: Value) -> Outcome<Value> {
        let line = json!({ "execute": command, "arguments": arguments });
        writeln!(self.to, "{line}").doing(format!("QEMU takes no {command}"))?;
        loop {
            let answer = self.receive()?;
            if answer.get("event").is_some() {
                self.events.push(answer);
            } else if let Some(error) = answer.get("error") {
                return Err(Failure::new(format!("QEMU refuses {command}: {error}")));
            } else {
                return Ok(answer.get("return").cloned().unwrap_or_default());
            }
        }
    }

    /// Waits for an event, also one that came while an answer was awaited.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn event(&mut self, name: &str, within: Duration) -> Outcome<Value> {
        let end = Instant::now() + within;
        loop {
            if let Some(at) = self.events.iter().position(|event| event["event"] == name) {
                return Ok(self.events.remove(at));
            }
            if Instant::now() >= end {
                return Err(Failure::new(format!(
                    "QEMU sent no {name} within {within:?}"
                )));
            }
            // An answer reads the events before it.
            self.ask("query-status", json!({}))?;
            sleep(Duration::from_millis(50));
        }
    }

    /// Keys by QEMU's names, one after the other; `ctrl-c` is two at once.
    ///
    /// # Errors
    /// When QEMU knows no such key.
    pub fn keys(&mut self, keys: &[&str]) -> Outcome {
        for key in keys {
            let codes: Vec<Value> = key
                .split('-')
                .map(|code| json!({ "type": "qcode", "data": code }))
                .collect();
            self.ask("send-key", json!({ "keys": codes }))?;
            sleep(BETWEEN_KEYS);
        }
        Ok(())
    }

    /// Types text, as a person would.
    ///
    /// # Errors
    /// When a character has no key.
    pub fn type_text(&mut self, text: &str) -> Outcome {
        for c in text.chars() {
            let key = key_of(c).ok_or_else(|| Failure::new(format!("no key types {c:?}")))?;
            self.keys(&[&key])?;
        }
        Ok(())
    }

    /// # Errors
    /// When QEMU cannot write there.
    pub fn screenshot(&mut self, png: &Path) -> Outcome {
        self.ask(
            "screendump",
            json!({ "filename": png.to_string_lossy(), "format": "png" }),
        )?;
        Ok(())
    }

    /// A disk is pulled out.
    ///
    /// # Errors
    /// When it does not go.
    pub fn unplug(&mut self, device: &str) -> Outcome {
        self.ask("device_del", json!({ "id": device }))?;
        self.event("DEVICE_DELETED", Duration::from_secs(30))?;
        Ok(())
    }

    /// A USB disk is put in, at the controller every machine has.
    ///
    /// # Errors
    /// When QEMU refuses it.
    pub fn plug_usb(&mut self, id: &str, file: &Path, serial: &str) -> Outcome {
        let node = format!("{id}-node");
        self.ask(
            "blockdev-add",
            json!({ "driver": "raw", "node-name": node,
                "file": { "driver": "file", "filename": file.to_string_lossy() } }),
        )?;
        self.ask(
            "device_add",
            json!({ "driver": "usb-storage", "id": id, "bus": "xhci.0", "drive": node,
                "serial": serial, "removable": true }),
        )?;
        Ok(())
    }
}

fn key_of(c: char) -> Option<String> {
    Some(match c {
        'a'..='z' | '0'..='9' => c.to_string(),
        'A'..='Z' => format!("shift-{}", c.to_ascii_lowercase()),
        ' ' => "spc".to_owned(),
        '-' => "minus".to_owned(),
        '_' => "shift-minus".to_owned(),
        '/' => "slash".to_owned(),
        '.' => "dot".to_owned(),
        ':' => "shift-semicolon".to_owned(),
        '=' => "equal".to_owned(),
        '\n' => "ret".to_owned(),
        _ => return None,
    })
}

/// QEMU makes its sockets shortly after it started.
pub fn connect_soon(socket: &Path) -> Outcome<UnixStream> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > end => {
                return Err(Failure::new(format!(
                    "QEMU does not listen at {}: {error}",
                    socket.display()
                )));
            }
            Err(_) => sleep(Duration::from_millis(20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A QEMU that says what it is told to say.
    fn pretend(lines: &'static [&'static str]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for line in lines {
                writeln!(stream, "{line}").unwrap();
            }
            sleep(Duration::from_secs(2));
        });
        (folder, socket)
    }

    #[test]
    fn an_event_between_command_and_answer_is_kept() {
        let (_folder, socket) = pretend(&[
            r#"{"QMP": {}}"#,
            r#"{"return": {}}"#,
            r#"{"event": "DEVICE_DELETED"}"#,
            r#"{"return": {"status": "running"}}"#,
        ]);
        let mut qmp = Qmp::connect(&socket).unwrap();
        let status = qmp.ask("query-status", json!({})).unwrap();
        assert_eq!(status["status"], "running");
        assert!(qmp.event("DEVICE_DELETED", Duration::ZERO).is_ok());
    }

    #[test]
    fn a_refusal_of_qemu_fails_the_test_with_its_words() {
        let (_folder, socket) = pretend(&[
            r#"{"QMP": {}}"#,
            r#"{"return": {}}"#,
            r#"{"error": {"desc": "Device 'x' not found"}}"#,
        ]);
        let mut qmp = Qmp::connect(&socket).unwrap();
        let failure = qmp.unplug("x").unwrap_err().to_string();
        assert!(failure.contains("Device 'x' not found"), "{failure}");
    }

    #[test]
    fn text_is_typed_with_shift_where_a_person_would() {
        assert_eq!(key_of('A').as_deref(), Some("shift-a"));
        assert_eq!(key_of('\n').as_deref(), Some("ret"));
        assert_eq!(key_of('é'), None);
    }
}
