//! VHDX, dynamic: an empty log, metadata, one table of blocks, the blocks; the headers last.

use std::io;

use disk::geometry::Geometry;

use super::{Out, Places};
use crate::vhdx::id;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// By [MS-VHDX], 2.6.2.
pub const LIMIT: u64 = 64 << 40;
/// Above this much, blocks are larger, so that their table stays small.
const LARGE: u64 = 1 << 40;
const LOG: u64 = MIB;
const METADATA: u64 = 2 * MIB;
const TABLE: u64 = 3 * MIB;
const PRESENT: u64 = 6;

pub struct Vhdx {
    geometry: Geometry,
    /// Of the file, of its content, of the disk.
    ids: [[u8; 16]; 3],
    block: u64,
    table: Vec<u64>,
    /// After so many blocks the table has an entry for a bitmap, which only differencing disks have.
    ratio: u64,
    next: u64,
}

impl Vhdx {
    pub fn new(geometry: Geometry, ids: [[u8; 16]; 3]) -> Vhdx {
        let block = if geometry.size_bytes > LARGE {
            32 * MIB
        } else {
            2 * MIB
        };
        let ratio = (1 << 23) * u64::from(geometry.logical_sector) / block;
        let blocks = geometry.size_bytes.div_ceil(block);
        let entries = blocks + blocks.saturating_sub(1) / ratio;
        let entries = usize::try_from(entries).expect("the limit holds");
        let mut vhdx = Vhdx {
            geometry,
            ids,
            block,
            table: vec![0; entries],
            ratio,
            next: 0,
        };
        vhdx.next = TABLE + vhdx.table_bytes();
        vhdx
    }

    fn table_bytes(&self) -> u64 {
        (self.table.len() as u64 * 8).next_multiple_of(MIB)
    }

    fn header(&self, number: u64) -> Vec<u8> {
        let mut head = Vec::from(*b"head\0\0\0\0");
        head.extend(number.to_le_bytes());
        head.extend(self.ids[0]);
        head.extend(self.ids[1]);
        // No log waits.
        head.extend([0; 16]);
        head.extend(0u16.to_le_bytes());
        head.extend(1u16.to_le_bytes());
        head.extend(u32::try_from(MIB).expect("a MiB is small").to_le_bytes());
        head.extend(LOG.to_le_bytes());
        summed(head, 4 * KIB)
    }

    fn regions(&self) -> Vec<u8> {
        let mut table = Vec::from(*b"regi\0\0\0\0");
        table.extend(2u64.to_le_bytes());
        for (id, place, len) in [
            (id::BAT, TABLE, self.table_bytes()),
            (id::METADATA, METADATA, MIB),
        ] {
            table.extend(id);
            table.extend(place.to_le_bytes());
            table.extend(u32::try_from(len).expect("the limit holds").to_le_bytes());
            // Whoever does not know it cannot read the file.
            table.extend(1u32.to_le_bytes());
        }
        summed(table, 64 * KIB)
    }

    /// A table of items, and from 64 KiB on what they say.
    fn metadata(&self) -> Vec<u8> {
        const REQUIRED: u32 = 4;
        const OF_THE_DISK: u32 = 2;
        // Of the page 83 of SCSI's inquiry.
        let page83 = *b"\xab\x12\xca\xbe\xe6\xb2\x23\x45\x93\xef\xc3\x09\xe0\x00\xc7\x46";
        let block = u32::try_from(self.block).expect("a block is small");
        let items = [
            (
                id::PARAMETERS,
                [block.to_le_bytes(), [0; 4]].concat(),
                REQUIRED,
            ),
            (
                id::SIZE,
                self.geometry.size_bytes.to_le_bytes().to_vec(),
                REQUIRED | OF_THE_DISK,
            ),
            (page83, self.ids[2].to_vec(), REQUIRED | OF_THE_DISK),
            (
                id::LOGICAL,
                self.geometry.logical_sector.to_le_bytes().to_vec(),
                REQUIRED | OF_THE_DISK,
            ),
            (
                id::PHYSICAL,
                self.geometry.physical_sector.to_le_bytes().to_vec(),
                REQUIRED | OF_THE_DISK,
            ),
        ];
        let count = u16::try_from(items.len()).expect("five items");
        let mut table = Vec::from(*b"metadata\0\0");
        table.extend(count.to_le_bytes());
        table.resize(32, 0);
        let mut values: Vec<u8> = Vec::new();
        for (id, value, flags) in items {
            let place = u32::try_from(64 * KIB).expect("it is small")
                + u32::try_from(values.len()).expect("it is small");
            let len = u32::try_from(value.len()).expect("it is small");
            table.extend(id);
            for word in [place, len, flags, 0] {
                table.extend(word.to_le_bytes());
            }
            values.extend(value);
        }
        table.resize(64 << 10, 0);
        table.extend(values);
        table
    }
}

impl Places for Vhdx {
    fn unit(&self) -> u64 {
        self.block
    }

    fn place(&mut self, number: u64, _out: &mut dyn Out) -> io::Result<u64> {
        let place = self.next;
        self.next += self.block;
        let nth = usize::try_from(number + number / self.ratio).expect("the limit holds");
        self.table[nth] = (place / MIB) << 20 | PRESENT;
        Ok(place)
    }

    fn finish(&mut self, out: &mut dyn Out) -> io::Result<()> {
        let table: Vec<u8> = self
            .table
            .iter()
            .flat_map(|entry| entry.to_le_bytes())
            .collect();
        out.put(TABLE, &table)?;
        out.put(METADATA, &self.metadata())?;
        for place in [192 * KIB, 256 * KIB] {
            out.put(place, &self.regions())?;
        }
        out.end(self.next)?;
        let mut name = Vec::from(*b"vhdxfile");
        name.extend("Rescue".encode_utf16().flat_map(u16::to_le_bytes));
        out.put(128 * KIB, &self.header(2))?;
        out.put(64 * KIB, &self.header(1))?;
        out.put(0, &name)
    }
}

/// With its CRC-32C in the second word.
fn summed(mut bytes: Vec<u8>, len: u64) -> Vec<u8> {
    bytes.resize(usize::try_from(len).expect("it is small"), 0);
    let sum = crc32c::crc32c(&bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}
