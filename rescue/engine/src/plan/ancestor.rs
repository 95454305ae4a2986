//! Planning to whom a new image leaves what is the same.

use disk::size::Size;
use image::file_name;
use image::manifest::DiskStory;
use image::reader::Reader;
use image::retain;
use image::shelf::{self, Shelved, Stage, lineage_of};
use image::store::Store;

use super::Plan;
use super::find::Survey;
use super::refusal::Refusal;
use crate::host::Disk;
use crate::request::Ancestor;

/// Longest chain that is made.
const MOST: usize = 16;

/// Settles who the parent of the image `name` will be, and says so.
pub fn settle(
    asked: &Ancestor,
    store: &dyn Store,
    name: &str,
    disk: &Disk,
    plan: &mut Plan,
    survey: &mut Survey<'_>,
) {
    let found = match asked {
        Ancestor::None => return,
        Ancestor::Named(of) => Ok(Some(of.clone())),
        Ancestor::Newest => newest(store, name, disk),
    };
    let of = match found {
        Ok(Some(of)) => of,
        Ok(None) => {
            plan.lines.push(
                "parent: none; no finished image of this disk is in the store, so this is a full one"
                    .to_owned(),
            );
            return;
        }
        Err(text) => return survey.refuse(Refusal::Other { text }),
    };
    match fits(store, &of, disk) {
        Ok(()) => {
            plan.lines.push(format!(
                "parent: {}; what is the same there is not stored again, and the image cannot be read without it",
                file_name(&of)
            ));
            plan.parent = Some(of);
        }
        Err(text) => survey.refuse(Refusal::Other { text }),
    }
}

fn fits(store: &dyn Store, of: &str, disk: &Disk) -> Result<(), String> {
    let found = Reader::open(store, &file_name(of)).map_err(|error| error.to_string())?;
    let (has, needs) = (found.head().geometry.size_bytes, disk.geometry.size_bytes);
    let name = found.name();
    if !found.is_finished() {
        return Err(format!(
            "{name} is not whole and cannot be a parent; choose another, or leave out --parent"
        ));
    }
    if has != needs {
        return Err(format!(
            "{name} is of a disk of {}, this one has {}; choose another parent, or leave out --parent",
            Size(has),
            Size(needs)
        ));
    }
    Ok(())
}

/// The newest whole image of this disk whose chain is not as long as one can be. One that is gone on with keeps the
/// parent it has.
fn newest(store: &dyn Store, name: &str, disk: &Disk) -> Result<Option<String>, String> {
    let all = shelf::list(store).map_err(|error| error.to_string())?;
    let begun = all
        .iter()
        .find(|one| one.stage == Stage::Unfinished && one.name == name);
    if let Some(Ok(label)) = begun.map(|one| &one.label) {
        return Ok(label.nearest.as_ref().map(|parent| parent.name.clone()));
    }
    let fits = |(nth, one): &(usize, &Shelved)| {
        one.is_whole() && is_of(one, disk) && lineage_of(&all, *nth).len() < MOST
    };
    let made = |one: &Shelved| {
        let label = one.label.as_ref().ok();
        label.and_then(retain::made).map(str::to_owned)
    };
    let candidates = all.iter().enumerate().filter(fits);
    let newest = candidates.max_by_key(|(_, one)| made(one));
    Ok(newest.map(|(_, one)| one.name.clone()))
}

/// Whether an image is of this very disk: by what the disk says of itself; where it says nothing, by the table that is
/// on it, or for a regular file by its path.
fn is_of(one: &Shelved, disk: &Disk) -> bool {
    let Ok(label) = &one.label else {
        return false;
    };
    let (was, is) = (&label.disk, &disk.identity);
    let now = DiskStory {
        serial: is.serial.clone(),
        wwn: is.wwn.clone(),
        ..DiskStory::default()
    };
    let says_the_same = was.serial == is.serial && was.wwn == is.wwn && was.model == is.model;
    if was.size_bytes != disk.geometry.size_bytes || !says_the_same {
        return false;
    }
    let table = disk.layout.as_ref().ok().and_then(|layout| {
        let table = layout.table.as_ref()?;
        Some(table.id.to_string())
    });
    let same_table = table.is_some() && table == label.table_id;
    let same_path = was.path == Some(disk.path.display().to_string());
    retain::names_itself(&now) || same_table || is.file.is_some() && same_path
}
