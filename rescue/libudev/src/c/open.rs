//! The ways to a `struct udev_device`: by path, number, name, id, and from the environment of a program that udev
//! started.

use std::path::Path;

use libc::{EINVAL, c_char, dev_t};

use crate::c::context::{self, Context};
use crate::c::device::Handle;
use crate::c::text::{self, failed};
use crate::device::{Device, Errno};

/// # Safety
/// `udev` is NULL or a live context.
unsafe fn give_or_fail(udev: *mut Context, found: Result<Device, Errno>) -> *mut Handle {
    match found {
        // SAFETY: the caller's promise.
        Ok(device) => unsafe { Handle::give(udev, device) },
        Err(errno) => failed(errno),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_new_from_syspath(
    udev: *mut Context,
    syspath: *const c_char,
) -> *mut Handle {
    // SAFETY: C callers pass NULL or live objects and NUL-terminated text.
    unsafe {
        let Some(syspath) = text::borrowed(syspath) else {
            return failed(EINVAL);
        };
        give_or_fail(
            udev,
            Device::from_syspath(&context::root_of(udev), Path::new(syspath)),
        )
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_new_from_devnum(
    udev: *mut Context,
    kind: c_char,
    devnum: dev_t,
) -> *mut Handle {
    // SAFETY: C callers pass NULL or a live context.
    unsafe {
        let root = context::root_of(udev);
        give_or_fail(
            udev,
            Device::from_devnum(&root, kind.to_ne_bytes()[0], devnum),
        )
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_new_from_subsystem_sysname(
    udev: *mut Context,
    subsystem: *const c_char,
    sysname: *const c_char,
) -> *mut Handle {
    // SAFETY: C callers pass NULL or live objects and NUL-terminated text.
    unsafe {
        let (Some(subsystem), Some(sysname)) = (text::borrowed(subsystem), text::borrowed(sysname))
        else {
            return failed(EINVAL);
        };
        give_or_fail(
            udev,
            Device::from_name(&context::root_of(udev), subsystem, sysname),
        )
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_new_from_device_id(
    udev: *mut Context,
    id: *const c_char,
) -> *mut Handle {
    // SAFETY: C callers pass NULL or live objects and NUL-terminated text.
    unsafe {
        let Some(id) = text::borrowed(id) else {
            return failed(EINVAL);
        };
        give_or_fail(udev, Device::from_id(&context::root_of(udev), id))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_new_from_environment(udev: *mut Context) -> *mut Handle {
    // SAFETY: C callers pass NULL or a live context.
    unsafe {
        let root = context::root_of(udev);
        give_or_fail(
            udev,
            Device::from_event(&root, std::env::vars_os().collect()),
        )
    }
}
