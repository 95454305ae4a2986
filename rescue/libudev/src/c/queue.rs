//! `struct udev_queue`: udevd's queue of events, which is empty without it.

use std::ptr;

use libc::{EINVAL, ENOENT, c_int};

use crate::c::context::Context;
use crate::c::counted::{self, Count, Counted};

#[derive(Debug)]
pub struct Queue {
    count: Count,
    udev: *mut Context,
}

impl Counted for Queue {
    fn count(&self) -> &Count {
        &self.count
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the reference was taken for this object alone.
        unsafe { counted::drop(self.udev) };
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_queue_new(udev: *mut Context) -> *mut Queue {
    counted::give(Queue {
        count: Count::default(),
        // SAFETY: C callers pass NULL or a live context.
        udev: unsafe { counted::take(udev) },
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_queue_ref(queue: *mut Queue) -> *mut Queue {
    // SAFETY: C callers pass NULL or a live object of theirs.
    unsafe { counted::take(queue) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_queue_unref(queue: *mut Queue) -> *mut Queue {
    // SAFETY: C callers pass NULL or a reference of theirs.
    unsafe { counted::drop(queue) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_queue_get_udev(queue: *mut Queue) -> *mut Context {
    // SAFETY: C callers pass NULL or a live object.
    unsafe { queue.as_ref() }.map_or(ptr::null_mut(), |q| q.udev)
}

#[unsafe(no_mangle)]
extern "C" fn udev_queue_get_udev_is_active(_queue: *mut Queue) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn udev_queue_get_queue_is_empty(_queue: *mut Queue) -> c_int {
    1
}

#[unsafe(no_mangle)]
extern "C" fn udev_queue_get_fd(queue: *mut Queue) -> c_int {
    if queue.is_null() { -EINVAL } else { -ENOENT }
}

#[unsafe(no_mangle)]
extern "C" fn udev_queue_flush(queue: *mut Queue) -> c_int {
    if queue.is_null() { -EINVAL } else { 0 }
}
