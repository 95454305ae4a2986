//! Our clone, image, restore and check beside other tools, on one made disk in one run, as ratios.

mod contest;
mod contestant;
mod goal;
mod large;
mod map;
mod measure;
mod ntfs;
mod second;
mod throttled;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: bench [--repeat N] [--size-mib N] [--directory DIR] [--rescue PROGRAM] [--older PROGRAM] [--partclone DIR]
             [--only WORDS] [--files N]

Makes one disk (GPT: FAT32, ext4 with a tree of real files aged by deletes, NTFS with files, swap; free space
full of stale bytes), then runs every contestant N times, interleaved, and prints medians, peak memory and the ratios
that are aimed at. --directory should be in memory, outside /dev (default: the temporary directory), and
have room for three times the disk. --partclone names the directory of another partclone than the installed one.
--only is for the jobs whose names have one of these words, with commas between them; restore and check read what the
images made. --older is a build of rescue from before a change, which must not have made a clone slower.
--files is how many files the filesystems of 1 TB get whose used maps are read (default: 2,000,000; it needs root and
7 GiB for them).";

struct Arguments {
    repeat: usize,
    size_mib: u64,
    directory: PathBuf,
    rescue: PathBuf,
    older: Option<PathBuf>,
    partclone: Option<PathBuf>,
    only: Option<String>,
    files: u64,
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    if args.peek().is_some_and(|first| first == measure::WORD) {
        return measure::wrapper(args.skip(1).collect());
    }
    if args.peek().is_some_and(|first| first == second::READ_USED) {
        return second::read_used(args.skip(1).collect());
    }
    match parse(args).and_then(|arguments| bench(&arguments)) {
        Ok(code) => code,
        Err(text) => {
            eprintln!("bench: {text}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(|d| d.join("rescue")));
    let mut arguments = Arguments {
        repeat: 5,
        size_mib: 4096,
        directory: std::env::temp_dir(),
        rescue: beside.unwrap_or_else(|| "rescue".into()),
        older: None,
        partclone: None,
        only: None,
        files: map::FILES,
    };
    while let Some(word) = args.next() {
        let mut value = || {
            args.next()
                .ok_or_else(|| format!("{word} needs a value\n{USAGE}"))
        };
        match word.as_str() {
            "--repeat" => arguments.repeat = number(&value()?)?,
            "--size-mib" => arguments.size_mib = number(&value()?)?,
            "--directory" => arguments.directory = value()?.into(),
            "--rescue" => arguments.rescue = value()?.into(),
            "--older" => arguments.older = Some(value()?.into()),
            "--partclone" => arguments.partclone = Some(value()?.into()),
            "--files" => arguments.files = number(&value()?)?,
            "--only" => arguments.only = Some(value()?),
            _ => return Err(format!("unknown word {word}\n{USAGE}")),
        }
    }
    Ok(arguments)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("'{text}' is no number\n{USAGE}"))
}

fn bench(arguments: &Arguments) -> Result<ExitCode, String> {
    let disk = work::make(&arguments.directory, arguments.size_mib)?;
    println!("{}", disk.described());
    let wanted = |job: &str| {
        let only = arguments.only.as_ref();
        only.is_none_or(|only| only.split(',').any(|word| job.contains(word)))
    };
    let mut contestants = contestant::all(
        &disk,
        &arguments.rescue,
        arguments.older.as_deref(),
        arguments.partclone.as_deref(),
    );
    contestants.retain(|c| wanted(c.job));
    if wanted(second::JOB) {
        second::prepare(&disk, &arguments.rescue)?;
        contestants.extend(second::all(&disk, &arguments.rescue));
    }
    let results = contest::run(&disk, &contestants, arguments.repeat)?;
    contest::print(&contestants, &results);
    let mut met = goal::print(&contestants, &results);
    if wanted(second::JOB) {
        met &= throttled::second(&disk, arguments.repeat)?;
    }
    if wanted("two devices") {
        met &= throttled::run(&disk, arguments.repeat)?;
    }
    if wanted("large disk") {
        met &= large::run(&disk, &arguments.rescue)?;
    }
    let (files, repeat) = (arguments.files, arguments.repeat);
    met &= map::run(&disk, &arguments.rescue, files, repeat, &wanted)?;
    Ok(if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}
