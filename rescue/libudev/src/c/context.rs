//! `struct udev`: where to look.

use std::path::PathBuf;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::c_void;

use crate::c::counted::{self, Count, Counted};
use crate::root;

#[derive(Debug)]
pub struct Context {
    count: Count,
    pub root: PathBuf,
    userdata: AtomicPtr<c_void>,
}

impl Counted for Context {
    fn count(&self) -> &Count {
        &self.count
    }
}

/// The root of a context; NULL is the usual one.
///
/// # Safety
/// `udev` is NULL or a live context.
pub unsafe fn root_of(udev: *mut Context) -> PathBuf {
    // SAFETY: the caller's promise.
    match unsafe { udev.as_ref() } {
        Some(context) => context.root.clone(),
        None => root::current(),
    }
}

#[unsafe(no_mangle)]
extern "C" fn udev_new() -> *mut Context {
    counted::give(Context {
        count: Count::default(),
        root: root::current(),
        userdata: AtomicPtr::default(),
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_ref(udev: *mut Context) -> *mut Context {
    // SAFETY: C callers pass NULL or a live object of theirs.
    unsafe { counted::take(udev) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_unref(udev: *mut Context) -> *mut Context {
    // SAFETY: C callers pass NULL or a reference of theirs.
    unsafe { counted::drop(udev) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_set_userdata(udev: *mut Context, userdata: *mut c_void) {
    // SAFETY: C callers pass NULL or a live object.
    if let Some(context) = unsafe { udev.as_ref() } {
        context.userdata.store(userdata, Ordering::Relaxed);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_get_userdata(udev: *mut Context) -> *mut c_void {
    // SAFETY: C callers pass NULL or a live object.
    match unsafe { udev.as_ref() } {
        Some(context) => context.userdata.load(Ordering::Relaxed),
        None => std::ptr::null_mut(),
    }
}
