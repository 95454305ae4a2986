//! LVM2: a physical volume, and the parts of logical volumes that are on it.
//!
//! Its metadata is believed only where all of it agrees: label, areas, checksums, and a text in which no extent
//! has two volumes. A volume is read through its extents; what no volume has is free.

mod area;
mod group;
mod text;

use crate::extent::{Extent, ExtentMap};
use crate::fs::State;
use crate::layer::{Layer, Reader};
use crate::source::{BlockSource, ReadError};
use area::Label;
use group::Group;

pub const READER: Reader = Reader {
    kind: "LVM2_member",
    read,
    unlock: None,
};

fn read(source: &dyn BlockSource) -> Result<Option<Layer>, ReadError> {
    let size_bytes = source.size_bytes();
    let Some(label) = Label::read(source)? else {
        return Ok(None);
    };
    let mut layer = Layer {
        kind: "LVM2_member".into(),
        variant: Some("LVM2".into()),
        uuid: Some(label.uuid.clone()),
        label: None,
        size_bytes,
        state: State::Clean,
        own: ExtentMap::new(),
        volumes: Vec::new(),
        whole: None,
    };
    let believed = label
        .metadata(source)?
        .and_then(|text| group::read(&text, &label.uuid, size_bytes))
        .and_then(|group| agrees(&label, size_bytes, group));
    match believed {
        Err(why) => layer.whole = Some(why),
        Ok(group) => {
            layer.own = ExtentMap::whole(size_bytes);
            layer.own.remove(group.data);
            layer.label = Some(group.name);
            layer.volumes = group.volumes;
            layer.whole = group.doubt;
        }
    }
    Ok(Some(layer))
}

/// Label and text must say the same of where the extents are.
fn agrees(label: &Label, size_bytes: u64, group: Group) -> Result<Group, String> {
    let begins = label.data_start == Some(group.data.start());
    let apart = |area: Extent| area.intersect(group.data).is_none();
    if label.twice {
        Err("it has more than one label".into())
    } else if label.size_bytes > size_bytes {
        Err(format!(
            "it says it has {} bytes, but there are {size_bytes}",
            label.size_bytes
        ))
    } else if !begins || !label.areas().all(apart) {
        Err("its label and its metadata disagree".into())
    } else {
        Ok(group)
    }
}
