//! qcow2, versions 2 and 3, as QEMU's `docs/interop/qcow2.txt` describes it: clusters behind two levels of tables,
//! compressed ones by deflate or zstd, subclusters. Snapshots inside it are passed over.

use std::io::Read;

use disk::fields::{Fields, text};
use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError, read_vec};
use flate2::{Decompress, FlushDecompress};

use crate::error::ForeignError;
use crate::mapped::{BLOCK_LIMIT, Mapped, Place, Span, Tables};
use crate::recent::Recent;
use crate::{File, Folder, Format, Opened, Order};

pub const FORMAT: Format = Format { name: NAME, open };

const NAME: &str = "qcow2";
const MAGIC: &[u8] = b"QFI\xfb";
/// As QEMU has it.
const L1_LIMIT: u64 = 32 << 20;
/// Tables of the second level that are kept, each of at most 2 MiB.
const L2_TABLES: usize = 6;
/// Bits 9 to 55 of an entry.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;

const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED: u64 = 1 << 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Packing {
    Deflate,
    Zstd,
}

/// Whether an entry of the second level says more than one thing of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Entries {
    Whole,
    /// Thirty-two subclusters, in a second word.
    Extended,
}

impl Entries {
    fn bytes(self) -> u64 {
        match self {
            Entries::Whole => 8,
            Entries::Extended => 16,
        }
    }
}

struct Qcow2 {
    file: File,
    size_bytes: u64,
    cluster_bits: u32,
    version: u32,
    packing: Packing,
    entries: Entries,
    l1: Vec<u64>,
    l2: Recent<Vec<u8>>,
}

fn open(file: &File, _folder: &dyn Folder) -> Result<Option<Opened>, ForeignError> {
    let head = read_vec(file, 0, file.size_bytes().min(512))?;
    let fields = Fields(&head);
    if !fields.starts_with(0, MAGIC) {
        return Ok(None);
    }
    let header = Header::read(fields).ok_or_else(|| damaged("its header is cut off"))?;
    header.is_supported(file)?;
    let mut notes = Vec::new();
    if header.incompatible & CORRUPT != 0 {
        notes.push("QEMU marked it as corrupt: what its tables lead to may be wrong".into());
    }
    if header.snapshots > 0 {
        notes.push(format!(
            "it has {} snapshots inside; what is read is its present state",
            header.snapshots
        ));
    }
    let tables = header.tables(file)?;
    Ok(Some(Opened {
        format: NAME,
        order: Order::Any,
        source: Mapped::boxed(tables),
        notes,
    }))
}

fn damaged(what: &str) -> ForeignError {
    ForeignError::Damaged {
        format: NAME,
        what: what.into(),
    }
}

fn unsupported(what: String) -> ForeignError {
    ForeignError::Unsupported { format: NAME, what }
}

struct Header {
    version: u32,
    backing: (u64, u32),
    cluster_bits: u32,
    size_bytes: u64,
    encryption: u32,
    l1_entries: u32,
    l1_offset: u64,
    snapshots: u32,
    incompatible: u64,
    compression: u8,
}

impl Header {
    fn read(fields: Fields<'_>) -> Option<Header> {
        let version = fields.be32(4)?;
        let later = version >= 3;
        let length = if later { fields.be32(100)? } else { 72 };
        Some(Header {
            version,
            backing: (fields.be64(8)?, fields.be32(16)?),
            cluster_bits: fields.be32(20)?,
            size_bytes: fields.be64(24)?,
            encryption: fields.be32(32)?,
            l1_entries: fields.be32(36)?,
            l1_offset: fields.be64(40)?,
            snapshots: fields.be32(60)?,
            incompatible: if later { fields.be64(72)? } else { 0 },
            compression: if length > 104 { fields.u8(104)? } else { 0 },
        })
    }

    fn is_supported(&self, file: &File) -> Result<(), ForeignError> {
        if !(2..=3).contains(&self.version) {
            return Err(unsupported(format!(
                "of version {}, which is not known here; convert it with `qemu-img convert -O qcow2`",
                self.version
            )));
        }
        if self.backing.0 != 0 {
            let len = u64::from(self.backing.1.min(1023));
            let name = read_vec(file, self.backing.0, len).map(|name| text(&name));
            return Err(unsupported(format!(
                "that holds only what differs from its backing file '{}'; make one image of both with `qemu-img convert -O qcow2`",
                name.unwrap_or_default()
            )));
        }
        if self.encryption != 0 {
            return Err(unsupported(
                "that is encrypted; convert it with `qemu-img convert` and its key".into(),
            ));
        }
        if self.incompatible & EXTERNAL != 0 {
            return Err(unsupported(
                "whose data lie in another file; make one of both with `qemu-img convert -O qcow2`"
                    .into(),
            ));
        }
        let known = DIRTY | CORRUPT | EXTERNAL | COMPRESSION | EXTENDED;
        if self.incompatible & !known != 0 {
            return Err(unsupported(format!(
                "with features that are not known here ({:#x}); convert it with `qemu-img convert -O qcow2`",
                self.incompatible & !known
            )));
        }
        if !(9..=21).contains(&self.cluster_bits) {
            return Err(damaged("its clusters have an impossible size"));
        }
        Ok(())
    }

    fn tables(&self, file: &File) -> Result<Qcow2, ForeignError> {
        let packing = match self.compression {
            0 => Packing::Deflate,
            1 => Packing::Zstd,
            other => {
                return Err(unsupported(format!(
                    "compressed in way {other}, which is not known here; convert it with `qemu-img convert -O qcow2`"
                )));
            }
        };
        let entries = match self.incompatible & EXTENDED {
            0 => Entries::Whole,
            _ => Entries::Extended,
        };
        let l1_bytes = u64::from(self.l1_entries) * 8;
        if l1_bytes > L1_LIMIT {
            return Err(damaged("its first table is larger than any disk needs"));
        }
        let mut l1 = Vec::with_capacity(usize::try_from(l1_bytes / 8).unwrap_or(0));
        let mut at = self.l1_offset;
        let end = at.checked_add(l1_bytes);
        let end = end.ok_or_else(|| damaged("its first table lies beyond every end"))?;
        while at < end {
            let bytes = read_vec(file, at, (end - at).min(1 << 20))?;
            let words = bytes.as_chunks().0.iter();
            l1.extend(words.map(|word| u64::from_be_bytes(*word)));
            at += bytes.len() as u64;
        }
        Ok(Qcow2 {
            file: file.clone(),
            size_bytes: self.size_bytes,
            cluster_bits: self.cluster_bits,
            version: self.version,
            packing,
            entries,
            l1,
            l2: Recent::new(L2_TABLES),
        })
    }
}

impl Qcow2 {
    fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    fn compressed(&self, entry: u64, skip: u64) -> Span {
        // The place of the bits depends on the cluster size: offset below, count of further sectors above.
        let bits = 62 - (self.cluster_bits - 8);
        let low = entry & ((1 << bits) - 1);
        let sectors = (entry & (COMPRESSED - 1)) >> bits;
        let len = (sectors + 1) * 512 - (low & 511);
        Span {
            place: Place::Packed {
                key: low,
                len,
                skip,
            },
            len: self.cluster() - skip,
        }
    }

    /// Of an entry without subclusters.
    fn plain(&self, entry: u64, within: u64) -> Span {
        let place = match entry & OFFSET {
            _ if self.version >= 3 && self.entries == Entries::Whole && entry & ZERO != 0 => {
                Place::Zeros
            }
            0 => Place::Zeros,
            offset => Place::File {
                nth: 0,
                offset: offset + within,
            },
        };
        Span {
            place,
            len: self.cluster() - within,
        }
    }

    /// One of thirty-two parts: bits 0 to 31 say which are there, 32 to 63 which read as zeros.
    fn part(&self, entry: u64, bitmap: u64, within: u64) -> Option<Span> {
        let part = self.cluster() / 32;
        if part == 0 {
            return None;
        }
        let nth = within / part;
        let there = bitmap >> nth & 1 == 1;
        let zero = bitmap >> (32 + nth) & 1 == 1;
        let place = match (there, zero, entry & OFFSET) {
            (true, true, _) | (true, false, 0) => return None,
            (true, false, offset) => Place::File {
                nth: 0,
                offset: offset + within,
            },
            (false, _, _) => Place::Zeros,
        };
        Some(Span {
            place,
            len: part - within % part,
        })
    }
}

impl Tables for Qcow2 {
    fn geometry(&self) -> Geometry {
        Geometry::of_file(self.size_bytes)
    }

    fn span(&self, offset: u64) -> Result<Option<Span>, ReadError> {
        let cluster = self.cluster();
        let per_table = cluster / self.entries.bytes();
        let within = offset % cluster;
        let number = offset / cluster;
        let l1 = usize::try_from(number / per_table).ok();
        let Some(l1) = l1.and_then(|nth| self.l1.get(nth)) else {
            return Ok(None);
        };
        let table = l1 & OFFSET;
        if table == 0 {
            let covered = per_table * cluster;
            return Ok(Some(Span {
                place: Place::Zeros,
                len: covered - offset % covered,
            }));
        }
        let bytes = self
            .l2
            .get(table, || read_vec(&self.file, table, cluster))?;
        let at = usize::try_from(number % per_table * self.entries.bytes());
        let at = at.expect("a table has at most 2 MiB");
        let Some(entry) = Fields(&bytes).be64(at) else {
            return Ok(None);
        };
        if entry & COMPRESSED != 0 {
            return Ok(Some(self.compressed(entry, within)));
        }
        Ok(match self.entries {
            Entries::Whole => Some(self.plain(entry, within)),
            Entries::Extended => {
                let bitmap = Fields(&bytes).be64(at + 8);
                bitmap.and_then(|bitmap| self.part(entry, bitmap, within))
            }
        })
    }

    fn file(&self, nth: usize) -> Option<&dyn BlockSource> {
        (nth == 0).then_some(&*self.file)
    }

    fn unpack(&self, key: u64, len: u64) -> Result<Option<Vec<u8>>, ReadError> {
        // The last sector may be cut off by the end of the file.
        let there = self.file.size_bytes().saturating_sub(key);
        let limit = self.cluster().min(BLOCK_LIMIT) + (64 << 10);
        let packed = read_vec(&self.file, key, len.min(there).min(limit))?;
        let mut block = vec![0; usize::try_from(self.cluster()).unwrap_or(0)];
        let filled = match self.packing {
            Packing::Deflate => inflate(&packed, &mut block),
            Packing::Zstd => unzstd(&packed, &mut block),
        };
        Ok(filled.then_some(block))
    }
}

/// What follows the end of the stream in its last sector does not count.
fn inflate(packed: &[u8], block: &mut [u8]) -> bool {
    let mut stream = Decompress::new(false);
    let done = stream.decompress(packed, block, FlushDecompress::Finish);
    done.is_ok() && stream.total_out() == block.len() as u64
}

fn unzstd(packed: &[u8], block: &mut [u8]) -> bool {
    let stream = zstd::stream::read::Decoder::with_buffer(packed);
    stream.is_ok_and(|stream| stream.single_frame().read_exact(block).is_ok())
}
