//! Objects that C code holds by counted references.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Begins with one reference.
#[derive(Debug)]
pub struct Count(AtomicUsize);

impl Default for Count {
    fn default() -> Count {
        Count(AtomicUsize::new(1))
    }
}

pub trait Counted {
    fn count(&self) -> &Count;
}

/// A new object with one reference, which is the caller's.
pub fn give<T: Counted>(object: T) -> *mut T {
    Box::into_raw(Box::new(object))
}

/// One reference more; NULL stays NULL.
///
/// # Safety
/// `object` is NULL or came from [`give`] and has a reference left.
pub unsafe fn take<T: Counted>(object: *mut T) -> *mut T {
    // SAFETY: NULL gives `None`; otherwise the object is alive by the caller's promise.
    if let Some(object) = unsafe { object.as_ref() } {
        object.count().0.fetch_add(1, Ordering::Relaxed);
    }
    object
}

/// One reference less; the last one frees the object. Always gives NULL back, as libudev does.
///
/// # Safety
/// As [`take`]; the reference that is dropped is the caller's own.
pub unsafe fn drop<T: Counted>(object: *mut T) -> *mut T {
    // SAFETY: as in `take`.
    if let Some(alive) = unsafe { object.as_ref() }
        && alive.count().0.fetch_sub(1, Ordering::AcqRel) == 1
    {
        // SAFETY: it came from `Box::into_raw` in `give`, and this was the last reference.
        std::mem::drop(unsafe { Box::from_raw(object) });
    }
    std::ptr::null_mut()
}
