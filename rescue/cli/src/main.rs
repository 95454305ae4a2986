//! `rescue`: see the library.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use rescue::{Ask, Live, Streams, run};

fn main() -> ExitCode {
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
        std::env::args_os().skip(1),
        &mut Streams {
            out: &mut std::io::stdout(),
            err: &mut std::io::stderr(),
            ask: asked.then_some(&mut ask as &mut Ask<'_>),
            live,
        },
    );
    ExitCode::from(exit.code())
}
