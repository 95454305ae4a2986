//! Boots the image on made-up PCs, presses keys, pulls sticks out, and compares what is on the disks
//! afterwards. Knows our programs only from outside.

pub mod drive;
pub mod failure;
pub mod firmware;
pub mod lab;
pub mod machine;
pub mod qmp;
pub mod screen;
pub mod seat;
pub mod serial;
pub mod shell;

mod accelerator;
mod flavour;
mod runner;
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use failure::Outcome;
use flavour::Flavour;
use lab::Image;
use runner::{Setup, Test, When};

const FOLDER: &str = "build/qemu-tests";

const USAGE: &str = "\
qemu-tests [--all] [--list] [--keep] [--jobs N] [--iso FILE] [--flavour debian|own] [NAME…]
qemu-tests --side-by-side

Without names: the tests of every run; with --all: every test; a name may be a part of one.
--flavour own takes build/own/rescue.iso; tests of Secure Boot are not of that flavour, its kernel is signed by nobody.
--side-by-side starts both flavours on the same machine and prints size, time to the first screen and memory.
Works in build/qemu-tests; logs of failed tests stay there, with --keep all of them.
Exit code 0 when every test passed, 1 when one failed, 64 for bad words.
";

/// # Panics
/// Never: a test that panics is a failed test.
pub fn run(args: &[String]) -> ExitCode {
    if args == ["--side-by-side"] {
        return told(flavour::side_by_side(Path::new(FOLDER)));
    }
    match Words::parse(args) {
        Ok(words) if words.list => {
            for test in words.chosen() {
                println!("{}", test.name);
            }
            ExitCode::SUCCESS
        }
        Ok(words) => told(run_chosen(&words)),
        Err(sentence) => {
            eprint!("qemu-tests: {sentence}\n{USAGE}");
            ExitCode::from(64)
        }
    }
}

fn told(outcome: Outcome<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|failure| {
        eprintln!("qemu-tests: {failure}");
        ExitCode::FAILURE
    })
}

#[derive(Debug, Default)]
struct Words {
    all: bool,
    list: bool,
    keep: bool,
    jobs: Option<usize>,
    iso: Option<PathBuf>,
    flavour: Flavour,
    names: Vec<String>,
}

impl Words {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut words = Self::default();
        let mut rest = args.iter();
        while let Some(word) = rest.next() {
            match word.as_str() {
                "--all" => words.all = true,
                "--list" => words.list = true,
                "--keep" => words.keep = true,
                "--jobs" => {
                    let number = rest.next().and_then(|n| n.parse().ok());
                    words.jobs = Some(number.ok_or("--jobs needs a number")?);
                }
                "--iso" => words.iso = Some(rest.next().ok_or("--iso needs a file")?.into()),
                "--flavour" => words.flavour = Flavour::named(rest.next())?,
                option if option.starts_with('-') => {
                    return Err(format!("unknown option {option}"));
                }
                name => words.names.push(name.to_owned()),
            }
        }
        match words.names.iter().find(|name| named(name).is_empty()) {
            Some(name) => Err(format!("no test is called {name}")),
            None if words.chosen().is_empty() => Err("no such test is of this flavour".to_owned()),
            None => Ok(words),
        }
    }

    fn chosen(&self) -> Vec<&'static Test> {
        let wanted = |test: &&Test| match self.names.as_slice() {
            [] => self.all || test.when == When::Always,
            names => names.iter().any(|name| test.name.contains(name.as_str())),
        };
        let tests = tests::TESTS.iter().filter(wanted);
        tests.filter(|test| self.flavour.has(test.name)).collect()
    }
}

fn named(part: &str) -> Vec<&'static Test> {
    let tests = tests::TESTS.iter();
    tests.filter(|test| test.name.contains(part)).collect()
}

fn run_chosen(words: &Words) -> Outcome<ExitCode> {
    let iso = words.iso.as_deref();
    let image = Image::at(iso.unwrap_or(Path::new(words.flavour.iso())))?;
    let folder = PathBuf::from(FOLDER);
    let accelerator = accelerator::probe(&image, &folder);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let setup = Setup {
        image,
        accelerator,
        folder,
        // A machine has two processors.
        at_once: words.jobs.unwrap_or(cores.div_ceil(2).max(2)),
        keep: words.keep,
    };
    let tests = words.chosen();
    println!(
        "{} tests, {} at once, with {accelerator}",
        tests.len(),
        setup.at_once
    );
    let sum = runner::run(&tests, &setup);
    println!("{} passed, {} failed", sum.passed, sum.failed);
    Ok(match sum.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}
