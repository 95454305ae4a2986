//! Images that are written here, judged by qemu-img.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::made::{digest_of, disk, open, qemu_img, read_all};
use disk::geometry::Geometry;
use foreign::write::{Kind, Out, Writer};

struct OnDisk(File);

impl Out for OnDisk {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn end(&mut self, len: u64) -> io::Result<()> {
        assert!(self.0.metadata()?.len() <= len);
        self.0.set_len(len)
    }
}

/// In pieces of a length that fits no unit, those in `left_out` never put.
fn write(kind: Kind, geometry: Geometry, parts: &[(u64, &[u8])], path: &Path) {
    let out = Box::new(OnDisk(File::create(path).unwrap()));
    let mut writer = Writer::new(kind, geometry, [[1; 16], [2; 16], [3; 16]], out);
    for (offset, bytes) in parts {
        let mut at = *offset;
        for piece in bytes.chunks(100_352) {
            writer.put(at, piece).unwrap();
            at += piece.len() as u64;
        }
    }
    writer.finish().unwrap();
}

fn qemu_name(kind: Kind) -> &'static str {
    kind.name()
}

#[test]
fn what_is_written_is_the_disk_to_qemu_and_to_us() {
    let dir = tempfile::tempdir().unwrap();
    let raw = disk(dir.path());
    let bytes = std::fs::read(&raw).unwrap();
    let geometry = Geometry::of_file(bytes.len() as u64);
    for kind in Kind::ALL {
        let image = dir.path().join("image");
        write(kind, geometry, &[(0, &bytes)], &image);
        let (raw, image_name) = (raw.display().to_string(), image.display().to_string());
        let same = qemu_img(&[
            "compare",
            "-f",
            "raw",
            "-F",
            qemu_name(kind),
            &raw,
            &image_name,
        ]);
        assert!(same.contains("identical"), "{kind:?}: {same}");
        if kind != Kind::Raw {
            let checked = qemu_img(&["check", "-f", qemu_name(kind), &image_name]);
            assert!(checked.contains("No errors"), "{kind:?}: {checked}");
            let opened = open(&image).unwrap().unwrap();
            assert_eq!(opened.source.geometry(), geometry);
            assert_eq!(
                digest_of(&read_all(&*opened.source)),
                digest_of(&bytes),
                "{kind:?}"
            );
        }
    }
}

/// Behind more than one table of each level, and with the last sector.
#[test]
fn a_large_disk_with_little_on_it_is_the_disk_to_qemu() {
    let dir = tempfile::tempdir().unwrap();
    let size: u64 = (4 << 30) + (64 << 20) + 512 * 5;
    let data = [0xa5; 1536];
    let places = [
        0,
        1 << 20,
        (512 << 20) + 512,
        3 << 30,
        (4 << 30) + (5 << 20),
        size - 1536,
    ];
    let parts: Vec<(u64, &[u8])> = places.iter().map(|at| (*at, &data[..])).collect();
    let raw = dir.path().join("raw");
    let file = File::create(&raw).unwrap();
    file.set_len(size).unwrap();
    for (at, data) in &parts {
        file.write_all_at(data, *at).unwrap();
    }
    for kind in [Kind::Qcow2, Kind::Vhdx, Kind::Vmdk] {
        let image = dir.path().join("image");
        write(kind, Geometry::of_file(size), &parts, &image);
        let (raw, image_name) = (raw.display().to_string(), image.display().to_string());
        let same = qemu_img(&[
            "compare",
            "-f",
            "raw",
            "-F",
            qemu_name(kind),
            &raw,
            &image_name,
        ]);
        assert!(same.contains("identical"), "{kind:?}: {same}");
        let checked = qemu_img(&["check", "-f", qemu_name(kind), &image_name]);
        assert!(checked.contains("No errors"), "{kind:?}: {checked}");
        let opened = open(&image).unwrap().unwrap();
        for (at, data) in &parts {
            let mut got = [0; 1536];
            opened.source.read_at(*at, &mut got).unwrap();
            assert!(got == *data, "{kind:?} at {at}");
        }
    }
}

#[test]
fn sectors_of_4096_bytes_stay_so_in_a_vhdx() {
    let dir = tempfile::tempdir().unwrap();
    let geometry = Geometry {
        size_bytes: 40 << 20,
        logical_sector: 4096,
        physical_sector: 4096,
    };
    let image = dir.path().join("image.vhdx");
    write(Kind::Vhdx, geometry, &[(8 << 20, &[7; 4096])], &image);
    assert_eq!(open(&image).unwrap().unwrap().source.geometry(), geometry);
}

#[test]
fn a_disk_that_is_too_large_is_refused() {
    let large = Geometry::of_file(65 << 40);
    assert!(Kind::Vmdk.refuses(Geometry::of_file(3 << 40)).is_some());
    assert!(Kind::Vhdx.refuses(large).is_some());
    assert!(Kind::Qcow2.refuses(large).is_none());
    assert!(Kind::Raw.refuses(large).is_none());
}
