//! Shell patterns, as the C library matches them.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

/// Text with a NUL matches nothing.
pub fn matches(pattern: &OsStr, text: &OsStr) -> bool {
    let (Ok(pattern), Ok(text)) = (
        CString::new(pattern.as_bytes()),
        CString::new(text.as_bytes()),
    ) else {
        return false;
    };
    // SAFETY: both are NUL-terminated and live until the call returns.
    unsafe { libc::fnmatch(pattern.as_ptr(), text.as_ptr(), 0) == 0 }
}
