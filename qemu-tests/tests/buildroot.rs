//! The tree for Buildroot and its kernel configuration, as far as they can be judged without building anything.

#![allow(clippy::unwrap_used, reason = "a test that stops has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const CONFIG: &str = "buildroot/board/rescue/x86_64/linux.config";
const DRIVERS: &str = "buildroot/board/rescue/x86_64/drivers.list";

/// What a live image that is started by GRUB on a console needs of its kernel besides drivers of the list.
const NEEDED: &str = "
    64BIT SMP PCI PCI_MSI ACPI EFI EFI_STUB RELOCATABLE BINFMT_ELF BINFMT_SCRIPT PRINTK UNIX
    BLK_DEV_INITRD RD_ZSTD DEVTMPFS TMPFS PROC_FS SYSFS FUTEX EPOLL SIGNALFD TIMERFD EVENTFD SHMEM IO_URING INET
    MSDOS_PARTITION EFI_PARTITION PARTITION_ADVANCED LDM_PARTITION MAC_PARTITION
    TTY VT VT_CONSOLE VGA_CONSOLE FB FB_EFI FB_VESA FRAMEBUFFER_CONSOLE FONT_8x16 FONT_TER16x32
    SERIAL_8250 SERIAL_8250_CONSOLE VIRTIO_CONSOLE INPUT_KEYBOARD KEYBOARD_ATKBD SERIO_I8042 USB_HID HID_GENERIC
    ATA ATA_PIIX SATA_AHCI BLK_DEV_NVME BLK_DEV_SD BLK_DEV_SR CHR_DEV_SG SCSI_VIRTIO VIRTIO_BLK VIRTIO_NET
    USB_XHCI_PCI USB_EHCI_PCI USB_UHCI_HCD USB_OHCI_HCD_PCI USB_STORAGE USB_UAS MMC_BLOCK MMC_SDHCI_PCI VMD
    HYPERV_STORAGE VMWARE_PVSCSI XEN_BLKDEV_FRONTEND BLK_DEV_LOOP E1000E R8169 8139TOO 8139CP
    ISO9660_FS UDF_FS SQUASHFS VFAT_FS EXFAT_FS NTFS3_FS EXT4_FS XFS_FS BTRFS_FS FUSE_FS OVERLAY_FS CIFS NFS_FS
    NVME_HWMON SENSORS_DRIVETEMP FW_CFG_SYSFS";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Lines without what stands behind `#`, none of them empty.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let bare = text.lines().map(|line| line.split('#').next().unwrap());
    bare.map(str::trim).filter(|line| !line.is_empty())
}

fn built_in() -> BTreeSet<String> {
    lines(&read(CONFIG))
        .map(|line| {
            let option = line
                .strip_prefix("CONFIG_")
                .and_then(|l| l.strip_suffix("=y"));
            option
                .unwrap_or_else(|| panic!("{CONFIG} has the line {line}"))
                .to_owned()
        })
        .collect()
}

struct Driver {
    path: String,
    option: String,
    /// `off: why`, `firmware: what works without`, or nothing.
    word: String,
}

impl Driver {
    /// As modules are called, with underscores.
    fn name(&self) -> String {
        module_name(self.path.rsplit('/').next().unwrap())
    }
}

fn module_name(file: &str) -> String {
    file.replace('-', "_")
}

fn drivers() -> Vec<Driver> {
    lines(&read(DRIVERS))
        .map(|line| {
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            Driver {
                path: words.next().unwrap(),
                option: words
                    .next()
                    .unwrap_or_else(|| panic!("{line} names no option")),
                word: words.next().unwrap_or_default(),
            }
        })
        .collect()
}

#[test]
fn no_option_of_the_kernel_is_requested_twice_and_they_are_sorted() {
    let text = read(CONFIG);
    let options: Vec<&str> = lines(&text).collect();
    assert!(options.len() > 600, "only {} options", options.len());
    for pair in options.windows(2) {
        assert!(pair[0] < pair[1], "{} stands before {}", pair[0], pair[1]);
    }
    for line in text.lines().filter(|line| line.starts_with('#')) {
        assert_eq!(line, "# CONFIG_MODULES is not set");
    }
}

#[test]
fn everything_the_live_image_needs_is_built_in() {
    let built_in = built_in();
    let missing: Vec<&str> = NEEDED
        .split_whitespace()
        .filter(|option| !built_in.contains(*option))
        .collect();
    assert!(missing.is_empty(), "not requested: {missing:?}");
}

#[test]
fn every_driver_of_the_image_with_modules_is_in_the_drivers_list() {
    let drivers = drivers();
    let names: BTreeSet<String> = drivers.iter().map(Driver::name).collect();
    let modules = read("rescue/iso/modules.list");
    for wanted in lines(&modules).flat_map(str::split_whitespace) {
        if let Some(folder) = wanted
            .strip_prefix("kernel/")
            .and_then(|w| w.strip_suffix('*'))
        {
            let below = drivers.iter().any(|driver| driver.path.starts_with(folder));
            assert!(below, "{DRIVERS} has no driver below {folder}");
        } else {
            let name = module_name(wanted);
            assert!(names.contains(&name), "{DRIVERS} lacks the driver {wanted}");
        }
    }
}

#[test]
fn every_driver_of_the_list_is_built_in_or_says_why_not() {
    let built_in = built_in();
    for Driver { path, option, word } in drivers() {
        let off = word.strip_prefix("off: ");
        assert_eq!(
            built_in.contains(&option),
            off.is_none(),
            "{path}, {option}"
        );
        assert!(
            off.is_none_or(|why| why.len() > 10),
            "{path} is off without a reason"
        );
    }
}

/// Of these, and of no others of the list, the kernel's source calls `request_firmware` or names a file (6.12).
const ASKING: &str = "
    aic94xx aquantia bnx2 e100 i40e isci libsas mscc pm80xx r8152 r8169 tg3 tps6598x ums_eneub6250 vub300";

#[test]
fn no_driver_depends_on_firmware_that_the_image_lacks() {
    let drivers: BTreeMap<String, Driver> = drivers().into_iter().map(|d| (d.name(), d)).collect();
    for name in ASKING.split_whitespace() {
        let driver = drivers
            .get(name)
            .unwrap_or_else(|| panic!("{DRIVERS} lacks {name}"));
        let judged = ["firmware: ", "off: "]
            .iter()
            .any(|w| driver.word.starts_with(w));
        assert!(
            judged,
            "{DRIVERS} does not say what {name} does without its firmware"
        );
    }
    let judged = drivers
        .values()
        .filter(|d| d.word.starts_with("firmware: "));
    for driver in judged {
        let asks = ASKING.split_whitespace().any(|name| name == driver.name());
        assert!(asks, "{} asks for no firmware", driver.path);
    }
    // With it every missing file would be waited for by somebody who is not there.
    assert!(!built_in().contains("FW_LOADER_USER_HELPER_FALLBACK"));
}

/// `config-in-effect` on small configurations: whether it is content, and what it says.
fn compared(requested: &str, effective: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let (asked, got) = (folder.path().join("asked"), folder.path().join("got"));
    fs::write(&asked, requested).unwrap();
    fs::write(&got, effective).unwrap();
    let output = Command::new(root().join("buildroot/config-in-effect"))
        .args([&asked, &got])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

const EFFECTIVE: &str =
    "CONFIG_PCI=y\nCONFIG_SATA_AHCI=y\nCONFIG_HZ=250\n# CONFIG_MODULES is not set\n";

#[test]
fn a_configuration_that_is_in_effect_passes() {
    let requested = "# CONFIG_MODULES is not set\nCONFIG_PCI=y\nCONFIG_SATA_AHCI=y\n";
    let (good, said) = compared(requested, EFFECTIVE);
    assert!(
        good && said == "all 2 requested options are in effect\n",
        "{said}"
    );
}

#[test]
fn what_is_requested_and_not_in_effect_is_refused_by_name() {
    for (requested, effective, named) in [
        // misspelt
        (
            "CONFIG_PCI=y\nCONFIG_SATA_ACHI=y\n",
            EFFECTIVE,
            "not in effect: CONFIG_SATA_ACHI=y",
        ),
        // its dependency is gone
        (
            "CONFIG_SATA_AHCI=y\n",
            "CONFIG_HZ=250\n# CONFIG_PCI is not set\n",
            "CONFIG_SATA_AHCI=y",
        ),
        // another value
        ("CONFIG_HZ=1000\n", EFFECTIVE, "CONFIG_HZ=1000"),
        // the beginning of another one's name
        ("CONFIG_SATA=y\n", EFFECTIVE, "CONFIG_SATA=y"),
        (
            "# CONFIG_PCI is not set\nCONFIG_HZ=250\n",
            EFFECTIVE,
            "not wanted by",
        ),
        (
            "CONFIG_PCI=y\n# CONFIG_PCI is not set\n",
            EFFECTIVE,
            "contradicts itself about CONFIG_PCI",
        ),
        (
            "CONFIG_PCI=y\nCONFIG_PCI=y\nCONFIG_PCI=m\n",
            EFFECTIVE,
            "contradicts itself about CONFIG_PCI",
        ),
        (
            "CONFIG_PCI=y\n",
            "CONFIG_PCI=y\nCONFIG_XFS_FS=m\n",
            "modules in effect: CONFIG_XFS_FS=m",
        ),
        ("# nothing\n", EFFECTIVE, "requests nothing"),
        ("CONFIG_PCI=y\n", "", "missing or empty"),
    ] {
        let (good, said) = compared(requested, effective);
        assert!(
            !good && said.contains(named),
            "{requested} {effective} {said}"
        );
    }
}

#[test]
fn the_tree_has_what_its_files_name() {
    let tree = root().join("buildroot");
    let defconfig = read("buildroot/configs/rescue_x86_64_defconfig");
    let named = defconfig.split("$(BR2_EXTERNAL_RESCUE_PATH)/").skip(1);
    let named: Vec<&str> = named.map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(named.len(), 3, "{named:?}");
    for name in named {
        assert!(tree.join(name).exists(), "{name} is missing");
    }
    for option in [
        "BR2_DOWNLOAD_FORCE_CHECK_HASHES=y",
        "BR2_INIT_NONE=y",
        "BR2_PACKAGE_BUSYBOX=y",
        "BR2_TARGET_ROOTFS_CPIO_ZSTD=y",
        "BR2_LINUX_KERNEL_ZSTD=y",
        "BR2_TOOLCHAIN_BUILDROOT_GLIBC=y",
        "BR2_PACKAGE_RESCUE=y",
    ] {
        assert!(defconfig.lines().any(|line| line == option), "{option}");
    }
    let included = read("buildroot/Config.in");
    assert!(included.contains("package/rescue/Config.in"), "{included}");
    assert!(tree.join("package/rescue/Config.in").exists());
    assert!(read("buildroot/external.desc").starts_with("name: RESCUE\n"));
}

/// Buildroot takes the C library away without a word when the headers' series is not said, and the package with it.
#[test]
fn the_kernel_of_the_tree_has_its_headers_and_its_sum() {
    let defconfig = read("buildroot/configs/rescue_x86_64_defconfig");
    let value = |name: &str| {
        let mut values = defconfig.lines().filter_map(|line| line.strip_prefix(name));
        values.next().unwrap().trim_matches('"').to_owned()
    };
    let version = value("BR2_LINUX_KERNEL_CUSTOM_VERSION_VALUE=");
    let (series, _) = version.rsplit_once('.').unwrap();
    let headers = format!(
        "BR2_PACKAGE_HOST_LINUX_HEADERS_CUSTOM_{}=y",
        series.replace('.', "_")
    );
    assert!(defconfig.lines().any(|line| line == headers), "{headers}");
    let sums = read("buildroot/board/rescue/patches/linux/linux.hash");
    let tarball = format!("linux-{version}.tar.xz");
    let sum = lines(&sums).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.len() == 3 && words[0] == "sha256" && words[2] == tarball).then(|| words[1])
    });
    let is_sum = |sum: &str| sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(sum.is_some_and(is_sum), "{tarball}: {sums}");
}

#[test]
fn recipes_of_the_package_are_indented_by_tabs() {
    for name in [
        "buildroot/external.mk",
        "buildroot/package/rescue/rescue.mk",
    ] {
        for line in read(name).lines() {
            let spaces = line.starts_with(' ') || line.ends_with([' ', '\t']);
            assert!(!spaces, "{name}: {line:?}");
        }
    }
}
