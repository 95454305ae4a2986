//! Images with bent bytes: an error or a disk, never a panic, never more than a bounded read.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::made::{Dir, disk, qemu_img};
use disk::memory::MemorySource;
use disk::source::BlockSource;
use proptest::prelude::{any, prop, proptest};
use proptest::test_runner::Config;

/// One small image of every format, made by qemu-img.
fn seeds() -> &'static [(String, Vec<u8>)] {
    static SEEDS: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let raw = disk(dir.path()).display().to_string();
        let kinds: [&[&str]; 9] = [
            &["qcow2"],
            &["qcow2", "-c"],
            &["qcow2", "-c", "-o", "compression_type=zstd"],
            &["qcow2", "-o", "extended_l2=on,cluster_size=128k"],
            &["vpc"],
            &["vhdx", "-o", "block_size=1M"],
            &["vdi"],
            &["vmdk"],
            &["vmdk", "-o", "subformat=streamOptimized"],
        ];
        let make = |kind: &[&str]| {
            let image = dir.path().join("image").display().to_string();
            let mut words = vec!["convert", "-f", "raw", "-O"];
            words.extend(kind);
            words.extend([raw.as_str(), image.as_str()]);
            qemu_img(&words);
            (kind.join(" "), std::fs::read(image).unwrap())
        };
        kinds.into_iter().map(make).collect()
    })
}

fn look(bytes: Vec<u8>) {
    let file: foreign::File = Arc::new(MemorySource::new(bytes));
    let folder = Dir(Path::new("/nonexistent").to_owned());
    let Ok(Some(opened)) = foreign::open(&file, &folder) else {
        return;
    };
    let size = opened.source.size_bytes();
    let mut buf = vec![0; 200_000];
    let places = [
        0,
        4096 + 17,
        3 << 20,
        7 << 20,
        size / 2,
        size.saturating_sub(70_000),
    ];
    for at in places {
        let len = size.saturating_sub(at).min(buf.len() as u64);
        let len = usize::try_from(len).unwrap();
        // An error is as good as bytes.
        let _ = opened.source.read_at(at, &mut buf[..len]);
    }
    assert!(opened.source.read_at(size, &mut [0]).is_err());
    assert!(opened.source.read_at(u64::MAX, &mut [0]).is_err());
}

fn cases() -> u32 {
    match std::env::var_os("RESCUE_TEST_ALL") {
        Some(_) => 5000,
        None => 150,
    }
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases(cases()) })]

    /// Most of what leads anywhere stands in the first pages of an image, or at its end.
    #[test]
    fn bent_bytes_are_an_error_or_a_disk(
        nth in 0usize..9,
        front in prop::collection::vec((0usize..1024, any::<u8>()), 0..6),
        pages in prop::collection::vec((0usize..(320 << 10), any::<u8>()), 0..6),
        tail in prop::collection::vec((1usize..1600, any::<u8>()), 0..3),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let (_, seed) = &seeds()[nth];
        let mut bytes = seed.clone();
        let len = bytes.len();
        for (at, byte) in front.into_iter().chain(pages) {
            bytes[at % len] = byte;
        }
        for (back, byte) in tail {
            bytes[len - back.min(len)] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(len));
        }
        look(bytes);
    }

    #[test]
    fn words_of_tables_may_be_anything(
        nth in 0usize..9,
        words in prop::collection::vec((0usize..(80 << 10), any::<u64>()), 1..20),
    ) {
        let (_, seed) = &seeds()[nth];
        let mut bytes = seed.clone();
        for (at, word) in words {
            let at = at * 8 % (bytes.len() - 8);
            bytes[at..at + 8].copy_from_slice(&word.to_be_bytes());
        }
        look(bytes);
    }

    #[test]
    fn noise_behind_a_magic_number_is_an_error_or_a_disk(
        magic in prop::sample::select(vec![
            (0usize, &b"QFI\xfb\0\0\0\x03"[..]), (0, b"KDMV\x01\0\0\0"), (0, b"vhdxfile"), (0, b"conectix"),
            (0x40, b"\x7f\x10\xda\xbe\x01\0\x01\0"), (0, b"# Disk DescriptorFile\n"), (0, b"COWD"),
        ]),
        mut noise in prop::collection::vec(any::<u8>(), 2048..4096),
    ) {
        let (at, magic) = magic;
        noise[at..at + magic.len()].copy_from_slice(magic);
        look(noise);
    }
}
