//! Where a server waits for clients, and what it does with their writes.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The port that IANA gave to NBD.
pub const PORT: u16 = 10809;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    Tcp(SocketAddr),
    /// A socket that is made in the filesystem, for its owner alone.
    Unix(PathBuf),
}

impl Default for Listen {
    /// This machine alone.
    fn default() -> Listen {
        Listen::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => address.fmt(f),
            Listen::Unix(path) => path.display().fmt(f),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Writes {
    Refused,
    /// Into a layer that is gone when the server ends.
    ThrownAway,
}
