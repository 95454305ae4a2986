//! Recognises the medium this system was started from, which is never offered as a disk to work on.

use disk::fields::Fields;
use disk::layout::{Content, Layout};
use disk::source::BlockSource;
use disk::table::{Scheme, Table};

/// What the boot loader said of its medium on the kernel's command line; empty on an ordinary host.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BootMedium {
    /// `rescue.media=`: the id of this build, which is the ISO's volume set.
    media: Option<String>,
    /// `rescue.bootfs=`: the UUID of the filesystem the kernel was loaded from, for files copied to a stick.
    bootfs: Option<String>,
}

impl BootMedium {
    pub fn from_command_line(line: &str) -> BootMedium {
        let value = |name: &str| {
            line.split_ascii_whitespace()
                .filter_map(|word| word.strip_prefix(name)?.strip_prefix('='))
                .next_back()
                .filter(|value| !value.is_empty())
                .map(str::to_owned)
        };
        BootMedium {
            media: value("rescue.media"),
            bootfs: value("rescue.bootfs"),
        }
    }

    pub fn is(&self, source: &dyn BlockSource, layout: Option<&Layout>) -> bool {
        let by_volume_set = || {
            self.media
                .as_ref()
                .is_some_and(|id| volume_set(source).as_ref() == Some(id))
        };
        let by_filesystem = || {
            self.bootfs
                .as_ref()
                .is_some_and(|uuid| layout.is_some_and(|l| holds_filesystem(l, uuid)))
        };
        let by_disk = || {
            let table = layout.and_then(|layout| layout.table.as_ref());
            let media = self.media.as_deref();
            media
                .zip(table)
                .is_some_and(|(id, table)| is_disk_of(table, id))
        };
        by_volume_set() || by_disk() || by_filesystem()
    }
}

/// ECMA-119 (ISO 9660), 8.4: the volume set identifier of the primary volume descriptor in sector 16.
fn volume_set(source: &dyn BlockSource) -> Option<String> {
    const PRIMARY: u8 = 1;
    let mut sector = [0; 2048];
    source.read_at(16 * 2048, &mut sector).ok()?;
    let fields = Fields(&sector);
    (fields.u8(0) == Some(PRIMARY) && fields.starts_with(1, b"CD001")).then_some(())?;
    let name = String::from_utf8_lossy(fields.bytes(190, 128)?);
    Some(name.trim_end_matches([' ', '\0']).to_owned())
}

/// The ISO carries a GPT too, and its disk GUID is made of the same id: where a stick's other sectors were
/// overwritten, the table still tells.
fn is_disk_of(table: &Table, id: &str) -> bool {
    let part = |range| id.get(range);
    let guid = || {
        let (time, mid, high) = (part(0..8)?, part(8..12)?, part(12..15)?);
        let (sequence, node) = (part(13..16)?, part(4..16)?);
        Some(format!("{time}-{mid}-4{high}-8{sequence}-{node}"))
    };
    table.scheme == Scheme::Gpt && guid().is_some_and(|guid| guid.eq_ignore_ascii_case(&table.id))
}

fn holds_filesystem(layout: &Layout, uuid: &str) -> bool {
    layout.regions.iter().any(|region| {
        let found = region
            .content()
            .map(Content::filesystems)
            .unwrap_or_default();
        let mut uuids = found.iter().filter_map(|fs| fs.uuid.as_deref());
        uuids.any(|found| found.eq_ignore_ascii_case(uuid))
    })
}
