//! A journal with something in it, written here as macOS writes one: no tool on Linux leaves one behind.

use disk::extent::Extent;
use disk::fs::{Basis, State, Used};
use tempfile::NamedTempFile;

use crate::made::{read_at, write_at};
use crate::volume::{JOURNALED, alone, mapped, read, volume, why_whole};

/// What the journal's numbers are written in: PowerPC's byte order, or Intel's.
#[derive(Clone, Copy)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn put<const N: usize>(self, mut big: [u8; N]) -> [u8; N] {
        if matches!(self, Order::Little) {
            big.reverse();
        }
        big
    }
}

const LIST: usize = 4096;
const SECTOR: u64 = 512;

/// A volume whose journal waits.
pub fn waiting() -> NamedTempFile {
    Waiting::new(Order::Little, None).file
}

fn sum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(0u32, |sum, byte| {
        (sum << 8) ^ sum.wrapping_add(u32::from(*byte))
    })
}

fn number(file: &NamedTempFile, at: u64) -> u32 {
    u32::from_be_bytes(read_at(file, at, 4).try_into().unwrap())
}

/// A transaction: a list and its blocks, each a number of sectors and bytes.
fn transaction(order: Order, sequence: u32, blocks: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut list = vec![0; LIST];
    let total = LIST + blocks.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    let mut put = |at: usize, bytes: &[u8]| list[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &order.put(255u16.to_be_bytes()));
    put(
        2,
        &order.put(u16::try_from(blocks.len() + 1).unwrap().to_be_bytes()),
    );
    put(4, &order.put(u32::try_from(total).unwrap().to_be_bytes()));
    put(12, &order.put(1u32.to_be_bytes()));
    put(28, &order.put(sequence.to_be_bytes()));
    for (n, (sector, bytes)) in blocks.iter().enumerate() {
        let at = 32 + 16 * n;
        put(at, &order.put(sector.to_be_bytes()));
        put(
            at + 8,
            &order.put(u32::try_from(bytes.len()).unwrap().to_be_bytes()),
        );
        put(at + 12, &order.put(sum(bytes).to_be_bytes()));
    }
    let own = sum(&list[..32]);
    list[8..12].copy_from_slice(&order.put(own.to_be_bytes()));
    for (_, bytes) in blocks {
        list.extend(bytes);
    }
    list
}

/// A volume whose journal waits, from `start` on: with the last 100 blocks but two in use.
struct Waiting {
    file: NamedTempFile,
    journal: u64,
    order: Order,
}

impl Waiting {
    fn new(order: Order, early: Option<u64>) -> Waiting {
        let file = volume(JOURNALED);
        let (block, info) = (
            u64::from(number(&file, 1064)),
            u64::from(number(&file, 1036)),
        );
        let place =
            |at| u64::from_be_bytes(read_at(&file, info * block + at, 8).try_into().unwrap());
        let (journal, size) = (place(36), place(44));
        let waiting = Waiting {
            file,
            journal,
            order,
        };
        // In the volume, and begun; last mounted by macOS, which did not unmount it.
        write_at(&waiting.file, info * block, &1u32.to_be_bytes());
        write_at(&waiting.file, 1032, b"HFSJ");
        let attributes = number(&waiting.file, 1028) & !(1 << 8);
        write_at(&waiting.file, 1028, &attributes.to_be_bytes());

        // What the journal holds: the bitmap and the header with more in use.
        let (blocks, bitmap) = (
            number(&waiting.file, 1068),
            number(&waiting.file, 1024 + 128),
        );
        let bitmap = u64::from(bitmap) * block;
        let mut bits = read_at(&waiting.file, bitmap, 4096);
        for n in blocks - 100..blocks - 2 {
            bits[usize::try_from(n / 8).unwrap()] |= 0x80 >> (n % 8);
        }
        let mut header = read_at(&waiting.file, 1024, 512);
        let free = number(&waiting.file, 1072) - 98;
        header[48..52].copy_from_slice(&free.to_be_bytes());
        let killed = (u64::MAX, vec![0xEE; 1024]);
        let first = transaction(
            order,
            7,
            &[(2, vec![0; 512]), killed, (bitmap / SECTOR, bits)],
        );
        let second = transaction(order, 8, &[(2, header)]);
        let ring = [first, second].concat();
        // Near the end the ring goes on at its beginning.
        let start = early.map_or(SECTOR, |early| size - early);
        waiting.put(size, start, &ring);
        let end = SECTOR + (start - SECTOR + ring.len() as u64) % (size - SECTOR);
        waiting.head(size, start, end);
        waiting
    }

    fn put(&self, size: u64, start: u64, ring: &[u8]) {
        for (n, sector) in ring.chunks(512).enumerate() {
            let at = SECTOR + (start - SECTOR + 512 * n as u64) % (size - SECTOR);
            write_at(&self.file, self.journal + at, sector);
        }
    }

    fn head(&self, size: u64, start: u64, end: u64) {
        let mut head = vec![0; 44];
        let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
        let order = self.order;
        put(0, &order.put(0x4A4E_4C78u32.to_be_bytes()));
        put(4, &order.put(0x1234_5678u32.to_be_bytes()));
        for (at, number) in [(8, start), (16, end), (24, size)] {
            put(at, &order.put(number.to_be_bytes()));
        }
        put(32, &order.put(u32::try_from(LIST).unwrap().to_be_bytes()));
        put(40, &order.put(512u32.to_be_bytes()));
        let own = sum(&head);
        head[36..40].copy_from_slice(&order.put(own.to_be_bytes()));
        write_at(&self.file, self.journal, &head);
    }
}

#[test]
fn what_waits_in_the_journal_is_used_in_either_byte_order_and_around_its_end() {
    let _alone = alone();
    for (order, early) in [
        (Order::Big, None),
        (Order::Little, None),
        (Order::Little, Some(512)),
        (Order::Big, Some(4096)),
        (Order::Little, Some(6144)),
    ] {
        let waiting = Waiting::new(order, early);
        let found = read(&waiting.file);
        let used = mapped(&found);
        let block = u64::from(found.block_size);
        let new = Extent::new(found.size_bytes - 100 * block, 98 * block).unwrap();
        assert!(used.covers(new), "{used:?}");
        assert!(matches!(
            found.used,
            Used::Map {
                basis: Basis::Replayed,
                ..
            }
        ));
        let State::Dirty(why) = &found.state else {
            panic!("{:?}", found.state)
        };
        assert!(why.contains("replayed in memory (3 blocks)"), "{why}");
        assert_eq!(found.label.as_deref(), Some("Journaled"));
    }
}

#[test]
fn an_empty_journal_changes_nothing() {
    let _alone = alone();
    let file = volume(JOURNALED);
    assert!(matches!(
        read(&file).used,
        Used::Map {
            basis: Basis::Records,
            ..
        }
    ));
    assert_eq!(read(&file).state, State::Clean);
}

type Bend = fn(&Waiting);

#[test]
fn a_journal_that_cannot_be_followed_leaves_the_volume_whole() {
    let _alone = alone();
    let cases: &[(&str, Bend)] = &[
        ("header of its journal is damaged", |w| {
            write_at(&w.file, w.journal + 10, &[9])
        }),
        ("no header", |w| write_at(&w.file, w.journal, &[9])),
        ("cannot be followed", |w| {
            write_at(&w.file, w.journal + SECTOR + 2, &[0, 99])
        }),
        ("block in its journal is damaged", |w| {
            write_at(
                &w.file,
                w.journal + SECTOR + LIST as u64 + 512 + 1024 + 100,
                &[0x55],
            );
        }),
        ("another disk", |w| {
            let info = u64::from(number(&w.file, 1036)) * u64::from(number(&w.file, 1064));
            write_at(&w.file, info, &2u32.to_be_bytes());
        }),
        ("without journal used it", |w| {
            write_at(&w.file, 1032, b"10.0")
        }),
        ("goes on behind the end", |w| {
            let more = transaction(w.order, 9, &[(2, vec![0; 512])]);
            let end = SECTOR + 2 * LIST as u64 + 512 + 1024 + 4096 + 512;
            write_at(&w.file, w.journal + end, &more);
        }),
    ];
    for (why, bend) in cases {
        let waiting = Waiting::new(Order::Little, None);
        bend(&waiting);
        let said = why_whole(&waiting.file);
        assert!(said.contains(why), "{why}: {said}");
    }
}
