//! A clone onto a real block device that is interrupted goes on by the same words. Needs root.

#![allow(clippy::unwrap_used, reason = "a test that stops has failed")]

mod machine;
mod scene;

use std::fs;
use std::path::Path;

use engine::event::{Cancel, Silent};
use engine::job::run_tuned;
use engine::linux::{Linux, Roots};
use engine::plan::prepare;
use engine::report::Outcome;

use machine::{Loop, folder};
use scene::{CancelAt, MIB, clone, consented, differing, disk_bytes, request, tuning, used};

fn names(directory: &Path) -> Vec<String> {
    let found = fs::read_dir(directory).into_iter().flatten();
    found
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn the_state_of_a_clone_onto_a_device_is_in_the_state_directory_until_it_is_done() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let bytes = disk_bytes(8, 90);
    fs::write(at("source.img"), &bytes).unwrap();
    fs::write(at("target"), vec![0xff; 10 * MIB]).unwrap();
    let device = Loop::new(&at("target"), &[]);
    let host = Linux::at(Roots {
        state: Some(at("states")),
        ..Roots::default()
    });
    let source = at("source.img");
    let wanted = request(clone(
        source.to_str().unwrap(),
        device.node.to_str().unwrap(),
    ));
    let cancel = Cancel::default();
    let monitor = CancelAt {
        cancel: &cancel,
        left: 60.into(),
    };
    let approved = consented(prepare(&wanted, &host).unwrap());
    assert!(!at("states").exists(), "a plan wrote something");
    let first = run_tuned(&approved, &host, &monitor, &cancel, tuning());
    assert_eq!(first.outcome.exit_code(), 4, "{first}");
    let kept = names(&at("states"));
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(first.to_string().contains(&kept[0]), "{first}");

    let approved = consented(prepare(&wanted, &host).unwrap());
    let said = approved.plan().lines().join("\n");
    assert!(said.contains("goes on from an earlier run"), "{said}");
    let second = run_tuned(&approved, &host, &Silent, &Cancel::default(), tuning());
    assert_eq!(second.outcome, Outcome::Done, "{second}");
    assert!(second.resumed_bytes > 0 && second.read_bytes < first.used_bytes);
    assert_eq!(names(&at("states")), Vec::<String>::new());
    drop(device);
    let found = fs::read(at("target")).unwrap();
    assert!(differing(&bytes, &found, &used(&bytes)).is_empty());
}

#[test]
fn a_state_directory_that_cannot_be_made_costs_the_going_on_and_not_the_clone() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let bytes = disk_bytes(8, 91);
    fs::write(at("source.img"), &bytes).unwrap();
    fs::write(at("target"), vec![0xff; 10 * MIB]).unwrap();
    fs::write(at("file"), "no directory").unwrap();
    let device = Loop::new(&at("target"), &[]);
    let host = Linux::at(Roots {
        state: Some(at("file/states")),
        ..Roots::default()
    });
    let source = at("source.img");
    let wanted = request(clone(
        source.to_str().unwrap(),
        device.node.to_str().unwrap(),
    ));
    let approved = consented(prepare(&wanted, &host).unwrap());
    let report = run_tuned(&approved, &host, &Silent, &Cancel::default(), tuning());
    assert_eq!(report.outcome, Outcome::Done, "{report}");
    assert!(
        report.warnings.iter().any(|w| w.contains("begin anew")),
        "{report}"
    );
}
