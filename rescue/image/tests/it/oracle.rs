//! Other programs on our images: the stock `zstd`, and another reader of the seekable format.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::making::{Disk, noise};

fn zstd(args: &[&str], file: &Path) -> Output {
    let output = Command::new("zstd").args(args).arg(file).output();
    output.expect("the program zstd runs (Debian package: zstd)")
}

#[test]
fn the_stock_tool_checks_an_image_and_gives_the_raw_disk() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pc.img.zst");
    for (chunks, level, every) in [(0, 1, 1), (40, 1, 1000), (40, 3, 3)] {
        let disk = Disk::new(chunks, 2);
        let image = disk.image_bytes(level, every);
        assert_eq!(
            image[..4],
            [0x28, 0xB5, 0x2F, 0xFD],
            "programs that look for the magic number find it"
        );
        fs::write(&file, image).unwrap();
        let tested = zstd(&["-t", "-q"], &file);
        assert!(
            tested.status.success(),
            "{}",
            String::from_utf8_lossy(&tested.stderr)
        );
        let decoded = zstd(&["-d", "-c", "-q"], &file);
        assert!(
            decoded.status.success(),
            "{}",
            String::from_utf8_lossy(&decoded.stderr)
        );
        assert!(decoded.stdout == disk.expected());
        let listed = zstd(&["-l", "-v"], &file);
        assert!(
            listed.status.success(),
            "{}",
            String::from_utf8_lossy(&listed.stderr)
        );
        let said = String::from_utf8_lossy(&listed.stdout).into_owned();
        let size = format!("({} B)", disk.bytes.len());
        assert!(said.contains(&size) && said.contains("XXH64"), "{said}");
    }
}

#[test]
fn the_stock_tool_sees_a_flipped_bit_in_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pc.img.zst");
    let mut bytes = Disk::new(40, 2).image_bytes(1, 1000);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(!zstd(&["-t", "-q"], &file).status.success());
}

#[test]
fn another_reader_of_the_seekable_format_seeks_in_an_image() {
    for (chunks, every) in [(0, 1), (40, 6)] {
        let disk = Disk::new(chunks, 5);
        let image = disk.image_bytes(1, every);
        let expected = disk.expected();
        let source = zeekstd::BytesWrapper::new(&image);
        let mut decoder = zeekstd::Decoder::new(source).unwrap();
        assert_eq!(decoder.seek_table().size_decomp(), expected.len() as u64);
        assert!(decoder.seek_table().size_comp() < image.len() as u64);
        for place in noise(8 * 40, 7).chunks(8) {
            let number = u64::from_le_bytes(place.try_into().unwrap());
            let from = usize::try_from(number % expected.len() as u64).unwrap();
            let to = (from + 9000).min(expected.len());
            decoder.set_offset(from as u64).unwrap();
            decoder.set_offset_limit(to as u64).unwrap();
            let mut found = vec![0; to - from];
            let mut len = 0;
            while len < found.len() {
                let more = decoder.decompress(&mut found[len..]).unwrap();
                assert_ne!(more, 0);
                len += more;
            }
            assert!(found == expected[from..to], "{from}..{to}");
            decoder.set_offset_limit(expected.len() as u64).unwrap();
        }
    }
}
