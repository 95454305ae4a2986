//! A report as a file: beside the image where that is a directory, else where this system keeps such things.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use engine::report::Report;

use crate::world::Home;

/// Tried until a name is free.
const MOST: u32 = 10_000;

/// The path it was saved as, durably; or a sentence.
pub fn save(report: &Report, beside: Option<&Path>) -> Result<PathBuf, String> {
    let dir = match beside {
        Some(dir) => dir.to_owned(),
        None => usual()?,
    };
    let text = serde_json::to_string_pretty(report).expect("a report has only names that are text");
    let (path, mut file) = free(&dir).map_err(|e| trouble(&dir, &e))?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all());
    written.map_err(|e| trouble(&path, &e))?;
    Ok(path)
}

fn trouble(path: &Path, error: &io::Error) -> String {
    format!(
        "{} cannot be written: {error}; the report stays on the screen",
        path.display()
    )
}

fn usual() -> Result<PathBuf, String> {
    if Home::here() == Home::System {
        return std::env::current_dir()
            .map_err(|e| format!("the directory this program was started in is gone: {e}"));
    }
    let dir = Path::new("/run/rescue/reports").to_owned();
    std::fs::create_dir_all(&dir).map_err(|e| trouble(&dir, &e))?;
    Ok(dir)
}

/// Never writes over an earlier report.
fn free(dir: &Path) -> io::Result<(PathBuf, File)> {
    for n in 1..MOST {
        let path = dir.join(format!("rescue-report-{n}.json"));
        match File::create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("it is full of reports"))
}
