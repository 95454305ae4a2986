//! Runs every contestant in turn, again and again, and prints medians.

use crate::contestant::Contestant;
use crate::measure::{self, Measure};
use crate::work::Work;

/// Medians over the repetitions of one contestant.
#[derive(Clone, Copy, Debug)]
pub struct Result {
    pub wall_s: f64,
    pub cpu_s: f64,
    pub peak_mib: f64,
    pub output_bytes: Option<u64>,
}

/// Run before each turn, not measured: a machine that is a guest gives memory back to its host when it lies idle, and
/// whoever needs it first then pays for getting it again.
fn warm(work: &Work) -> std::result::Result<(), String> {
    let path = work.path("warm");
    let script = format!("head -c {}M /dev/zero >{path}; rm {path}", work.size_mib());
    measure::run(&script).map(|_| ())
}

/// Interleaved: every contestant runs once before any runs again, so that a machine that drifts drifts for all.
pub fn run(
    work: &Work,
    contestants: &[Contestant],
    repeat: usize,
) -> std::result::Result<Vec<Result>, String> {
    let mut all: Vec<Vec<Measure>> = vec![Vec::new(); contestants.len()];
    for round in 0..repeat {
        for (contestant, measures) in contestants.iter().zip(&mut all) {
            if let Some(before) = &contestant.before {
                measure::run(before)?;
            }
            warm(work)?;
            let measure = measure::run(&contestant.script)?;
            eprintln!(
                "round {} of {repeat}: {:<12} {:<40} {:>7.2} s",
                round + 1,
                contestant.job,
                contestant.name,
                measure.wall_s
            );
            measures.push(measure);
            for path in &contestant.after {
                std::fs::remove_file(path)
                    .map_err(|error| format!("{} did not make {path}: {error}", contestant.name))?;
            }
        }
    }
    Ok(contestants
        .iter()
        .zip(&all)
        .map(|(contestant, measures)| medians(contestant, measures))
        .collect())
}

fn medians(contestant: &Contestant, measures: &[Measure]) -> Result {
    let of = |f: fn(&Measure) -> f64| {
        let mut values: Vec<f64> = measures.iter().map(f).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let sizes = contestant
        .output
        .iter()
        .map(|path| std::fs::metadata(path).map(|m| m.len()));
    let total = sizes
        .sum::<std::io::Result<u64>>()
        .ok()
        .filter(|_| !contestant.output.is_empty());
    Result {
        wall_s: of(|m| m.wall_s),
        cpu_s: of(|m| m.cpu_s),
        peak_mib: of(|m| m.peak_kib as f64 / 1024.0),
        output_bytes: total,
    }
}

pub fn print(contestants: &[Contestant], results: &[Result]) {
    println!(
        "\n{:<12} {:<40} {:>8} {:>8} {:>9} {:>10}",
        "job", "contestant", "wall s", "cpu s", "peak MiB", "output MB"
    );
    for (contestant, result) in contestants.iter().zip(results) {
        let output = result
            .output_bytes
            .map_or_else(String::new, |b| format!("{:.1}", b as f64 / 1e6));
        println!(
            "{:<12} {:<40} {:>8.2} {:>8.2} {:>9.0} {:>10}",
            contestant.job, contestant.name, result.wall_s, result.cpu_s, result.peak_mib, output
        );
    }
}
