//! VMDK of one sparse file: header, descriptor, two directories with their tables, grains.

use std::io;
use std::mem;

use disk::geometry::Geometry;

use super::{Out, Places};

const SECTOR: u64 = 512;
const GRAIN: u64 = 64 << 10;
const GRAIN_SECTORS: u64 = GRAIN / SECTOR;
const ENTRIES: u64 = 512;
const TABLE: u64 = ENTRIES * 4;
/// Sectors are counted in 32 bits, those of the file too.
pub const LIMIT: u64 = 2 << 40;
const DESCRIPTOR_SECTORS: u64 = 20;
/// A descriptor is inside; there is a second directory.
const FLAGS: u32 = 1 | 1 << 1;

pub struct Vmdk {
    size_bytes: u64,
    id: [u8; 16],
    /// Entries of a directory.
    tables: u64,
    /// The table that is being filled, and its number.
    table: Vec<u32>,
    number: u64,
    /// Sector of the next grain.
    next: u64,
}

impl Vmdk {
    pub fn new(geometry: Geometry, id: [u8; 16]) -> Vmdk {
        let tables = geometry.size_bytes.div_ceil(GRAIN).div_ceil(ENTRIES);
        let mut vmdk = Vmdk {
            size_bytes: geometry.size_bytes,
            id,
            tables,
            table: Vec::new(),
            number: 0,
            next: 0,
        };
        vmdk.next = vmdk.overhead();
        vmdk
    }

    fn directory_sectors(&self) -> u64 {
        (self.tables * 4).div_ceil(SECTOR)
    }

    /// Of the first or second directory; its tables are right behind it.
    fn directory(&self, nth: u64) -> u64 {
        let both = self.directory_sectors() + self.tables * TABLE / SECTOR;
        1 + DESCRIPTOR_SECTORS + nth * both
    }

    fn tables_at(&self, nth: u64) -> u64 {
        self.directory(nth) + self.directory_sectors()
    }

    fn overhead(&self) -> u64 {
        self.directory(2).next_multiple_of(GRAIN_SECTORS)
    }

    fn close(&mut self, out: &mut dyn Out) -> io::Result<()> {
        if self.table.is_empty() {
            return Ok(());
        }
        let words = mem::take(&mut self.table);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        for nth in 0..2 {
            let place = self.tables_at(nth) * SECTOR + self.number * TABLE;
            out.put(place, &bytes)?;
        }
        Ok(())
    }

    fn descriptor(&self) -> String {
        let id = u32::from_le_bytes([self.id[0], self.id[1], self.id[2], self.id[3]]);
        // All ones stands for no parent.
        let id = id.min(u32::MAX - 2);
        let sectors = self.size_bytes / SECTOR;
        let cylinders = (sectors / (63 * 255)).clamp(1, 65535);
        format!(
            "# Disk DescriptorFile\nversion=1\nCID={id:08x}\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n\n\
             # Extent description\nRW {sectors} SPARSE \"disk.vmdk\"\n\n\
             # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders = \"{cylinders}\"\n\
             ddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\nddb.adapterType = \"lsilogic\"\n"
        )
    }

    fn header(&self) -> Vec<u8> {
        let mut head = Vec::from(*b"KDMV");
        head.extend(1u32.to_le_bytes());
        head.extend(FLAGS.to_le_bytes());
        for n in [
            self.size_bytes / SECTOR,
            GRAIN_SECTORS,
            1,
            DESCRIPTOR_SECTORS,
        ] {
            head.extend(n.to_le_bytes());
        }
        head.extend(512u32.to_le_bytes());
        for n in [self.directory(0), self.directory(1), self.overhead()] {
            head.extend(n.to_le_bytes());
        }
        // Shut down cleanly; line ends that a transfer as text would have changed; not compressed.
        head.extend(b"\0\n \r\n\0\0");
        head.resize(512, 0);
        head
    }
}

impl Places for Vmdk {
    fn unit(&self) -> u64 {
        GRAIN
    }

    fn place(&mut self, number: u64, out: &mut dyn Out) -> io::Result<u64> {
        let table = number / ENTRIES;
        if table != self.number {
            self.close(out)?;
        }
        if self.table.is_empty() {
            self.table = vec![0; usize::try_from(ENTRIES).expect("a table is small")];
            self.number = table;
        }
        let sector = u32::try_from(self.next).map_err(|_| {
            io::Error::other("it needs more than the 2 TiB of a VMDK; choose another format")
        })?;
        let nth = usize::try_from(number % ENTRIES).expect("a table is small");
        self.table[nth] = sector;
        self.next += GRAIN_SECTORS;
        Ok(u64::from(sector) * SECTOR)
    }

    fn finish(&mut self, out: &mut dyn Out) -> io::Result<()> {
        self.close(out)?;
        for nth in 0..2 {
            let first = self.tables_at(nth);
            let sectors = (0..self.tables).map(|table| first + table * TABLE / SECTOR);
            let words = sectors.map(|sector| u32::try_from(sector).expect("the limit holds"));
            let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
            out.put(self.directory(nth) * SECTOR, &bytes)?;
        }
        out.put(SECTOR, self.descriptor().as_bytes())?;
        out.end(self.next * SECTOR)?;
        out.put(0, &self.header())
    }
}
