//! Chooses the kernel modules of the image: reads a list of wanted modules and prints the paths of
//! everything they can ever need, as depmod's tables of the whole kernel say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use init::index::{Index, name_of};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, list] = args.as_slice() else {
        eprintln!(
            "modset FOLDER LIST: FOLDER holds modules.dep of a whole kernel, LIST the names wanted"
        );
        return ExitCode::from(64);
    };
    match choose(Path::new(folder), Path::new(list)) {
        Ok(paths) => {
            println!("{}", paths.join("\n"));
            ExitCode::SUCCESS
        }
        Err(sentence) => {
            eprintln!("modset: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn choose(folder: &Path, list: &Path) -> Result<Vec<String>, String> {
    let unreadable = |path: &Path, error| format!("{} cannot be read: {error}", path.display());
    let index = Index::read(folder).map_err(|error| unreadable(folder, error))?;
    let wanted = fs::read_to_string(list).map_err(|error| unreadable(list, error))?;
    let builtin = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
    let builtin: BTreeSet<String> = builtin.lines().map(name_of).collect();
    let words: Vec<&str> = wanted
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(str::split_whitespace)
        .collect();
    let (modules, unknown) = index.closure(&words);
    let missing: Vec<&str> = unknown
        .into_iter()
        .filter(|name| !builtin.contains(&name_of(name)))
        .collect();
    if !missing.is_empty() {
        return Err(format!(
            "this kernel has no module {}; correct {}",
            missing.join(", "),
            list.display()
        ));
    }
    Ok(modules
        .into_iter()
        .map(|module| module.path.clone())
        .collect())
}
