//! Images of other programs, read and written, judged by the tools of these programs.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod clonezilla;
mod first;
mod hostile;
mod made;
mod piped;
mod reading;
mod writing;
