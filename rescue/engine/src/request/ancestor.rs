//! To which image a new one leaves what is the same.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Ancestor {
    /// It is a full image.
    #[default]
    None,
    /// The newest finished image of the same disk in the same store; a full image where there is none.
    Newest,
    /// The image of this name in the same store.
    Named(String),
}

impl FromStr for Ancestor {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Ancestor, Infallible> {
        Ok(match text {
            "none" => Ancestor::None,
            "auto" => Ancestor::Newest,
            name => Ancestor::Named(name.to_owned()),
        })
    }
}

impl fmt::Display for Ancestor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ancestor::None => "none",
            Ancestor::Newest => "auto",
            Ancestor::Named(name) => name,
        })
    }
}
