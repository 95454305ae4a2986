//! The real host on real block devices: loop devices, dressed as disks where that matters. Needs root.

#![allow(clippy::unwrap_used, reason = "a test that stops has failed")]

mod machine;

use std::fs;
use std::path::{Path, PathBuf};

use disk::extent::Extent;
use disk::source::{BlockSource, ReadError};
use engine::host::{Disk, Host, Transport};
use engine::linux::Linux;
use engine::permit::WritePermit;
use engine::plan::{Approved, Consent, prepare};
use engine::request::{Action, Coverage, DiskName, Options, Place, Request};
use image::store::{Store, StoreError};
use machine::{Loop, Machine, Node, folder, numbered, tool};

const MIB: usize = 1 << 20;

fn at_path(host: &Linux, path: &Path) -> Disk {
    host.find(&DiskName::Path(path.into())).unwrap().remove(0)
}

/// A plan to clone, consented to.
fn approved(host: &dyn Host, source: &Path, destination: &Path) -> Approved {
    let request = Request {
        action: Action::Clone {
            source: DiskName::Path(source.into()),
            destination: DiskName::Path(destination.into()),
        },
        options: Options {
            coverage: Coverage::Exact,
            ..Options::default()
        },
    };
    let plan = prepare(&request, host).unwrap();
    let word = plan.word().unwrap().to_owned();
    plan.approve(&Consent::Word(word)).unwrap()
}

fn permit(approved: &Approved) -> &WritePermit {
    &approved.permits()[0]
}

fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn any_range_of_a_device_is_read_whatever_its_sectors() {
    let folder = folder();
    let bytes = numbered(3 * MIB);
    for sector in [512, 4096] {
        let file = file(folder.path(), "disk", &bytes);
        let device = Loop::new(&file, &["--sector-size", &sector.to_string()]);
        let host = Linux::default();
        let disk = at_path(&host, &device.node);
        assert_eq!(
            (disk.transport, disk.geometry.logical_sector),
            (Transport::Loop, sector)
        );
        assert_eq!(disk.geometry.size_bytes, bytes.len() as u64);
        let source = host.open_source(&disk.identity).unwrap();
        for (start, len) in [
            (0, 512),
            (1, 1),
            (511, 4098),
            (4096, 2 * MIB),
            (3 * MIB - 7, 7),
            (0, 3 * MIB),
        ] {
            let mut got = vec![0; len];
            source.read_at(start as u64, &mut got).unwrap();
            assert!(
                got == bytes[start..start + len],
                "{len} bytes at {start}, sectors of {sector}"
            );
        }
        let beyond = source.read_at(3 * MIB as u64 - 7, &mut [0; 8]);
        assert!(matches!(beyond, Err(ReadError::BeyondEnd { .. })));
    }
}

#[test]
fn bytes_that_the_device_cannot_give_are_unreadable_and_the_rest_is_read() {
    let folder = folder();
    let bytes = numbered(2 * MIB);
    let file = file(folder.path(), "disk", &bytes);
    let device = Loop::new(&file, &[]);
    let host = Linux::default();
    let source = host
        .open_source(&at_path(&host, &device.node).identity)
        .unwrap();
    // The kernel answers EIO for what its file no longer has.
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(MIB as u64)
        .unwrap();
    let mut got = vec![0; 4096];
    source.read_at(MIB as u64 - 4096, &mut got).unwrap();
    assert_eq!(got, bytes[MIB - 4096..MIB]);
    for (start, len) in [(MIB, 4096), (MIB + 512, 512), (MIB + 5, 100)] {
        let error = source.read_at(start as u64, &mut vec![0; len]).unwrap_err();
        let asked = Extent::new(start as u64, len as u64).unwrap();
        assert_eq!(error, ReadError::Unreadable(asked));
    }
}

#[test]
fn a_destination_is_written_past_every_cache_and_read_back() {
    let folder = folder();
    let (from, to) = (numbered(2 * MIB), vec![0xee; 4 * MIB]);
    let source = Loop::new(&file(folder.path(), "source", &from), &[]);
    let to_file = file(folder.path(), "destination", &to);
    let destination = Loop::new(&to_file, &[]);
    let host = Linux::default();
    let approved = approved(&host, &source.node, &destination.node);
    let count = || {
        host.sectors_written(&at_path(&host, &destination.node).identity)
            .unwrap()
    };
    let before = count();
    let sink = host.open_destination(permit(&approved)).unwrap();
    sink.write_at(0, &from).unwrap();
    sink.write_at(3 * MIB as u64 + 3, b"an edge").unwrap();
    sink.zero_at(2 * MIB as u64, MIB as u64).unwrap();
    sink.finish().unwrap();

    let mut expected = to;
    expected[..2 * MIB].copy_from_slice(&from);
    expected[2 * MIB..3 * MIB].fill(0);
    expected[3 * MIB + 3..3 * MIB + 10].copy_from_slice(b"an edge");
    let mut got = vec![0; 4 * MIB];
    host.open_written(permit(&approved))
        .unwrap()
        .read_at(0, &mut got)
        .unwrap();
    assert!(got == expected);
    // The zeros may be a hole that is made, which the kernel counts elsewhere.
    let written = count() - before;
    assert!(
        (2 * 2048..=3 * 2048 + 16).contains(&written),
        "{written} sectors"
    );
    drop(destination);
    assert!(fs::read(&to_file).unwrap() == expected);
}

#[test]
fn a_destination_in_use_or_changed_since_the_plan_is_not_opened() {
    let folder = folder();
    let source = file(folder.path(), "source", &numbered(MIB));
    let target = file(folder.path(), "destination", &vec![0; 8 * MIB]);
    tool(
        "e2fsprogs",
        "mkfs.ext4",
        &["-q", "-F", target.to_str().unwrap()],
    );
    let device = Loop::new(&target, &[]);
    let host = Linux::default();
    let plan = approved(&host, &source, &device.node);

    // A sink holds it against everybody.
    let sink = host.open_destination(permit(&plan)).unwrap();
    let error = host.open_destination(permit(&plan)).err().unwrap();
    assert!(error.0.contains("is in use: another program"), "{error}");
    drop(sink);

    let at = folder.path().join("mounted");
    fs::create_dir(&at).unwrap();
    tool(
        "mount",
        "mount",
        &[device.node.to_str().unwrap(), at.to_str().unwrap()],
    );
    let error = host.open_destination(permit(&plan)).err().unwrap();
    tool("mount", "umount", &[at.to_str().unwrap()]);
    assert!(
        error.0.contains(&format!("is mounted at {}", at.display())),
        "{error}"
    );

    // The mount wrote to it: it is no longer what the plan showed.
    let error = host.open_destination(permit(&plan)).err().unwrap();
    assert!(
        error.0.contains("has changed since the plan was shown"),
        "{error}"
    );
}

#[test]
fn the_source_is_read_only_in_the_kernel_for_as_long_as_the_job_runs() {
    let folder = folder();
    let source = Loop::new(&file(folder.path(), "source", &numbered(MIB)), &[]);
    let host = Linux::default();
    let identity = at_path(&host, &source.node).identity;
    assert_eq!(host.kernel_read_only(&identity), Some(false));
    let protection = host.protect_all_but(Some(&identity), &[]).unwrap();
    assert_eq!(
        (host.kernel_read_only(&identity), source.sys("ro").as_str()),
        (Some(true), "1")
    );
    let written = fs::File::options()
        .write(true)
        .open(&source.node)
        .and_then(|mut node| {
            std::io::Write::write_all(&mut node, &[0; 4096])?;
            node.sync_all()
        });
    assert!(written.is_err(), "the kernel took a write");
    let mut first = [0; 8];
    host.open_source(&identity)
        .unwrap()
        .read_at(0, &mut first)
        .unwrap();
    drop(protection);
    assert_eq!(host.kernel_read_only(&identity), Some(false));
}

#[test]
fn a_disk_that_was_read_only_before_stays_so() {
    let folder = folder();
    let source = file(folder.path(), "source", &numbered(MIB));
    let device = Loop::new(
        &file(folder.path(), "disk", &numbered(2 * MIB)),
        &["--read-only"],
    );
    let host = Linux::default();
    let disk = at_path(&host, &device.node);
    assert!(disk.read_only);
    drop(host.protect_all_but(Some(&disk.identity), &[]).unwrap());
    assert_eq!(device.sys("ro"), "1");
    let request = Request {
        action: Action::Clone {
            source: DiskName::Path(source),
            destination: DiskName::Path(device.node.clone()),
        },
        options: Options::default(),
    };
    let refusals = prepare(&request, &host).unwrap_err();
    let told: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    assert!(
        told.iter().any(|t| t.contains("write-protected")),
        "{told:?}"
    );
}

/// Two loop devices as the virtio disks of a rescue system.
struct Live {
    machine: Machine,
    disks: Vec<Loop>,
    _folder: tempfile::TempDir,
}

fn live() -> Live {
    let folder = folder();
    let machine = Machine::new();
    let mut disks = Vec::new();
    for (number, name) in ["vda", "vdb"].into_iter().enumerate() {
        let device = Loop::new(
            &file(folder.path(), name, &numbered((number + 1) * MIB)),
            &[],
        );
        let place = format!("pci0000:00/0000:00:0{}.0/virtio{number}", number + 4);
        machine.device(&place, "virtio", "", &[]);
        let size = ((number + 1) * MIB) as u64;
        machine.disk(
            &place,
            name,
            size,
            &[("serial", name)],
            &Node::Device(&device.node),
        );
        disks.push(device);
    }
    machine.live();
    Live {
        machine,
        disks,
        _folder: folder,
    }
}

#[test]
fn in_the_live_system_every_disk_is_read_only_before_it_is_looked_at() {
    let live = live();
    let host = live.machine.host();
    let flags = || live.disks.iter().map(|d| d.sys("ro")).collect::<Vec<_>>();
    assert_eq!(flags(), ["0", "0"]);
    let disks = host.disks().unwrap();
    assert_eq!(flags(), ["1", "1"]);
    assert!(
        disks.iter().all(|d| !d.read_only),
        "by their hardware they can be written"
    );

    let plan = approved(&host, &disks[0].path, &disks[1].path);
    let protection = host
        .protect_all_but(Some(&disks[0].identity), &[permit(&plan)])
        .unwrap();
    let sink = host.open_destination(permit(&plan)).unwrap();
    assert_eq!(flags(), ["1", "0"]);
    // Another program of ours lists the disks while this one writes.
    live.machine.host().disks().unwrap();
    assert_eq!(flags(), ["1", "0"]);
    sink.write_at(0, &[1; 4096]).unwrap();
    sink.finish().unwrap();
    host.disks().unwrap();
    assert_eq!(
        flags(),
        ["1", "0"],
        "the job still has to read it back and grow it"
    );
    drop(protection);
    assert_eq!(flags(), ["1", "1"]);
}

#[test]
fn programs_that_list_the_disks_at_the_same_time_do_not_mislead_each_other() {
    let live = live();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let host = live.machine.host();
            scope.spawn(move || {
                for _ in 0..10 {
                    let disks = host.disks().unwrap();
                    assert_eq!(disks.len(), 2);
                    assert!(disks.iter().all(|d| !d.read_only));
                }
            });
        }
    });
    assert!(live.disks.iter().all(|d| d.sys("ro") == "1"));
}

fn names(host: &Linux, place: &str) -> Result<Vec<String>, String> {
    let opened = host
        .open_place(&place.parse::<Place>().unwrap(), None)
        .map_err(|e| e.0)?;
    opened.store.list().map_err(|e| e.to_string())
}

/// A disk with one ext4 filesystem that holds `dir/an.image`, in the made machine as `name`.
fn store_disk(machine: &Machine, folder: &Path, name: &str, number: u32, label: &str) -> Loop {
    let content = folder.join("content");
    fs::create_dir_all(content.join("dir")).unwrap();
    fs::write(content.join("dir/an.image"), "bytes").unwrap();
    let _ = std::os::unix::fs::symlink("/etc", content.join("out"));
    let image = file(folder, name, &[]);
    fs::File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .set_len(16 * MIB as u64)
        .unwrap();
    let uuid = format!("11111111-2222-3333-4444-00000000000{number}");
    let words = [
        "-q",
        "-F",
        "-L",
        label,
        "-U",
        &uuid,
        "-d",
        content.to_str().unwrap(),
        image.to_str().unwrap(),
    ];
    tool("e2fsprogs", "mkfs.ext4", &words);
    let device = Loop::new(&image, &[]);
    let place = format!("pci0000:00/0000:00:0{number}.0/virtio{number}");
    machine.device(&place, "virtio", "", &[]);
    machine.disk(
        &place,
        name,
        16 * MIB as u64,
        &[("serial", name)],
        &Node::Device(&device.node),
    );
    device
}

#[test]
fn a_place_by_uuid_or_label_is_mounted_read_only_and_unmounted_again() {
    let (folder, machine) = (folder(), Machine::new());
    let device = store_disk(&machine, folder.path(), "vda", 4, "BACKUP");
    machine.live();
    let host = machine.host();
    let before = fs::read(&device.file).unwrap();
    assert_eq!(
        names(&host, "uuid:11111111-2222-3333-4444-000000000004/dir").unwrap(),
        ["an.image"]
    );

    let place = "label:BACKUP/dir/an.image".parse::<Place>().unwrap();
    let opened = host.open_place(&place, None).unwrap();
    assert_eq!(opened.name, "an.image");
    assert_eq!(opened.disk.as_ref().unwrap().serial.as_deref(), Some("vda"));
    let image = opened.store.open("an.image").unwrap();
    let mounted = machine.path("run/rescue/places/BACKUP");
    assert_eq!(
        opened.store.describe(),
        mounted.join("dir").display().to_string()
    );
    drop(opened);
    // A file that is still open keeps it mounted.
    let mut bytes = [0; 5];
    image.read_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"bytes");
    assert!(mounted.exists());
    drop(image);
    assert!(!mounted.exists());
    assert_eq!(device.sys("ro"), "1");
    assert!(
        fs::read(&device.file).unwrap() == before,
        "looking changed the disk"
    );
}

#[test]
fn a_store_is_writable_only_with_its_permit_and_only_as_long_as_it_is_open() {
    let (folder, machine) = (folder(), Machine::new());
    let device = store_disk(&machine, folder.path(), "vda", 4, "BACKUP");
    let source = file(folder.path(), "source", &numbered(MIB));
    machine.live();
    let host = machine.host();
    let place = "label:BACKUP/dir".parse::<Place>().unwrap();
    let looked = host.open_place(&place, None).unwrap();
    let error = looked.store.create("new").err().unwrap();
    assert!(error.to_string().contains("read-only"), "{error}");
    drop(looked);

    let request = Request {
        action: Action::Image {
            source: DiskName::Path(source),
            store: place.clone(),
            name: "x".into(),
        },
        options: Options::default(),
    };
    let plan = prepare(&request, &host).unwrap();
    let approved = plan.approve(&Consent::NothingOverwritten).unwrap();
    let protection = host.protect_all_but(None, &[permit(&approved)]).unwrap();
    let opened = host.open_place(&place, Some(permit(&approved))).unwrap();
    assert_eq!(device.sys("ro"), "0");
    let mut new = opened.store.create("new").unwrap();
    new.append(b"of the job").unwrap();
    new.sync().unwrap();
    drop((new, opened));
    assert!(!machine.path("run/rescue/places/BACKUP").exists());
    drop(protection);
    assert_eq!(device.sys("ro"), "1");
    assert_eq!(
        names(&host, "label:BACKUP/dir").unwrap(),
        ["an.image", "new"]
    );
    drop(host);
    let raw = device.file.to_str().unwrap();
    tool("e2fsprogs", "e2fsck", &["-fn", raw]);
}

#[test]
fn a_full_filesystem_is_said_and_keeps_what_it_has() {
    let folder = folder();
    let image = file(folder.path(), "small", &vec![0; 4 * MIB]);
    tool(
        "e2fsprogs",
        "mkfs.ext4",
        &["-q", "-F", "-O", "^has_journal", image.to_str().unwrap()],
    );
    let device = Loop::new(&image, &[]);
    let at = folder.path().join("at");
    fs::create_dir(&at).unwrap();
    tool(
        "mount",
        "mount",
        &[device.node.to_str().unwrap(), at.to_str().unwrap()],
    );
    let store = engine::transport::dir::DirStore::open(&at).unwrap();
    let filled = {
        let mut image = store.create("x").unwrap();
        let piece = numbered(MIB);
        let error = (0..8).find_map(|_| image.append(&piece).err());
        (error, image.len(), image.sync())
    };
    let read = store.open("x").map(|x| {
        let mut first = vec![0; MIB];
        x.read_at(0, &mut first).map(|()| first == numbered(MIB))
    });
    drop(store);
    tool("mount", "umount", &[at.to_str().unwrap()]);
    let (error, len, synced) = filled;
    let error = error.expect("4 MiB hold no 8 MiB");
    assert!(
        matches!(&error, StoreError::Full(text) if text.contains("there is no room for")),
        "{error}"
    );
    assert!(len >= MIB as u64 && len.is_multiple_of(MIB as u64), "{len}");
    assert_eq!(synced, Ok(()));
    assert_eq!(read.unwrap(), Ok(true));
}

#[test]
fn places_that_are_ambiguous_missing_or_lead_out_are_refused_with_names() {
    let (folder, machine) = (folder(), Machine::new());
    let _one = store_disk(&machine, folder.path(), "vda", 4, "SAME");
    let _two = store_disk(&machine, folder.path(), "vdb", 5, "SAME");
    let host = machine.host();
    let told = |place: &str| names(&host, place).unwrap_err();
    let both = told("label:SAME");
    assert!(
        both.contains("dev/vda") && both.contains("dev/vdb") && both.contains("more than once"),
        "{both}"
    );
    assert!(told("label:NONE").contains("no filesystem of this machine is label:NONE"));
    let uuid = "uuid:11111111-2222-3333-4444-000000000005";
    assert!(told(&format!("{uuid}/nowhere/x")).contains("there is no directory"));
    assert!(told(&format!("{uuid}/out")).contains("leads out of its filesystem"));
    let left: Vec<_> = fs::read_dir(machine.path("run/rescue/places"))
        .unwrap()
        .collect();
    assert!(left.is_empty(), "{left:?} is still mounted");
}

#[test]
fn a_directory_knows_the_disk_it_is_on() {
    let (folder, machine) = (folder(), Machine::new());
    let device = store_disk(&machine, folder.path(), "vda", 4, "X");
    let at = folder.path().join("at");
    fs::create_dir(&at).unwrap();
    tool(
        "mount",
        "mount",
        &[
            "-o",
            "ro",
            device.node.to_str().unwrap(),
            at.to_str().unwrap(),
        ],
    );
    let place = Place::Path(at.join("dir/an.image"));
    let made = machine.host().open_place(&place, None).unwrap();
    let real = Linux::default().open_place(&place, None).unwrap();
    tool("mount", "umount", &[at.to_str().unwrap()]);
    assert_eq!(made.disk.unwrap().serial.as_deref(), Some("vda"));
    assert_eq!(real.disk.unwrap().location.as_deref(), device.file.to_str());
    assert!(real.free_bytes.is_some());
}

/// The kernel grows ext4 only for CAP_SYS_RESOURCE, which root in a container may lack: then the machine tests
/// show the growing, and this one that its refusal harms nothing.
fn may_resize() -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() >> CAP_SYS_RESOURCE & 1 == 1
}

#[test]
fn the_kernel_sees_new_partitions_and_grows_the_last_filesystem() {
    let folder = folder();
    let source = file(folder.path(), "source", &numbered(MIB));
    let target = file(folder.path(), "destination", &vec![0; 64 * MIB]);
    let device = Loop::new(&target, &["-P"]);
    let host = Linux::default();
    let plan = approved(&host, &source, &device.node);
    let node = device.node.to_str().unwrap();
    tool("gdisk", "sgdisk", &["-n1:2048:+4M", "-n3:20480:+40M", node]);
    let third = format!("{node}p3");
    host.reread_table(permit(&plan)).unwrap();
    assert!(Path::new(&third).exists());
    tool("e2fsprogs", "mkfs.ext4", &["-q", "-F", &third, "16M"]);

    let told = host.grow_filesystem(permit(&plan), 3);
    if may_resize() {
        let grown = "the ext4 filesystem of partition 3 was grown from 16.8 MB to 41.9 MB";
        assert_eq!(told.unwrap(), grown);
        let told = host.grow_filesystem(permit(&plan), 3).unwrap();
        let full = "the ext4 filesystem of partition 3 fills its partition already";
        assert_eq!(told, full);
    } else {
        let error = told.unwrap_err().0;
        assert!(
            error.contains("was not grown") && error.contains("resize2fs"),
            "{error}"
        );
    }
    tool("e2fsprogs", "e2fsck", &["-fn", &third]);
    let error = host.grow_filesystem(permit(&plan), 2).unwrap_err();
    assert!(error.0.contains("does not show partition 2"), "{error}");
    let error = host.grow_filesystem(permit(&plan), 1).unwrap_err();
    assert!(
        error.0.contains("no filesystem that can be grown"),
        "{error}"
    );

    // A partition that is open keeps the kernel from reading the whole table.
    let held = fs::File::open(format!("{node}p1")).unwrap();
    tool("gdisk", "sgdisk", &["-d3", "-n2:12288:+2M", node]);
    assert!(Path::new(&third).exists());
    host.reread_table(permit(&plan)).unwrap();
    drop(held);
    assert!(Path::new(&format!("{node}p2")).exists() && !Path::new(&third).exists());
}
