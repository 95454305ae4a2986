//! One subcommand a file.

mod check;
mod completions;
mod disks;
mod info;
mod job;
mod ls;
mod man;
mod map;
mod verify;

use engine::host::{Disk, Host};
use engine::request::{Action, DiskName, Options, Request};
use serde::Serialize;

use crate::words::Command;
use crate::{Exit, Streams};

pub fn run(command: Command, streams: &mut Streams<'_>) -> Exit {
    match command {
        Command::Disks { files, output } => disks::run(&files, &output, streams),
        Command::Image(w) => job::run(w.request(), &w.consent, &w.output, streams),
        Command::Restore(w) => job::run(w.request(), &w.consent, &w.output, streams),
        Command::Clone(w) => job::run(w.request(), &w.consent, &w.output, streams),
        Command::Verify {
            against,
            disk,
            output,
        } => verify::run(against, disk, &output, streams),
        Command::Ls { from, path, output } => ls::run(&from, &path, &output, streams),
        Command::Cp {
            from,
            paths,
            to,
            live,
            output,
        } => {
            let request = Request {
                action: Action::Extract { from, paths, to },
                options: Options {
                    liveness: live.liveness(),
                    ..Options::default()
                },
            };
            job::run_without_consent(request, &output, streams)
        }
        Command::Check { image, output } => check::run(image, &output, streams),
        Command::Info { image, output } => info::run(&image, &output, streams),
        Command::Map { source } => map::run(&source, streams),
        Command::Completions { shell } => completions::run(shell, streams),
        Command::Man { directory } => man::run(&directory, streams),
    }
}

/// Says the sentence on standard error and ends with the code.
fn end(exit: Exit, sentence: &str, streams: &mut Streams<'_>) -> Exit {
    // Nothing is left to do when standard error is closed.
    let _ = writeln!(streams.err, "rescue: {sentence}");
    exit
}

/// One JSON document on standard output.
fn json(value: &impl Serialize, exit: Exit, streams: &mut Streams<'_>) -> Exit {
    let written = serde_json::to_writer_pretty(&mut streams.out, value)
        .map_err(std::io::Error::from)
        .and_then(|()| writeln!(streams.out));
    match written {
        Ok(()) => exit,
        Err(error) => end(
            Exit::Fault,
            &format!("standard output could not be written: {error}"),
            streams,
        ),
    }
}

/// The machine this runs on.
fn host() -> engine::linux::Linux {
    engine::linux::Linux::default()
}

/// The one disk of this name, or the sentence that says why there is none.
fn one_disk(name: &DiskName) -> Result<(Disk, engine::linux::Linux), (Exit, String)> {
    let host = host();
    let mut found = host
        .find(name)
        .map_err(|error| (Exit::Fault, error.to_string()))?;
    match found.len() {
        0 => Err((
            Exit::Refused,
            format!("{name}: no disk of this name is here; `rescue disks` lists what is"),
        )),
        1 => Ok((found.remove(0), host)),
        _ => {
            let all: Vec<String> = found.iter().map(|d| d.path.display().to_string()).collect();
            Err((
                Exit::Refused,
                format!(
                    "{name} names {} disks ({}); name one of them by its path",
                    all.len(),
                    all.join(", ")
                ),
            ))
        }
    }
}
