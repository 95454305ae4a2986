//! Runs tests of the table, a few at a time, and sums up.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::failure::{Failure, Outcome};
use crate::lab::{Image, Lab};

/// Whether a test is part of every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Always,
    /// With `--all`, or when it is named.
    All,
}

pub struct Test {
    pub name: &'static str,
    pub when: When,
    pub run: fn(&Lab) -> Outcome,
}

#[derive(Debug, Clone)]
pub struct Setup {
    pub image: Image,
    pub accelerator: &'static str,
    /// Each test works in a folder of its own below.
    pub folder: PathBuf,
    pub at_once: usize,
    /// Folders of tests that passed stay too.
    pub keep: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub passed: usize,
    pub failed: usize,
}

/// Prints a line for each test when it ended.
pub fn run(tests: &[&Test], setup: &Setup) -> Sum {
    let next = AtomicUsize::new(0);
    let sum = Mutex::new(Sum::default());
    thread::scope(|scope| {
        for _ in 0..setup.at_once.max(1) {
            scope.spawn(|| {
                while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let passed = run_one(test, setup);
                    let mut sum = sum.lock().expect("no thread panics with the sum in hand");
                    if passed {
                        sum.passed += 1;
                    } else {
                        sum.failed += 1;
                    }
                }
            });
        }
    });
    sum.into_inner().expect("every thread has ended")
}

fn run_one(test: &Test, setup: &Setup) -> bool {
    let start = Instant::now();
    let folder = setup.folder.join(test.name);
    let outcome = Lab::open(&setup.image, &folder, setup.accelerator).and_then(|lab| {
        catch_unwind(AssertUnwindSafe(|| (test.run)(&lab)))
            .unwrap_or_else(|_| Err(Failure::new("the test itself panicked")))
    });
    let seconds = start.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => {
            println!("ok {} {seconds:.0} s", test.name);
            if !setup.keep {
                let _ = fs::remove_dir_all(&folder);
            }
            true
        }
        Err(failure) => {
            println!(
                "FAILED {} {seconds:.0} s: {failure}\n  logs are in {}",
                test.name,
                folder.display()
            );
            remove_disks(&folder);
            false
        }
    }
}

/// Logs and screenshots stay, disks of gigabytes do not.
fn remove_disks(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let large = entry.metadata().is_ok_and(|m| m.len() > 64 << 20);
        if large && path.extension().is_some_and(|e| e == "img" || e == "iso") {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::ensure;

    fn setup(folder: &Path) -> Setup {
        let none = PathBuf::from("/nonexistent");
        Setup {
            image: Image {
                iso: none.clone(),
                vmlinuz: none.clone(),
                initramfs: none,
            },
            accelerator: "tcg",
            folder: folder.to_owned(),
            at_once: 2,
            keep: false,
        }
    }

    #[test]
    fn every_test_is_counted_also_one_that_panics() {
        let test = |name, run| Test {
            name,
            when: When::Always,
            run,
        };
        let tests = [
            test("good", |_| Ok(())),
            test("bad", |_| ensure(false, || "no".to_owned())),
            test("worse", |_| panic!("a bug of the test")),
        ];
        let folder = tempfile::tempdir().unwrap();
        let sum = run(&tests.iter().collect::<Vec<_>>(), &setup(folder.path()));
        assert_eq!(
            sum,
            Sum {
                passed: 1,
                failed: 2
            }
        );
        assert!(folder.path().join("bad").exists());
        assert!(!folder.path().join("good").exists());
    }
}
