//! Physical volumes as lvm2 makes them.

use disk::extent::ExtentMap;
use disk::layer::{Keys, Layer};
use disk::layout::Layout;
use disk::memory::BadPlaces;
use disk::source::{BlockSource, read_vec};
use disk::systems;

use crate::made::{open, read_at, sfdisk, write_at};
use crate::tools::{Lvm, Segment};
use crate::{MIB, all_of, ext4, extent, is_sound, kind, layer_of, put};

/// What we say of a physical volume, in the words of `lvs`; a segment with parts on other disks is left out.
fn segments(layer: &Layer, number: usize, extent_bytes: u64) -> Vec<Segment> {
    let data = layer
        .own
        .complement(layer.size_bytes)
        .iter()
        .next()
        .unwrap()
        .start();
    let mut found = Vec::new();
    for volume in &layer.volumes {
        for piece in volume.mapping.pieces() {
            found.push(Segment {
                volume: volume.name.clone(),
                start: piece.extent.start() / extent_bytes,
                len: piece.extent.len() / extent_bytes,
                places: piece
                    .columns
                    .iter()
                    .map(|at| (number, (at - data) / extent_bytes))
                    .collect(),
            });
        }
    }
    found.sort();
    found
}

fn agrees(lvm: &Lvm, extent_bytes: u64) {
    let theirs = lvm.segments();
    for (number, file) in lvm.files.iter().enumerate() {
        let source = open(file);
        let layer = layer_of(&source);
        is_sound(&layer, source.size_bytes());
        assert_eq!(layer.whole, None);
        let mut here = theirs.clone();
        here.retain(|s| s.places.iter().all(|(disk, _)| *disk == number));
        assert_eq!(segments(&layer, number, extent_bytes), here);
        // Parts of segments that are on several disks are somebody's too.
        let all: u64 = theirs
            .iter()
            .map(|s| {
                let mine = s.places.iter().filter(|(disk, _)| *disk == number).count() as u64;
                s.len / s.places.len() as u64 * mine
            })
            .sum();
        let dealt = layer.volumes.iter().flat_map(|v| v.mapping.everything());
        assert_eq!(
            ExtentMap::from(dealt.collect::<Vec<_>>()).total_bytes(),
            all * extent_bytes
        );
    }
}

#[test]
fn the_extents_of_each_volume_are_those_that_lvm_tells() {
    for (size, bytes) in [("4m", 4 * MIB), ("128k", 128 << 10)] {
        let lvm = Lvm::new(&[120 * MIB, 90 * MIB], &[]);
        lvm.group(size);
        lvm.volume("one", "20m", &[]);
        lvm.volume("two", "12m", &[]);
        lvm.volume("gone", "16m", &[]);
        lvm.run(&["lvextend", "-L", "+12m", "vg/one"]);
        lvm.run(&["lvremove", "-y", "vg/gone"]);
        lvm.run(&["lvextend", "-L", "+24m", "vg/two"]);
        lvm.volume("rows", "32m", &["-i", "2", "-I", "64k"]);
        lvm.run(&["lvextend", "-L", "+60m", "vg/one"]);
        lvm.run(&["lvreduce", "-y", "-L", "80m", "vg/one"]);
        agrees(&lvm, bytes);
    }
}

#[test]
fn both_stripes_on_one_disk_are_read_in_their_turn() {
    let lvm = Lvm::new(&[120 * MIB], &[]);
    lvm.group("4m");
    lvm.volume("one", "24m", &[]);
    lvm.volume("two", "24m", &[]);
    // LVM never puts two stripes on one disk, but it takes such a text.
    lvm.edit(|text| {
        let one = text.find("\t\tone {").unwrap();
        let (before, after) = text.split_at(one);
        let after = after
            .replacen("stripe_count = 1", "stripe_count = 2\nstripe_size = 128", 1)
            .replacen("\"pv0\", 0", "\"pv0\", 0, \"pv0\", 20", 1);
        format!("{before}{after}")
    });
    agrees(&lvm, 4 * MIB);
    let made = all_of(&ext4(24 * MIB));
    for (row, piece) in (0u64..).zip(made.chunks(64 << 10)) {
        let column = if row % 2 == 0 { 0 } else { 20 * 4 * MIB };
        write_at(&lvm.files[0], MIB + column + row / 2 * (64 << 10), piece);
    }
    let source = open(&lvm.files[0]);
    let layer = layer_of(&source);
    assert_eq!(kind(&layer.volumes[0].content), "ext4");
    is_sound(&layer, source.size_bytes());
    let opened = layer.open(&source, &Keys::none()).unwrap();
    let volume = opened.volume(&source, &layer.volumes[0]);
    for at in (0..24 * MIB).step_by(3 << 20) {
        let len = (24 * MIB - at).min(3 << 20);
        let start = usize::try_from(at).unwrap();
        let ours = read_vec(volume.as_ref(), at, len).unwrap();
        assert!(ours == made[start..start + ours.len()]);
    }
}

/// A group of an ext4 and of extents nobody has, all of it full of old bytes.
fn filled() -> Lvm {
    let lvm = Lvm::new(&[120 * MIB], &[]);
    lvm.group("4m");
    lvm.volume("root", "20m", &[]);
    lvm.volume("other", "8m", &[]);
    lvm.run(&["lvextend", "-L", "+20m", "vg/root"]);
    write_at(&lvm.files[0], MIB, &vec![0xA5; 118 << 20]);
    let made = all_of(&ext4(40 * MIB));
    let (first, second) = made.split_at(20 << 20);
    write_at(&lvm.files[0], MIB, first);
    write_at(&lvm.files[0], 29 * MIB, second);
    lvm
}

#[test]
fn a_filesystem_in_two_pieces_is_mapped_and_free_extents_are_free() {
    let lvm = filled();
    let source = open(&lvm.files[0]);
    let layer = layer_of(&source);
    is_sound(&layer, source.size_bytes());
    assert_eq!(layer.label.as_deref(), Some("vg"));
    let kinds: Vec<String> = layer.volumes.iter().map(|v| kind(&v.content)).collect();
    assert_eq!(kinds, ["ext4", "no filesystem that is known here"]);
    let used = layer.used();
    assert!(used.covers(extent(0, MIB)), "label and metadata");
    assert!(
        used.covers(extent(117 * MIB, 3 * MIB)),
        "behind the last extent"
    );
    assert!(used.covers(extent(21 * MIB, 8 * MIB)), "what nobody knows");
    assert_eq!(
        used.within(extent(49 * MIB, 68 * MIB)).next(),
        None,
        "free extents"
    );
    let inside = layer.volumes[0].content.used(40 * MIB);
    let expected = inside.total_bytes() + MIB + 3 * MIB + 8 * MIB;
    assert_eq!(used.total_bytes(), expected);
    assert!(inside.total_bytes() < 12 * MIB);
    // Without what is free, the volume is the same filesystem.
    let mut bytes = all_of(&lvm.files[0]);
    for free in used.complement(source.size_bytes()).iter() {
        let (start, end) = (free.start(), free.end());
        bytes[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()].fill(0xFF);
    }
    let copy = crate::made::blank(40 * MIB);
    put(&copy, 0, &bytes[1 << 20..21 << 20]);
    write_at(&copy, 20 * MIB, &bytes[29 << 20..49 << 20]);
    let path = copy.path().to_str().unwrap();
    crate::made::run("e2fsck", "e2fsprogs", &["-fn", path], "");
    let text = serde_json::to_string(&layer).unwrap();
    assert_eq!(serde_json::from_str::<Layer>(&text).unwrap(), layer);
}

#[test]
fn a_physical_volume_in_a_partition_of_its_type_is_followed() {
    for (label, kind, followed) in [
        ("gpt", "E6D6D379-F507-44C2-A23C-238F2A3DF928", true),
        ("dos", "8e", true),
        ("dos", "83", true),
        ("dos", "42", false),
        ("gpt", "E75CAF8F-F680-4CEE-AFA3-B001E56EFC2D", false),
    ] {
        let lvm = filled();
        let disk = crate::made::blank(130 * MIB);
        sfdisk(
            &disk,
            &format!("label: {label}\nstart=4096, size=245760, type={kind}\n"),
        );
        put(&disk, 2 * MIB, &all_of(&lvm.files[0]));
        let layout = Layout::read(&open(&disk)).unwrap();
        let free = extent(51 * MIB, 68 * MIB);
        let is_free = layout.used().within(free).next().is_none();
        assert_eq!(is_free, followed, "{kind}: {:?}", layout.notes);
        assert!(!layout.notes.is_empty() || followed);
        assert!(systems::of(&open(&disk), &layout).is_empty());
    }
}

#[test]
fn metadata_that_went_around_its_ring_is_read() {
    let lvm = Lvm::new(
        &[64 * MIB],
        &["--metadatasize", "64k", "--dataalignment", "1m"],
    );
    lvm.group("4m");
    lvm.volume("one", "8m", &[]);
    lvm.volume("two", "8m", &[]);
    let mut around = 0;
    for turn in 0..60 {
        let area = &lvm.files[0];
        let number = |at: u64| u64::from_le_bytes(read_at(area, 4096 + at, 8).try_into().unwrap());
        let (size, offset, len) = (number(32), number(40), number(48));
        if offset + len > size {
            around += 1;
            agrees(&lvm, 4 * MIB);
            break;
        }
        if turn % 10 == 0 {
            agrees(&lvm, 4 * MIB);
        }
        // As long as a tag may be, so that few changes fill the area.
        let tag = format!("{turn:0>1000}");
        lvm.run(&["lvchange", "--addtag", &tag, "vg/one"]);
    }
    assert_eq!(around, 1, "the metadata never went around");
}

fn whole(source: &dyn BlockSource) -> String {
    let layer = layer_of(source);
    assert_eq!(layer.used(), ExtentMap::whole(source.size_bytes()));
    layer.whole.expect("nothing of it may be called free")
}

#[test]
fn two_copies_of_the_metadata_must_agree() {
    let lvm = Lvm::new(&[64 * MIB], &["--pvmetadatacopies", "2"]);
    lvm.group("4m");
    lvm.volume("one", "8m", &[]);
    agrees(&lvm, 4 * MIB);
    let file = &lvm.files[0];
    let before = all_of(file);
    lvm.volume("two", "8m", &[]);
    // The second copy did not hear of the second volume.
    write_at(file, 63 * MIB, &before[63 << 20..]);
    assert_eq!(whole(&open(file)), "its two copies of the metadata differ");
    write_at(file, 63 * MIB, &vec![0; 1 << 20]);
    assert_eq!(
        whole(&open(file)),
        "the checksum of a metadata area is wrong"
    );
    let source = BadPlaces {
        source: open(file),
        bad: [extent(63 * MIB, MIB)].into_iter().collect(),
    };
    assert_eq!(
        Layout::read(&source).unwrap().used(),
        ExtentMap::whole(64 * MIB)
    );
}

#[test]
fn what_is_in_doubt_is_whole_and_says_why() {
    let made = |change: &dyn Fn(&Lvm)| {
        let lvm = Lvm::new(&[64 * MIB], &[]);
        lvm.group("4m");
        lvm.volume("one", "8m", &[]);
        change(&lvm);
        whole(&open(&lvm.files[0]))
    };
    let exported = made(&|lvm| {
        lvm.run(&["vgexport", "vg"]);
    });
    assert_eq!(exported, "its volume group is exported");
    let text = made(&|lvm| {
        let text = u64::from_le_bytes(read_at(&lvm.files[0], 4096 + 40, 8).try_into().unwrap());
        write_at(&lvm.files[0], 4096 + text + 100, b"?");
    });
    assert_eq!(text, "the checksum of its metadata is wrong");
    let area = made(&|lvm| write_at(&lvm.files[0], 4096 + 41, b"?"));
    assert_eq!(area, "the checksum of a metadata area is wrong");
    let lvm = Lvm::new(&[64 * MIB, 64 * MIB], &[]);
    lvm.group("4m");
    lvm.run(&["pvchange", "--metadataignore", "y", &lvm.loops[0]]);
    assert_eq!(
        whole(&open(&lvm.files[0])),
        "its metadata is on another disk"
    );
    let lvm = Lvm::new(&[64 * MIB], &[]);
    assert_eq!(
        whole(&open(&lvm.files[0])),
        "its metadata is on another disk"
    );
}

/// A group without volumes is given these.
fn with_volumes(text: &str, volumes: &str) -> String {
    let at = text.rfind('}').unwrap();
    format!("{}\n\tlogical_volumes {{\n{volumes}\t}}\n}}\n", &text[..at])
}

#[test]
fn the_remnant_of_something_else_makes_a_physical_volume_whole() {
    let lvm = filled();
    write_at(&lvm.files[0], 4086, b"SWAPSPACE2");
    let layout = Layout::read(&open(&lvm.files[0])).unwrap();
    assert_eq!(layout.used(), ExtentMap::whole(120 * MIB));
    let why = "the disk is kept whole: it looks like swap and like LVM2_member";
    assert_eq!(layout.notes, [why]);
}

fn volume(name: &str, number: u32, status: &str, extents: u32, segment: &str) -> String {
    format!(
        "\t\t{name} {{\n\t\t\tid = \"aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaa{number:02}\"\n\t\t\tstatus = [{status}]\n\
         \t\t\tflags = []\n\t\t\tsegment_count = 1\n\t\t\tsegment1 {{\n\t\t\t\tstart_extent = 0\n\
         \t\t\t\textent_count = {extents}\n\t\t\t\t{segment}\n\t\t\t}}\n\t\t}}\n"
    )
}

fn linear(name: &str, number: u32, status: &str, extents: u32, first: u32) -> String {
    let segment = format!("type = \"striped\"\nstripe_count = 1\nstripes = [\"pv0\", {first}]");
    volume(name, number, status, extents, &segment)
}

const SHOWN: &str = "\"READ\", \"WRITE\", \"VISIBLE\"";
const HIDDEN: &str = "\"READ\", \"WRITE\"";

/// Puts an ext4 on the five extents from `first` on.
fn put_ext4(lvm: &Lvm, first: u64) {
    put(
        &lvm.files[0],
        MIB + first * 4 * MIB,
        &all_of(&ext4(20 * MIB)),
    );
}

#[test]
fn the_copies_of_a_mirror_are_read_each_and_its_other_parts_are_kept() {
    let lvm = Lvm::new(&[120 * MIB], &[]);
    lvm.group("4m");
    lvm.edit(|text| {
        let raid = "type = \"raid1\"\ndevice_count = 2\nregion_size = 4096\n\
                    raids = [\"m_rmeta_0\", \"m_rimage_0\", \"m_rmeta_1\", \"m_rimage_1\"]";
        let all = [
            volume("m", 1, SHOWN, 5, raid),
            linear("m_rmeta_0", 2, HIDDEN, 1, 0),
            linear("m_rimage_0", 3, HIDDEN, 5, 1),
            linear("m_rmeta_1", 4, HIDDEN, 1, 6),
            linear("m_rimage_1", 5, HIDDEN, 5, 7),
        ];
        with_volumes(&text, &all.concat())
    });
    put_ext4(&lvm, 1);
    put_ext4(&lvm, 7);
    agrees(&lvm, 4 * MIB);
    let layer = layer_of(&open(&lvm.files[0]));
    let kinds: Vec<String> = layer.volumes.iter().map(|v| kind(&v.content)).collect();
    let kept = "it belongs to the raid1 volume m";
    assert_eq!(kinds, [kept, "ext4", kept, "ext4"]);
    let used = layer.used();
    for meta in [0, 6] {
        assert!(used.covers(extent(MIB + meta * 4 * MIB, 4 * MIB)));
    }
    assert!(used.total_bytes() < 40 * MIB);
}

/// Each has a filesystem on its extents that must not be believed.
#[test]
fn what_lies_below_other_volumes_is_kept_though_it_looks_like_a_filesystem() {
    let thin = "type = \"thin-pool\"\nmetadata = \"p_tmeta\"\npool = \"p_tdata\"\ntransaction_id = 0\n\
                chunk_size = 128\ndiscards = \"passdown\"\nzero_new_blocks = 1";
    let snapshot = "chunk_size = 8\norigin = \"o\"\ncow_store = \"s\"";
    let cases = [
        (
            "it belongs to the thin-pool volume p",
            vec![
                volume("p", 1, SHOWN, 5, thin),
                linear("p_tmeta", 2, HIDDEN, 1, 9),
                linear("p_tdata", 3, HIDDEN, 5, 1),
            ],
        ),
        (
            "it belongs to the snapshot volume snapshot0",
            vec![
                linear("o", 1, SHOWN, 5, 1),
                linear("s", 2, SHOWN, 2, 9),
                volume(
                    "snapshot0",
                    3,
                    HIDDEN,
                    5,
                    &format!("type = \"snapshot\"\n{snapshot}"),
                ),
            ],
        ),
        (
            "it belongs to the writecache volume w",
            vec![
                volume(
                    "w",
                    1,
                    SHOWN,
                    5,
                    "type = \"writecache\"\norigin = \"w_wcorig\"\nwritecache = \"c_cvol\"\nwritecache_block_size = 4096",
                ),
                linear("w_wcorig", 2, HIDDEN, 5, 1),
                linear("c_cvol", 3, HIDDEN, 2, 9),
            ],
        ),
    ];
    for (kept, volumes) in cases {
        let lvm = Lvm::new(&[120 * MIB], &[]);
        lvm.group("4m");
        lvm.edit(|text| with_volumes(&text, &volumes.concat()));
        put_ext4(&lvm, 1);
        agrees(&lvm, 4 * MIB);
        let layer = layer_of(&open(&lvm.files[0]));
        let below = layer
            .volumes
            .iter()
            .find(|v| v.size_bytes == 20 * MIB)
            .unwrap();
        assert_eq!(kind(&below.content), kept);
        assert!(layer.used().covers(extent(5 * MIB, 20 * MIB)));
    }
}

#[test]
fn a_volume_with_a_partition_table_is_kept() {
    let lvm = filled();
    // What a machine that was given the volume as its disk leaves of the filesystem that was there.
    let mut record = vec![0; 512];
    record[446..462].copy_from_slice(&[0, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0]);
    record[510..].copy_from_slice(&[0x55, 0xAA]);
    write_at(&lvm.files[0], MIB, &record);
    let layer = layer_of(&open(&lvm.files[0]));
    assert_eq!(
        kind(&layer.volumes[0].content),
        "it has a partition table of its own"
    );
    assert!(layer.used().covers(extent(MIB, 48 * MIB)));
}

#[test]
fn a_sound_group_passes_its_own_checkers() {
    filled().check();
}
