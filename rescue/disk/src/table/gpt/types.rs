//! Partition type GUIDs in words.

use std::str::FromStr;

use gpt::partition_types::{self as known, OperatingSystem, Type};

const WORDS: &[(Type, &str)] = &[
    (known::EFI, "EFI system"),
    (known::BIOS, "BIOS boot"),
    (known::MICROSOFT_RESERVED, "Microsoft reserved"),
    (known::BASIC, "Windows data"),
    (known::WINDOWS_METADATA, "Windows dynamic disk metadata"),
    (known::WINDOWS_DATA, "Windows dynamic disk"),
    (known::WINDOWS_RECOVERY, "Windows recovery"),
    (known::WINDOWS_STORAGESPACES, "Windows storage spaces"),
    (known::LINUX_FS, "Linux"),
    (known::LINUX_RAID, "Linux RAID"),
    (known::LINUX_ROOT_X86, "Linux root (x86)"),
    (known::LINUX_ROOT_X64, "Linux root (x86-64)"),
    (known::LINUX_ROOT_ARM_32, "Linux root (ARM)"),
    (known::LINUX_ROOT_ARM_64, "Linux root (ARM64)"),
    (known::LINUX_SWAP, "Linux swap"),
    (known::LINUX_LVM, "Linux LVM"),
    (known::LINUX_HOME, "Linux home"),
    (known::LINUX_SRV, "Linux server data"),
    (known::LINUX_DMCRYPT, "Linux dm-crypt"),
    (known::LINUX_LUKS, "Linux LUKS"),
    (known::LINUX_RESERVED, "Linux reserved"),
    (known::FREEDESK_BOOT, "Linux extended boot"),
    (known::MACOS_HFSPLUS, "Apple HFS+"),
    (known::MACOS_APFS, "Apple APFS"),
    (known::MACOS_RECOVERY, "Apple boot"),
    (known::MACOS_CORE, "Apple Core Storage"),
    (known::MACOS_RAID, "Apple RAID"),
    (known::CHROME_KERNEL, "ChromeOS kernel"),
    (known::CHROME_ROOTFS, "ChromeOS root"),
    (known::CHROME_FUTURE, "ChromeOS reserved"),
];

/// The type in words; at least the system it belongs to, where that is known.
pub fn name(type_id: &str) -> Option<String> {
    let found = Type::from_str(type_id).ok()?;
    if let Some((_, words)) = WORDS.iter().find(|(known, _)| known.guid == found.guid) {
        return Some((*words).to_owned());
    }
    let system = match found.os {
        OperatingSystem::None | OperatingSystem::Custom(_) => return None,
        OperatingSystem::FreeDesktop | OperatingSystem::Linux => "Linux",
        OperatingSystem::Windows => "Windows",
        OperatingSystem::MacOs => "Apple",
        OperatingSystem::FreeBsd => "FreeBSD",
        OperatingSystem::NetBsd => "NetBSD",
        OperatingSystem::OpenBsd => "OpenBSD",
        OperatingSystem::DragonFlyBsd => "DragonFly BSD",
        OperatingSystem::MidnightBsd => "MidnightBSD",
        OperatingSystem::Chrome => "ChromeOS",
        OperatingSystem::Solaris => "Solaris",
        OperatingSystem::VmWare => "VMware",
        other => return Some(format!("{other:?}")),
    };
    Some(system.to_owned())
}
