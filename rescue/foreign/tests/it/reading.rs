//! Images that qemu-img made, read here.

use std::path::Path;

use crate::made::{Dir, digest_of, disk, open, qemu_img, read_all};
use foreign::ForeignError;

fn same(name: &str, words: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let raw = disk(dir.path());
    let image = dir.path().join(name);
    let mut all = vec!["convert", "-f", "raw", "-O"];
    all.extend(words);
    let raw_name = raw.display().to_string();
    let image_name = image.display().to_string();
    all.extend([raw_name.as_str(), image_name.as_str()]);
    qemu_img(&all);
    let opened = open(&image).unwrap().unwrap();
    let expected = std::fs::read(&raw).unwrap();
    let mut got = read_all(&*opened.source);
    // Formats with a geometry of cylinders round up.
    assert!(got.len() >= expected.len(), "{name} {words:?}");
    assert!(got.split_off(expected.len()).iter().all(|b| *b == 0));
    assert_eq!(digest_of(&got), digest_of(&expected), "{name} {words:?}");
    // In pieces that fit no unit of any format.
    let mut at = 0;
    let mut piece = vec![0; 77_777];
    while at < expected.len() {
        let len = piece.len().min(expected.len() - at);
        opened.source.read_at(at as u64, &mut piece[..len]).unwrap();
        assert!(
            piece[..len] == expected[at..at + len],
            "{name} {words:?} at {at}"
        );
        at += 3 * 77_777 + 11;
    }
}

#[test]
fn qcow2_of_every_kind_is_the_disk() {
    for words in [
        &["qcow2"][..],
        &["qcow2", "-o", "compat=0.10"],
        &["qcow2", "-c"],
        &["qcow2", "-c", "-o", "compression_type=zstd"],
        &["qcow2", "-o", "cluster_size=512"],
        &["qcow2", "-o", "cluster_size=2M"],
        &["qcow2", "-c", "-o", "cluster_size=2M"],
        &["qcow2", "-o", "extended_l2=on,cluster_size=128k"],
    ] {
        same("disk.qcow2", words);
    }
}

#[test]
fn vhd_vhdx_vdi_of_every_kind_are_the_disk() {
    for words in [
        &["vpc"][..],
        &["vpc", "-o", "subformat=fixed,force_size=on"],
        &["vhdx"],
        &["vhdx", "-o", "subformat=fixed"],
        &["vhdx", "-o", "block_size=1M"],
        &["vdi"],
        &["vdi", "-o", "static=on"],
    ] {
        same("disk.image", words);
    }
}

#[test]
fn vmdk_of_every_kind_is_the_disk() {
    for kind in [
        "monolithicSparse",
        "monolithicFlat",
        "twoGbMaxExtentSparse",
        "twoGbMaxExtentFlat",
        "streamOptimized",
    ] {
        same("disk.vmdk", &["vmdk", "-o", &format!("subformat={kind}")]);
    }
}

fn refused(image: &Path, word: &str) {
    match open(image) {
        Err(error @ ForeignError::Unsupported { .. }) => {
            assert!(error.to_string().contains(word), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_holds_only_differences_is_refused_with_what_helps() {
    let dir = tempfile::tempdir().unwrap();
    let raw = disk(dir.path());
    let at = |name: &str| dir.path().join(name).display().to_string();
    let base = at("base.qcow2");
    qemu_img(&["convert", "-O", "qcow2", &raw.display().to_string(), &base]);
    qemu_img(&[
        "create",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        &base,
        &at("top.qcow2"),
    ]);
    refused(Path::new(&at("top.qcow2")), "base.qcow2");
    qemu_img(&[
        "convert",
        "-O",
        "vmdk",
        &raw.display().to_string(),
        &at("base.vmdk"),
    ]);
    qemu_img(&[
        "create",
        "-f",
        "vmdk",
        "-F",
        "vmdk",
        "-b",
        &at("base.vmdk"),
        &at("top.vmdk"),
    ]);
    refused(Path::new(&at("top.vmdk")), "parent");
    std::fs::remove_file(dir.path().join("base.vmdk")).unwrap();
    let flat = at("flat.vmdk");
    qemu_img(&[
        "convert",
        "-O",
        "vmdk",
        "-o",
        "subformat=monolithicFlat",
        &raw.display().to_string(),
        &flat,
    ]);
    std::fs::remove_file(dir.path().join("flat-flat.vmdk")).unwrap();
    refused(Path::new(&flat), "flat-flat.vmdk");
}

#[test]
fn a_raw_disk_is_no_image() {
    let dir = tempfile::tempdir().unwrap();
    assert!(open(&disk(dir.path())).unwrap().is_none());
    let empty = dir.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    assert!(open(&empty).unwrap().is_none());
    let _ = Dir(dir.path().to_owned());
}
