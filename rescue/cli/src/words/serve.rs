//! The words of `rescue serve` and `rescue mount`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use engine::request::{Action, Listen, Options, Place, Request, Writes};

use super::Output;

#[derive(Args, Debug)]
pub struct ServeWords {
    pub image: Place,
    /// Address and port to wait at; port 0 is any free one [default: 127.0.0.1:10809]
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "socket")]
    listen: Option<SocketAddr>,
    /// Waits at a socket in the filesystem instead, which is made and removed again
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Lets clients write, into a throw-away layer: the image stays as it is
    #[arg(long)]
    overlay: bool,
    #[command(flatten)]
    pub output: Output,
}

impl ServeWords {
    pub fn request(&self) -> Request {
        let listen = match (&self.socket, self.listen) {
            (Some(path), _) => Listen::Unix(path.clone()),
            (None, Some(address)) => Listen::Tcp(address),
            (None, None) => Listen::default(),
        };
        Request {
            action: Action::Serve {
                image: self.image.clone(),
                listen,
                writes: match self.overlay {
                    true => Writes::ThrownAway,
                    false => Writes::Refused,
                },
            },
            options: Options::default(),
        }
    }
}

#[derive(Args, Debug)]
pub struct MountWords {
    pub image: Place,
    /// An empty directory
    directory: PathBuf,
    #[command(flatten)]
    pub output: Output,
}

impl MountWords {
    pub fn request(&self) -> Request {
        Request {
            action: Action::Mount {
                image: self.image.clone(),
                directory: self.directory.clone(),
            },
            options: Options::default(),
        }
    }
}
