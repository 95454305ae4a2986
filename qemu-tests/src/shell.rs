//! A root shell in the guest, on a line of its own.

use std::time::Duration;

use crate::failure::{Failure, Outcome};
use crate::serial::Serial;

const COMMAND_WITHIN: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub struct Shell {
    line: Serial,
    commands: u32,
}

/// What a command left.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub code: i32,
    pub text: String,
}

impl Shell {
    /// Waits for the prompt.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn meet(mut line: Serial, within: Duration) -> Outcome<Self> {
        line.expect("# ", within)?;
        let mut shell = Self { line, commands: 0 };
        // Without echo and prompt only answers are on the line. A shell with a line editor turns
        // the line's canonical mode off and on around every command; input that comes at that
        // moment may read as the end of the file (n_tty), so one without takes its place.
        shell.line.send("stty -echo -icrnl; exec sh +i\n")?;
        shell.ask("true")?;
        Ok(shell)
    }

    /// Runs a command line, whatever its exit code.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn ask(&mut self, command: &str) -> Outcome<Answer> {
        self.ask_within(command, COMMAND_WITHIN)
    }

    /// # Errors
    /// When it does not end in time.
    pub fn ask_within(&mut self, command: &str, within: Duration) -> Outcome<Answer> {
        self.commands += 1;
        let (begin, end) = (
            format!("<{}<", self.commands),
            format!(">{}>", self.commands),
        );
        // The marks are put together by the shell, so that an echo of this line holds none.
        let (b, e) = (self.commands, self.commands);
        self.line.send(&format!(
            "echo \"<\"{b}\"<\"; {{ {command}\n}}; echo \">\"{e}\">\"$?\"<\"\n"
        ))?;
        self.line.expect(&begin, within)?;
        let text = self.line.expect(&end, within)?;
        let code = self.line.expect("<", within)?;
        Ok(Answer {
            code: code
                .parse()
                .map_err(|_| Failure::new(format!("{command} ended with {code:?}")))?,
            text: text.replace('\r', "").trim().to_owned(),
        })
    }

    /// Runs a command line that has to succeed; returns what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&mut self, command: &str) -> Outcome<String> {
        let answer = self.ask(command)?;
        if answer.code == 0 {
            return Ok(answer.text);
        }
        Err(Failure::new(format!(
            "in the guest, {command} ended with exit code {}: {}",
            answer.code, answer.text
        )))
    }

    /// The last command: the machine ends, perhaps before the shell could say so.
    ///
    /// # Errors
    /// When the machine is gone already.
    pub fn leave(mut self, command: &str) -> Outcome {
        self.line.send(&format!("{command}\n"))
    }

    /// Asks again and again until the answer holds `text`.
    ///
    /// # Errors
    /// When it never does; with the last answer.
    pub fn until(&mut self, command: &str, text: &str, within: Duration) -> Outcome<String> {
        let end = std::time::Instant::now() + within;
        loop {
            let answer = self.ask(command)?.text;
            if answer.contains(text) {
                return Ok(answer);
            }
            if std::time::Instant::now() > end {
                return Err(Failure::new(format!(
                    "in the guest, {command} did not show {text:?} within {within:?}, but {answer}"
                )));
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}
