//! The C interface as C code uses it: NULL, errno, references, lists, and events of the kernel.

#![allow(clippy::unwrap_used, reason = "a test that stops has failed")]

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use libudev as _;
use udev::ffi as c;
use udev::{EventType, MonitorBuilder, MonitorSocket};

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap()
}

#[test]
fn null_is_tolerated_everywhere() {
    // SAFETY: NULL is what is tested; no function follows it.
    unsafe {
        let text = c"x".as_ptr();
        assert!(c::udev_ref(null_mut()).is_null() && c::udev_unref(null_mut()).is_null());
        assert!(
            c::udev_device_ref(null_mut()).is_null() && c::udev_device_unref(null_mut()).is_null()
        );
        assert!(c::udev_device_get_parent(null_mut()).is_null());
        assert!(c::udev_device_get_syspath(null_mut()).is_null());
        assert_eq!(errno(), libc::EINVAL);
        assert!(c::udev_device_get_sysnum(null_mut()).is_null());
        assert!(c::udev_device_get_sysattr_value(null_mut(), text).is_null());
        assert!(c::udev_device_get_property_value(null_mut(), text).is_null());
        assert!(c::udev_device_get_properties_list_entry(null_mut()).is_null());
        assert_eq!(c::udev_device_get_devnum(null_mut()), 0);
        assert!(c::udev_list_entry_get_next(null_mut()).is_null());
        assert!(c::udev_list_entry_get_name(null_mut()).is_null());
        assert!(c::udev_list_entry_get_by_name(null_mut(), text).is_null());
        assert!(c::udev_enumerate_scan_devices(null_mut()) < 0);
        assert!(c::udev_enumerate_get_list_entry(null_mut()).is_null());
        assert!(c::udev_monitor_receive_device(null_mut()).is_null());
        assert!(c::udev_monitor_enable_receiving(null_mut()) < 0);
        assert!(c::udev_monitor_get_fd(null_mut()) < 0);
        let lo =
            c::udev_device_new_from_subsystem_sysname(null_mut(), c"net".as_ptr(), c"lo".as_ptr());
        assert!(!lo.is_null(), "a context is not needed");
        assert!(c::udev_device_get_sysattr_value(lo, std::ptr::null()).is_null());
        assert!(
            c::udev_device_get_parent_with_subsystem_devtype(lo, std::ptr::null(), text).is_null()
        );
        c::udev_device_unref(lo);
    }
}

#[test]
fn what_is_not_there_is_null_with_its_errno() {
    // SAFETY: a live context and C strings.
    unsafe {
        let udev = c::udev_new();
        for (path, expected) in [
            (c"/sys/devices/none", libc::ENODEV),
            (c"/sys/devices/virtual", libc::ENODEV),
            (c"/etc/passwd", libc::EINVAL),
            (c"/sys/../etc", libc::EINVAL),
            (c"sys", libc::EINVAL),
        ] {
            assert!(c::udev_device_new_from_syspath(udev, path.as_ptr()).is_null());
            assert_eq!(errno(), expected, "{path:?}");
        }
        assert!(c::udev_device_new_from_devnum(udev, b'x'.cast_signed(), 0).is_null());
        assert_eq!(errno(), libc::EINVAL);
        assert!(c::udev_device_new_from_device_id(udev, c"b4095:77".as_ptr()).is_null());
        assert_eq!(errno(), libc::ENODEV);
        assert!(c::udev_monitor_new_from_netlink(udev, c"other".as_ptr()).is_null());
        assert_eq!(errno(), libc::EINVAL);
        c::udev_unref(udev);
    }
}

#[test]
fn texts_and_parents_live_as_long_as_their_device() {
    // SAFETY: live objects and C strings.
    unsafe {
        let udev = c::udev_new();
        let device = c::udev_device_new_from_device_id(udev, c"n1".as_ptr());
        assert!(!device.is_null());
        assert_eq!(c::udev_device_get_udev(device), udev);
        c::udev_unref(udev);
        let kept = c::udev_device_ref(device);
        c::udev_device_unref(device);
        let name = c::udev_device_get_sysname(kept);
        let index = c::udev_device_get_sysattr_value(kept, c"ifindex".as_ptr());
        for _ in 0..100 {
            assert_eq!(
                c::udev_device_get_sysattr_value(kept, c"ifindex".as_ptr()),
                index
            );
        }
        assert_eq!((CStr::from_ptr(name), CStr::from_ptr(index)), (c"lo", c"1"));
        let first = c::udev_device_get_properties_list_entry(kept);
        let found = c::udev_list_entry_get_by_name(first, c"SUBSYSTEM".as_ptr());
        assert_eq!(CStr::from_ptr(c::udev_list_entry_get_value(found)), c"net");
        assert!(c::udev_list_entry_get_by_name(found, c"NONE".as_ptr()).is_null());
        c::udev_device_unref(kept);
    }
}

#[test]
fn an_enumeration_knows_modules_buses_and_drivers_too() {
    // SAFETY: live objects.
    unsafe {
        let e = c::udev_enumerate_new(null_mut());
        assert_eq!(c::udev_enumerate_scan_subsystems(e), 0);
        let mut at = c::udev_enumerate_get_list_entry(e);
        let mut paths = Vec::new();
        while !at.is_null() {
            paths.push(CStr::from_ptr(c::udev_list_entry_get_name(at)).to_owned());
            at = c::udev_list_entry_get_next(at);
        }
        assert!(paths.contains(&c"/sys/bus/pci".to_owned()), "{paths:?}");
        assert!(
            paths
                .iter()
                .any(|p| p.to_bytes().starts_with(b"/sys/module/"))
        );
        assert!(c::udev_enumerate_add_syspath(e, c"/sys/class/net/lo".as_ptr()) == 0);
        assert!(c::udev_enumerate_add_syspath(e, c"/sys/class/net/none".as_ptr()) < 0);
        c::udev_enumerate_unref(e);
    }
}

#[test]
fn text_is_encoded_into_the_room_there_is() {
    let mut room = [1; 8];
    // SAFETY: the room is as long as said.
    unsafe {
        assert_eq!(
            c::udev_util_encode_string(c"a b".as_ptr(), room.as_mut_ptr(), 8),
            0
        );
        assert_eq!(CStr::from_ptr(room.as_ptr()), c"a\\x20b");
        assert!(c::udev_util_encode_string(c"a b".as_ptr(), room.as_mut_ptr(), 6) < 0);
        assert!(c::udev_util_encode_string(c"".as_ptr(), null_mut(), 0) < 0);
    }
}

#[test]
fn a_made_tree_is_seen_only_within_it() {
    let made = tempfile::tempdir().unwrap();
    let folder = made.path().join("devices/pci0/block/sdz");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::create_dir_all(made.path().join("class/block")).unwrap();
    std::fs::write(
        folder.join("uevent"),
        "MAJOR=8\nMINOR=400\nDEVNAME=sdz\nDEVTYPE=disk\n",
    )
    .unwrap();
    std::fs::write(folder.join("size"), "2048\n").unwrap();
    std::os::unix::fs::symlink(made.path().join("class/block"), folder.join("subsystem")).unwrap();
    std::os::unix::fs::symlink(&folder, made.path().join("class/block/sdz")).unwrap();
    let find = || {
        let mut e = udev::Enumerator::new().unwrap();
        e.match_sysname("sdz").unwrap();
        let found: Vec<_> = e.scan_devices().unwrap().collect();
        found
    };
    assert!(find().is_empty());
    let found = libudev::within(made.path(), find);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].devpath(), "/devices/pci0/block/sdz");
    assert_eq!(found[0].subsystem(), Some(OsStr::new("block")));
    assert_eq!(found[0].devnode(), Some(Path::new("/dev/sdz")));
    assert_eq!(found[0].attribute_value("size"), Some(OsStr::new("2048")));
    assert!(find().is_empty());
}

fn next_event(monitor: &MonitorSocket) -> Option<udev::Event> {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if let Some(event) = monitor.iter().next() {
            return Some(event);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

/// Anybody may send to the group; a device that a user invented must not be believed.
fn forge(message: &[u8]) {
    // SAFETY: a socket of our own, an address and a message with their true lengths.
    unsafe {
        let socket = libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW,
            libc::NETLINK_KOBJECT_UEVENT,
        );
        assert!(socket >= 0);
        let mut group: libc::sockaddr_nl = std::mem::zeroed();
        group.nl_family = u16::try_from(libc::AF_NETLINK).unwrap();
        group.nl_groups = 1;
        let sent = libc::sendto(
            socket,
            message.as_ptr().cast(),
            message.len(),
            0,
            (&raw const group).cast(),
            u32::try_from(size_of::<libc::sockaddr_nl>()).unwrap(),
        );
        assert_eq!(
            sent,
            message.len() as isize,
            "{}",
            io::Error::last_os_error()
        );
        libc::close(socket);
    }
}

#[test]
fn events_of_the_kernel_arrive_and_forged_ones_do_not() {
    let monitor = MonitorBuilder::new_kernel()
        .unwrap()
        .match_subsystem("net")
        .unwrap()
        .listen()
        .unwrap();
    assert!(monitor.as_raw_fd() >= 0);
    forge(b"remove@/devices/virtual/net/lo\0ACTION=remove\0DEVPATH=/devices/virtual/net/lo\0SUBSYSTEM=net\0SEQNUM=1\0");
    // The kernel repeats an event for who writes its name here; another subsystem's is filtered out.
    std::fs::write("/sys/class/mem/null/uevent", "change").expect("this test needs root");
    std::fs::write("/sys/class/net/lo/uevent", "change").expect("this test needs root");
    let event = next_event(&monitor).expect("the event did not arrive");
    assert_eq!(event.event_type(), EventType::Change);
    assert_eq!(event.syspath(), Path::new("/sys/devices/virtual/net/lo"));
    assert_eq!(event.property_value("INTERFACE"), Some(OsStr::new("lo")));
    assert!(event.sequence_number() > 1);
    assert!(event.attribute_value("ifindex").is_some());
}
