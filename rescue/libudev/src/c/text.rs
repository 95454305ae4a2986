//! C strings and `errno`.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use libc::{c_char, c_int};

/// `None` for NULL.
///
/// # Safety
/// `pointer` is NULL or points to a NUL-terminated string that lives for `'a`.
pub unsafe fn borrowed<'a>(pointer: *const c_char) -> Option<&'a OsStr> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: it is not NULL; the rest is the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) };
    Some(OsStr::from_bytes(text.to_bytes()))
}

/// Cut at the first NUL, as C would read it.
pub fn owned(bytes: &[u8]) -> CString {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    CString::new(&bytes[..end]).expect("it was cut at the first NUL")
}

pub fn pointer(text: Option<&CString>) -> *const c_char {
    text.map_or(ptr::null(), |text| text.as_ptr())
}

pub fn set_errno(errno: c_int) {
    // SAFETY: the C library gives a pointer to this thread's errno that is always valid.
    unsafe { *libc::__errno_location() = errno };
}

/// NULL, with the reason in `errno`.
pub fn failed<T>(errno: c_int) -> *mut T {
    set_errno(errno);
    ptr::null_mut()
}
