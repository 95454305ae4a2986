//! Patterns of paths: `*` and `?` inside a name, `**` for any folders.

use std::fmt;
use std::str::FromStr;

/// Longest pattern that is taken.
const LIMIT: usize = 4096;

/// A path from the root of a filesystem. One that names a folder means all that is in it; one without `/` is a name
/// anywhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Glob {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    /// `**`: any number of folders, none too.
    Folders,
    Name(Vec<char>),
}

impl Glob {
    /// For paths in lower case.
    pub fn folded(&self) -> Glob {
        let parts = self.parts.iter().map(|part| match part {
            Part::Folders => Part::Folders,
            Part::Name(name) => {
                Part::Name(fold(&name.iter().collect::<String>()).chars().collect())
            }
        });
        Glob {
            text: self.text.clone(),
            parts: parts.collect(),
        }
    }

    /// Whether the path, as its names, or a folder on it is meant. Takes time by the product of the lengths at most.
    pub fn matches(&self, path: &[&str]) -> bool {
        let (mut part, mut at) = (0, 0);
        // Where the last `**` may take one name more.
        let mut again = None;
        loop {
            match (self.parts.get(part), path.get(at)) {
                (None, _) => return true,
                (Some(Part::Folders), name) => {
                    if part + 1 == self.parts.len() {
                        return name.is_some();
                    }
                    part += 1;
                    again = Some((part, at));
                }
                (Some(Part::Name(wanted)), Some(name)) if is_name(wanted, name) => {
                    (part, at) = (part + 1, at + 1);
                }
                _ => match again {
                    Some((after, from)) if from < path.len() => {
                        again = Some((after, from + 1));
                        (part, at) = (after, from + 1);
                    }
                    _ => return false,
                },
            }
        }
    }
}

/// As filesystems that ignore case compare names, nearly.
pub fn fold(name: &str) -> String {
    name.to_lowercase()
}

fn is_name(wanted: &[char], name: &str) -> bool {
    let mut rest = name.chars();
    let mut at = 0;
    let mut again: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        let before = rest.clone();
        match (wanted.get(at), rest.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                at += 1;
                rest = before.clone();
                again = Some((at, before));
            }
            (Some('?'), Some(_)) => at += 1,
            (Some(wanted), Some(found)) if *wanted == found => at += 1,
            // One character more for the last `*`.
            _ => {
                let Some((after, from)) = &mut again else {
                    return false;
                };
                if from.next().is_none() {
                    return false;
                }
                at = *after;
                rest = from.clone();
            }
        }
    }
}

impl FromStr for Glob {
    type Err = String;

    fn from_str(text: &str) -> Result<Glob, String> {
        if text.len() > LIMIT {
            return Err("the pattern is longer than 4096 bytes; write a shorter one".into());
        }
        let anywhere = !text.contains('/');
        let inner = text.strip_prefix('/').unwrap_or(text);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let mut parts = Vec::new();
        if anywhere {
            parts.push(Part::Folders);
        }
        for name in inner.split('/') {
            match name {
                "" | "." | ".." => {
                    return Err(format!(
                        "'{text}' is no path from the root of a filesystem; write 'home/*/Downloads' or '*.iso'"
                    ));
                }
                "**" if parts.last() == Some(&Part::Folders) => {}
                "**" => parts.push(Part::Folders),
                name => parts.push(Part::Name(name.chars().collect())),
            }
        }
        let text = text.to_owned();
        Ok(Glob { text, parts })
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn matches(glob: &str, path: &str) -> bool {
        let names: Vec<&str> = path.split('/').collect();
        glob.parse::<Glob>().unwrap().matches(&names)
    }

    #[test]
    fn a_glob_means_files_and_whole_folders() {
        for (glob, path) in [
            ("pagefile.sys", "pagefile.sys"),
            ("*.iso", "home/ada/x.iso"),
            ("/tmp", "tmp/a/b"),
            ("tmp/**", "tmp/a/b"),
            ("home/*/Downloads", "home/ada/Downloads/a.zip"),
            ("**/cache/*.db", "a/b/cache/x.db"),
            ("**/cache/*.db", "cache/x.db"),
            ("a/**/b/**/c?e", "a/b/b/x/b/cde"),
            ("a*b*c", "axbxbc"),
            ("*", "anything"),
            ("ü*", "übung"),
        ] {
            assert!(matches(glob, path), "{glob} {path}");
        }
        for (glob, path) in [
            ("/pagefile.sys", "a/pagefile.sys"),
            ("tmp/**", "tmp"),
            ("tmp/**", "var/tmp/a"),
            ("home/*/Downloads", "home/ada/x/Downloads/a"),
            ("a/b", "a"),
            ("a/**/b", "a/c/d"),
            ("*.iso", "x.isox"),
            ("?", "ab"),
            ("Tmp/**", "tmp/a"),
        ] {
            assert!(!matches(glob, path), "{glob} {path}");
        }
        let folded = "Users/*/AppData".parse::<Glob>().unwrap().folded();
        assert!(folded.matches(&["users", "ada", "appdata", "x"]));
    }

    #[test]
    fn a_hostile_glob_and_a_hostile_path_take_no_time() {
        let glob = format!("{}b", "*a".repeat(1000));
        let path = vec!["a".repeat(255); 64].join("/");
        let folders = format!("{}b", "**/a*/".repeat(300));
        let begun = Instant::now();
        assert!(!matches(&glob, &path) && !matches(&folders, &path));
        assert!(begun.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["", "/", "a//b", "../a", "a/./b", &"x".repeat(5000)] {
            assert!(text.parse::<Glob>().is_err(), "{text}");
        }
    }
}
