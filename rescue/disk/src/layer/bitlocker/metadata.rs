//! The boot sector of a BitLocker volume and its metadata, of which there are three copies.

use sha2::{Digest, Sha256};

use super::cipher::Method;
use super::conversion::{self, Conversion};
use super::entry::{Entry, Value, entries};
use super::protector::{Protector, Sealed};
use crate::extent::{Extent, ExtentMap};
use crate::fields::Fields;
use crate::source::{BlockSource, ReadError, read_vec};

const SIGNATURE: &[u8] = b"-FVE-FS-";
const TO_GO: &[u8] = b"MSWIN4.1";
const AREA: u64 = 64 << 10;
/// The two headers in front of the entries.
const HEADS: usize = 112;
const FULLY_ENCRYPTED: u16 = 4;
/// Of volumes whose sectors are all encrypted, as they stand on disk.
const NORMAL: [u8; 16] = [
    0x3B, 0xD6, 0x67, 0x49, 0x29, 0x2E, 0xD8, 0x4A, 0x83, 0x99, 0xF6, 0xA3, 0x39, 0xE3, 0xD0, 0x01,
];
/// Of volumes of which a bitmap says what is encrypted.
const ON_WRITE: [u8; 16] = [
    0x3B, 0x4D, 0xA8, 0x92, 0x80, 0xDD, 0x0E, 0x4D, 0x9E, 0x4E, 0xB1, 0xE3, 0x28, 0x4E, 0xAE, 0xD8,
];
const DAMAGED: &str = "its header is damaged";

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Of all its bytes.
    pub checksum: Vec<u8>,
    pub layout: Layout,
    pub protectors: Vec<Protector>,
    /// The key of the data, sealed with the one that each protector seals.
    pub key: Sealed,
    /// Of a volume that may be encrypted in part only.
    pub conversion: Conversion,
}

/// What all copies must agree on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Of the volume, as Windows prints it.
    pub id: String,
    pub size_bytes: u64,
    pub sector_size: u32,
    pub method: Method,
    /// Where the copies of the metadata stand.
    pub areas: [Extent; 3],
    /// Where the first bytes of the volume stand, while BitLocker's own boot sector has their place.
    pub stored: Extent,
}

impl std::ops::Deref for Header {
    type Target = Layout;

    fn deref(&self) -> &Layout {
        &self.layout
    }
}

impl Header {
    /// What of the volume is BitLocker's own.
    pub fn zeros(&self) -> impl Iterator<Item = Extent> + '_ {
        self.layout
            .zeros()
            .chain(self.conversion.own.iter().copied())
    }
}

impl Layout {
    /// The first bytes of the volume.
    pub fn head(&self) -> Extent {
        Extent::new(0, self.stored.len()).expect("it is as long as the other")
    }

    /// What of the volume is BitLocker's own, whichever kind it is.
    pub fn zeros(&self) -> impl Iterator<Item = Extent> + '_ {
        self.areas.iter().copied().chain([self.stored])
    }

    /// Nothing overlaps, and all of it lies in the volume, on sectors.
    fn is_sensible(&self) -> bool {
        let mut taken = ExtentMap::new();
        let sector = u64::from(self.sector_size);
        let aligned = |extent: Extent| {
            extent.start().is_multiple_of(sector) && extent.len().is_multiple_of(sector)
        };
        let mut places = self.zeros().chain([self.head()]);
        places.all(|extent| {
            let free = taken.within(extent).next().is_none();
            taken.insert(extent);
            free && aligned(extent) && extent.end() <= self.size_bytes
        })
    }
}

/// Also BitLocker To Go, whose boot sector is made to look like FAT to older systems.
pub fn is_boot_sector(bytes: &[u8]) -> bool {
    let fields = Fields(bytes);
    let to_go = fields.starts_with(3, TO_GO)
        && (fields.starts_with(424, &NORMAL) || fields.starts_with(424, &ON_WRITE));
    fields.starts_with(3, SIGNATURE) || to_go
}

/// What stands in the way of unlocking it is a sentence.
pub fn read(source: &dyn BlockSource) -> Result<Result<Header, String>, ReadError> {
    let boot = read_vec(source, 0, 512)?;
    let boot = match Boot::parse(Fields(&boot)) {
        Ok(boot) => boot,
        Err(why) => return Ok(Err(why)),
    };
    let mut header = match agreed(source, &boot)? {
        Ok(header) => header,
        Err(why) => return Ok(Err(why)),
    };
    if let Some(places) = boot.conversion {
        match conversion::read(source, places, &header.layout)? {
            Ok(conversion) => header.conversion = conversion,
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(Ok(header))
}

/// What all good copies of the metadata say.
fn agreed(source: &dyn BlockSource, boot: &Boot) -> Result<Result<Header, String>, ReadError> {
    let mut good: Option<Header> = None;
    let mut trouble = None;
    for place in boot.places {
        let bytes = match Extent::new(place, AREA).filter(|e| e.end() <= source.size_bytes()) {
            None => continue,
            Some(area) => match read_vec(source, area.start(), AREA) {
                // There are others.
                Err(ReadError::Unreadable(_)) => continue,
                bytes => bytes?,
            },
        };
        match (parse(&bytes, boot.sector_size, boot.places), &good) {
            (Ok(header), None) => good = Some(header),
            (Ok(header), Some(first)) if header.layout != first.layout => {
                return Ok(Err("the copies of its header disagree".into()));
            }
            (Ok(_), Some(_)) => {}
            (Err(why), _) => trouble = trouble.or(Some(why)),
        }
    }
    let fits = |header: &Header| header.size_bytes <= source.size_bytes();
    Ok(match good {
        Some(header) if fits(&header) => Ok(header),
        Some(_) => Err("its data reach beyond its end".into()),
        None => Err(trouble.unwrap_or_else(|| DAMAGED.into())),
    })
}

struct Boot {
    sector_size: u32,
    /// Where the copies of the metadata stand.
    places: [u64; 3],
    /// Where it stands which part is encrypted, where that is not all of it.
    conversion: Option<[u64; 2]>,
}

impl Boot {
    fn parse(boot: Fields<'_>) -> Result<Boot, String> {
        let at = if boot.starts_with(3, SIGNATURE) {
            160
        } else {
            424
        };
        if boot.starts_with(0, &[0xEB, 0x52, 0x90]) {
            return Err("it is as Windows Vista made it, which is not supported".into());
        }
        Boot::checked(boot, at).ok_or_else(|| DAMAGED.into())
    }

    fn checked(boot: Fields<'_>, at: usize) -> Option<Boot> {
        let place = |nth: usize| boot.u64(at + 16 + 8 * nth);
        let in_part = boot.starts_with(at, &ON_WRITE);
        let known = in_part || boot.starts_with(at, &NORMAL);
        let sector_size = match boot.u16(11)? {
            0 => 512,
            size @ (512 | 4096) => u32::from(size),
            _ => return None,
        };
        Some(Boot {
            sector_size,
            places: [place(0)?, place(1)?, place(2)?],
            conversion: match in_part {
                true => Some([place(3)?, place(4)?]),
                false => None,
            },
        })
        .filter(|_| known)
    }
}

/// One copy.
fn parse(bytes: &[u8], sector_size: u32, places: [u64; 3]) -> Result<Header, String> {
    let fields = Fields(bytes);
    let len = usize::from(fields.u16(8).unwrap_or(0)) << 4;
    let summed = bytes.get(..len).filter(|summed| summed.len() >= HEADS);
    let sum = fields
        .u32(len + 4)
        .filter(|_| fields.starts_with(0, SIGNATURE));
    let (Some(summed), Some(2), Some(sum)) = (summed, fields.u16(10), sum) else {
        return Err(DAMAGED.into());
    };
    if crc32fast::hash(summed) != sum {
        return Err(DAMAGED.into());
    }
    header(summed, sector_size, places)?.ok_or_else(|| DAMAGED.into())
}

fn header(bytes: &[u8], sector_size: u32, places: [u64; 3]) -> Result<Option<Header>, String> {
    let fields = Fields(bytes);
    let state = (fields.u16(12), fields.u16(14));
    if state != (Some(FULLY_ENCRYPTED), Some(FULLY_ENCRYPTED)) {
        return Err("it is being encrypted or decrypted; let Windows finish that first".into());
    }
    let own = [fields.u64(32), fields.u64(40), fields.u64(48)];
    let read = || {
        let end = 64usize.checked_add(usize::try_from(fields.u32(64)?).ok()?)?;
        let entries = || bytes.get(HEADS..end).into_iter().flat_map(entries);
        let stored = entries().find(|entry| entry.value == Value::Place)?.data;
        let stored = Extent::new(Fields(stored).u64(0)?, Fields(stored).u64(8)?)?;
        let key = entries().find(|entry| (entry.kind, entry.value) == (KEY, Value::Sealed))?;
        let protectors = entries().filter(|entry| entry.value == Value::Protector);
        let [a, b, c] = places.map(|place| Extent::new(place, AREA));
        Some((
            stored,
            Sealed::read(key.data)?,
            protectors.filter_map(|entry: Entry<'_>| Protector::read(entry.data)),
            [a?, b?, c?],
        ))
    };
    let method = Method::numbered(fields.u16(100).unwrap_or(0), sector_size)?;
    let Some((stored, key, protectors, areas)) = read() else {
        return Ok(None);
    };
    let size_bytes = fields.u64(16).unwrap_or(0);
    let layout = Layout {
        id: guid(fields.bytes(80, 16).unwrap_or(&[0; 16])),
        size_bytes: size_bytes - size_bytes % u64::from(sector_size),
        sector_size,
        method,
        areas,
        stored,
    };
    let agrees = own == places.map(Some) && fields.u64(56) == Some(stored.start());
    Ok((agrees && layout.is_sensible()).then(|| Header {
        checksum: Sha256::digest(bytes).to_vec(),
        protectors: protectors.collect(),
        layout,
        key,
        conversion: Conversion::default(),
    }))
}

/// What the entry with the key of the data is for.
const KEY: u16 = 3;

/// The first three groups are little-endian.
fn guid(bytes: &[u8]) -> String {
    let mut text = String::new();
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    for (at, index) in order.into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{:02x}", bytes[index]));
    }
    text
}
