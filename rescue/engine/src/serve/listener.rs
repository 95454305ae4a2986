//! Where clients come in.

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};

use super::line::{Line, Stream};
use crate::request::Listen;

/// A client has so long from the connection to its first request.
const GREETING: Duration = Duration::from_secs(20);
const WAITING: i32 = 16;

#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener, SocketAddr),
    /// Removed when it is dropped.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// A socket in the filesystem is for its owner alone.
    pub fn open(at: &Listen) -> Result<Listener, String> {
        let opened = match at {
            Listen::Tcp(address) => tcp(*address),
            Listen::Unix(path) => unix(path.clone()),
        };
        opened.map_err(|error| {
            format!("{at} cannot be listened at: {error}; name another address or socket")
        })
    }

    /// What a client is given to connect to.
    pub fn url(&self) -> String {
        match self {
            Listener::Tcp(_, address) => format!("nbd://{address}"),
            Listener::Unix(_, path) => format!("nbd+unix:///?socket={}", path.display()),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener, _) => listener.as_fd(),
            Listener::Unix(listener, _) => listener.as_fd(),
        }
    }

    /// The next client, if one comes in time.
    pub fn next(&self, wait: Duration) -> Option<Line> {
        let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
        let mut fds = [PollFd::new(self.fd(), PollFlags::POLLIN)];
        if poll(&mut fds, wait).is_ok_and(|ready| ready == 0) {
            return None;
        }
        let stream = match self {
            Listener::Tcp(listener, _) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
            Listener::Unix(listener, _) => {
                listener.accept().map(|(stream, _)| Stream::Unix(stream))
            }
        };
        match stream.and_then(|stream| Line::new(stream, GREETING)) {
            Ok(line) => Some(line),
            Err(error) => {
                // Out of descriptors, say: the next round comes at once otherwise.
                if error.kind() != io::ErrorKind::WouldBlock {
                    std::thread::sleep(Duration::from_millis(50));
                }
                None
            }
        }
    }
}

fn tcp(address: SocketAddr) -> io::Result<Listener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok(Listener::Tcp(listener, address))
}

/// Nobody can connect before the permissions are set.
fn unix(path: PathBuf) -> io::Result<Listener> {
    let fd = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    bind(&fd, &SocketAddrUnix::new(&path)?)?;
    let path = path.canonicalize().unwrap_or(path);
    let ready = fs::set_permissions(&path, Permissions::from_mode(0o600))
        .and_then(|()| listen(&fd, WAITING).map_err(io::Error::from));
    let listener = Listener::Unix(UnixListener::from(fd), path);
    ready?;
    if let Listener::Unix(listener, _) = &listener {
        listener.set_nonblocking(true)?;
    }
    Ok(listener)
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = self {
            // It is of no use to anybody.
            let _ = fs::remove_file(path);
        }
    }
}
