//! How the program ends: the codes that scripts count on.

/// See `rescue --help`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    Done,
    Fault,
    Damage,
    Refused,
    Cancelled,
    BadWords,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Fault => 1,
            Exit::Damage => 2,
            Exit::Refused => 3,
            Exit::Cancelled => 4,
            Exit::BadWords => 64,
        }
    }
}
