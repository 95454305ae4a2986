//! The catalog: the files and folders below each folder, by name.

use std::cmp::Ordering;
use std::fmt::Write;

use super::node::Btree;
use super::volume::{Place, Volume};
use super::{Trouble, refused};
use crate::fields::Fields;

/// The parent of the root folder, whose name is that of the volume.
pub(super) const ROOT_PARENT: u32 = 1;
pub(super) const ROOT_FOLDER: u32 = 2;

/// A key of the catalog.
struct Key<'a> {
    parent: u32,
    /// UTF-16, big-endian, decomposed.
    name: &'a [u8],
}

impl<'a> Key<'a> {
    fn parse(key: &'a [u8]) -> Option<Key<'a>> {
        let fields = Fields(key);
        let len = usize::from(fields.be16(4)?);
        Some(Key {
            parent: fields.be32(0)?,
            name: fields.bytes(6, 2 * len)?,
        })
    }
}

/// Takes where a record is, its name in UTF-16 and what it says; says whether it wants more.
pub(super) type Visit<'a> = &'a mut dyn FnMut(Place, &[u8], &[u8]) -> Result<bool, Trouble>;

/// Shows what lies in a folder, the thread that leads to the folder itself left out.
pub(super) fn children(
    volume: &Volume<'_>,
    tree: &Btree,
    parent: u32,
    visit: Visit<'_>,
) -> Result<(), Trouble> {
    let place = volume.seek(tree, &|key| {
        let key = Key::parse(key)?;
        Some(key.parent.cmp(&parent).then(key.name.len().cmp(&0)))
    })?;
    volume.each(tree, place, &mut |place, record| {
        let Some(key) = Key::parse(record.key) else {
            return refused("a key of its catalog is damaged");
        };
        match key.parent.cmp(&parent) {
            Ordering::Less => Ok(true),
            Ordering::Greater => Ok(false),
            Ordering::Equal if key.name.is_empty() => Ok(true),
            Ordering::Equal => visit(place, key.name, record.data()),
        }
    })
}

/// The file of this ASCII name in a folder whose names all are ASCII.
pub(super) fn find(
    volume: &Volume<'_>,
    tree: &Btree,
    parent: u32,
    name: &str,
) -> Result<Option<Place>, Trouble> {
    // Of letters, without case unless the tree says so.
    let units = |units: &mut dyn Iterator<Item = u16>| -> Vec<u16> {
        units
            .map(|unit| match u8::try_from(unit) {
                Ok(byte) if !tree.binary => byte.to_ascii_lowercase().into(),
                _ => unit,
            })
            .collect()
    };
    let wanted = units(&mut name.encode_utf16());
    let stands = |key: &[u8]| {
        let key = Key::parse(key)?;
        let name = units(&mut be16(key.name));
        Some(key.parent.cmp(&parent).then(name.cmp(&wanted)))
    };
    let place = volume.seek(tree, &stands)?;
    let node = volume.node(tree, place.node)?;
    let found = node.record(place.index.into());
    let same = found.is_some_and(|record| stands(record.key) == Some(Ordering::Equal));
    Ok(same.then_some(place))
}

pub(super) fn label(volume: &Volume<'_>) -> Result<Option<String>, Trouble> {
    let tree = volume.catalog()?;
    let mut label = None;
    children(volume, &tree, ROOT_PARENT, &mut |_, name, _| {
        label = Some(shown(name));
        Ok(false)
    })?;
    Ok(label)
}

fn be16(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs.iter().map(|pair| u16::from_be_bytes(*pair))
}

/// A name as it is on the disk, with broken and control characters replaced.
fn shown(name: &[u8]) -> String {
    char::decode_utf16(be16(name))
        .map(|c| match c {
            Ok(c) if !c.is_control() => c,
            _ => char::REPLACEMENT_CHARACTER,
        })
        .collect()
}

/// A name as a path has it. `/` stands in names, `:` between them on the disk, and macOS shows the one as the other.
/// Letters with accents stay decomposed, as macOS gives them too.
pub(super) fn file_name(name: &[u8]) -> String {
    shown(name).replace('/', ":")
}

/// The folders at the root in which the files behind hard links are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Private {
    Files,
    Folders,
}

impl Private {
    pub fn of(name: &[u8]) -> Option<Private> {
        let is = |text: &str| be16(name).eq(text.encode_utf16());
        if is("\0\0\0\0HFS+ Private Data") {
            Some(Private::Files)
        } else {
            is(".HFS+ Private Directory Data\r").then_some(Private::Folders)
        }
    }

    /// The name there of what a link leads to.
    pub fn target(self, number: u32) -> String {
        let mut name = String::from(match self {
            Private::Files => "iNode",
            Private::Folders => "dir_",
        });
        write!(name, "{number}").expect("text takes text");
        name
    }
}
