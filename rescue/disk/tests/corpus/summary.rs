//! The verdicts as a table, a row for each kind that others see, as the documentation holds it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::judge::{Compared, Verdict};

#[derive(Default)]
struct Row {
    images: usize,
    recognised: usize,
    compared: usize,
    extra_bytes: u64,
    whole: usize,
    faults: usize,
    slowest: Duration,
    peak_bytes: usize,
}

impl Row {
    fn add(&mut self, verdict: &Verdict) {
        let own = verdict.found.split(' ').next();
        self.images += 1;
        self.recognised += usize::from(own == Some(verdict.recorded.as_str()));
        match verdict.map {
            Compared::Nothing => {}
            Compared::Whole => self.whole += 1,
            Compared::Agrees { extra_bytes } => {
                self.compared += 1;
                self.extra_bytes = self.extra_bytes.max(extra_bytes);
            }
        }
        self.faults += verdict.faults.len();
        self.slowest = self.slowest.max(verdict.time);
        self.peak_bytes = self.peak_bytes.max(verdict.peak_bytes);
    }
}

pub fn of(verdicts: &[Verdict]) -> String {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for verdict in verdicts {
        rows.entry(&verdict.recorded).or_default().add(verdict);
    }
    let mut text = String::from(
        "| kind as blkid names it | images | so named here | map compared, nothing missing | most kept beyond it | whole where a map was to be had | faults | slowest | most memory |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for (kind, row) in rows {
        let _ = writeln!(
            text,
            "| {kind} | {} | {} | {} | {} KiB | {} | {} | {} ms | {} KiB |",
            row.images,
            row.recognised,
            row.compared,
            row.extra_bytes >> 10,
            row.whole,
            row.faults,
            row.slowest.as_millis(),
            row.peak_bytes >> 10
        );
    }
    text
}
