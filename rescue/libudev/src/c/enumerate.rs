//! `struct udev_enumerate`.

use std::cell::RefCell;
use std::ffi::OsString;
use std::path::Path;
use std::ptr;

use libc::{EINVAL, c_char, c_int};

use crate::c::context::{self, Context};
use crate::c::counted::{self, Count, Counted};
use crate::c::device::Handle;
use crate::c::list::{Entry, List};
use crate::c::text::{self, set_errno};
use crate::enumerate::{Readiness, Search};

#[derive(Debug)]
pub struct Enumerate {
    count: Count,
    udev: *mut Context,
    search: RefCell<Search>,
    found: RefCell<List>,
}

impl Counted for Enumerate {
    fn count(&self) -> &Count {
        &self.count
    }
}

impl Drop for Enumerate {
    fn drop(&mut self) {
        // SAFETY: the reference was taken for this object alone.
        unsafe { counted::drop(self.udev) };
    }
}

/// Adds a condition; 0 or a negative errno.
///
/// # Safety
/// `enumerate` is NULL or live, each text NULL or NUL-terminated.
unsafe fn add(
    enumerate: *mut Enumerate,
    name: *const c_char,
    value: *const c_char,
    to: impl FnOnce(&mut Search, OsString, Option<OsString>),
) -> c_int {
    // SAFETY: the caller's promise.
    let (enumerate, name, value) = unsafe {
        (
            enumerate.as_ref(),
            text::borrowed(name),
            text::borrowed(value),
        )
    };
    let Some(enumerate) = enumerate else {
        return -EINVAL;
    };
    // A condition without a name is none: libudev takes it and changes nothing.
    if let Some(name) = name {
        to(
            &mut enumerate.search.borrow_mut(),
            name.to_owned(),
            value.map(ToOwned::to_owned),
        );
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_enumerate_new(udev: *mut Context) -> *mut Enumerate {
    counted::give(Enumerate {
        count: Count::default(),
        // SAFETY: C callers pass NULL or a live context.
        udev: unsafe { counted::take(udev) },
        // SAFETY: as above.
        search: RefCell::new(Search::new(&unsafe { context::root_of(udev) })),
        found: RefCell::default(),
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_enumerate_ref(enumerate: *mut Enumerate) -> *mut Enumerate {
    // SAFETY: C callers pass NULL or a live object of theirs.
    unsafe { counted::take(enumerate) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_enumerate_unref(enumerate: *mut Enumerate) -> *mut Enumerate {
    // SAFETY: C callers pass NULL or a reference of theirs.
    unsafe { counted::drop(enumerate) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_enumerate_get_udev(enumerate: *mut Enumerate) -> *mut Context {
    // SAFETY: C callers pass NULL or a live object.
    unsafe { enumerate.as_ref() }.map_or(ptr::null_mut(), |e| e.udev)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_enumerate_add_match_subsystem(
    e: *mut Enumerate,
    name: *const c_char,
) -> c_int {
    // SAFETY: C callers pass NULL or a live object and NUL-terminated text.
    unsafe { add(e, name, ptr::null(), |s, name, _| s.subsystems.push(name)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_enumerate_add_nomatch_subsystem(
    e: *mut Enumerate,
    name: *const c_char,
) -> c_int {
    // SAFETY: C callers pass NULL or a live object and NUL-terminated text.
    unsafe {
        add(e, name, ptr::null(), |s, name, _| {
            s.other_subsystems.push(name)
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_enumerate_add_match_sysattr(
    e: *mut Enumerate,
    name: *const c_char,
    value: *const c_char,
) -> c_int {
    // SAFETY: C callers pass NULL or a live object and NUL-terminated text.
    unsafe {
        add(e, name, value, |s, name, value| {
            s.attributes.push((name, value))
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_enumerate_add_nomatch_sysattr(
    e: *mut Enumerate,
    name: *const c_char,
    value: *const c_char,
) -> c_int {
    // SAFETY: C callers pass NULL or a live object and NUL-terminated text.
    unsafe {
        add(e, name, value, |s, name, value| {
            s.other_attributes.push((name, value))
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_enumerate_add_match_property(
    e: *mut Enumerate,
    name: *const c_char,
    value: *const c_char,
) -> c_int {
    // SAFETY: C callers pass NULL or a live object and NUL-terminated text.
    unsafe {
        add(e, name, value, |s, name, value| {
            s.properties.push((name, value))
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_enumerate_add_match_tag(e: *mut Enumerate, tag: *const c_char) -> c_int {
    // SAFETY: C callers pass NULL or a live object and NUL-terminated text.
    unsafe { add(e, tag, ptr::null(), |s, tag, _| s.tags.push(tag)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_enumerate_add_match_sysname(
    e: *mut Enumerate,
    name: *const c_char,
) -> c_int {
    // SAFETY: C callers pass NULL or a live object and NUL-terminated text.
    unsafe { add(e, name, ptr::null(), |s, name, _| s.sysnames.push(name)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_enumerate_add_match_parent(
    e: *mut Enumerate,
    parent: *mut Handle,
) -> c_int {
    // SAFETY: C callers pass NULL or live objects.
    let (enumerate, parent) = unsafe { (e.as_ref(), parent.as_ref()) };
    let Some(enumerate) = enumerate else {
        return -EINVAL;
    };
    if let Some(parent) = parent {
        enumerate.search.borrow_mut().parent = Some(parent.device.clone());
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_enumerate_add_match_is_initialized(e: *mut Enumerate) -> c_int {
    // SAFETY: C callers pass NULL or a live object.
    let Some(enumerate) = (unsafe { e.as_ref() }) else {
        return -EINVAL;
    };
    enumerate.search.borrow_mut().readiness = Readiness::Initialized;
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_enumerate_add_syspath(
    e: *mut Enumerate,
    syspath: *const c_char,
) -> c_int {
    // SAFETY: C callers pass NULL or a live object and NUL-terminated text.
    let (enumerate, syspath) = unsafe { (e.as_ref(), text::borrowed(syspath)) };
    match (enumerate, syspath) {
        (Some(e), Some(syspath)) => match e.search.borrow_mut().add(Path::new(syspath)) {
            Ok(()) => 0,
            Err(errno) => -errno,
        },
        (Some(_), None) => 0,
        (None, _) => -EINVAL,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_enumerate_scan_devices(e: *mut Enumerate) -> c_int {
    // SAFETY: C callers pass NULL or a live object.
    let Some(enumerate) = (unsafe { e.as_ref() }) else {
        return -EINVAL;
    };
    enumerate.search.borrow_mut().scan_devices();
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_enumerate_scan_subsystems(e: *mut Enumerate) -> c_int {
    // SAFETY: C callers pass NULL or a live object.
    let Some(enumerate) = (unsafe { e.as_ref() }) else {
        return -EINVAL;
    };
    enumerate.search.borrow_mut().scan_subsystems();
    0
}

/// Lives until it is asked for again or the object goes.
#[unsafe(no_mangle)]
unsafe extern "C" fn udev_enumerate_get_list_entry(e: *mut Enumerate) -> *mut Entry {
    // SAFETY: C callers pass NULL or a live object.
    let Some(enumerate) = (unsafe { e.as_ref() }) else {
        set_errno(EINVAL);
        return ptr::null_mut();
    };
    let list = List::of_names(enumerate.search.borrow().found().map(Path::as_os_str));
    let first = list.first();
    enumerate.found.replace(list);
    first
}
