//! The C interface that the `udev` crate calls, over sysfs and netlink.
