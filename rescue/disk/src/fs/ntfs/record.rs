//! Records protected against torn writes, and the attributes in a file record.

use crate::fields::Fields;

pub(super) const ATTRIBUTE_LIST: u32 = 0x20;
const END: u32 = 0xFFFF_FFFF;
const IN_USE: u16 = 1;
const DIRECTORY: u16 = 2;
/// 512 on disks with larger sectors too.
const STRIDE: usize = 512;

/// Puts back what the update sequence took from the end of each 512 bytes, after checking that all of them were
/// written together. The text of an error says what is wrong with the record.
pub(super) fn mend(bytes: &mut [u8], magic: &[u8; 4]) -> Result<(), &'static str> {
    let fields = Fields(bytes);
    if !fields.starts_with(0, magic) {
        return Err("a record has no mark");
    }
    let bad = "the update sequence of a record is damaged";
    let (Some(at), Some(count)) = (fields.u16(4), fields.u16(6)) else {
        return Err(bad);
    };
    let (at, count) = (usize::from(at), usize::from(count));
    let fits = at.is_multiple_of(2) && at >= 8 && at + 2 * count <= STRIDE - 2;
    if !fits || !bytes.len().is_multiple_of(STRIDE) || count != bytes.len() / STRIDE + 1 {
        return Err(bad);
    }
    let ends = (STRIDE - 2..bytes.len()).step_by(STRIDE);
    if ends
        .clone()
        .any(|end| bytes[end..end + 2] != bytes[at..at + 2])
    {
        return Err("a record was written in part only");
    }
    for (saved, end) in (at + 2..).step_by(2).zip(ends) {
        bytes.copy_within(saved..saved + 2, end);
    }
    Ok(())
}

/// A mended file record.
#[derive(Clone, Debug)]
pub(super) struct Record<B> {
    bytes: B,
    used: usize,
    first: usize,
}

/// Number of a file record, and how often it was given out; 0 is not checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reference(pub u64);

impl Reference {
    pub fn number(self) -> u64 {
        self.0 & 0xFFFF_FFFF_FFFF
    }

    pub fn sequence(self) -> u16 {
        (self.0 >> 48) as u16
    }
}

impl<B: AsRef<[u8]>> Record<B> {
    /// `number` is where it was found in the file table.
    pub fn new(bytes: B, number: u64) -> Result<Record<B>, &'static str> {
        let fields = Fields(bytes.as_ref());
        let head = |fields: Fields<'_>| {
            Some((
                usize::from(fields.u16(20)?),
                usize::try_from(fields.u32(24)?).ok()?,
                // Before NTFS 3.1 the update sequence stood where the number is now, and mkntfs numbers only
                // records that it uses.
                (fields.u16(4)? >= 48 && fields.u16(22)? & IN_USE != 0).then_some(fields.u32(44)?),
            ))
        };
        let (first, used, own) = head(fields).ok_or("a record is cut off")?;
        if used > bytes.as_ref().len() || first < 42 || first >= used || !first.is_multiple_of(8) {
            return Err("the head of a record contradicts itself");
        }
        if own.is_some_and(|own| u64::from(own) != number & 0xFFFF_FFFF) {
            return Err("a record carries the number of another one");
        }
        Ok(Record { bytes, used, first })
    }

    fn fields(&self) -> Fields<'_> {
        Fields(&self.bytes.as_ref()[..self.used])
    }

    pub fn in_use(&self) -> bool {
        self.flags() & IN_USE != 0
    }

    pub fn is_directory(&self) -> bool {
        self.flags() & DIRECTORY != 0
    }

    fn flags(&self) -> u16 {
        self.fields().u16(22).unwrap_or(0)
    }

    pub fn sequence(&self) -> u16 {
        self.fields().u16(16).unwrap_or(0)
    }

    /// The record this one continues; `None` for a file's first one.
    pub fn base(&self) -> Option<Reference> {
        let base = self.fields().u64(32).unwrap_or(0);
        (base != 0).then_some(Reference(base))
    }

    /// Up to the end mark; an error is the last item.
    pub fn attributes(&self) -> impl Iterator<Item = Result<Attribute<'_>, &'static str>> {
        let fields = self.fields();
        let mut next = Some(self.first);
        std::iter::from_fn(move || {
            let at = next.take()?;
            if fields.u32(at) == Some(END) {
                return None;
            }
            Some(match Attribute::parse(fields, at) {
                Some((attribute, len)) => {
                    next = Some(at + len);
                    Ok(attribute)
                }
                None => Err("an attribute is damaged"),
            })
        })
    }

    /// The first attribute of this type and name.
    pub fn find(&self, what: What) -> Result<Option<Attribute<'_>>, &'static str> {
        for attribute in self.attributes() {
            let attribute = attribute?;
            if attribute.is(what) {
                return Ok(Some(attribute));
            }
        }
        Ok(None)
    }
}

/// Type and name of an attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct What {
    pub kind: u32,
    pub name: &'static str,
}

impl What {
    pub const fn unnamed(kind: u32) -> What {
        What { kind, name: "" }
    }

    pub fn is(self, kind: u32, name: &[u8]) -> bool {
        self.kind == kind
            && self
                .name
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .eq(name.iter().copied())
    }
}

/// One attribute of a file, or one part of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute<'a> {
    pub kind: u32,
    /// UTF-16, little-endian.
    pub name: &'a [u8],
    pub id: u16,
    pub flags: Flags,
    pub body: Body<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Flags(pub u16);

impl Flags {
    pub fn compressed(self) -> bool {
        self.0 & 0x00FF != 0
    }

    pub fn encrypted(self) -> bool {
        self.0 & 0x4000 != 0
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Body<'a> {
    Resident(&'a [u8]),
    Mapped(Mapping<'a>),
}

/// A part of an attribute's clusters. Sizes are valid in the first part only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapping<'a> {
    pub first: u64,
    /// First cluster behind this part.
    pub next: u64,
    pub allocated: u64,
    pub size: u64,
    pub initialized: u64,
    /// Run list.
    pub pairs: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// One that stands alone.
    pub fn alone(bytes: &'a [u8]) -> Option<Attribute<'a>> {
        Attribute::parse(Fields(bytes), 0).map(|(attribute, _)| attribute)
    }

    /// The attribute at `at` and its length.
    fn parse(fields: Fields<'a>, at: usize) -> Option<(Attribute<'a>, usize)> {
        let len = usize::try_from(fields.u32(at.checked_add(4)?)?).ok()?;
        if len < 24 || !len.is_multiple_of(8) {
            return None;
        }
        let kind = fields.u32(at)?;
        let own = Fields(fields.bytes(at, len)?);
        let name = own.bytes(usize::from(own.u16(10)?), 2 * usize::from(own.u8(9)?));
        let body = match own.u8(8)? {
            0 => Body::Resident(own.bytes(
                usize::from(own.u16(20)?),
                usize::try_from(own.u32(16)?).ok()?,
            )?),
            1 => Body::Mapped(Mapping {
                first: own.u64(16)?,
                next: own.u64(24)?.wrapping_add(1),
                allocated: own.u64(40)?,
                size: own.u64(48)?,
                initialized: own.u64(56)?,
                pairs: own.0.get(usize::from(own.u16(32)?)..)?,
            }),
            _ => return None,
        };
        let attribute = Attribute {
            kind,
            name: if own.u8(9)? == 0 { &[] } else { name? },
            id: own.u16(14)?,
            flags: Flags(own.u16(12)?),
            body,
        };
        Some((attribute, len))
    }

    pub fn is(&self, what: What) -> bool {
        what.is(self.kind, self.name)
    }
}
