//! The inventory of machines made of files: every bus keeps model and serial in its own place.

#![allow(clippy::unwrap_used, reason = "a test that stops has failed")]

mod machine;

use std::fs;

use disk::extent::Extent;
use disk::source::{BlockSource, ReadError};
use engine::host::{Disk, Host, MountMode, Transport, Use};
use engine::passes::{Errors, Patience};
use engine::request::DiskName;
use machine::{Machine, Node};

const MIB: u64 = 1 << 20;

/// The IDENTIFY data of an ATA drive, as vital product data page 89h.
fn vpd_89(model: &str, serial: &str, firmware: &str) -> Vec<u8> {
    let mut page = vec![0; 572];
    page[1] = 0x89;
    page[2..4].copy_from_slice(&568u16.to_be_bytes());
    let mut put = |word: usize, words: usize, text: &str| {
        let padded = format!("{text:<width$}", width = 2 * words);
        for (i, pair) in padded.as_bytes().chunks(2).enumerate() {
            page[60 + 2 * (word + i)] = pair[1];
            page[60 + 2 * (word + i) + 1] = pair[0];
        }
    };
    put(10, 10, serial);
    put(23, 4, firmware);
    put(27, 20, model);
    page
}

fn vpd_80(serial: &str) -> Vec<u8> {
    let mut page = vec![0, 0x80, 0, u8::try_from(serial.len()).unwrap()];
    page.extend(serial.as_bytes());
    page
}

const SATA: &str = "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0";
const USB: &str = "pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0";
const SAS: &str = "pci0000:00/0000:03:00.0/host1/port-1:0/end_device-1:0/target1:0:0/1:0:0:0";

fn sata(machine: &Machine, name: &str, node: &Node<'_>) {
    let model = "Samsung SSD 860 EVO 500GB with a name";
    machine.device(
        SATA,
        "scsi",
        "DEVTYPE=scsi_device\n",
        &[
            ("vendor", b"ATA     \n"),
            ("model", b"Samsung SSD 860 \n"),
            ("rev", b"RVT0\n"),
            ("wwid", b"naa.5002538e40b2c1f7\n"),
            ("vpd_pg80", &vpd_80("     S3Z9NB0K123456X")),
            ("vpd_pg89", &vpd_89(model, "S3Z9NB0K123456X", "RVT04B6Q")),
        ],
    );
    machine.disk(SATA, name, 4 * MIB, &[("queue/rotational", "0")], node);
}

fn the_one(machine: &Machine, path: &str) -> Disk {
    let disks = machine.host().disks().unwrap();
    let at = machine.path(path);
    disks
        .into_iter()
        .find(|d| d.path == at)
        .unwrap_or_else(|| panic!("{path} is not listed"))
}

#[test]
fn a_sata_drive_is_known_by_its_own_identify_data() {
    let machine = Machine::new();
    sata(&machine, "sda", &Node::Bytes(b""));
    let disk = the_one(&machine, "dev/sda");
    assert_eq!(
        disk.identity.model.as_deref(),
        Some("Samsung SSD 860 EVO 500GB with a name")
    );
    assert_eq!(disk.identity.serial.as_deref(), Some("S3Z9NB0K123456X"));
    assert_eq!(disk.identity.wwn.as_deref(), Some("naa.5002538e40b2c1f7"));
    assert_eq!(disk.identity.location, None);
    assert_eq!(disk.firmware.as_deref(), Some("RVT04B6Q"));
    assert_eq!((disk.vendor, disk.transport), (None, Transport::Sata));
    assert_eq!(
        (disk.rotational, disk.read_only, disk.removable),
        (Some(false), false, false)
    );
    assert_eq!(disk.geometry.size_bytes, 4 * MIB);
}

#[test]
fn an_nvme_drive_is_known_by_its_controller() {
    let machine = Machine::new();
    let above = "pci0000:00/0000:01:00.0/nvme/nvme0";
    let attributes: &[(&str, &[u8])] = &[
        ("model", b"WD_BLACK SN850X 1000GB                  \n"),
        ("serial", b"22334A800123        \n"),
        ("firmware_rev", b"620311WD\n"),
        ("transport", b"pcie\n"),
    ];
    machine.device(above, "nvme", "NVME_TRTYPE=pcie\n", attributes);
    let own = [
        ("wwid", "eui.e8238fa6bf530001001b448b4a1c2d3e"),
        ("queue/rotational", "0"),
    ];
    machine.disk(above, "nvme0n1", MIB, &own, &Node::Bytes(b""));
    // A path of a multipath drive is not a disk of its own.
    machine.disk(
        above,
        "nvme0c0n1",
        MIB,
        &[("hidden", "1")],
        &Node::Bytes(b""),
    );
    let disks = machine.host().disks().unwrap();
    assert_eq!(disks.len(), 1, "{disks:?}");
    let disk = &disks[0];
    assert_eq!(
        disk.identity.model.as_deref(),
        Some("WD_BLACK SN850X 1000GB")
    );
    assert_eq!(disk.identity.serial.as_deref(), Some("22334A800123"));
    assert_eq!(
        disk.identity.wwn.as_deref(),
        Some("eui.e8238fa6bf530001001b448b4a1c2d3e")
    );
    assert_eq!(disk.firmware.as_deref(), Some("620311WD"));
    assert_eq!(
        (disk.transport, disk.rotational),
        (Transport::Nvme, Some(false))
    );
}

#[test]
fn a_usb_stick_is_known_by_the_usb_device_below_it() {
    let machine = Machine::new();
    let stick: &[(&str, &[u8])] = &[
        ("serial", b"4C530001230612115322\n"),
        ("product", b"Ultra\n"),
    ];
    machine.device(
        "pci0000:00/0000:00:14.0/usb2/2-1",
        "usb",
        "DEVTYPE=usb_device\n",
        stick,
    );
    machine.device(
        "pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0",
        "usb",
        "DEVTYPE=usb_interface\n",
        &[],
    );
    let scsi: &[(&str, &[u8])] = &[
        ("vendor", b"SanDisk \n"),
        ("model", b"Ultra           \n"),
        ("rev", b"1.00\n"),
    ];
    machine.device(USB, "scsi", "DEVTYPE=scsi_device\n", scsi);
    machine.disk(USB, "sdb", MIB, &[("removable", "1")], &Node::Bytes(b""));
    let disk = the_one(&machine, "dev/sdb");
    assert_eq!(
        disk.identity.serial.as_deref(),
        Some("4C530001230612115322")
    );
    assert_eq!(
        (disk.vendor.as_deref(), disk.identity.model.as_deref()),
        (Some("SanDisk"), Some("Ultra"))
    );
    assert_eq!((disk.transport, disk.removable), (Transport::Usb, true));
    assert_eq!(disk.rotational, None, "a stick says that it rotates");
}

#[test]
fn sas_virtio_and_sd_cards_are_known_too() {
    let machine = Machine::new();
    let sas: &[(&str, &[u8])] = &[
        ("vendor", b"SEAGATE \n"),
        ("model", b"ST4000NM0023    \n"),
        ("wwid", b"naa.5000c50057b2a1c3\n"),
        ("vpd_pg80", &vpd_80("Z1Z0ABCD0000R432")),
    ];
    machine.device(SAS, "scsi", "DEVTYPE=scsi_device\n", sas);
    machine.disk(
        SAS,
        "sdc",
        MIB,
        &[("queue/rotational", "1")],
        &Node::Bytes(b""),
    );
    let virtio = "pci0000:00/0000:00:04.0/virtio1";
    machine.device(virtio, "virtio", "DRIVER=virtio_blk\n", &[]);
    machine.disk(
        virtio,
        "vda",
        MIB,
        &[("serial", "disk-one")],
        &Node::Bytes(b""),
    );
    let card = "pci0000:00/0000:02:00.0/mmc_host/mmc0/mmc0:aaaa";
    let attributes: &[(&str, &[u8])] = &[
        ("name", b"SD32G\n"),
        ("serial", b"0x12ab34cd\n"),
        ("fwrev", b"0x0\n"),
    ];
    machine.device(card, "mmc", "MMC_TYPE=SD\n", attributes);
    machine.disk(
        card,
        "mmcblk0",
        MIB,
        &[("queue/rotational", "0")],
        &Node::Bytes(b""),
    );
    machine.disk(card, "mmcblk0boot0", MIB, &[], &Node::Bytes(b""));

    let told: Vec<_> = machine
        .host()
        .disks()
        .unwrap()
        .into_iter()
        .map(|d| {
            (
                d.transport,
                d.identity.serial.unwrap(),
                d.identity.model.unwrap(),
                d.rotational,
            )
        })
        .collect();
    let expected = [
        (
            Transport::Sas,
            "Z1Z0ABCD0000R432",
            "ST4000NM0023",
            Some(true),
        ),
        (Transport::Virtio, "disk-one", "VirtIO disk", None),
        (Transport::Mmc, "0x12ab34cd", "SD32G", Some(false)),
    ];
    assert_eq!(
        told,
        expected.map(|(t, s, m, r)| (t, s.to_owned(), m.to_owned(), r))
    );
}

#[test]
fn disks_without_a_serial_are_told_apart_by_their_place() {
    let machine = Machine::new();
    for (place, name) in [
        ("pci0000:00/0000:00:04.0/virtio1", "vda"),
        ("pci0000:00/0000:00:05.0/virtio2", "vdb"),
    ] {
        machine.device(place, "virtio", "", &[]);
        machine.disk(
            place,
            name,
            MIB,
            &[("serial", "")],
            &Node::Bytes(name.as_bytes()),
        );
    }
    let host = machine.host();
    let disks = host.disks().unwrap();
    assert_eq!(
        disks[0].identity.location.as_deref(),
        Some("pci0000:00/0000:00:04.0/virtio1")
    );
    assert!(!disks[0].identity.same_device(&disks[1].identity));
    let mut first = [0; 3];
    host.open_source(&disks[1].identity)
        .unwrap()
        .read_at(0, &mut first)
        .unwrap();
    assert_eq!(&first, b"vdb");
}

#[test]
fn two_disks_that_claim_to_be_the_same_are_refused() {
    let machine = Machine::new();
    for (place, name) in [
        ("pci0000:00/0000:00:04.0/virtio1", "vda"),
        ("pci0000:00/0000:00:05.0/virtio2", "vdb"),
    ] {
        machine.device(place, "virtio", "", &[]);
        machine.disk(place, name, MIB, &[("serial", "same")], &Node::Bytes(b""));
    }
    let host = machine.host();
    assert_eq!(
        host.find(&DiskName::Serial("same".into())).unwrap().len(),
        2
    );
    let known = host.disks().unwrap().remove(0).identity;
    let error = host.open_source(&known).err().unwrap();
    assert!(
        error.0.contains("more than once") && error.0.contains("vdb"),
        "{error}"
    );
}

#[test]
fn a_disk_is_found_by_its_identity_whatever_it_is_called() {
    let machine = Machine::new();
    sata(&machine, "sda", &Node::Bytes(b"the drive"));
    let known = the_one(&machine, "dev/sda").identity;
    let moved = Machine::new();
    moved.device("pci0000:00/0000:00:04.0/virtio1", "virtio", "", &[]);
    moved.disk(
        "pci0000:00/0000:00:04.0/virtio1",
        "sda",
        4 * MIB,
        &[],
        &Node::Bytes(b"another"),
    );
    sata(&moved, "sdb", &Node::Bytes(b"the drive"));
    let host = moved.host();
    let mut bytes = [0; 9];
    host.open_source(&known)
        .unwrap()
        .read_at(0, &mut bytes)
        .unwrap();
    assert_eq!(&bytes, b"the drive");
    assert_eq!(host.identify(&known).unwrap(), known);
    let found = host
        .find(&DiskName::Wwn("5002538E40B2C1F7".into()))
        .unwrap();
    assert_eq!(found[0].path, moved.path("dev/sdb"));

    let error = Machine::new().host().open_source(&known).err().unwrap();
    assert!(
        error.0.contains("no longer there; connect it again"),
        "{error}"
    );
}

#[test]
fn a_changed_disk_has_another_fingerprint_and_the_same_device() {
    let machine = Machine::new();
    sata(&machine, "sda", &Node::Bytes(b"before"));
    let host = machine.host();
    let before = the_one(&machine, "dev/sda").identity;
    // In the middle: nobody repartitioned it.
    let node = fs::File::options()
        .write(true)
        .open(machine.path("dev/sda"))
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&node, b"data", 2 * MIB).unwrap();
    assert_eq!(host.identify(&before).unwrap(), before);
    std::os::unix::fs::FileExt::write_all_at(&node, b"table", 4 * MIB - 512).unwrap();
    let after = host.identify(&before).unwrap();
    assert!(after != before && after.same_device(&before));
}

#[test]
fn who_uses_a_disk_is_named() {
    let machine = Machine::new();
    sata(&machine, "sda", &Node::Bytes(b""));
    let disk = format!("{SATA}/block/sda");
    for number in 1..=4 {
        machine.partition(&disk, &format!("sda{number}"), number);
    }
    let dev = |name: &str| machine.path("dev").join(name);
    machine.write(
        "proc/self/mountinfo",
        format!(
            "20 1 4001:1 / /boot rw - vfat {} rw\n21 1 0:45 /@ /home rw - btrfs {} ro\n22 1 0:3 / /proc rw - proc proc rw\n23 1 253:0 / /srv rw - ext4 /dev/mapper/vg-root rw\n",
            dev("sda1").display(),
            dev("sda2").display()
        ),
    );
    machine.write(
        "proc/swaps",
        format!(
            "Filename Type\n{} partition 1 0 -2\n",
            dev("sda3").display()
        ),
    );
    machine.write(
        &format!("sys/devices/{disk}/sda4/holders/dm-0/dm/name"),
        "vg-root\n",
    );
    machine.write(
        &format!("sys/devices/{disk}/sda4/holders/dm-0/dev"),
        "253:0\n",
    );
    let mounted = |device: &str, at: &str, mode: MountMode| Use::Mounted {
        device: dev(device),
        at: at.into(),
        mode,
    };
    assert_eq!(
        the_one(&machine, "dev/sda").uses,
        [
            mounted("sda1", "/boot", MountMode::ReadWrite),
            mounted("sda2", "/home", MountMode::ReadOnly),
            Use::Swap {
                device: dev("sda3")
            },
            Use::Held {
                device: dev("sda4"),
                by: "dm-0 (vg-root)".into()
            },
            // What stands on the volume writes to the disk below.
            Use::Mounted {
                device: "/dev/mapper/vg-root".into(),
                at: "/srv".into(),
                mode: MountMode::ReadWrite,
            },
        ]
    );
}

#[test]
fn the_boot_medium_is_known_by_its_volume_set() {
    let mut iso = vec![0; 40960];
    iso[32768..32774].copy_from_slice(b"\x01CD001");
    iso[32768 + 190..32768 + 190 + 128].fill(b' ');
    iso[32768 + 190..32768 + 198].copy_from_slice(b"0123abcd");
    let boots = |line: &str| {
        let machine = Machine::new();
        machine.write("proc/cmdline", line);
        sata(&machine, "sda", &Node::Bytes(&iso));
        the_one(&machine, "dev/sda").boot_medium
    };
    assert!(boots("quiet rescue.media=0123abcd panic=30\n"));
    assert!(!boots("quiet rescue.media=0123abc\n"));
    assert!(!boots("quiet rescue.media=\n"));
    assert!(!boots("quiet\n"));
    iso.fill(0);
}

#[test]
fn the_boot_medium_is_known_by_the_guid_of_its_table_too() {
    // As the ISO is made: the GUID is made of the id.
    let id = "0123456789abcdef";
    let guid = "01234567-89AB-4CDE-8DEF-456789ABCDEF";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stick");
    fs::File::create(&path).unwrap().set_len(4 << 20).unwrap();
    let made = std::process::Command::new("sgdisk")
        .args(["--clear", "--new=1:1M:+1M", "--disk-guid", guid])
        .arg(&path)
        .output()
        .expect("sgdisk of the package gdisk runs");
    assert!(made.status.success(), "{made:?}");
    let bytes = fs::read(&path).unwrap();
    let boots = |id: &str| {
        let machine = Machine::new();
        machine.write("proc/cmdline", format!("quiet rescue.media={id}\n"));
        sata(&machine, "sda", &Node::Bytes(&bytes));
        the_one(&machine, "dev/sda").boot_medium
    };
    assert!(boots(id));
    assert!(!boots("0123456789abcdee"));
    assert!(!boots("0123"));
    assert!(!boots("ä123456789abcdef"));
}

#[test]
fn a_copied_stick_is_known_by_the_filesystem_it_booted_from() {
    let machine = Machine::new();
    let file = machine.path("fat");
    fs::write(&file, vec![0; 4 << 20]).unwrap();
    machine::tool(
        "dosfstools",
        "mkfs.vfat",
        &["-i", "6f6d5452", file.to_str().unwrap()],
    );
    sata(&machine, "sda", &Node::Bytes(&fs::read(&file).unwrap()));
    assert!(!the_one(&machine, "dev/sda").boot_medium);
    machine.write("proc/cmdline", "rescue.media=x rescue.bootfs=6F6D-5452\n");
    assert!(the_one(&machine, "dev/sda").boot_medium);
}

#[test]
fn what_a_drive_says_of_itself_cannot_steer_a_terminal_or_stop_the_list() {
    let machine = Machine::new();
    let evil: &[(&str, &[u8])] = &[
        ("vendor", b"\x1b[2J\xff\xfe\n"),
        ("model", b"\n\n"),
        ("vpd_pg80", &[0, 0x80, 0xff, 0xff, b'a', 7, b'b']),
        ("vpd_pg89", &[0; 61]),
        ("wwid", b"naa.\x1b]0;x\x07\n"),
    ];
    machine.device(SATA, "scsi", "DEVTYPE=scsi_device\nnonsense\n=\n\0\n", evil);
    let attributes = [
        ("size", "99999999999999999999"),
        ("queue/rotational", "maybe"),
    ];
    machine.disk(SATA, "sda", MIB, &attributes, &Node::Bytes(b""));
    machine.disk(
        SATA,
        "sdb",
        MIB,
        &[("queue/logical_block_size", "-7")],
        &Node::Bytes(b""),
    );
    let disks = machine.host().disks().unwrap();
    assert_eq!(disks.len(), 1, "a size that is no number makes no disk");
    let shown = format!("{:?} {}", disks[0].vendor, disks[0].identity);
    assert!(
        !shown.contains('\x1b') && !shown.contains('\x07'),
        "{shown:?}"
    );
    assert_eq!(disks[0].identity.serial.as_deref(), Some("a\u{fffd}b"));
    assert_eq!(disks[0].identity.model, None);
    assert_eq!(disks[0].geometry.logical_sector, 512);
}

#[test]
fn paths_that_are_no_disk_are_told_what_they_are() {
    let machine = Machine::new();
    sata(&machine, "sda", &Node::Bytes(b""));
    let host = machine.host();
    let told = |path: std::path::PathBuf| host.find(&DiskName::Path(path)).map_err(|e| e.0);
    assert!(
        told(machine.path("dev"))
            .unwrap_err()
            .contains("is a directory")
    );
    assert!(
        told(machine.path("dev/sdz"))
            .unwrap_err()
            .contains("`rescue disks` lists")
    );
    assert!(
        told("/dev/null".into())
            .unwrap_err()
            .contains("neither a disk nor")
    );
    assert_eq!(told(machine.path("new.img")).unwrap(), []);
    assert_eq!(
        told(machine.path("dev/sda")).unwrap()[0].transport,
        Transport::Sata
    );
    // By any link to it, as in /dev/disk/by-id.
    std::os::unix::fs::symlink(machine.path("dev/sda"), machine.path("link")).unwrap();
    assert_eq!(
        told(machine.path("link")).unwrap()[0].path,
        machine.path("dev/sda")
    );
}

#[test]
fn the_kernels_own_count_of_written_sectors_is_read() {
    let machine = Machine::new();
    sata(&machine, "sda", &Node::Bytes(b""));
    machine.write(
        &format!("sys/devices/{SATA}/block/sda/stat"),
        "    1423   22  118962   812    9   7   4096    3    0   600   815    0    0    0    0    0    0\n",
    );
    let host = machine.host();
    let disk = the_one(&machine, "dev/sda");
    assert_eq!(host.sectors_written(&disk.identity), Some(4096));
    assert_eq!(host.kernel_read_only(&disk.identity), Some(false));
    machine.write(&format!("sys/devices/{SATA}/block/sda/ro"), "1\n");
    assert_eq!(host.kernel_read_only(&disk.identity), Some(true));
    assert!(the_one(&machine, "dev/sda").read_only);
}

#[test]
fn a_file_that_changes_its_size_is_another_disk() {
    let machine = Machine::new();
    machine.write("a.img", vec![7; 8192]);
    let host = machine.host();
    let found = host
        .find(&DiskName::Path(machine.path("a.img")))
        .unwrap()
        .remove(0);
    assert_eq!(
        (found.transport, found.geometry.size_bytes),
        (Transport::File, 8192)
    );
    assert_eq!(host.sectors_written(&found.identity), None);
    let source = host.open_source(&found.identity).unwrap();
    let got = source.read_at(8000, &mut [0; 500]);
    assert!(matches!(got, Err(ReadError::BeyondEnd { .. })));
    machine.write("a.img", vec![7; 4096]);
    let error = host.open_source(&found.identity).err().unwrap();
    assert!(error.0.contains("has changed"), "{error}");
    fs::remove_file(machine.path("a.img")).unwrap();
    assert!(
        host.open_source(&found.identity)
            .err()
            .unwrap()
            .0
            .contains("no longer there")
    );
}

#[test]
fn a_file_is_read_carefully_as_it_is() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..MIB + 4096)
        .map(|n| (n ^ (n >> 8)).to_le_bytes()[0])
        .collect();
    fs::write(file.path(), &bytes).unwrap();
    let machine = Machine::new();
    let host = machine.host();
    let found = host.find(&DiskName::Path(file.path().into())).unwrap();
    let careful = host
        .open_careful(&found[0].identity, std::time::Duration::ZERO)
        .unwrap();
    assert_eq!(careful.errors(), Errors::Somewhere);
    let extent = Extent::new(4096, MIB).unwrap();
    let mut buf = vec![0; usize::try_from(MIB).unwrap()];
    let answer = careful.read(extent, &mut buf, Patience::Sweep).unwrap();
    assert_eq!((answer.good, answer.bad), (MIB, None));
    assert_eq!(buf, bytes[4096..]);
}
