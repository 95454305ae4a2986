//! Finding the disks a request names, and what speaks against each.

use std::path::Path;

use disk::extent::ExtentMap;
use disk::fs::State;
use disk::layer::Keys;
use disk::layout::{Content, Layout, Owner};
use disk::size::Size;
use disk::source::BlockSource;
use disk::systems;

use super::refusal::Refusal;
use crate::host::{Disk, Host, MountMode, Use};
use crate::request::{Coverage, DiskName, Liveness, Place};
use crate::unlock::{self, Trouble};

/// Used maps are rounded out to this unit: the largest that a disk counts in.
pub const GRANULE: u64 = 4096;

/// Looks, and gathers what it finds against a request and what a user should know.
pub struct Survey<'a> {
    pub host: &'a dyn Host,
    /// For what is encrypted on what is read.
    keys: &'a Keys,
    pub refusals: Vec<Refusal>,
    pub warnings: Vec<String>,
}

impl<'a> Survey<'a> {
    pub fn new(host: &'a dyn Host, keys: &'a Keys) -> Survey<'a> {
        Survey {
            host,
            keys,
            refusals: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub fn refuse(&mut self, refusal: Refusal) {
        self.refusals.push(refusal);
    }

    /// What the name means; `None` where it means nothing yet.
    pub fn find(&mut self, name: &DiskName) -> Found {
        match self.host.find(name) {
            Ok(mut disks) if disks.len() == 1 => Found::One(Box::new(disks.remove(0))),
            Ok(disks) if disks.is_empty() => Found::Nothing,
            Ok(disks) => {
                self.refuse(Refusal::Ambiguous {
                    name: name.to_string(),
                    disks: disks
                        .iter()
                        .map(|disk| disk.path.display().to_string())
                        .collect(),
                });
                Found::Refused
            }
            Err(error) => {
                self.refuse(Refusal::Other { text: error.0 });
                Found::Refused
            }
        }
    }

    /// A disk that must be there.
    pub fn existing(&mut self, name: &DiskName) -> Option<Box<Disk>> {
        match self.find(name) {
            Found::One(disk) => Some(disk),
            Found::Refused => None,
            Found::Nothing => {
                self.refuse(Refusal::NotFound {
                    name: name.to_string(),
                });
                None
            }
        }
    }

    /// A disk to be read, opened, if it gives any bytes at all.
    pub fn source(&mut self, name: &DiskName) -> Option<(Box<Disk>, Box<dyn BlockSource>)> {
        let mut disk = self.existing(name)?;
        let opened = self.host.open_source(&disk.identity);
        let tried = opened
            .map_err(|error| error.0)
            .and_then(|source| gives_bytes(&*source).map(|()| source));
        match tried {
            Ok(source) => {
                self.unlock(&mut disk, &*source);
                self.warn_of(&disk);
                Some((disk, source))
            }
            Err(text) => {
                self.refuse(Refusal::SourceUnreadable {
                    disk: disk.title(),
                    text,
                });
                None
            }
        }
    }

    /// Looks at a disk again, into what is encrypted on it.
    fn unlock(&mut self, disk: &mut Disk, source: &dyn BlockSource) {
        let Ok(layout) = &disk.layout else { return };
        if self.keys.is_empty() {
            return;
        }
        if layout.encrypted().next().is_none() {
            return self.warnings.push(format!(
                "nothing on {} is encrypted: no key was needed",
                disk.title()
            ));
        }
        match unlock::layout(source, self.keys) {
            Ok(layout) => {
                disk.systems = systems::of_with(source, &layout, self.keys);
                disk.layout = Ok(layout);
            }
            Err(Trouble::Read(error)) => disk.layout = Err(error.to_string()),
            Err(Trouble::Locked(why)) => self.refuse(Refusal::Locked {
                disk: disk.title(),
                why,
            }),
        }
    }

    /// What is in an image, as far as the keys open it.
    pub fn layout(&mut self, source: &dyn BlockSource) -> Result<Layout, Trouble> {
        unlock::layout(source, self.keys)
    }

    /// A disk to be copied, which does not change meanwhile unless that was asked for.
    pub fn at_rest(
        &mut self,
        name: &DiskName,
        liveness: Liveness,
    ) -> Option<(Box<Disk>, Box<dyn BlockSource>)> {
        let (disk, source) = self.source(name)?;
        let changing = disk.uses.iter().filter(|used| used.changes_it());
        let uses: Vec<Use> = changing.cloned().collect();
        if liveness == Liveness::AtRest && !uses.is_empty() {
            self.refuse(Refusal::SourceInUse {
                disk: disk.title(),
                uses,
            });
        }
        Some((disk, source))
    }

    /// Whether this path lies on the disk, or will when it is made.
    pub fn lies_on(&self, path: &Path, disk: &Disk) -> bool {
        if disk.identity.file.is_some() {
            return false;
        }
        let full = self.host.full_path(path);
        let place = |directory: &Path| {
            let place = Place::Path(directory.to_owned());
            self.host.open_place(&place, None).ok()
        };
        let below = full.ancestors().skip(1).find_map(place);
        let on = below.and_then(|place| place.disk);
        on.is_some_and(|on| on.same_device(&disk.identity))
    }

    /// What may not be written, whatever is to be written there.
    pub fn check_writable(&mut self, disk: &Disk) {
        let title = disk.title();
        if let Some(format) = disk.identity.format() {
            self.refuse(Refusal::Other {
                text: format!(
                    "{title} is an image of another program ({format}), which is never written into; name another file"
                ),
            });
        }
        if disk.boot_medium {
            self.refuse(Refusal::BootMedium {
                disk: title.clone(),
            });
        }
        if !disk.uses.is_empty() {
            self.refuse(Refusal::InUse {
                disk: title.clone(),
                uses: disk.uses.clone(),
            });
        }
        if let Some(health) = disk.health.as_ref().filter(|health| health.is_suspect()) {
            self.warnings.push(format!(
                "{title} says of its health: {health}; what is written to it may not last, better take another disk"
            ));
        }
        if disk.read_only {
            self.refuse(Refusal::ReadOnly { disk: title });
        }
    }

    /// What a user should know of a disk whose content is copied.
    pub fn tell_content(&mut self, disk: &Disk) {
        match &disk.layout {
            Ok(layout) => self.warnings.extend(states(disk, layout)),
            Err(text) => self.warnings.push(format!(
                "what is on {} cannot be told ({text}): it is taken whole",
                disk.title()
            )),
        }
    }

    /// What a user should know of a source.
    fn warn_of(&mut self, disk: &Disk) {
        if let Some(health) = disk.health.as_ref().filter(|health| health.is_suspect()) {
            self.warnings.push(format!(
                "{} says of its health: {health}; it is read with care, do not use it for anything else",
                disk.title()
            ));
        }
        for used in &disk.uses {
            self.warnings.push(match used {
                Use::Mounted {
                    mode: MountMode::ReadOnly,
                    ..
                } => format!("{used}: it is copied as it is there"),
                _ => format!(
                    "{used}: what changes while it is read may come out torn; better release it first"
                ),
            });
        }
    }
}

pub enum Found {
    One(Box<Disk>),
    Nothing,
    /// The reason was noted.
    Refused,
}

/// What is read of a source.
pub fn used(disk: &Disk, coverage: Coverage) -> ExtentMap {
    let size = disk.geometry.size_bytes;
    match (&disk.layout, coverage) {
        (Ok(layout), Coverage::Used) => layout.used().aligned_out(GRANULE, size),
        _ => ExtentMap::whole(size),
    }
}

/// A disk that fails in places still gives something somewhere.
fn gives_bytes(source: &dyn BlockSource) -> Result<(), String> {
    let size = source.size_bytes();
    if size == 0 {
        return Err("it has no bytes".into());
    }
    let len = size.min(GRANULE);
    let mut buffer = vec![0; usize::try_from(len).expect("a granule fits in memory")];
    let mut last = String::new();
    for place in [0, size / 2 / GRANULE * GRANULE, size - len] {
        match source.read_at(place.min(size - len), &mut buffer) {
            Ok(()) => return Ok(()),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// What its filesystems say of themselves.
fn states(disk: &Disk, layout: &Layout) -> Vec<String> {
    let mut said = Vec::new();
    let title = disk.path.display();
    let table = layout.table.iter().flat_map(|table| &table.notes);
    said.extend(
        table
            .chain(&layout.notes)
            .map(|note| format!("{title}: {note}")),
    );
    let locked = layout.encrypted().filter(|layer| layer.wants_key());
    let bytes: u64 = locked.map(|layer| layer.size_bytes).sum();
    if bytes > 0 {
        said.push(format!(
            "up to {} less are to be read of {title} where --unlock or --key-file opens what is locked",
            Size(bytes)
        ));
    }
    for (partition, content) in layout.partitions() {
        let place = format!("partition {} of {title}", partition.number);
        states_of(&place, content, &mut said);
    }
    for region in &layout.regions {
        if let Owner::Disk(content @ (Content::Filesystem(_) | Content::Layer(_))) = &region.owner {
            states_of(&title.to_string(), content, &mut said);
        }
    }
    said
}

fn states_of(place: &str, content: &Content, said: &mut Vec<String>) {
    let state = match content {
        Content::Filesystem(filesystem) => &filesystem.state,
        Content::Layer(layer) => &layer.state,
        Content::Unknown(_) => &State::Clean,
    };
    match state {
        // That it is locked is told with what is kept whole.
        State::Clean | State::Unlocked | State::Locked => {}
        State::Dirty(why) => said.push(format!("{place} is dirty ({why}); it is copied as it is")),
        State::Hibernated => said.push(format!(
            "{place} is hibernated: a system sleeps on it; do not change it before that system woke"
        )),
    }
    if let (Some(why), State::Clean | State::Unlocked | State::Dirty(_)) = (content.whole(), state)
    {
        said.push(format!("{place} is taken whole: {why}"));
    }
    if let Content::Layer(layer) = content {
        for volume in &layer.volumes {
            let place = format!("volume {} on {place}", volume.name);
            states_of(&place, &volume.content, said);
        }
    }
}
