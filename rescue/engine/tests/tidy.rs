//! The house stays tidy: who uses whom, where `unsafe` lives, who issues permits, how long files and functions are.

#![allow(clippy::unwrap_used, reason = "a test that stops has failed")]

use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, in lines of code, tests and comments not counted.
const FILE_LIMIT: usize = 400;
const FUNCTION_LIMIT: usize = 60;

struct File {
    /// From the top of the repository.
    name: String,
    /// Without the tests at its end.
    code: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

/// Every source file of ours, integration tests and fuzz targets left out.
fn sources() -> Vec<File> {
    let root = root();
    let mut files = Vec::new();
    let mut folders = vec![
        root.join("rescue"),
        root.join("tui"),
        root.join("qemu-tests"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            if entry.is_dir() {
                if !["tests", "fuzz", "target"].contains(&name.as_str())
                    || entry.ends_with("src/tests")
                {
                    folders.push(entry);
                }
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&entry).unwrap();
                let code = text
                    .split("\n#[cfg(test)]\nmod ")
                    .next()
                    .unwrap()
                    .to_owned();
                let name = entry.strip_prefix(&root).unwrap().display().to_string();
                files.push(File { name, code });
            }
        }
    }
    assert!(files.len() > 100, "only {} files were found", files.len());
    files
}

fn lines_of_code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with("//")
    })
}

#[test]
fn no_file_is_longer_than_one_noun_needs() {
    let long: Vec<String> = sources()
        .iter()
        .map(|file| (lines_of_code(&file.code).count(), &file.name))
        .filter(|(lines, _)| *lines > FILE_LIMIT)
        .map(|(lines, name)| format!("{name}: {lines}"))
        .collect();
    assert!(
        long.is_empty(),
        "more than {FILE_LIMIT} lines of code: {long:#?}"
    );
}

/// A function begins at a line with `fn ` and ends at the closing brace of the same indentation.
fn long_functions(code: &str) -> Vec<(String, usize)> {
    let mut long = Vec::new();
    let mut open: Option<(String, usize, usize)> = None;
    for line in lines_of_code(code) {
        let indent = line.len() - line.trim_start().len();
        match &mut open {
            Some((name, at, lines)) => {
                *lines += 1;
                if indent == *at && line.trim_start().starts_with('}') {
                    if *lines > FUNCTION_LIMIT {
                        long.push((name.clone(), *lines));
                    }
                    open = None;
                }
            }
            None if line.contains("fn ") && !line.trim_end().ends_with([';', '}']) => {
                open = Some((line.trim().to_owned(), indent, 1));
            }
            None => {}
        }
    }
    long
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let mut long = Vec::new();
    for file in sources() {
        for (function, lines) in long_functions(&file.code) {
            long.push(format!("{}: {function}: {lines}", file.name));
        }
    }
    assert!(
        long.is_empty(),
        "more than {FUNCTION_LIMIT} lines: {long:#?}"
    );
    let made = format!("fn f() {{\n{}}}\n", "    x();\n".repeat(FUNCTION_LIMIT));
    assert_eq!(
        long_functions(&made).len(),
        1,
        "a function that is too long is not seen"
    );
}

#[test]
fn unsafe_code_lives_in_three_places() {
    let homes = [
        "rescue/engine/src/linux/ioctl.rs",
        "rescue/libudev/src/",
        "rescue/init/src/loader.rs",
    ];
    for file in sources() {
        let home = homes.iter().any(|home| file.name.starts_with(home));
        // QEMU has a way of caching of that name.
        for line in lines_of_code(&file.code).filter(|line| !line.contains("cache=unsafe")) {
            let word = line
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == "unsafe");
            assert!(home || !word, "{} has unsafe code: {line}", file.name);
        }
    }
}

#[test]
fn only_an_approved_plan_issues_permits() {
    let issuers: Vec<String> = sources()
        .into_iter()
        .filter(|file| file.code.contains("WritePermit::issue") || file.code.contains("fn issue("))
        .map(|file| file.name)
        .collect();
    let mut issuers: Vec<&str> = issuers.iter().map(String::as_str).collect();
    issuers.sort_unstable();
    assert_eq!(
        issuers,
        ["rescue/engine/src/permit.rs", "rescue/engine/src/plan.rs"]
    );
}

/// Lower floors first; a module uses its own floor and those below.
const FLOORS: &[&[&str]] = &[
    &[
        "health", "host", "permit", "map", "report", "identity", "event", "state", "mapfile",
        "request", "files", "clock", "random", "sealing", "unlock", "limits", "journal", "careful",
        "passes", "new_file",
    ],
    &[
        "plan",
        "inventory",
        "linux",
        "fake",
        "transport",
        "simulate",
    ],
    &["serve"],
    &["job", "mounted"],
];

#[test]
fn no_floor_of_the_engine_uses_a_higher_one() {
    let floor = |module: &str| FLOORS.iter().position(|modules| modules.contains(&module));
    for file in sources() {
        let Some(path) = file.name.strip_prefix("rescue/engine/src/") else {
            continue;
        };
        let module = path.split(['/', '.']).next().unwrap();
        if module == "lib" {
            continue;
        }
        let own = floor(module).unwrap_or_else(|| panic!("{module} stands on no floor"));
        for line in lines_of_code(&file.code) {
            for used in line.split("crate::").skip(1) {
                let used: String = used
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let other = floor(&used).unwrap_or(0);
                assert!(
                    other <= own,
                    "{} uses {used}, which stands above it",
                    file.name
                );
            }
        }
    }
}

#[test]
fn no_module_has_a_name_that_says_nothing() {
    let empty = [
        "utils", "util", "helpers", "helper", "manager", "handler", "common", "misc",
    ];
    for file in sources() {
        for part in file.name.split(['/', '.']) {
            assert!(!empty.contains(&part), "{} says nothing", file.name);
        }
    }
}
