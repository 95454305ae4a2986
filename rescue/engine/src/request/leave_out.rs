//! What of a disk's files a new image is not to have.

use std::fmt;
use std::str::FromStr;

use super::glob::Glob;

/// One of the words after `--leave-out`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeaveOut {
    /// Every set.
    All,
    Set(Set),
    Glob(Glob),
}

/// A set of rules that the program brings along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Set {
    Swap,
    Temp,
    Caches,
    Trash,
}

impl Set {
    pub const ALL: [Set; 4] = [Set::Swap, Set::Temp, Set::Caches, Set::Trash];

    pub fn name(self) -> &'static str {
        match self {
            Set::Swap => "swap",
            Set::Temp => "temp",
            Set::Caches => "caches",
            Set::Trash => "trash",
        }
    }
}

impl FromStr for LeaveOut {
    type Err = String;

    /// A word without any sign of a pattern is the name of a set, so that a slip of the pen leaves out nothing.
    fn from_str(text: &str) -> Result<LeaveOut, String> {
        if matches!(text, "all" | "smart") {
            return Ok(LeaveOut::All);
        }
        if let Some(set) = Set::ALL.into_iter().find(|set| set.name() == text) {
            return Ok(LeaveOut::Set(set));
        }
        if !text.contains(['*', '?', '/', '.']) {
            return Err(format!(
                "there is no set '{text}'; the sets are swap, temp, caches, trash and all; for files of that name write '**/{text}'"
            ));
        }
        text.parse().map(LeaveOut::Glob)
    }
}

impl fmt::Display for LeaveOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeaveOut::All => f.write_str("all"),
            LeaveOut::Set(set) => f.write_str(set.name()),
            LeaveOut::Glob(glob) => glob.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_set_or_a_glob_and_a_slip_of_the_pen_is_neither() {
        let parse = LeaveOut::from_str;
        assert_eq!(parse("smart"), Ok(LeaveOut::All));
        assert_eq!(parse("swap"), Ok(LeaveOut::Set(Set::Swap)));
        for glob in ["*.iso", "home/*/Downloads", "/tmp", "**/swap", "big.img"] {
            assert_eq!(parse(glob).unwrap().to_string(), glob);
        }
        assert!(parse("cahces").unwrap_err().contains("**/cahces"));
    }
}
