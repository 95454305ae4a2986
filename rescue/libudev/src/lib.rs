//! The C interface that the `udev` crate calls, over sysfs and netlink.
//!
//! A static binary cannot load `libudev.so`, and distributions ship no `libudev.a`. This crate exports the same
//! `udev_*` symbols (`use libudev as _;` where `udev` is used links them) with what the kernel itself tells: there
//! is no udevd and no database of it here. So a device is never "initialized", has no tags and no links in
//! `/dev/disk`, and only a monitor of kernel events hears anything.
//!
//! `device`, `enumerate` and `event` know sysfs and hold no `unsafe`; `c` is the interface.

mod c;
mod device;
mod enumerate;
mod event;
mod pattern;
mod root;

pub use root::within;
