//! Every crate that ends up in a binary has a licence that `.cargo/deny.toml` allows.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The `allow` list of `.cargo/deny.toml`.
fn allowed(root: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(root.join(".cargo/deny.toml")).unwrap();
    let list = text
        .split_once("allow = [")
        .unwrap()
        .1
        .split_once(']')
        .unwrap()
        .0;
    list.split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// `A OR B`, `A AND B`, `A/B`, with parentheses only around alternatives.
fn permitted(expression: &str, allowed: &[String]) -> bool {
    let plain = expression.replace('/', " OR ").replace(['(', ')'], "");
    plain.split(" AND ").all(|part| {
        part.split(" OR ")
            .any(|licence| allowed.iter().any(|a| a == licence.trim()))
    })
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap();
    let allowed = allowed(root);
    assert!(allowed.iter().any(|a| a == "MIT"));
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--offline",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 20);
    let refused: Vec<String> = packages
        .iter()
        .filter(|p| !permitted(p["license"].as_str().unwrap_or("none"), &allowed))
        .map(|p| format!("{} {}", p["name"], p["license"]))
        .collect();
    assert!(
        refused.is_empty(),
        "not allowed by .cargo/deny.toml: {refused:#?}"
    );
}

#[test]
fn an_unknown_licence_is_not_permitted() {
    let allowed = ["MIT".to_owned(), "Zlib".to_owned()];
    assert!(permitted("GPL-3.0 OR MIT", &allowed));
    assert!(permitted("(MIT OR Apache-2.0) AND Zlib", &allowed));
    assert!(!permitted("MIT AND GPL-3.0", &allowed));
    assert!(!permitted("none", &allowed));
}
