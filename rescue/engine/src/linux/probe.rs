//! What a disk's own bytes tell: read once, nothing written.

use std::path::Path;

use disk::geometry::Geometry;
use disk::layout::Layout;
use disk::source::BlockSource;
use disk::systems;

use crate::identity::Fingerprint;
use crate::linux::boot_medium::BootMedium;
use crate::linux::fingerprint;
use crate::linux::node::{Access, Node, open_trouble};
use crate::linux::source::DirectSource;

#[derive(Debug)]
pub struct Probed {
    /// `None` where the disk could not be opened.
    pub geometry: Option<Geometry>,
    pub fingerprint: Fingerprint,
    pub layout: Result<Layout, String>,
    pub systems: Vec<String>,
    pub boot_medium: bool,
}

pub fn probe(path: &Path, sysfs: &Path, media: &BootMedium) -> Probed {
    let source = match Node::open(path, Access::Read, sysfs) {
        Ok(node) => DirectSource::new(node),
        Err(error) => {
            return Probed {
                geometry: None,
                fingerprint: fingerprint::UNKNOWN,
                layout: Err(open_trouble(path, &error, "another program has it").to_string()),
                systems: Vec::new(),
                boot_medium: false,
            };
        }
    };
    probe_source(&source, path, media)
}

/// Of a disk that is open.
pub fn probe_source(source: &dyn BlockSource, path: &Path, media: &BootMedium) -> Probed {
    let layout = Layout::read(source).map_err(|error| format!("{}: {error}", path.display()));
    Probed {
        geometry: Some(source.geometry()),
        fingerprint: fingerprint::of(source),
        boot_medium: media.is(source, layout.as_ref().ok()),
        systems: layout
            .as_ref()
            .map_or_else(|_| Vec::new(), |l| systems::of(source, l)),
        layout,
    }
}
