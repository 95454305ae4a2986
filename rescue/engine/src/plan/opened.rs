//! An image that a job reads, opened, and what is known of it.

use disk::extent::ExtentMap;
use disk::size::Size;
use image::chunk::Kind;
use image::error::ImageError;
use image::manifest::{LeftOut, Manifest};
use image::reader::{Piece, Reader};
use image::store::StoreError;
use image::unfinished_name;

use super::ImageFacts;
use super::find::Survey;
use super::refusal::{Passphrase, Refusal};
use crate::identity::Identity;
use crate::request::Place;

pub struct Opened {
    pub reader: Reader,
    pub facts: ImageFacts,
    pub is_sealed: bool,
    /// The disk that it lies on.
    pub disk: Option<Identity>,
    /// Whole chunks that hold something; which of their granules is told when they are decoded.
    pub wanted: ExtentMap,
}

impl Survey<'_> {
    pub fn image(&mut self, place: &Place) -> Option<Opened> {
        let opened = match self.host.open_place(place, None) {
            Ok(opened) => opened,
            Err(error) => {
                self.refuse(Refusal::Other { text: error.0 });
                return None;
            }
        };
        let image = place.to_string();
        if opened.name.is_empty() {
            self.refuse(Refusal::Other {
                text: format!("{image} is a directory; name an image in it"),
            });
            return None;
        }
        let reader = match Reader::open(&*opened.store, &opened.name) {
            Ok(reader) => reader,
            Err(error) => {
                self.refuse(refusal(image, error));
                return None;
            }
        };
        // A finished image whose end was cut off still has all that is in front of it; its notes say so.
        if !reader.is_finished() && opened.name.ends_with(&unfinished_name("")) {
            self.refuse(Refusal::ImageUnfinished { image });
            return None;
        }
        let wanted = match wanted(&reader) {
            Ok(wanted) => wanted,
            Err(error) => {
                self.refuse(refusal(image, error));
                return None;
            }
        };
        self.warnings.extend(reader.notes().iter().cloned());
        Some(Opened {
            facts: facts(image, &reader),
            is_sealed: opened.is_sealed(&opened.name),
            reader,
            disk: opened.disk,
            wanted,
        })
    }
}

impl Opened {
    pub fn lines(&self) -> Vec<String> {
        let facts = &self.facts;
        let mut lines = vec![format!(
            "source: {}, an image of {}",
            facts.title,
            Size(facts.file_bytes)
        )];
        lines.push(format!("  of {}, {}", facts.disk, Size(facts.size_bytes)));
        lines.extend(facts.made.iter().map(|made| format!("  made {made}")));
        lines.extend(facts.note.iter().map(|note| format!("  note: {note}")));
        lines.extend(self.reader.manifest().and_then(left_out));
        lines
    }
}

fn left_out(manifest: &Manifest) -> Option<String> {
    let rules = manifest.left_out.iter();
    let add = |(bytes, files): (u64, u64), rule: &LeftOut| {
        (
            bytes.saturating_add(rule.bytes),
            files.saturating_add(rule.files),
        )
    };
    let (bytes, files) = rules.fold((0, 0), add);
    (bytes > 0).then(|| {
        format!(
            "  without {} of {files} files, which are zeros in it: a disk that still has them differs there",
            Size(bytes)
        )
    })
}

fn wanted(reader: &Reader) -> Result<ExtentMap, ImageError> {
    let mut wanted = ExtentMap::new();
    for piece in reader.pieces() {
        match piece? {
            Piece::Entry(entry) if entry.kind == Kind::Free => {}
            piece => wanted.insert(piece.extent()),
        }
    }
    Ok(wanted)
}

fn facts(image: String, reader: &Reader) -> ImageFacts {
    let manifest = reader.manifest();
    ImageFacts {
        title: image,
        id: String::from(reader.id()),
        file_bytes: reader.stored_bytes(),
        size_bytes: reader.head().geometry.size_bytes,
        disk: manifest.map_or_else(|| "a disk whose story is lost".into(), disk),
        made: manifest.and_then(|manifest| manifest.ended.clone()),
        note: manifest.and_then(|manifest| manifest.note.clone()),
    }
}

fn disk(manifest: &Manifest) -> String {
    let story = &manifest.disk;
    let known = [
        story.model.clone(),
        story
            .serial
            .as_ref()
            .map(|serial| format!("serial {serial}")),
        story.path.as_ref().map(|path| format!("then {path}")),
    ];
    let known: Vec<String> = known.into_iter().flatten().collect();
    if known.is_empty() {
        "a disk without a name".into()
    } else {
        known.join(", ")
    }
}

fn refusal(image: String, error: ImageError) -> Refusal {
    match error {
        ImageError::Store(StoreError::Missing(_)) => Refusal::ImageMissing { image },
        ImageError::Foreign { .. } => Refusal::ImageForeign { image },
        ImageError::Newer { version, .. } => Refusal::ImageNewer { image, version },
        ImageError::Store(StoreError::Locked(text)) => Refusal::Passphrase {
            text,
            wanted: Passphrase::Known,
        },
        other => Refusal::Other {
            text: other.to_string(),
        },
    }
}
