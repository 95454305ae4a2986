//! One subcommand a file.

mod boot;
mod check;
mod completions;
mod cp;
mod disks;
mod images;
mod info;
mod job;
mod key;
mod keys;
mod ls;
mod man;
mod map;
mod seals;
mod simulate;
mod verify;

use disk::layer::Keys;
use disk::layout::Layout;
use disk::source::BlockSource;
use engine::host::{Disk, Host};
use engine::request::{DiskName, Origin, Unlock};
use engine::unlock::{self, Trouble};
use serde::Serialize;

use crate::words::{Command, ExportWords, ImportWords, KeyWords, Words};
use crate::{Exit, Streams};

/// With what opens sealed images.
pub fn start(words: Words, streams: &mut Streams<'_>) -> Exit {
    match seals::given(&words, streams) {
        Ok(()) => run(words.command, streams),
        Err((exit, sentence)) => end(exit, &sentence, streams),
    }
}

fn run(command: Command, streams: &mut Streams<'_>) -> Exit {
    match command {
        Command::Disks {
            files,
            keys,
            output,
        } => unlocking(&keys, streams, |unlock, streams| {
            disks::run(&files, &unlock.keys, &output, streams)
        }),
        Command::Image(w) => unlocking(&w.keys, streams, |unlock, streams| {
            job::run(w.request(unlock), &w.consent, &w.output, streams)
        }),
        Command::Import(w) => imported(&w, streams),
        Command::Export(w) => exported(&w, streams),
        Command::Restore(w) => unlocking(&w.keys, streams, |unlock, streams| {
            job::run(w.request(unlock), &w.consent, &w.output, streams)
        }),
        Command::Clone(w) => unlocking(&w.keys, streams, |unlock, streams| {
            job::run(w.request(unlock), &w.consent, &w.output, streams)
        }),
        looking @ (Command::Check { .. }
        | Command::Verify { .. }
        | Command::Ls { .. }
        | Command::Cp { .. }) => look(looking, streams),
        Command::Serve(w) => job::run_without_consent(w.request(), &w.output, streams),
        Command::Boot(w) => boot::run(&w, streams),
        Command::Mount(w) => job::run_without_consent(w.request(), &w.output, streams),
        Command::Images { store, output } => images::run(&store, &output, streams),
        Command::Merge(w) => job::run_without_consent(w.request(), &w.output, streams),
        Command::Reindex(w) => job::run_without_consent(w.reindex(), &w.output, streams),
        Command::Repair(w) => job::run_without_consent(w.repair(), &w.output, streams),
        Command::Prune(w) => job::run(w.request(), &w.consent, &w.output, streams),
        Command::Key(words) => key::run(words, streams),
        Command::Info { image, output } => info::run(&image, &output, streams),
        Command::Map { source, keys } => mapped(&source, &keys, streams),
        Command::Simulate(words) => simulate::run(&words, streams),
        Command::Completions { shell } => completions::run(shell, streams),
        Command::Man { directory } => man::run(&directory, streams),
    }
}

/// What checks, compares or gives out what a disk or an image holds.
fn look(command: Command, streams: &mut Streams<'_>) -> Exit {
    match command {
        Command::Check {
            image,
            deep,
            keys,
            output,
        } => unlocking(&keys, streams, |unlock, streams| {
            check::run(image, &deep, unlock, &output, streams)
        }),
        Command::Verify {
            against,
            disk,
            keys,
            output,
        } => unlocking(&keys, streams, |unlock, streams| {
            verify::run(against, disk, unlock, &output, streams)
        }),
        Command::Ls {
            from,
            path,
            keys,
            output,
        } => unlocking(&keys, streams, |unlock, streams| {
            let (from, within) = whole_disk(from);
            ls::run(&from, &(within + &path), &unlock.keys, &output, streams)
        }),
        Command::Cp {
            from,
            paths,
            to,
            keys,
            live,
            output,
        } => unlocking(&keys, streams, |unlock, streams| {
            let (from, within) = whole_disk(from);
            let paths = paths.iter().map(|path| format!("{within}{path}")).collect();
            cp::run((from, paths, to), unlock, &live, &output, streams)
        }),
        other => run(other, streams),
    }
}

fn exported(words: &ExportWords, streams: &mut Streams<'_>) -> Exit {
    unlocking(&words.keys, streams, |unlock, streams| {
        job::run_without_consent(words.request(unlock), &words.output, streams)
    })
}

fn imported(import: &ImportWords, streams: &mut Streams<'_>) -> Exit {
    let words = &import.words;
    unlocking(&words.keys, streams, |unlock, streams| {
        job::run(
            import.request(unlock),
            &words.consent,
            &words.output,
            streams,
        )
    })
}

fn mapped(source: &DiskName, keys: &KeyWords, streams: &mut Streams<'_>) -> Exit {
    unlocking(keys, streams, |unlock, streams| {
        map::run(source, &unlock.keys, streams)
    })
}

/// Runs with the keys that these words name.
fn unlocking(
    words: &KeyWords,
    streams: &mut Streams<'_>,
    run: impl FnOnce(Unlock, &mut Streams<'_>) -> Exit,
) -> Exit {
    match keys::get(words, streams) {
        Ok(unlock) => run(unlock, streams),
        Err((exit, sentence)) => end(exit, &sentence, streams),
    }
}

/// What is on a disk, its encrypted volumes opened as far as the keys go.
fn opened(
    disk: &Disk,
    host: &dyn Host,
    keys: &Keys,
) -> Result<(Box<dyn BlockSource>, Layout), (Exit, String)> {
    let title = disk.path.display();
    let source = host.open_source(&disk.identity);
    let source = source.map_err(|error| (Exit::Fault, error.to_string()))?;
    match unlock::layout(&*source, keys) {
        Ok(layout) => Ok((source, layout)),
        Err(trouble @ Trouble::Read(_)) => Err((Exit::Fault, format!("{title}: {trouble}"))),
        Err(trouble @ Trouble::Locked(_)) => Err((Exit::Refused, format!("{title}: {trouble}"))),
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
    engine::linux::Linux::default().with_keyring(seals::keyring())
}

/// The one disk of this name, or the sentence that says why there is none.
/// A partition's device is the partition's directory on its disk, and what its paths begin with there.
fn whole_disk(from: Origin) -> (Origin, String) {
    if let Origin::Disk(DiskName::Path(path)) = &from
        && let Some((disk, number)) = host().partition(path)
    {
        return (Origin::Disk(DiskName::Path(disk)), format!("{number}/"));
    }
    (from, String::new())
}

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
