//! `rescue simulate` as users start it: figures as JSON, the table, a drive from somebody's map file.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn simulate(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rescue"))
        .arg("simulate")
        .args(words)
        .output()
        .unwrap()
}

fn figures(words: &[&str]) -> Value {
    let output = simulate(words);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_scenario_prints_its_figures() {
    let of = figures(&["--scenario", "scratches", "--seed", "4", "--json"]);
    assert_eq!(of["scenario"], "scratches");
    assert_eq!(of["seed"], 4);
    assert_eq!(of["alive"], true);
    for name in [
        "auc4h",
        "t50_s",
        "t90_s",
        "t99_s",
        "end_s",
        "used_recovered",
    ] {
        assert!(of[name].as_f64().unwrap() > 0.0, "{name}: {of}");
    }
    for name in ["reads", "bad_reads", "bad_used_sectors"] {
        assert!(of[name].as_u64().unwrap() > 0, "{name}: {of}");
    }
    assert_eq!(
        of,
        figures(&["--scenario", "scratches", "--seed", "4", "--json"])
    );
}

#[test]
fn the_table_of_a_seed_says_of_every_figure_what_it_must_be() {
    let output = simulate(&["--acceptance", "--seed", "2"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let rows: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(rows.len(), 22, "{text}");
    assert!(rows.iter().all(|row| row.ends_with(" met")), "{text}");
}

#[test]
fn a_map_file_becomes_a_drive_that_fails_where_it_says() {
    let dir = TempDir::new().unwrap();
    let map = dir.path().join("some.map");
    std::fs::write(
        &map,
        "0x00000000 ? 1\n0x00000000 0x40000000 +\n0x40000000 0x00004000 -\n0x40004000 0x3FFFC000 +\n",
    )
    .unwrap();
    let of = figures(&["--map", map.to_str().unwrap(), "--json"]);
    // Sectors are physical ones, of 4 KiB.
    assert_eq!(of["bad_used_sectors"], 4);
    assert!((of["used_recovered"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    assert!((1..=4).contains(&of["bad_reads"].as_u64().unwrap()), "{of}");
}

#[test]
fn what_is_no_map_file_is_refused_with_a_sentence() {
    let dir = TempDir::new().unwrap();
    let torn = dir.path().join("torn.map");
    std::fs::write(&torn, "0x0 ? 1\n0x00000000 0x100").unwrap();
    for (path, word) in [
        (torn.as_path(), "torn.map is no map file"),
        (Path::new("/nonexistent/map"), "could not be read"),
    ] {
        let output = simulate(&["--map", path.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_ne!(output.status.code(), Some(0));
        assert!(said.contains(word), "{said}");
    }
}
