//! The file table: every file is a record in it, and so is the table itself.

use super::boot::Boot;
use super::record::{ATTRIBUTE_LIST, Body, Record, Reference, What, mend};
use super::stream::{Stream, Value};
use crate::fields::Fields;
use crate::fs::tree::TreeError;
use crate::source::{BlockSource, ReadError, read_vec};

pub(super) const DATA: u32 = 0x80;
/// As long as Windows lets an attribute list get.
const LIST_LIMIT: u64 = 256 << 10;
/// How many records have a copy: the table's own, the copy's, the journal's and the volume's.
pub(super) const MIRRORED: u64 = 4;

/// A volume whose file table can be read.
pub(super) struct Volume<'a> {
    pub source: &'a dyn BlockSource,
    pub boot: Boot,
    pub mft: Stream,
    /// Why some of its first records are taken from the copy of the table's start.
    pub mirrored: Option<TreeError>,
}

impl<'a> Volume<'a> {
    pub fn open(source: &'a dyn BlockSource, boot: Boot) -> Result<Volume<'a>, TreeError> {
        let mut mirrored = None;
        let first = match first_record(source, &boot, boot.mft_cluster) {
            Ok(record) => record,
            Err(error) => {
                mirrored = Some(error.clone());
                first_record(source, &boot, boot.mirror_cluster).map_err(|_| error)?
            }
        };
        let data = first
            .find(What::unnamed(DATA))
            .map_err(TreeError::Damaged)?
            .ok_or(TreeError::Damaged("the file table has no content"))?;
        let Value::Stream(mft) = Value::begin(&boot, &data)? else {
            return Err(TreeError::Damaged("the file table has no clusters"));
        };
        let mut volume = Volume {
            source,
            boot,
            mft,
            mirrored,
        };
        volume.complete_mft(&first)?;
        for number in 1..MIRRORED.min(volume.records()) {
            if let Err(error) = volume.record_itself(number) {
                volume.mirrored.get_or_insert(error);
            }
        }
        Ok(volume)
    }

    /// Follows the table's own attribute list; each part is found through the parts before it.
    fn complete_mft(&mut self, first: &Record<Vec<u8>>) -> Result<(), TreeError> {
        for part in self.parts(first, What::unnamed(DATA))? {
            if part.record.number() == 0 {
                continue;
            }
            let record = self.extension(&part, Reference(0))?;
            let attribute = part.find(&record)?;
            match attribute.body {
                Body::Mapped(mapping) => self.mft.extend(mapping)?,
                Body::Resident(_) => return Err(TreeError::Damaged("the file table is in pieces")),
            }
        }
        self.mft = self.mft.clone().complete()?;
        if !self.mft.is_plain() {
            return Err(TreeError::Damaged(
                "the file table is stored in an impossible way",
            ));
        }
        Ok(())
    }

    /// Number of records that were ever written.
    pub fn records(&self) -> u64 {
        self.mft.initialized / self.boot.record
    }

    /// The record of this number, whether in use or not; one of the first from the copy where it is damaged.
    pub fn record(&self, number: u64) -> Result<Record<Vec<u8>>, TreeError> {
        let found = self.record_itself(number);
        match found {
            Err(error) if number < MIRRORED && !is_fatal(&error) => {
                self.mirror(number).map_err(|_| error)
            }
            found => found,
        }
    }

    fn mirror(&self, number: u64) -> Result<Record<Vec<u8>>, TreeError> {
        let start = self.boot.mirror_cluster * self.boot.cluster;
        let at = start.saturating_add(number * self.boot.record);
        let bytes = read_vec(self.source, at, self.boot.record)?;
        parse(bytes, number).map_err(TreeError::Damaged)
    }

    fn record_itself(&self, number: u64) -> Result<Record<Vec<u8>>, TreeError> {
        if number >= self.records() {
            return Err(TreeError::Damaged(
                "a record points behind the end of the file table",
            ));
        }
        let mut bytes = vec![0; length(self.boot.record)];
        self.mft
            .read_at(self.source, number * self.boot.record, &mut bytes)?;
        parse(bytes, number).map_err(TreeError::Damaged)
    }

    /// The first record of a file that exists.
    pub fn file(&self, reference: Reference) -> Result<Record<Vec<u8>>, TreeError> {
        let record = self.record(reference.number())?;
        let same = reference.sequence() == 0 || reference.sequence() == record.sequence();
        if record.in_use() && same && record.base().is_none() {
            Ok(record)
        } else {
            Err(TreeError::Damaged(
                "a directory names a file that is not there",
            ))
        }
    }

    /// An attribute of a file with all its parts, wherever they stand.
    pub fn value(
        &self,
        file: &Record<Vec<u8>>,
        number: u64,
        what: What,
    ) -> Result<Option<Value>, TreeError> {
        let parts = self.parts(file, what)?;
        if parts.is_empty() {
            let found = file.find(what).map_err(TreeError::Damaged)?;
            return found
                .map(|attribute| Value::begin(&self.boot, &attribute)?.complete())
                .transpose();
        }
        let mut value = None;
        for part in parts {
            let other;
            let record = if part.record.number() == number {
                file
            } else {
                other = self.extension(&part, Reference(number))?;
                &other
            };
            let attribute = part.find(record)?;
            match (&mut value, attribute.body) {
                (None, _) => value = Some(Value::begin(&self.boot, &attribute)?),
                (Some(Value::Stream(stream)), Body::Mapped(mapping)) => stream.extend(mapping)?,
                _ => return Err(TreeError::Damaged("an attribute is there twice")),
            }
        }
        value.map(Value::complete).transpose()
    }

    /// What the attribute list says of an attribute, in order; empty where there is no such list.
    fn parts(&self, file: &Record<Vec<u8>>, what: What) -> Result<Vec<Part>, TreeError> {
        let list = file
            .find(What::unnamed(ATTRIBUTE_LIST))
            .map_err(TreeError::Damaged)?;
        let Some(list) = list else {
            return Ok(Vec::new());
        };
        let list = Value::begin(&self.boot, &list)?.complete()?;
        let bytes = list.read(self.source, LIST_LIMIT)?;
        let mut parts = Part::list(Fields(&bytes), what)
            .ok_or(TreeError::Damaged("an attribute list is damaged"))?;
        parts.sort_by_key(|part| part.first);
        Ok(parts)
    }

    /// A record that continues the file `base`.
    fn extension(&self, part: &Part, base: Reference) -> Result<Record<Vec<u8>>, TreeError> {
        let record = self.record(part.record.number())?;
        let ours = record.in_use()
            && record.sequence() == part.record.sequence()
            && record
                .base()
                .is_some_and(|own| own.number() == base.number());
        if ours {
            Ok(record)
        } else {
            Err(TreeError::Damaged(
                "an attribute list names a record of another file",
            ))
        }
    }
}

/// Where an attribute list says a part of an attribute is.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Part {
    what: What,
    first: u64,
    record: Reference,
    id: u16,
}

impl Part {
    /// The entries about `what`; `None` when the list is damaged.
    fn list(fields: Fields<'_>, what: What) -> Option<Vec<Part>> {
        let mut parts = Vec::new();
        let mut at = 0;
        while at < fields.0.len() {
            let len = usize::from(fields.u16(at + 4)?);
            let own = Fields(fields.bytes(at, len).filter(|own| own.len() >= 26)?);
            let name = match own.u8(6)? {
                0 => &[][..],
                units => own.bytes(usize::from(own.u8(7)?), 2 * usize::from(units))?,
            };
            if what.is(own.u32(0)?, name) {
                parts.push(Part {
                    what,
                    first: own.u64(8)?,
                    record: Reference(own.u64(16)?),
                    id: own.u16(24)?,
                });
            }
            at += len;
        }
        Some(parts)
    }

    fn find<'r>(
        &self,
        record: &'r Record<Vec<u8>>,
    ) -> Result<super::record::Attribute<'r>, TreeError> {
        for attribute in record.attributes() {
            let attribute = attribute.map_err(TreeError::Damaged)?;
            if attribute.id == self.id && attribute.is(self.what) {
                return Ok(attribute);
            }
        }
        Err(TreeError::Damaged(
            "an attribute is not where its list says",
        ))
    }
}

/// Record 0 at the start of the table or of its copy: the table's own.
fn first_record(
    source: &dyn BlockSource,
    boot: &Boot,
    cluster: u64,
) -> Result<Record<Vec<u8>>, TreeError> {
    let bytes = read_vec(source, cluster * boot.cluster, boot.record)?;
    let record = parse(bytes, 0).map_err(TreeError::Damaged)?;
    if record.in_use() && record.base().is_none() {
        Ok(record)
    } else {
        Err(TreeError::Damaged("the first record is not in use"))
    }
}

fn parse(mut bytes: Vec<u8>, number: u64) -> Result<Record<Vec<u8>>, &'static str> {
    mend(&mut bytes, b"FILE")?;
    Record::new(bytes, number)
}

/// It is the medium, not what stands on it.
pub(super) fn is_unreadable(error: &TreeError) -> bool {
    matches!(error, TreeError::Read(ReadError::Unreadable(_)))
}

/// The disk itself has failed: nothing else is worth a try.
pub(super) fn is_fatal(error: &TreeError) -> bool {
    matches!(
        error,
        TreeError::Read(ReadError::Gone(_) | ReadError::Fault(_))
    )
}

pub(super) fn length(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a record, a block or a count of them in a piece is small")
}
