//! What `sfdisk -d` and `parted` said of the disk.

use disk::extent::Extent;

const SECTOR: u64 = 512;

#[derive(Debug, Default)]
pub struct Listed {
    pub partitions: Vec<Part>,
    pub extended: Option<Extent>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// `sda1`
    pub name: String,
    pub extent: Extent,
}

/// `/dev/sda1 : start=        2048, size=     1048576, type=83`, from either age of sfdisk.
pub fn listed(text: &str, disk: &str) -> Option<Listed> {
    let mut listed = Listed::default();
    for line in text.lines() {
        let Some((device, rest)) = line.split_once(':') else {
            continue;
        };
        let Some(name) = device.trim().strip_prefix("/dev/") else {
            continue;
        };
        if !name.starts_with(disk) {
            continue;
        }
        let value = |key: &str| {
            let mut fields = rest.split(',').filter_map(|field| field.split_once('='));
            let found = fields.find(|(name, _)| name.trim().eq_ignore_ascii_case(key));
            found.map(|(_, value)| value.trim())
        };
        let number = |key| value(key)?.parse::<u64>().ok()?.checked_mul(SECTOR);
        let Some(extent) = number("start").zip(number("size")) else {
            continue;
        };
        let Some(extent) = Extent::new(extent.0, extent.1) else {
            continue;
        };
        let kind = value("type").or_else(|| value("Id")).unwrap_or_default();
        if matches!(
            kind.to_ascii_lowercase().as_str(),
            "5" | "f" | "85" | "0f" | "05"
        ) {
            listed.extended = Some(extent);
            continue;
        }
        listed.partitions.push(Part {
            name: name.to_owned(),
            extent,
        });
    }
    (!listed.partitions.is_empty()).then_some(listed)
}

/// `Disk /dev/sda: 41943040s`
pub fn disk_sectors(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("Disk /dev/"))?;
    line.rsplit(':')
        .next()?
        .trim()
        .strip_suffix('s')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ages_of_sfdisk_are_read() {
        let new = "label: dos\nunit: sectors\n\n/dev/sda1 : start=        2048, size=      204800, type=83, bootable\n\
                   /dev/sda2 : start= 206848, size= 409600, type=5\n/dev/sda5 : start= 208896, size= 407552, type=83\n";
        let old = "# partition table of /dev/sda\nunit: sectors\n\n/dev/sda1 : start=     2048, size=   204800, Id=83, bootable\n\
                   /dev/sda2 : start=   206848, size=   409600, Id= 5\n/dev/sda5 : start=   208896, size=   407552, Id=83\n\
                   /dev/sda3 : start=        0, size=        0, Id= 0\n";
        for text in [new, old] {
            let listed = listed(text, "sda").unwrap();
            let names: Vec<&str> = listed
                .partitions
                .iter()
                .map(|part| part.name.as_str())
                .collect();
            assert_eq!(names, ["sda1", "sda5"]);
            assert_eq!(listed.partitions[0].extent.start(), 1 << 20);
            assert_eq!(listed.extended.unwrap().len(), 409_600 * 512);
        }
        assert_eq!(
            disk_sectors("Model: x\nDisk /dev/sda: 41943040s\n"),
            Some(41_943_040)
        );
    }
}
