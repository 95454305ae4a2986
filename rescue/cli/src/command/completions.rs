//! `rescue completions`: generated from the words.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::words::Words;
use crate::{Exit, Streams};

pub fn run(shell: Shell, streams: &mut Streams<'_>) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Words::command(), "rescue", &mut text);
    match streams.out.write_all(&text) {
        Ok(()) => Exit::Done,
        Err(error) => super::end(
            Exit::Fault,
            &format!("standard output could not be written: {error}"),
            streams,
        ),
    }
}
