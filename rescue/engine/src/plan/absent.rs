//! What an earlier rescue never had of a disk: the map that it left beside its image says so.

use disk::extent::{Extent, ExtentMap};
use disk::memory::BadPlaces;
use disk::size::Size;
use disk::source::BlockSource;
use image::states::GRANULE;

use super::Plan;
use super::find::Survey;
use super::refusal::Refusal;
use crate::host::Disk;
use crate::map::Map;
use crate::mapfile;
use crate::unlock;

/// Disjoint. Whatever the file has there, it is no byte of the disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Absent {
    pub unreadable: ExtentMap,
    /// In whole granules of an image.
    pub untried: ExtentMap,
}

impl Absent {
    pub fn is_empty(&self) -> bool {
        self.unreadable.is_empty() && self.untried.is_empty()
    }

    pub fn all(&self) -> ExtentMap {
        self.unreadable.union(&self.untried)
    }

    fn of(map: &Map) -> Absent {
        let granule = GRANULE as u64;
        let open = map.open();
        let whole = |extent: Extent| {
            // Behind the end of the disk no granule is.
            let last = extent.end() == map.size_bytes;
            let end = if last {
                extent.end()
            } else {
                extent.end() / granule * granule
            };
            Extent::between(extent.start().checked_next_multiple_of(granule)?, end)
        };
        let untried: ExtentMap = open.iter().filter_map(whole).collect();
        // Of a granule that came in part the image keeps that part, at the price of the name of the rest.
        let unreadable = map.bad.union(&open.difference(&untried));
        Absent {
            unreadable,
            untried,
        }
    }
}

/// Reads the map that was named and looks at the disk again without what is absent: a filesystem whose own blocks are
/// is not believed.
pub fn settle(disk: &mut Disk, source: &dyn BlockSource, plan: &mut Plan, survey: &mut Survey<'_>) {
    let options = &plan.request.options;
    let Some(path) = &options.rescued else { return };
    let size_bytes = disk.geometry.size_bytes;
    let shown = path.display().to_string();
    let map = match survey.host.read_state(path) {
        Ok(Some(bytes)) => mapfile::read(&bytes, size_bytes).map_err(|text| Refusal::Other {
            text: not_its_map(&shown, disk, &text, mapfile::end(&bytes)),
        }),
        Ok(None) => Err(Refusal::Other {
            text: format!(
                "there is no map file {shown}; name the one that was written beside the image"
            ),
        }),
        Err(error) => Err(Refusal::Other { text: error.0 }),
    };
    let map = match map {
        Ok(file) => file.map,
        Err(refusal) => return survey.refuse(refusal),
    };
    let absent = Absent::of(&map);
    let there = BadPlaces {
        source,
        bad: absent.all(),
    };
    disk.layout = unlock::layout(&there, &options.unlock.keys).map_err(|error| error.to_string());
    plan.lines.push(format!(
        "map: {shown}: {} of the disk could not be read, {} were not tried",
        Size(absent.unreadable.total_bytes()),
        Size(absent.untried.total_bytes())
    ));
    plan.absent = absent;
}

/// An image ends where its last finished place does, which may be before the end of its disk.
fn not_its_map(map: &str, disk: &Disk, why: &str, end: u64) -> String {
    let title = disk.path.display();
    let remedy = match end > disk.geometry.size_bytes {
        true => format!(
            "make the image as large as its disk was ('truncate -s {end} {title}') or name its own map"
        ),
        false => "name the map that was written beside the image".into(),
    };
    format!(
        "{map} is not the map of {title}, which has {} bytes: {why}; {remedy}",
        disk.geometry.size_bytes
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Status;

    #[test]
    fn what_is_not_finished_is_unreadable_or_whole_granules_that_were_not_tried() {
        let extent = |start: u64, end: u64| Extent::between(start, end).unwrap();
        let mut map = Map::new(40_960 + 512);
        map.set(extent(0, 40_960 + 512), Status::Finished);
        map.set(extent(512, 1024), Status::Bad);
        map.set(extent(4096 * 2 - 512, 4096 * 4 + 512), Status::NonTrimmed);
        map.set(extent(40_960 - 512, 40_960 + 512), Status::NonTried);
        let absent = Absent::of(&map);
        let edges = [
            extent(512, 1024),
            extent(4096 * 2 - 512, 4096 * 2),
            extent(4096 * 4, 4096 * 4 + 512),
            extent(40_960 - 512, 40_960),
        ];
        assert_eq!(absent.unreadable, edges.into_iter().collect());
        let whole = [extent(4096 * 2, 4096 * 4), extent(40_960, 40_960 + 512)];
        assert_eq!(absent.untried, whole.into_iter().collect());
    }
}
