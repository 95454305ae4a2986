//! The program on the streams of its process.

use std::ffi::OsString;
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use crate::{Ask, AskSecret, Live, Streams, run, secret};

/// Everything `rescue` does with these words, without its name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let live = if std::io::stderr().is_terminal() {
        Live::Terminal
    } else {
        Live::Plain
    };
    let mut ask = |question: &str| {
        eprint!("{question}");
        std::io::stderr().flush()?;
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        Ok(line)
    };
    let asked = std::io::stdin().is_terminal() && live == Live::Terminal;
    let exit = run(
        args,
        &mut Streams {
            out: &mut std::io::stdout(),
            err: &mut std::io::stderr(),
            ask: asked.then_some(&mut ask as &mut Ask<'_>),
            ask_secret: asked.then_some(&mut secret::ask as &mut AskSecret<'_>),
            live,
        },
    );
    ExitCode::from(exit.code())
}
