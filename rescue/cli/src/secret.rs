//! Asking for a line on a terminal without showing it.

use std::io::{self, Write};

use rustix::stdio::stdin;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// The longest passphrase that cryptsetup takes from a terminal. So much is reserved at once: a buffer that grows
/// leaves copies behind.
const LIMIT: usize = 512;

pub fn ask(question: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    // Before the question: who is quick must not be shown either.
    let hidden = Hidden::begin()?;
    eprint!("{question}");
    io::stderr().flush()?;
    let typed = line(&mut || {
        let mut byte = [0];
        let read = rustix::io::retry_on_intr(|| rustix::io::read(stdin(), &mut byte))?;
        Ok((read > 0).then_some(byte[0]))
    });
    drop(hidden);
    eprintln!();
    typed
}

/// Keys as the terminal's own line editing would take them, which is off: a signal must not leave it mute.
fn line(next: &mut dyn FnMut() -> io::Result<Option<u8>>) -> io::Result<Zeroizing<Vec<u8>>> {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const CTRL_U: u8 = 21;
    let mut typed = Zeroizing::new(Vec::with_capacity(LIMIT));
    while let Some(byte) = next()? {
        match byte {
            b'\n' | b'\r' | CTRL_D => break,
            CTRL_C => return Err(io::ErrorKind::Interrupted.into()),
            CTRL_U => typed.clear(),
            // Backspace takes a whole character of UTF-8.
            8 | 127 => while typed.pop().is_some_and(|byte| byte & 0xC0 == 0x80) {},
            _ if typed.len() == LIMIT => {
                return Err(io::Error::other(format!(
                    "it is longer than {LIMIT} bytes; give it in a file with --key-file"
                )));
            }
            byte => typed.push(byte),
        }
    }
    Ok(typed)
}

/// The terminal does not show what is typed until this is dropped.
struct Hidden {
    before: Termios,
}

impl Hidden {
    fn begin() -> io::Result<Hidden> {
        let before = tcgetattr(stdin())?;
        let mut now = before.clone();
        now.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        tcsetattr(stdin(), OptionalActions::Flush, &now)?;
        Ok(Hidden { before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &str) -> io::Result<Vec<u8>> {
        let mut keys = keys.bytes();
        line(&mut || Ok(keys.next())).map(|line| line.to_vec())
    }

    #[test]
    fn a_line_is_edited_as_on_any_terminal() {
        assert_eq!(typed("secret\nrest").unwrap(), b"secret");
        assert_eq!(typed("secxx\u{7f}\u{8}ret\r").unwrap(), b"secret");
        assert_eq!(
            typed("grü\u{7f}un\u{7f}\u{7f}ü\n").unwrap(),
            "grü".as_bytes()
        );
        assert_eq!(typed("wrong\u{15}right\n").unwrap(), b"right");
        assert_eq!(typed("\u{7f}\u{7f}a\u{4}").unwrap(), b"a");
        assert_eq!(typed("").unwrap(), b"");
    }

    #[test]
    fn control_c_and_a_line_without_end_are_errors() {
        let stopped = typed("sec\u{3}ret\n").unwrap_err();
        assert_eq!(stopped.kind(), io::ErrorKind::Interrupted);
        assert!(typed(&"x".repeat(LIMIT)).is_ok());
        assert!(typed(&"x".repeat(LIMIT + 1)).is_err());
    }
}
