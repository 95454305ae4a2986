//! qcow2, version 3: clusters in the order of the disk, every table where it is known, the header last.

use std::io;
use std::mem;

use disk::geometry::Geometry;

use super::{Out, Places};

const CLUSTER: u64 = 64 << 10;
/// Entries of a table of the second level, and of a block of reference counts.
const ENTRIES: u64 = CLUSTER / 8;
const COUNTS: u64 = CLUSTER / 2;
const COPIED: u64 = 1 << 63;
/// As far as a first table of 32 MiB goes, the largest that QEMU opens.
pub const LIMIT: u64 = (32 << 20) / 8 * ENTRIES * CLUSTER;
const HEADER: u32 = 104;

pub struct Qcow2 {
    size_bytes: u64,
    l1: Vec<u64>,
    /// The table of the second level that is being filled, and its number.
    l2: Vec<u64>,
    table: u64,
    /// Next cluster of the file. The first is the header's.
    next: u64,
}

impl Qcow2 {
    pub fn new(geometry: Geometry) -> Qcow2 {
        let clusters = geometry.size_bytes.div_ceil(CLUSTER);
        let tables = usize::try_from(clusters.div_ceil(ENTRIES));
        Qcow2 {
            size_bytes: geometry.size_bytes,
            l1: vec![0; tables.expect("the limit holds")],
            l2: Vec::new(),
            table: 0,
            next: 1,
        }
    }

    fn take(&mut self, clusters: u64) -> u64 {
        let place = self.next * CLUSTER;
        self.next += clusters;
        place
    }

    /// Puts the table that was filled.
    fn close(&mut self, out: &mut dyn Out) -> io::Result<()> {
        if self.l2.is_empty() {
            return Ok(());
        }
        let place = self.take(1);
        let nth = usize::try_from(self.table).expect("it is in the first table");
        self.l1[nth] = place | COPIED;
        let words = mem::take(&mut self.l2);
        out.put(place, &big_endian(&words))
    }

    /// Every cluster is used once, those of the counts as well.
    fn counts(&mut self, out: &mut dyn Out) -> io::Result<(u64, u32)> {
        let (mut blocks, mut tables) = (0, 0);
        loop {
            let all = self.next + blocks + tables;
            let wanted = (all.div_ceil(COUNTS), blocks.div_ceil(ENTRIES));
            if wanted == (blocks, tables) {
                break;
            }
            (blocks, tables) = wanted;
        }
        let table = self.take(tables);
        let first = self.take(blocks);
        let all = self.next;
        let places: Vec<u64> = (0..blocks).map(|nth| first + nth * CLUSTER).collect();
        out.put(table, &big_endian(&places))?;
        for (nth, place) in (0..).zip(places) {
            let used = (all - nth * COUNTS).min(COUNTS);
            let used = usize::try_from(used).expect("it is at most a cluster");
            out.put(place, &1u16.to_be_bytes().repeat(used))?;
        }
        let tables = u32::try_from(tables).expect("the limit holds");
        Ok((table, tables))
    }

    fn header(&self, l1: u64, counts: (u64, u32)) -> Vec<u8> {
        let mut head = Vec::from(*b"QFI\xfb");
        let long = |head: &mut Vec<u8>, n: u64| head.extend(n.to_be_bytes());
        let word = |head: &mut Vec<u8>, n: u32| head.extend(n.to_be_bytes());
        word(&mut head, 3);
        // No backing file.
        long(&mut head, 0);
        word(&mut head, 0);
        word(&mut head, CLUSTER.trailing_zeros());
        long(&mut head, self.size_bytes);
        word(&mut head, 0);
        word(
            &mut head,
            u32::try_from(self.l1.len()).expect("the limit holds"),
        );
        long(&mut head, l1);
        long(&mut head, counts.0);
        word(&mut head, counts.1);
        // No snapshots, no features.
        word(&mut head, 0);
        for _ in 0..4 {
            long(&mut head, 0);
        }
        // Counts of 16 bits.
        word(&mut head, 4);
        word(&mut head, HEADER);
        // The end of the header's extensions.
        long(&mut head, 0);
        head
    }
}

impl Places for Qcow2 {
    fn unit(&self) -> u64 {
        CLUSTER
    }

    fn place(&mut self, number: u64, out: &mut dyn Out) -> io::Result<u64> {
        let table = number / ENTRIES;
        if table != self.table {
            self.close(out)?;
        }
        if self.l2.is_empty() {
            self.l2 = vec![0; usize::try_from(ENTRIES).expect("a table is a cluster")];
            self.table = table;
        }
        let place = self.take(1);
        let nth = usize::try_from(number % ENTRIES).expect("a table is a cluster");
        self.l2[nth] = place | COPIED;
        Ok(place)
    }

    fn finish(&mut self, out: &mut dyn Out) -> io::Result<()> {
        self.close(out)?;
        let bytes = big_endian(&self.l1);
        let l1 = self.take((bytes.len() as u64).div_ceil(CLUSTER));
        out.put(l1, &bytes)?;
        let counts = self.counts(out)?;
        out.end(self.next * CLUSTER)?;
        out.put(0, &self.header(l1, counts))
    }
}

fn big_endian(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}
