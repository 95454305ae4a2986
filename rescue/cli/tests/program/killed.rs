//! kill -9 at random moments: the same command goes on, and the result is identical.
//!
//! `RESCUE_TEST_ALL=1` kills each job 50 times; otherwise fewer.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

fn kills() -> u32 {
    if std::env::var_os("RESCUE_TEST_ALL").is_some() {
        50
    } else {
        8
    }
}

fn start(directory: &Path, words: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_rescue"))
        .args(words)
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// How long the command takes when nobody interrupts it.
fn timed(directory: &Path, words: &[&str]) -> Duration {
    let begun = Instant::now();
    finish(directory, words);
    begun.elapsed()
}

fn finish(directory: &Path, words: &[&str]) {
    let output = start(directory, words).wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "rescue {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A fraction of the time in `0..=1`, spread without two kills at the same moment, another row in each run.
fn moments(count: u32) -> impl Iterator<Item = f64> {
    let seed = f64::from(std::process::id() % 997) / 997.0;
    (0..count).map(move |n| (seed + f64::from(n) * 0.618_033_988_75).fract())
}

/// Kills the job at one moment, then lets the same command go on to its end. How long the job took when it ended
/// before the kill.
fn killed_at(directory: &Path, words: &[&str], after: Duration) -> Option<Duration> {
    let begun = Instant::now();
    let mut child = start(directory, words);
    let mut running = true;
    while running && begun.elapsed() < after {
        std::thread::sleep(Duration::from_millis(2));
        running = child.try_wait().unwrap().is_none();
    }
    let took = begun.elapsed();
    child.kill().unwrap();
    child.wait().unwrap();
    // A kill after the image had got its name leaves a finished image, which the same command does not touch.
    let published = directory.join("pc.img.zst");
    if published.exists() {
        finish(directory, &["check", "pc.img.zst"]);
    } else if running {
        finish(directory, words);
    }
    (!running).then_some(took)
}

/// `prepare` makes each round's beginning, `judge` looks at its end.
fn survives(words: &[&str], prepare: impl Fn(&Path), judge: impl Fn(&Path)) {
    let first = TempDir::new().unwrap();
    prepare(first.path());
    let mut whole = timed(first.path(), words);
    judge(first.path());
    let mut in_time = 0;
    for moment in moments(kills()) {
        let dir = TempDir::new().unwrap();
        prepare(dir.path());
        match killed_at(dir.path(), words, whole.mul_f64(moment)) {
            None => in_time += 1,
            // The machine is faster now than it was.
            Some(took) => whole = whole.min(took),
        }
        judge(dir.path());
    }
    assert!(
        in_time * 2 >= kills(),
        "only {in_time} of {} kills came before the end",
        kills()
    );
}

fn equal(a: &Path, b: &Path) {
    crate::made::tool("cmp", &[&a.display().to_string(), &b.display().to_string()]);
}

#[test]
fn a_killed_image_goes_on_to_the_same_image() {
    let source = crate::made::disk().display().to_string();
    let words = ["image", source.as_str(), ".", "--name", "pc", "--exact"];
    survives(
        &words,
        |_| {},
        |dir| {
            crate::made::shell(&format!(
                "cd {}; zstd -dc pc.img.zst | cmp - {source}; [ $(ls | wc -l) = 1 ]",
                dir.display()
            ));
        },
    );
}

#[test]
fn a_killed_clone_goes_on_to_the_same_disk() {
    let source = crate::made::disk().display().to_string();
    let words = [
        "clone",
        source.as_str(),
        "copy.img",
        "--exact",
        "--approve",
        "copy.img",
    ];
    survives(
        &words,
        |dir| crate::made::full_of_ones(&dir.join("copy.img"), crate::made::SIZE_MIB),
        |dir| equal(crate::made::disk(), &dir.join("copy.img")),
    );
}

#[test]
fn a_killed_restore_goes_on_to_the_same_disk() {
    let store = TempDir::new().unwrap();
    let source = crate::made::disk().display().to_string();
    finish(
        store.path(),
        &[
            "image",
            &source,
            ".",
            "--name",
            "pc",
            "--exact",
            "--no-verify",
        ],
    );
    let image = store.path().join("pc.img.zst").display().to_string();
    let words = [
        "restore",
        image.as_str(),
        "back.img",
        "--approve",
        "back.img",
    ];
    survives(
        &words,
        |dir| crate::made::full_of_ones(&dir.join("back.img"), crate::made::SIZE_MIB),
        |dir| equal(crate::made::disk(), &dir.join("back.img")),
    );
}
