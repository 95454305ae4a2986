//! Why a test failed, in a sentence.

use std::fmt::Display;

#[derive(Debug)]
pub struct Failure(String);

pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says what was being done when something of the host failed.
pub trait Doing<T> {
    /// # Errors
    /// The same error, with `what` before it.
    fn doing(self, what: impl Display) -> Outcome<T>;
}

impl<T, E: Display> Doing<T> for Result<T, E> {
    fn doing(self, what: impl Display) -> Outcome<T> {
        self.map_err(|error| Failure(format!("{what}: {error}")))
    }
}

/// # Errors
/// `sentence`, unless `condition` holds.
pub fn ensure(condition: bool, sentence: impl FnOnce() -> String) -> Outcome {
    if condition {
        return Ok(());
    }
    Err(Failure(sentence()))
}
