//! The system's own libudev (package libudev1) and this one must say the same of this machine.

#![allow(clippy::unwrap_used, reason = "a test that stops has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use libudev as _;
use udev::{Device, Enumerator};

/// `device=…` to the next: what is known of one device, by key.
type Known = BTreeMap<String, String>;

/// A dynamic program on libudev.so.1: a static one, such as this test, cannot load it.
fn oracle(words: &[&str]) -> String {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libudev-oracle");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle.c");
        let built = Command::new("cc")
            .arg("-O1")
            .arg("-o")
            .arg(&program)
            .arg(source)
            .arg("-ldl")
            .status();
        assert!(
            built.is_ok_and(|s| s.success()),
            "the oracle was not built; install the package gcc"
        );
        program
    });
    let out = Command::new(program)
        .arg("libudev.so.1")
        .args(words)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{told}; install the package libudev1");
    String::from_utf8(out.stdout).unwrap()
}

fn shown(text: &OsStr) -> String {
    let one = |b: &u8| match b {
        b'\\' => "\\5c".to_owned(),
        32..=126 => char::from(*b).to_string(),
        _ => format!("\\{b:02x}"),
    };
    text.as_bytes().iter().map(one).collect()
}

fn or_null(text: Option<&OsStr>) -> String {
    text.map_or("NULL".into(), shown)
}

fn path_of(device: Option<Device>) -> String {
    or_null(device.as_ref().map(|d| d.syspath().as_os_str()))
}

fn known(device: &Device) -> Known {
    let mut all = Known::new();
    let mut put = |key: &str, value: String| all.insert(key.to_owned(), value);
    put("devpath", shown(device.devpath()));
    put("subsystem", or_null(device.subsystem()));
    put("sysname", shown(device.sysname()));
    put(
        "sysnum",
        device.sysnum().map_or("NULL".into(), |n| n.to_string()),
    );
    put("devtype", or_null(device.devtype()));
    put("devnode", or_null(device.devnode().map(Path::as_os_str)));
    put("driver", or_null(device.driver()));
    put("action", or_null(device.action()));
    let devnum = device.devnum().unwrap_or(0);
    put(
        "devnum",
        format!("{}:{}", libc::major(devnum), libc::minor(devnum)),
    );
    put("parent", path_of(device.parent()));
    for kind in ["pci", "scsi", "virtio"] {
        put(
            &format!("parent {kind}"),
            path_of(device.parent_with_subsystem(kind).unwrap()),
        );
    }
    for (kind, devtype) in [("usb", "usb_device"), ("block", "disk")] {
        let above = device.parent_with_subsystem_devtype(kind, devtype).unwrap();
        put(&format!("parent {kind}"), path_of(above));
    }
    for property in device.properties() {
        put(
            &format!("property {}", shown(property.name())),
            shown(property.value()),
        );
    }
    for name in device.attributes().map(|a| shown(a.name())) {
        let unread = name.contains("resource") || name.contains("rom");
        let value = if unread {
            "(not read)".into()
        } else {
            or_null(device.attribute_value(&name))
        };
        put(&format!("attribute {name}"), value);
    }
    all
}

fn parse(dump: &str) -> BTreeMap<String, Known> {
    let mut all = BTreeMap::new();
    let mut path = String::new();
    for (key, value) in dump.lines().map(|l| l.split_once('=').unwrap()) {
        if key == "device" {
            path = value.to_owned();
            all.insert(path.clone(), Known::new());
        } else if let Some(known) = all.get_mut(&path) {
            let value = match (key, value) {
                // The crate gives a number, which has no leading zeros.
                ("sysnum", n) if n != "NULL" => {
                    n.parse::<usize>().map_or("NULL".into(), |n| n.to_string())
                }
                _ => value.to_owned(),
            };
            known.insert(key.to_owned(), value);
        }
    }
    all
}

/// Properties and values that a udevd of this machine added, and the kernel never said.
fn is_of_udevd(key: &str, path: &str) -> bool {
    let Some(name) = key.strip_prefix("property ") else {
        return false;
    };
    let uevent = std::fs::read_to_string(Path::new(path).join("uevent")).unwrap_or_default();
    !["DEVPATH", "SUBSYSTEM", "DEVNAME", "DRIVER"].contains(&name)
        && !uevent.lines().any(|l| l.split('=').next() == Some(name))
}

#[test]
fn every_device_of_this_machine_is_told_alike() {
    let before = parse(&oracle(&["dump"]));
    let mut enumerator = Enumerator::new().unwrap();
    let ours: BTreeMap<String, Known> = enumerator
        .scan_devices()
        .unwrap()
        .map(|d| (shown(d.syspath().as_os_str()), known(&d)))
        .collect();
    let after = parse(&oracle(&["dump"]));

    let mut compared = 0;
    let mut differences = Vec::new();
    let paths: BTreeSet<&String> = before.keys().filter(|p| after.contains_key(*p)).collect();
    for path in paths {
        let Some(our) = ours.get(path) else {
            differences.push(format!("{path} is missing"));
            continue;
        };
        let keys: BTreeSet<&String> = before[path].keys().chain(our.keys()).collect();
        for key in keys {
            let (a, b) = (before[path].get(key), after[path].get(key));
            // What changes by itself (counters, temperatures) cannot be compared.
            if a != b || is_of_udevd(key, path) {
                continue;
            }
            compared += 1;
            if a != our.get(key) {
                differences.push(format!("{path} {key}: {a:?}, ours {:?}", our.get(key)));
            }
        }
    }
    let known_to_one = |path: &&String| !before.contains_key(*path) && !after.contains_key(*path);
    differences.extend(
        ours.keys()
            .filter(known_to_one)
            .map(|p| format!("{p} is ours alone")),
    );
    // A counter may have stood still in both dumps and moved in between.
    let moving = |d: &String| {
        d.contains("/stat:") || d.contains("attribute stat") || d.contains("attribute power/")
    };
    differences.retain(|d| !moving(d));
    assert!(
        differences.is_empty(),
        "{} of {compared}:\n{}",
        differences.len(),
        differences.join("\n")
    );
    assert!(
        before.len() > 50 && compared > 2000,
        "{} devices, {compared} values",
        before.len()
    );
}

fn ours(words: &[&str]) -> String {
    let mut e = Enumerator::new().unwrap();
    for word in words {
        let (kind, rest) = word.split_once('=').unwrap();
        let (a, b) = rest.split_once('=').unwrap_or((rest, ""));
        match kind {
            "subsystem" => e.match_subsystem(a),
            "nosubsystem" => e.nomatch_subsystem(a),
            "sysname" => e.match_sysname(a),
            "attribute" => e.match_attribute(a, b),
            "noattribute" => e.nomatch_attribute(a, b),
            "property" => e.match_property(a, b),
            "tag" => e.match_tag(a),
            "parent" => e.match_parent(&Device::from_syspath(Path::new(rest)).unwrap()),
            _ => unreachable!("{word}"),
        }
        .unwrap();
    }
    let found = e.scan_devices().unwrap();
    found
        .map(|d| format!("device={}\n", shown(d.syspath().as_os_str())))
        .collect()
}

#[test]
fn searches_find_the_same_devices_in_the_same_order() {
    let searches: &[&[&str]] = &[
        &[],
        &["subsystem=block"],
        &["subsystem=block", "sysname=loop*"],
        &["subsystem=b[kl]o*", "subsystem=net"],
        &["nosubsystem=block", "nosubsystem=tty"],
        &["subsystem=block", "property=DEVTYPE=disk"],
        &["property=MAJOR=7", "property=DRIVER=*"],
        &["subsystem=block", "attribute=ro=0"],
        &["attribute=size=0", "noattribute=ro=1"],
        &["noattribute=size=*"],
        &[
            "subsystem=block",
            "sysname=loop1",
            "sysname=loop2",
            "attribute=queue/rotational=?",
        ],
        &["sysname=lo"],
        &["parent=/sys/devices/virtual/block/loop0"],
        &["parent=/sys/devices/virtual/net/lo"],
        &["subsystem=module"],
        &["tag=seat"],
    ];
    let mut found = 0;
    for words in searches {
        let mut asked = vec!["find"];
        asked.extend(*words);
        let theirs = oracle(&asked);
        assert_eq!(ours(words), theirs, "{words:?}");
        found += theirs.lines().count();
    }
    assert!(found > 200, "{found}");
}

#[test]
fn a_device_is_found_by_number_and_by_name() {
    let by_name = Device::from_subsystem_sysname("net".into(), "lo".into()).unwrap();
    assert_eq!(by_name.syspath(), Path::new("/sys/devices/virtual/net/lo"));
    assert_eq!(by_name.attribute_value("ifindex"), Some(OsStr::new("1")));
    let null = Device::from_devnum(udev::DeviceType::Character, libc::makedev(1, 3)).unwrap();
    assert_eq!(null.devnode(), Some(Path::new("/dev/null")));
    assert_eq!(
        null.property_value("DEVNAME"),
        Some(OsStr::new("/dev/null"))
    );
}
