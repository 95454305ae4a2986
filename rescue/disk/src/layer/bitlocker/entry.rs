//! The entries that metadata and key files are made of.

use crate::fields::Fields;

const HEAD: usize = 8;

#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub kind: u16,
    pub value: Value,
    pub data: &'a [u8],
}

/// What an entry holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    Key,
    Stretch,
    /// AES-CCM: a nonce, a tag, and what it seals.
    Sealed,
    Protector,
    External,
    Place,
    Other,
}

/// Up to the first that is none.
pub fn entries(mut bytes: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    std::iter::from_fn(move || {
        let fields = Fields(bytes);
        let len = usize::from(fields.u16(0)?);
        let (whole, rest) = bytes.split_at_checked(len)?;
        let data = whole.get(HEAD..)?;
        let (kind, value) = (fields.u16(2)?, fields.u16(4)?);
        bytes = rest;
        Some(Entry {
            kind,
            value: match value {
                1 => Value::Key,
                3 => Value::Stretch,
                5 => Value::Sealed,
                8 => Value::Protector,
                9 => Value::External,
                15 => Value::Place,
                _ => Value::Other,
            },
            data,
        })
    })
}
