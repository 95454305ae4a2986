//! `struct udev_monitor`: a netlink socket on the kernel's own events.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::ptr;

use libc::{EAGAIN, EBADF, EINTR, EINVAL, c_char, c_int};

use crate::c::context::{self, Context};
use crate::c::counted::{self, Count, Counted};
use crate::c::device::Handle;
use crate::c::text::{self, failed};
use crate::device::{Device, Errno};
use crate::event;

/// The netlink group that the kernel sends to; 2 is udevd's.
const KERNEL_GROUP: u32 = 1;

/// The kernel's own buffer for an event (`UEVENT_BUFFER_SIZE`) and its head line.
const MESSAGE_LIMIT: usize = 8192;

#[derive(Debug)]
pub struct Monitor {
    count: Count,
    udev: *mut Context,
    root: PathBuf,
    socket: OwnedFd,
    groups: u32,
    filters: RefCell<Vec<Filter>>,
}

/// A subsystem and, where it matters, a type of device.
type Filter = (OsString, Option<OsString>);

impl Counted for Monitor {
    fn count(&self) -> &Count {
        &self.count
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // SAFETY: the reference was taken for this object alone.
        unsafe { counted::drop(self.udev) };
    }
}

impl Monitor {
    /// The next event that the filters let through; `EAGAIN` when there is none.
    fn receive(&self) -> Result<Device, Errno> {
        loop {
            let mut buffer = [0; MESSAGE_LIMIT];
            let message = receive_from_kernel(&self.socket, &mut buffer)?;
            let Some(properties) = message.and_then(event::parse) else {
                continue;
            };
            match Device::from_event(&self.root, properties) {
                Ok(device) if self.wants(&device) => return Ok(device),
                _ => {}
            }
        }
    }

    fn wants(&self, device: &Device) -> bool {
        let filters = self.filters.borrow();
        let subsystem = device.subsystem().unwrap_or_default();
        let devtype = device.property("DEVTYPE");
        filters.is_empty()
            || filters.iter().any(|(s, t)| {
                *s == subsystem && t.as_ref().is_none_or(|t| devtype.as_ref() == Some(t))
            })
    }
}

/// One datagram; `None` when somebody else than the kernel sent it, or when it was cut.
fn receive_from_kernel<'b>(
    socket: &OwnedFd,
    buffer: &'b mut [u8],
) -> Result<Option<&'b [u8]>, Errno> {
    // SAFETY: all-zero bytes are a valid `sockaddr_nl`, `iovec` and `msghdr`.
    let (mut sender, mut header): (libc::sockaddr_nl, libc::msghdr) =
        unsafe { (zeroed(), zeroed()) };
    let mut piece = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    header.msg_name = (&raw mut sender).cast();
    header.msg_namelen = length_of::<libc::sockaddr_nl>();
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    let received = loop {
        // SAFETY: `header` points at `sender` and at `buffer` with their true lengths; all live here.
        let n = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
        match usize::try_from(n) {
            Ok(n) => break n,
            Err(_) => match last_errno() {
                EINTR => {}
                errno => return Err(errno),
            },
        }
    };
    // Any program may send to this family; only the kernel has port 0.
    let from_kernel = sender.nl_pid == 0 && sender.nl_groups == KERNEL_GROUP;
    let whole = header.msg_flags & libc::MSG_TRUNC == 0;
    Ok((from_kernel && whole).then(|| &buffer[..received.min(buffer.len())]))
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("a struct of the C library is small")
}

fn last_errno() -> Errno {
    io::Error::last_os_error().raw_os_error().unwrap_or(EINVAL)
}

fn open_socket() -> Result<OwnedFd, Errno> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain numbers.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_KOBJECT_UEVENT) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `kernel` hears the kernel, `udev` would hear udevd and hears nothing here.
#[unsafe(no_mangle)]
unsafe extern "C" fn udev_monitor_new_from_netlink(
    udev: *mut Context,
    name: *const c_char,
) -> *mut Monitor {
    // SAFETY: C callers pass NULL or NUL-terminated text.
    let groups = match unsafe { text::borrowed(name) } {
        Some(name) if name == "kernel" => KERNEL_GROUP,
        Some(name) if name != "udev" => return failed(EINVAL),
        _ => 0,
    };
    match open_socket() {
        Ok(socket) => counted::give(Monitor {
            count: Count::default(),
            // SAFETY: C callers pass NULL or a live context.
            udev: unsafe { counted::take(udev) },
            // SAFETY: as above.
            root: unsafe { context::root_of(udev) },
            socket,
            groups,
            filters: RefCell::default(),
        }),
        Err(errno) => failed(errno),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_monitor_ref(monitor: *mut Monitor) -> *mut Monitor {
    // SAFETY: C callers pass NULL or a live object of theirs.
    unsafe { counted::take(monitor) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_monitor_unref(monitor: *mut Monitor) -> *mut Monitor {
    // SAFETY: C callers pass NULL or a reference of theirs.
    unsafe { counted::drop(monitor) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_monitor_get_udev(monitor: *mut Monitor) -> *mut Context {
    // SAFETY: C callers pass NULL or a live object.
    unsafe { monitor.as_ref() }.map_or(ptr::null_mut(), |m| m.udev)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_monitor_enable_receiving(monitor: *mut Monitor) -> c_int {
    // SAFETY: C callers pass NULL or a live object.
    let Some(monitor) = (unsafe { monitor.as_ref() }) else {
        return -EINVAL;
    };
    // SAFETY: all-zero bytes are a valid `sockaddr_nl`.
    let mut address: libc::sockaddr_nl = unsafe { zeroed() };
    address.nl_family = libc::sa_family_t::try_from(libc::AF_NETLINK).expect("a small number");
    address.nl_groups = monitor.groups;
    let fd = monitor.socket.as_raw_fd();
    // SAFETY: `address` is a `sockaddr_nl` of the length that is given.
    let bound = unsafe {
        libc::bind(
            fd,
            (&raw const address).cast(),
            length_of::<libc::sockaddr_nl>(),
        )
    };
    if bound < 0 { -last_errno() } else { 0 }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_monitor_set_receive_buffer_size(
    monitor: *mut Monitor,
    size: c_int,
) -> c_int {
    // SAFETY: C callers pass NULL or a live object.
    let Some(monitor) = (unsafe { monitor.as_ref() }) else {
        return -EINVAL;
    };
    let set = |option| {
        let fd = monitor.socket.as_raw_fd();
        // SAFETY: the option takes one int, which lives until the call returns.
        unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_SOCKET,
                option,
                (&raw const size).cast(),
                length_of::<c_int>(),
            )
        }
    };
    // Above the system's limit needs CAP_NET_ADMIN; without it as much as is allowed.
    if set(libc::SO_RCVBUFFORCE) < 0 && set(libc::SO_RCVBUF) < 0 {
        return -last_errno();
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_monitor_get_fd(monitor: *mut Monitor) -> c_int {
    // SAFETY: C callers pass NULL or a live object.
    unsafe { monitor.as_ref() }.map_or(-EBADF, |m| m.socket.as_raw_fd())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_monitor_receive_device(monitor: *mut Monitor) -> *mut Handle {
    // SAFETY: C callers pass NULL or a live object.
    let Some(monitor) = (unsafe { monitor.as_ref() }) else {
        return failed(EINVAL);
    };
    match monitor.receive() {
        // SAFETY: the monitor holds a reference to its context.
        Ok(device) => unsafe { Handle::give(monitor.udev, device) },
        Err(errno) => failed(if errno == 0 { EAGAIN } else { errno }),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_monitor_filter_add_match_subsystem_devtype(
    monitor: *mut Monitor,
    subsystem: *const c_char,
    devtype: *const c_char,
) -> c_int {
    // SAFETY: C callers pass NULL or a live object and NUL-terminated text.
    let (monitor, subsystem, devtype) = unsafe {
        (
            monitor.as_ref(),
            text::borrowed(subsystem),
            text::borrowed(devtype),
        )
    };
    let (Some(monitor), Some(subsystem)) = (monitor, subsystem) else {
        return -EINVAL;
    };
    let filter = (subsystem.to_owned(), devtype.map(OsStr::to_owned));
    monitor.filters.borrow_mut().push(filter);
    0
}

/// No event of the kernel has a tag: with this filter nothing is heard, and that would not be noticed.
#[unsafe(no_mangle)]
extern "C" fn udev_monitor_filter_add_match_tag(
    _monitor: *mut Monitor,
    _tag: *const c_char,
) -> c_int {
    -libc::ENOSYS
}

/// Filters hold from the moment they are added.
#[unsafe(no_mangle)]
extern "C" fn udev_monitor_filter_update(monitor: *mut Monitor) -> c_int {
    if monitor.is_null() { -EINVAL } else { 0 }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_monitor_filter_remove(monitor: *mut Monitor) -> c_int {
    // SAFETY: C callers pass NULL or a live object.
    let Some(monitor) = (unsafe { monitor.as_ref() }) else {
        return -EINVAL;
    };
    monitor.filters.borrow_mut().clear();
    0
}
