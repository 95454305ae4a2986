//! The commands that are jobs: prepare, show, ask, run, report.

use engine::event::Cancel;
use engine::job;
use engine::plan::{self, Plan};
use engine::report::Report;
use engine::request::Request;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::progress::Printer;
use crate::words::{Approval, Output};
use crate::{Exit, Streams, consent};

/// A job that may overwrite something.
pub fn run(
    request: Request,
    approval: &Approval,
    output: &Output,
    streams: &mut Streams<'_>,
) -> Exit {
    go(request, approval.approve.as_deref(), output, streams)
}

/// A job that overwrites nothing.
pub fn run_without_consent(request: Request, output: &Output, streams: &mut Streams<'_>) -> Exit {
    go(request, None, output, streams)
}

fn go(request: Request, approve: Option<&str>, output: &Output, streams: &mut Streams<'_>) -> Exit {
    let host = super::host();
    let plan = match plan::prepare(&request, &host) {
        Ok(plan) => plan,
        Err(refusals) => return refused(&refusals, output, streams),
    };
    if !output.json {
        show(&plan, streams);
    }
    let consent = match consent::get(&plan, approve, streams) {
        Ok(consent) => consent,
        Err(sentence) => return no_consent(&plan, sentence, output, streams),
    };
    let approved = match plan.approve(&consent) {
        Ok(approved) => approved,
        Err(plan) => {
            return no_consent(
                &plan,
                "nothing was written: the consent was for another plan".into(),
                output,
                streams,
            );
        }
    };
    let cancel = Cancel::default();
    let report = with_signals(&cancel, || {
        let printer = Printer::new(streams.err, streams.live);
        job::run(&approved, &host, &printer, &cancel)
    });
    told(&report, output, streams)
}

/// Ctrl-C and a polite kill ask the job to stop where it can go on.
pub fn with_signals<T>(cancel: &Cancel, job: impl FnOnce() -> T) -> T {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else {
        return job();
    };
    let handle = signals.handle();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in signals.forever() {
                cancel.cancel();
            }
        });
        let result = job();
        handle.close();
        result
    })
}

pub fn show(plan: &Plan, streams: &mut Streams<'_>) {
    for line in plan.lines() {
        let _ = writeln!(streams.err, "{line}");
    }
    for warning in plan.warnings() {
        let _ = writeln!(streams.err, "warning: {warning}");
    }
}

fn refused(refusals: &[plan::Refusal], output: &Output, streams: &mut Streams<'_>) -> Exit {
    for refusal in refusals {
        let _ = writeln!(streams.err, "rescue: {refusal}");
    }
    if output.json {
        let texts = refusals.iter().map(ToString::to_string).collect();
        return super::json(
            &Refused {
                refused: refusals,
                texts,
            },
            Exit::Refused,
            streams,
        );
    }
    let _ = writeln!(streams.err, "rescue: refused; nothing was written");
    Exit::Refused
}

#[derive(Serialize)]
struct Refused<'a> {
    refused: &'a [plan::Refusal],
    texts: Vec<String>,
}

fn no_consent(plan: &Plan, sentence: String, output: &Output, streams: &mut Streams<'_>) -> Exit {
    let exit = super::end(Exit::Refused, &sentence, streams);
    if !output.json {
        return exit;
    }
    super::json(
        &NoConsent {
            refused: [&sentence],
            plan: plan.lines(),
            warnings: plan.warnings(),
            word: plan.word(),
        },
        exit,
        streams,
    )
}

/// The plan, for a program that wants to show it and ask by itself.
#[derive(Serialize)]
struct NoConsent<'a> {
    refused: [&'a str; 1],
    plan: &'a [String],
    warnings: &'a [String],
    word: Option<&'a str>,
}

fn told(report: &Report, output: &Output, streams: &mut Streams<'_>) -> Exit {
    let exit = match report.outcome.exit_code() {
        0 => Exit::Done,
        2 => Exit::Damage,
        4 => Exit::Cancelled,
        _ => Exit::Fault,
    };
    if output.json {
        return super::json(report, exit, streams);
    }
    let _ = write!(streams.err, "{report}");
    exit
}
