//! Volumes: what their superblocks say.

use super::container::Container;
use super::object::{Head, Kind};
use super::omap::Omap;
use super::{Trouble, refused};
use crate::fields::{Fields, text};

/// Case, normalisation, snapshots without data, a cipher that was changed, a restore not yet complete, sealed, keys for
/// each file, space set aside, a second root: none of them changes what is in use.
const KNOWN: u64 = 0x1FF;
/// `APFS_INCOMPAT_CASE_INSENSITIVE` and `…_NORMALIZATION_INSENSITIVE`: names stand under a hash.
const HASHED: u64 = 1 | 8;
const SEALED: u64 = 0x20;
/// `APFS_FS_UNENCRYPTED`.
const UNENCRYPTED: u64 = 1;
/// The numbers of `apfs_role`.
const ROLES: &[(u16, &str)] = &[
    (1, "system"),
    (2, "user"),
    (4, "recovery"),
    (8, "vm"),
    (0x10, "preboot"),
    (0x20, "installer"),
    (1 << 6, "data"),
    (2 << 6, "baseband"),
    (3 << 6, "update"),
    (4 << 6, "xart"),
    (5 << 6, "hardware"),
    (6 << 6, "backup"),
    (9 << 6, "enterprise"),
    (11 << 6, "prelogin"),
];

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Volume {
    /// Where its superblock is.
    pub place: u64,
    pub name: String,
    role: Option<&'static str>,
    pub encrypted: bool,
    pub sealed: bool,
    /// Names of a folder stand under their hash.
    pub hashed: bool,
    pub omap: Omap,
    pub omap_place: u64,
    /// The number of the tree of its files.
    pub root: u64,
    /// Where the trees are that list its extents, its snapshots and, of a sealed one, its files' extents.
    pub extents: Option<u64>,
    pub snapshots: Option<u64>,
    pub file_extents: Option<u64>,
}

/// All volumes of a container, in its order.
pub(super) fn all(container: &Container<'_>) -> Result<Vec<Volume>, Trouble> {
    let superblock = &container.superblock;
    let omap = Omap::read(container, superblock.omap)?;
    let mut volumes = Vec::new();
    for oid in &superblock.volumes {
        match omap.find(container, *oid, superblock.xid)? {
            Some(mapped) => volumes.push(Volume::read(container, mapped.place, *oid)?),
            None => return refused("one of its volumes is not where it should be"),
        }
    }
    Ok(volumes)
}

impl Volume {
    fn read(container: &Container<'_>, place: u64, oid: u64) -> Result<Volume, Trouble> {
        let bytes = container.block(place)?;
        let head = Head::of(&bytes, Kind::Volume)?;
        let fields = Fields(&bytes);
        if head.oid != oid || !fields.starts_with(32, b"APSB") {
            return refused("one of its volumes is something else");
        }
        match Volume::parse(container, place, fields) {
            Some(volume) => volume,
            None => refused("the superblock of a volume is cut off"),
        }
    }

    fn parse(
        container: &Container<'_>,
        place: u64,
        fields: Fields<'_>,
    ) -> Option<Result<Volume, Trouble>> {
        let incompatible = fields.u64(56)?;
        let name = fields.bytes(0x2C0, 256).map(text)?;
        if incompatible & !KNOWN != 0 {
            let why = format!("its volume {name} has features that are unknown here");
            return Some(refused(format!("{why} ({incompatible:#x})")));
        }
        // A revert is under way: which of two trees is right is not settled.
        if fields.u64(160)? != 0 || fields.u64(168)? != 0 {
            return Some(refused(format!("its volume {name} is being reverted")));
        }
        let place_at = |at: usize| fields.u64(at).filter(|place| *place != 0);
        let omap_place = fields.u64(128)?;
        let omap = match Omap::read(container, omap_place) {
            Ok(omap) => omap,
            Err(trouble) => return Some(Err(trouble)),
        };
        let role = fields.u16(0x3C4)?;
        Some(Ok(Volume {
            place,
            name,
            role: ROLES
                .iter()
                .find(|known| known.0 == role)
                .map(|known| known.1),
            encrypted: fields.u64(264)? & UNENCRYPTED == 0,
            sealed: incompatible & SEALED != 0,
            hashed: incompatible & HASHED != 0,
            omap,
            omap_place,
            root: fields.u64(136)?,
            extents: place_at(144),
            snapshots: place_at(152),
            file_extents: place_at(0x408).filter(|_| incompatible & SEALED != 0),
        }))
    }

    /// Whether its files can be read.
    pub fn is_read(&self) -> bool {
        !self.encrypted && !self.sealed
    }

    /// What its folder beside the other volumes is called.
    pub fn folder(&self, number: usize) -> String {
        match self.name.replace('/', "\u{fffd}") {
            name if name.is_empty() => format!("volume {}", number + 1),
            name => name,
        }
    }

    /// Its name, its role where it has one, and whether it is locked.
    pub fn told(&self) -> String {
        let role = self.role.map(|role| format!(" ({role})"));
        let locked = if self.encrypted { " [encrypted]" } else { "" };
        format!("{}{}{locked}", self.name, role.unwrap_or_default())
    }
}
