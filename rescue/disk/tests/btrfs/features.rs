//! Features that Debian's mkfs.btrfs does not make: put into a filesystem by hand.

use disk::fs::{State, Used};
use tempfile::{NamedTempFile, TempDir};

use crate::chunks;
use crate::made::{blank, read_at, write_at};
use crate::mkfs::{MIB, array, made, shell};
use crate::restore::{map, read};

const SUPERBLOCK: u64 = 64 << 10;
const NODE: usize = 16384;
const HEAD: usize = 101;

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

fn put_summed(file: &NamedTempFile, at: u64, mut bytes: Vec<u8>) {
    let sum = crc32c::crc32c(&bytes[32..]).to_le_bytes();
    bytes[..4].copy_from_slice(&sum);
    write_at(file, at, &bytes);
}

/// Sets a bit in both copies of the superblock.
fn with_bit(file: &NamedTempFile, field: usize, bit: u64) {
    for at in [SUPERBLOCK, 64 * MIB] {
        let mut raw = read_at(file, at, 4096);
        let bits = number(&raw[field..]) | bit;
        raw[field..field + 8].copy_from_slice(&bits.to_le_bytes());
        put_summed(file, at, raw);
    }
}

#[test]
fn unknown_features_are_whole_and_unknown_records_are_chunks() {
    let plain = made(256 * MIB, &[]);
    let with = |field, bit| {
        let file = blank(0);
        std::fs::copy(plain.path(), file.path()).unwrap();
        with_bit(&file, field, bit);
        read(&file)
    };
    // Zoned, extent tree v2, RAID stripe tree, the next one; a seed, a dump of metadata, an identity being changed.
    for (field, bit) in [
        (0xBC, 12),
        (0xBC, 13),
        (0xBC, 14),
        (0xBC, 17),
        (0x38, 32),
        (0x38, 33),
        (0x38, 35),
    ] {
        let found = with(field, 1 << bit);
        assert!(
            matches!(&found.used, Used::Whole(why) if why.contains("features")),
            "{field:#x} {bit}"
        );
    }
    let found = with(0xB4, 1 << 4);
    assert!(
        matches!(&found.state, State::Dirty(why) if why.contains("unknown here") && why.contains("kept whole"))
    );
    assert!(map(&found).total_bytes() > map(&read(&plain)).total_bytes() + 8 * MIB);
    let found = with(0x38, 4);
    assert!(matches!(&found.state, State::Dirty(why) if why.contains("has errors")));
    assert_eq!(map(&found), map(&read(&plain)));
}

type Items = Vec<([u8; 17], Vec<u8>)>;

fn items(leaf: &[u8]) -> Items {
    let count = u32::from_le_bytes(leaf[96..100].try_into().unwrap());
    assert_eq!(leaf[100], 0);
    (0..usize::try_from(count).unwrap())
        .map(|n| {
            let item = &leaf[HEAD + n * 25..][..25];
            let word = |at: usize| u32::from_le_bytes(item[at..at + 4].try_into().unwrap());
            let (offset, len) = (word(17) as usize, word(21) as usize);
            (
                item[..17].try_into().unwrap(),
                leaf[HEAD + offset..][..len].to_vec(),
            )
        })
        .collect()
}

/// A leaf like this one with other items.
fn leaf(like: &[u8], items: &Items) -> Vec<u8> {
    let mut leaf = vec![0; NODE];
    leaf[..HEAD].copy_from_slice(&like[..HEAD]);
    leaf[96..100].copy_from_slice(&u32::try_from(items.len()).unwrap().to_le_bytes());
    let mut end = NODE;
    for (n, (key, data)) in items.iter().enumerate() {
        end -= data.len();
        leaf[end..end + data.len()].copy_from_slice(data);
        let item = &mut leaf[HEAD + n * 25..][..25];
        item[..17].copy_from_slice(key);
        item[17..21].copy_from_slice(&u32::try_from(end - HEAD).unwrap().to_le_bytes());
        item[21..].copy_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
    }
    leaf
}

/// Moves the block groups out of the tree of extents into a tree of their own, whose one node was the tree of UUIDs'.
fn with_group_tree(file: &NamedTempFile) {
    let chunks = chunks(file);
    let place = |logical: u64| {
        let chunk = chunks
            .iter()
            .find(|c| (c.0..c.0 + c.1).contains(&logical))
            .unwrap();
        chunk.2[0] + (logical - chunk.0)
    };
    let roots_at = place(number(&read_at(file, SUPERBLOCK + 0x50, 8)));
    let old_roots = read_at(file, roots_at, NODE);
    let mut roots = items(&old_roots);
    let node_of = |roots: &Items, tree: u64| {
        let is = |(key, _): &&([u8; 17], Vec<u8>)| number(key) == tree && key[8] == 132;
        place(number(&roots.iter().find(is).unwrap().1[176..]))
    };
    let (extents_at, groups_at) = (node_of(&roots, 2), node_of(&roots, 9));
    for (key, _) in &mut roots {
        if number(key.as_slice()) == 9 {
            key[..8].copy_from_slice(&11u64.to_le_bytes());
        }
    }
    roots.sort_by_key(|(key, _)| (number(key), key[8], number(&key[9..])));
    put_summed(file, roots_at, leaf(&old_roots, &roots));
    let old_extents = read_at(file, extents_at, NODE);
    let is_group = |(key, _): &([u8; 17], Vec<u8>)| key[8] == 192;
    let (groups, extents): (Items, Items) = items(&old_extents).into_iter().partition(is_group);
    assert!(groups.len() >= 3 && extents.len() >= 6);
    put_summed(file, extents_at, leaf(&old_extents, &extents));
    let mut like = read_at(file, groups_at, NODE);
    like[88..96].copy_from_slice(&11u64.to_le_bytes());
    put_summed(file, groups_at, leaf(&like, &groups));
    with_bit(file, 0xB4, 1 << 3);
}

#[test]
fn a_tree_of_block_groups_is_read_as_the_kernel_reads_it() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("file"), vec![7; 3 << 20]).unwrap();
    let from = dir.path().to_str().unwrap();
    let file = array(1, 256 * MIB, &["-m", "single", "-r", from]).remove(0);
    let before = read(&file);
    assert_eq!(before.state, State::Clean);
    with_group_tree(&file);
    let after = read(&file);
    assert_eq!(after.state, State::Clean);
    assert_eq!(map(&after), map(&before));
    let path = file.path().display();
    let sum = shell(&format!(
        "dir=$(mktemp -d); trap 'umount $dir; rmdir $dir' EXIT; mount -t btrfs -o loop,ro {path} $dir; \
         btrfs filesystem df -b $dir | head -1; head -c 3M /dev/zero | tr '\\0' '\\7' | cmp - $dir/file && echo same"
    ));
    assert!(
        sum.contains("Data, single") && sum.contains("used=3145728") && sum.contains("same"),
        "{sum}"
    );
}
