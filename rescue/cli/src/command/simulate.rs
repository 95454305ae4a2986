//! `rescue simulate`: what the passes do to a drive that is only made up.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use engine::mapfile;
use engine::passes::Habits;
use engine::simulate::acceptance::{self, Check, Must};
use engine::simulate::{Drive, Figures, Known, Scenario, run as rescue};
use serde::Serialize;

use crate::words::{Output, SimulateWords};
use crate::{Exit, Streams};

/// A byte of memory for every 4 KiB: larger drives are not made up.
const LARGEST: u64 = 4 << 40;

pub fn run(words: &SimulateWords, streams: &mut Streams<'_>) -> Exit {
    if words.acceptance {
        return accept(words.seed, &words.output, streams);
    }
    let seed = words.seed.unwrap_or(1);
    let scenario = words.scenario.as_deref().and_then(Scenario::find);
    let drive = match (scenario, &words.map) {
        (Some(scenario), _) => Ok(Drive::of(scenario, seed)),
        (None, Some(path)) => from_map(path, seed),
        (None, None) => Err("name a scenario or a map file".to_owned()),
    };
    match drive {
        Ok(mut drive) => {
            let known = words.known();
            let (figures, _) = rescue(&mut drive, known, Habits::default());
            show(
                &Shown {
                    used_map: known,
                    figures,
                },
                &words.output,
                streams,
            )
        }
        Err(sentence) => super::end(Exit::Fault, &sentence, streams),
    }
}

fn from_map(path: &Path, seed: u64) -> Result<Drive, String> {
    let title = path.display();
    let bytes = fs::read(path).map_err(|error| {
        format!("{title} could not be read: {error}; name a map file of GNU ddrescue")
    })?;
    let size = mapfile::end(&bytes);
    let file =
        mapfile::read(&bytes, size).map_err(|what| format!("{title} is no map file: {what}"))?;
    if size > LARGEST {
        return Err(format!(
            "{title} is of a disk of {size} bytes; at most {LARGEST} can be simulated"
        ));
    }
    Ok(Drive::of_map(&file.map, seed))
}

#[derive(Serialize)]
struct Shown {
    used_map: Known,
    #[serde(flatten)]
    figures: Figures,
}

fn show(shown: &Shown, output: &Output, streams: &mut Streams<'_>) -> Exit {
    if output.json {
        return super::json(shown, Exit::Done, streams);
    }
    let of = &shown.figures;
    let time = |seconds: Option<f64>| seconds.map_or("never".to_owned(), |s| format!("{s:.0} s"));
    let lines = [
        (
            "recovered",
            format!(
                "{:.4} % of the used data that could be read",
                100.0 * of.used_recovered
            ),
        ),
        (
            "after 4 h",
            format!("{:.4} of the area, 1 is all at once", of.auc4h),
        ),
        ("50 %", time(of.t50_s)),
        ("90 %", time(of.t90_s)),
        ("99 %", time(of.t99_s)),
        ("99.9 %", time(of.t999_s)),
        ("end", time(Some(of.end_s))),
        ("reads", of.reads.to_string()),
        (
            "bad reads",
            format!(
                "{}; {} used sectors are bad",
                of.bad_reads, of.bad_used_sectors
            ),
        ),
        ("drive", if of.alive { "alive" } else { "dead" }.to_owned()),
    ];
    let mut text = format!("{}, seed {}, times are simulated\n", of.scenario, of.seed);
    for (what, value) in lines {
        text.push_str(&format!("{what:>10}  {value}\n"));
    }
    if of.false_good_sectors > 0 {
        text.push_str(&format!(
            "{:>10}  {} bad sectors came as zeros, and nobody could know\n",
            "", of.false_good_sectors
        ));
    }
    written(streams.out.write_all(text.as_bytes()), Exit::Done, streams)
}

fn accept(seed: Option<u64>, output: &Output, streams: &mut Streams<'_>) -> Exit {
    let seeds = seed.map_or(acceptance::SEEDS, |seed| seed..=seed);
    let checks: Vec<Check> = seeds.flat_map(acceptance::check).collect();
    let missed = checks.iter().filter(|check| !check.is_met()).count();
    let exit = if missed == 0 {
        Exit::Done
    } else {
        Exit::Damage
    };
    if output.json {
        return super::json(&checks, exit, streams);
    }
    let ended = written(table(&checks, streams.out), exit, streams);
    if missed > 0 {
        let sentence = format!("{missed} of {} figures were missed", checks.len());
        return super::end(ended, &sentence, streams);
    }
    ended
}

/// A line for each figure: the seed that came nearest to its limit.
fn table(checks: &[Check], out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{:<20} {:<8} {:<17} {:>10} {:>10} {:>12}  {:>5} {:>4}",
        "scenario", "used map", "figure", "ddrescue", "rescue", "must be", "seeds", "worst"
    )?;
    let mut seen: Vec<&Check> = Vec::new();
    for check in checks {
        let alike = |one: &&Check| {
            (one.scenario, one.used_map, one.figure)
                == (check.scenario, check.used_map, check.figure)
        };
        if seen.iter().any(alike) {
            continue;
        }
        seen.push(check);
        let row: Vec<&Check> = checks.iter().filter(alike).collect();
        let met = row.iter().filter(|check| check.is_met()).count();
        let Some(worst) = row.iter().min_by(|a, b| a.slack().total_cmp(&b.slack())) else {
            continue;
        };
        let (sign, limit) = match worst.must {
            Must::AtLeast(limit) => ("≥", Some(limit)),
            Must::AtMost(limit) => ("≤", Some(limit)),
            Must::Unknown => ("?", None),
        };
        writeln!(
            out,
            "{:<20} {:<8} {:<17} {:>10} {:>10} {sign} {:>10}  {:>5} {:>4}  {}",
            worst.scenario,
            if worst.used_map == Known::Used {
                "yes"
            } else {
                "no"
            },
            worst.figure,
            number(worst.ddrescue),
            number(worst.value),
            number(limit),
            format!("{met}/{}", row.len()),
            worst.seed,
            if met == row.len() { "met" } else { "MISSED" },
        )?;
    }
    Ok(())
}

fn number(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value.abs() <= 1.5 => format!("{value:.4}"),
        Some(value) => format!("{value:.0}"),
    }
}

fn written(result: io::Result<()>, exit: Exit, streams: &mut Streams<'_>) -> Exit {
    match result {
        Ok(()) => exit,
        Err(error) => {
            let sentence = format!("standard output could not be written: {error}");
            super::end(Exit::Fault, &sentence, streams)
        }
    }
}
