//! `struct udev_device`.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use libc::{EINVAL, ENODEV, ENOENT, c_char, c_int, c_ulonglong, dev_t};

use crate::c::context::Context;
use crate::c::counted::{self, Count, Counted};
use crate::c::list::{Entry, List};
use crate::c::text::{self, failed, owned, pointer, set_errno};
use crate::device::{Device, Errno};

/// A device, and every text of it that C code was given a pointer to: they live as long as it does.
#[derive(Debug)]
pub struct Handle {
    count: Count,
    udev: *mut Context,
    pub device: Device,
    syspath: CString,
    devpath: CString,
    sysname: CString,
    subsystem: OnceCell<Option<CString>>,
    driver: OnceCell<Option<CString>>,
    properties: OnceCell<BTreeMap<OsString, CString>>,
    property_list: OnceCell<List>,
    attributes: RefCell<BTreeMap<OsString, Result<CString, Errno>>>,
    attribute_list: OnceCell<List>,
    parent: OnceCell<*mut Handle>,
}

impl Counted for Handle {
    fn count(&self) -> &Count {
        &self.count
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let parent = self.parent.get().copied().unwrap_or(ptr::null_mut());
        // SAFETY: both references were taken for this handle alone.
        unsafe {
            counted::drop(parent);
            counted::drop(self.udev);
        }
    }
}

impl Handle {
    /// # Safety
    /// `udev` is NULL or a live context.
    pub unsafe fn give(udev: *mut Context, device: Device) -> *mut Handle {
        counted::give(Handle {
            count: Count::default(),
            // SAFETY: the caller's promise.
            udev: unsafe { counted::take(udev) },
            syspath: owned(device.syspath().as_os_str().as_bytes()),
            devpath: owned(device.devpath().as_bytes()),
            sysname: owned(device.sysname().as_bytes()),
            device,
            subsystem: OnceCell::new(),
            driver: OnceCell::new(),
            properties: OnceCell::new(),
            property_list: OnceCell::new(),
            attributes: RefCell::default(),
            attribute_list: OnceCell::new(),
            parent: OnceCell::new(),
        })
    }

    fn properties(&self) -> &BTreeMap<OsString, CString> {
        self.properties.get_or_init(|| {
            let all = self.device.properties();
            all.into_iter()
                .map(|(name, value)| (name, owned(value.as_bytes())))
                .collect()
        })
    }

    fn property(&self, name: &OsStr) -> *const c_char {
        match self.properties().get(name) {
            Some(value) => value.as_ptr(),
            None => failed(ENOENT),
        }
    }

    fn subsystem(&self) -> Option<&CString> {
        let read = || self.device.subsystem().map(|s| owned(s.as_bytes()));
        self.subsystem.get_or_init(read).as_ref()
    }

    fn attribute(&self, name: &OsStr) -> Result<*const c_char, Errno> {
        let mut known = self.attributes.borrow_mut();
        let value = known
            .entry(name.to_owned())
            .or_insert_with(|| self.device.attribute(name).map(|v| owned(&v)));
        value.as_ref().map(|v| v.as_ptr()).map_err(|errno| *errno)
    }

    fn parent(&self) -> *mut Handle {
        *self.parent.get_or_init(|| match self.device.parent() {
            // SAFETY: this handle holds a reference to its context.
            Some(parent) => unsafe { Handle::give(self.udev, parent) },
            None => ptr::null_mut(),
        })
    }
}

/// What a function gives for a device, or its answer to NULL.
///
/// # Safety
/// `device` is NULL or a live handle, which outlives the answer.
unsafe fn of<'a, T>(device: *mut Handle, none: T, f: impl FnOnce(&'a Handle) -> T) -> T {
    // SAFETY: the caller's promise.
    match unsafe { device.as_ref() } {
        Some(handle) => f(handle),
        None => {
            set_errno(EINVAL);
            none
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_ref(device: *mut Handle) -> *mut Handle {
    // SAFETY: C callers pass NULL or a live object of theirs.
    unsafe { counted::take(device) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_unref(device: *mut Handle) -> *mut Handle {
    // SAFETY: C callers pass NULL or a reference of theirs.
    unsafe { counted::drop(device) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_get_udev(device: *mut Handle) -> *mut Context {
    // SAFETY: C callers pass NULL or a live object.
    unsafe { of(device, ptr::null_mut(), |d| d.udev) }
}

/// Borrowed from the child; lives as long as that.
#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_get_parent(device: *mut Handle) -> *mut Handle {
    // SAFETY: C callers pass NULL or a live object.
    let parent = unsafe { of(device, ptr::null_mut(), Handle::parent) };
    if parent.is_null() {
        failed(ENODEV)
    } else {
        parent
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_get_parent_with_subsystem_devtype(
    device: *mut Handle,
    subsystem: *const c_char,
    devtype: *const c_char,
) -> *mut Handle {
    // SAFETY: C callers pass NULL or a live object and NUL-terminated text; each parent lives as long as its child.
    unsafe {
        let Some(subsystem) = text::borrowed(subsystem) else {
            return failed(EINVAL);
        };
        let devtype = text::borrowed(devtype);
        let mut above = of(device, ptr::null_mut(), Handle::parent);
        while let Some(parent) = above.as_ref() {
            let same = parent
                .subsystem()
                .is_some_and(|s| s.as_bytes() == subsystem.as_bytes());
            let found = parent.properties().get(OsStr::new("DEVTYPE"));
            let typed = devtype.is_none_or(|t| found.is_some_and(|f| f.as_bytes() == t.as_bytes()));
            if same && typed {
                return above;
            }
            above = parent.parent();
        }
        failed(ENOENT)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_get_devpath(device: *mut Handle) -> *const c_char {
    // SAFETY: C callers pass NULL or a live object.
    unsafe { of(device, ptr::null(), |d| d.devpath.as_ptr()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_get_subsystem(device: *mut Handle) -> *const c_char {
    // SAFETY: C callers pass NULL or a live object.
    unsafe { of(device, ptr::null(), |d| pointer(d.subsystem())) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_get_devtype(device: *mut Handle) -> *const c_char {
    // SAFETY: C callers pass NULL or a live object.
    unsafe { of(device, ptr::null(), |d| d.property(OsStr::new("DEVTYPE"))) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_get_syspath(device: *mut Handle) -> *const c_char {
    // SAFETY: C callers pass NULL or a live object.
    unsafe { of(device, ptr::null(), |d| d.syspath.as_ptr()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_get_sysname(device: *mut Handle) -> *const c_char {
    // SAFETY: C callers pass NULL or a live object.
    unsafe { of(device, ptr::null(), |d| d.sysname.as_ptr()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_get_sysnum(device: *mut Handle) -> *const c_char {
    // SAFETY: C callers pass NULL or a live object.
    unsafe {
        of(device, ptr::null(), |d| {
            let name = d.sysname.as_bytes_with_nul();
            match d.device.sysnum_digits() {
                0 => failed::<c_char>(ENOENT).cast_const(),
                digits => name[name.len() - 1 - digits..].as_ptr().cast(),
            }
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_get_devnode(device: *mut Handle) -> *const c_char {
    // SAFETY: C callers pass NULL or a live object.
    unsafe { of(device, ptr::null(), |d| d.property(OsStr::new("DEVNAME"))) }
}

/// Only udevd makes a device initialized.
#[unsafe(no_mangle)]
extern "C" fn udev_device_get_is_initialized(device: *mut Handle) -> c_int {
    if device.is_null() { -EINVAL } else { 0 }
}

/// Only udevd makes links.
#[unsafe(no_mangle)]
extern "C" fn udev_device_get_devlinks_list_entry(_device: *mut Handle) -> *mut Entry {
    ptr::null_mut()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_get_properties_list_entry(device: *mut Handle) -> *mut Entry {
    // SAFETY: C callers pass NULL or a live object.
    unsafe {
        of(device, ptr::null_mut(), |d| {
            let pairs = || {
                d.properties()
                    .iter()
                    .map(|(name, value)| (name.as_os_str(), OsStr::from_bytes(value.as_bytes())))
            };
            d.property_list
                .get_or_init(|| List::of_pairs(pairs()))
                .first()
        })
    }
}

/// Only udevd gives tags.
#[unsafe(no_mangle)]
extern "C" fn udev_device_get_tags_list_entry(_device: *mut Handle) -> *mut Entry {
    ptr::null_mut()
}

#[unsafe(no_mangle)]
extern "C" fn udev_device_has_tag(_device: *mut Handle, _tag: *const c_char) -> c_int {
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_get_property_value(
    device: *mut Handle,
    key: *const c_char,
) -> *const c_char {
    // SAFETY: C callers pass NULL or a live object and NUL-terminated text.
    unsafe {
        let Some(key) = text::borrowed(key) else {
            return failed(EINVAL);
        };
        of(device, ptr::null(), |d| d.property(key))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_get_driver(device: *mut Handle) -> *const c_char {
    // SAFETY: C callers pass NULL or a live object.
    unsafe {
        of(device, ptr::null(), |d| {
            let read = || d.device.driver().map(|s| owned(s.as_bytes()));
            pointer(d.driver.get_or_init(read).as_ref())
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_get_devnum(device: *mut Handle) -> dev_t {
    // SAFETY: C callers pass NULL or a live object.
    unsafe { of(device, 0, |d| d.device.devnum()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_get_action(device: *mut Handle) -> *const c_char {
    // SAFETY: C callers pass NULL or a live object.
    unsafe { of(device, ptr::null(), |d| d.property(OsStr::new("ACTION"))) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_get_sysattr_value(
    device: *mut Handle,
    name: *const c_char,
) -> *const c_char {
    // SAFETY: C callers pass NULL or a live object and NUL-terminated text.
    unsafe {
        let Some(name) = text::borrowed(name) else {
            return failed(EINVAL);
        };
        of(device, ptr::null(), |d| {
            d.attribute(name)
                .unwrap_or_else(|errno| failed::<c_char>(errno))
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_set_sysattr_value(
    device: *mut Handle,
    name: *const c_char,
    value: *mut c_char,
) -> c_int {
    // SAFETY: C callers pass NULL or a live object and NUL-terminated text.
    unsafe {
        let Some(name) = text::borrowed(name) else {
            return -EINVAL;
        };
        let value = text::borrowed(value);
        of(device, -EINVAL, |d| {
            // NULL only forgets what is known; the next reading asks the kernel again.
            d.attributes.borrow_mut().remove(name);
            match value.map(|v| d.device.set_attribute(name, v)) {
                Some(Err(errno)) => -errno,
                _ => 0,
            }
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_get_sysattr_list_entry(device: *mut Handle) -> *mut Entry {
    // SAFETY: C callers pass NULL or a live object.
    unsafe {
        of(device, ptr::null_mut(), |d| {
            let read = || List::of_names(d.device.attributes().iter().map(OsString::as_os_str));
            d.attribute_list.get_or_init(read).first()
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_device_get_seqnum(device: *mut Handle) -> c_ulonglong {
    // SAFETY: C callers pass NULL or a live object.
    unsafe {
        of(device, 0, |d| {
            let text = d.properties().get(OsStr::new("SEQNUM"));
            text.and_then(|t| t.to_str().ok()?.parse().ok())
                .unwrap_or(0)
        })
    }
}

#[unsafe(no_mangle)]
extern "C" fn udev_device_get_usec_since_initialized(_device: *mut Handle) -> c_ulonglong {
    0
}
