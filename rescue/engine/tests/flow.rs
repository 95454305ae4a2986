//! Jobs between regular files, through the real host.

use std::fs;
use std::path::Path;

use engine::event::{Cancel, Silent};
use engine::job;
use engine::linux::Linux;
use engine::plan::{Consent, prepare};
use engine::report::{Outcome, Report, Verified};
use engine::request::{Action, Coverage, DiskName, Options, Request};

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..len / 8).flat_map(|_| next().to_le_bytes()).collect()
}

fn cloned(source: &Path, destination: &Path, options: Options, consent: &Consent) -> Report {
    let request = Request {
        action: Action::Clone {
            source: DiskName::Path(source.into()),
            destination: DiskName::Path(destination.into()),
        },
        options,
    };
    let host = Linux::default();
    let plan = prepare(&request, &host).unwrap();
    let approved = plan.approve(consent).unwrap();
    job::run(&approved, &host, &Silent, &Cancel::default())
}

fn exact() -> Options {
    Options {
        coverage: Coverage::Exact,
        ..Options::default()
    }
}

#[test]
fn a_file_is_cloned_to_a_new_file_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    let (source, copy) = (
        directory.path().join("a.img"),
        directory.path().join("b.img"),
    );
    let mut bytes = noise(9 << 20, 7);
    bytes[3 << 20..5 << 20].fill(0);
    bytes.truncate((9 << 20) - 512);
    fs::write(&source, &bytes).unwrap();
    let report = cloned(&source, &copy, exact(), &Consent::NothingOverwritten);
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    assert_eq!(
        report.verified,
        Verified::Equal {
            bytes: bytes.len() as u64
        }
    );
    assert!(fs::read(&copy).unwrap() == bytes);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}
