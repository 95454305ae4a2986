//! `struct udev_list_entry`: names with values, walked by pointers.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use libc::c_char;

use crate::c::text::{self, owned};

/// Entries that point at each other; they stay where they are until the list is dropped.
#[derive(Debug, Default)]
pub struct List {
    entries: Box<[Entry]>,
}

#[derive(Debug)]
pub struct Entry {
    name: CString,
    value: Option<CString>,
    first: *const Entry,
    next: *const Entry,
}

impl List {
    pub fn of_names<'a>(names: impl Iterator<Item = &'a OsStr>) -> List {
        List::linked(names.map(|name| (name, None)))
    }

    pub fn of_pairs<'a>(pairs: impl Iterator<Item = (&'a OsStr, &'a OsStr)>) -> List {
        List::linked(pairs.map(|(name, value)| (name, Some(value))))
    }

    fn linked<'a>(pairs: impl Iterator<Item = (&'a OsStr, Option<&'a OsStr>)>) -> List {
        let mut entries: Box<[Entry]> = pairs
            .map(|(name, value)| Entry {
                name: owned(name.as_bytes()),
                value: value.map(|v| owned(v.as_bytes())),
                first: ptr::null(),
                next: ptr::null(),
            })
            .collect();
        let addresses: Vec<*const Entry> = entries.iter().map(ptr::from_ref).collect();
        for (at, entry) in entries.iter_mut().enumerate() {
            entry.first = addresses[0];
            entry.next = addresses.get(at + 1).copied().unwrap_or(ptr::null());
        }
        List { entries }
    }

    /// NULL when it is empty.
    pub fn first(&self) -> *mut Entry {
        self.entries
            .first()
            .map_or(ptr::null_mut(), |entry| ptr::from_ref(entry).cast_mut())
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_list_entry_get_next(entry: *mut Entry) -> *mut Entry {
    // SAFETY: C callers pass NULL or an entry of a list that lives.
    unsafe { entry.as_ref() }.map_or(ptr::null_mut(), |e| e.next.cast_mut())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_list_entry_get_by_name(
    entry: *mut Entry,
    name: *const c_char,
) -> *mut Entry {
    // SAFETY: C callers pass NULL or a NUL-terminated name.
    let Some(name) = (unsafe { text::borrowed(name) }) else {
        return ptr::null_mut();
    };
    // SAFETY: C callers pass NULL or an entry of a list that lives.
    let mut at = unsafe { entry.as_ref() }.map_or(ptr::null(), |e| e.first);
    // SAFETY: `first` and `next` are NULL or point into the same list.
    while let Some(found) = unsafe { at.as_ref() } {
        if found.name.as_bytes() == name.as_bytes() {
            return at.cast_mut();
        }
        at = found.next;
    }
    ptr::null_mut()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_list_entry_get_name(entry: *mut Entry) -> *const c_char {
    // SAFETY: C callers pass NULL or an entry of a list that lives.
    text::pointer(unsafe { entry.as_ref() }.map(|e| &e.name))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_list_entry_get_value(entry: *mut Entry) -> *const c_char {
    // SAFETY: C callers pass NULL or an entry of a list that lives.
    text::pointer(unsafe { entry.as_ref() }.and_then(|e| e.value.as_ref()))
}
