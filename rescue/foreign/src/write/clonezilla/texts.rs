//! What `sfdisk`, `parted` and `lsblk` would have said of the disk.

use std::fmt::Write;

use disk::fields::Fields;
use disk::size::Size;
use disk::table::{Partition, Role, Scheme, Table};

use super::{DISK, Part, SECTOR};

pub const ABOUT: &str = concat!(
    "This image was written by rescue ",
    env!("CARGO_PKG_VERSION"),
    " for Clonezilla.\n"
);

/// As `sfdisk -d`; `primary` is the disk's first sectors where it has a GPT.
pub fn sfdisk(table: &Table, primary: &[u8]) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    match table.scheme {
        Scheme::Gpt => {
            line("label: gpt".into());
            line(format!("label-id: {}", table.id.to_ascii_uppercase()));
        }
        Scheme::Mbr => {
            line("label: dos".into());
            line(format!("label-id: 0x{}", table.id));
        }
    }
    line(format!("device: /dev/{DISK}"));
    line("unit: sectors".into());
    if table.scheme == Scheme::Gpt {
        // UEFI, 5.3.2: the first and the last usable block.
        let header = Fields(primary);
        let known = |at: usize| header.u64(512 + at).filter(|sector| *sector > 0);
        if let (Some(first), Some(last)) = (known(40), known(48)) {
            line(format!("first-lba: {first}"));
            line(format!("last-lba: {last}"));
        }
    }
    line(format!("sector-size: {SECTOR}"));
    line(String::new());
    let mut partitions: Vec<&Partition> = table.partitions.iter().collect();
    partitions.sort_by_key(|partition| partition.number);
    for partition in partitions {
        line(listed(partition, table.scheme));
    }
    text
}

fn listed(partition: &Partition, scheme: Scheme) -> String {
    let (start, size) = (
        partition.extent.start() / SECTOR,
        partition.extent.len() / SECTOR,
    );
    let number = partition.number;
    let kind = match scheme {
        Scheme::Gpt => partition.type_id.clone(),
        Scheme::Mbr => partition
            .type_id
            .trim_start_matches('0')
            .to_ascii_lowercase(),
    };
    let kind = if kind.is_empty() { "0".into() } else { kind };
    let mut text = format!("/dev/{DISK}{number} : start={start:>12}, size={size:>12}, type={kind}");
    match scheme {
        Scheme::Mbr if partition.attributes != 0 => text.push_str(", bootable"),
        Scheme::Mbr => {}
        Scheme::Gpt => {
            if let Some(uuid) = &partition.uuid {
                text.push_str(&format!(", uuid={}", uuid.to_ascii_uppercase()));
            }
            if let Some(name) = partition.name.as_ref().filter(|name| !name.is_empty()) {
                text.push_str(&format!(", name=\"{}\"", quoted(name)));
            }
            let attributes = attributes(partition.attributes);
            if !attributes.is_empty() {
                text.push_str(&format!(", attrs=\"{attributes}\""));
            }
        }
    }
    text
}

/// As libfdisk quotes: what means something to a shell, and what is no text, as `\xNN`.
fn quoted(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if "\"\\`$".contains(c) || c.is_control() {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                text.push_str(&format!("\\x{byte:02x}"));
            }
        } else {
            text.push(c);
        }
    }
    text
}

fn attributes(bits: u64) -> String {
    let named = [
        (0, "RequiredPartition"),
        (1, "NoBlockIOProtocol"),
        (2, "LegacyBIOSBootable"),
    ];
    let named = named.iter().filter(|(bit, _)| bits >> bit & 1 == 1);
    let mut words: Vec<String> = named.map(|(_, name)| (*name).to_owned()).collect();
    let own: Vec<String> = (48..64)
        .filter(|bit| bits >> bit & 1 == 1)
        .map(|bit| bit.to_string())
        .collect();
    if !own.is_empty() {
        words.push(format!("GUID:{}", own.join(",")));
    }
    words.join(" ")
}

/// As `parted unit s print`.
pub fn parted(table: &Table, parts: &[Part], sectors: u64) -> String {
    let label = match table.scheme {
        Scheme::Gpt => "gpt",
        Scheme::Mbr => "msdos",
    };
    let mut text = format!(
        "Model: rescue (file)\nDisk /dev/{DISK}: {sectors}s\nSector size (logical/physical): 512B/512B\n\
         Partition Table: {label}\nDisk Flags: \n\nNumber  Start  End  Size  {}  File system  Flags\n",
        if table.scheme == Scheme::Gpt {
            "Name"
        } else {
            "Type"
        }
    );
    for partition in &table.partitions {
        let name = format!("{DISK}{}", partition.number);
        let part = parts.iter().find(|part| part.name == name);
        let filesystem = match part.and_then(|part| part.filesystem.as_deref()) {
            Some("swap") => "linux-swap(v1)",
            Some(kind) => kind,
            None => "",
        };
        let role = match (table.scheme, partition.role) {
            (Scheme::Gpt, _) => "",
            (_, Role::Primary) => "primary",
            (_, Role::Extended) => "extended",
            (_, Role::Logical) => "logical",
        };
        let (start, size) = (
            partition.extent.start() / SECTOR,
            partition.extent.len() / SECTOR,
        );
        let end = start + size - 1;
        let number = partition.number;
        text.push_str(&format!(
            " {number}  {start}s  {end}s  {size}s  {role}  {filesystem}\n"
        ));
    }
    text
}

/// As `sfdisk -g` counts without asking a BIOS.
pub fn cylinders(sectors: u64) -> String {
    format!(
        "cylinders={}\nheads=255\nsectors=63\n",
        sectors / (255 * 63)
    )
}

pub fn filesystems(parts: &[Part]) -> String {
    let mut text = String::from("# <Device name>   <File system>   <Size>\n");
    for part in parts {
        let kind = part.filesystem.as_deref().unwrap_or("unknown");
        let size = size(part.extent.len());
        writeln!(text, "/dev/{} {kind} {size}", part.name).expect("memory takes every write");
    }
    text
}

/// As `lsblk -o KNAME,NAME,SIZE,TYPE,FSTYPE,MOUNTPOINT,MODEL`.
pub fn devices(parts: &[Part], sectors: u64) -> String {
    let mut text = format!(
        "KNAME NAME SIZE TYPE FSTYPE MOUNTPOINT MODEL\n{DISK} {DISK} {} disk\n",
        size(sectors * SECTOR)
    );
    for part in parts {
        let kind = part.filesystem.as_deref().unwrap_or_default();
        let size = size(part.extent.len());
        writeln!(text, "{name} |-{name} {size} part {kind}", name = part.name)
            .expect("memory takes every write");
    }
    text
}

/// A word to who splits at spaces.
fn size(bytes: u64) -> String {
    Size(bytes).to_string().replace(' ', "")
}

pub fn swap(part: &Part) -> String {
    let word = |word: &Option<String>| {
        let safe = |c: &char| c.is_ascii_alphanumeric() || "-_. ".contains(*c);
        let word = word.as_deref().unwrap_or_default();
        // A shell reads it.
        word.chars().filter(safe).collect::<String>()
    };
    format!(
        "UUID=\"{}\"\nLABEL=\"{}\"\n",
        word(&part.uuid),
        word(&part.label)
    )
}
