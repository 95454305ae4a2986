//! `rescue check --deep`: what no digest can tell.

use std::fs;

use tempfile::TempDir;

use crate::made::{rescue, shell};

/// A block of a file that the filesystem's own bitmap calls free is never copied, and every digest is right.
#[test]
fn a_block_that_was_never_copied_is_found_in_the_image() {
    const LIE: &str = r#"
        set -eu
        mkdir -p tree/a
        head -c 3M /dev/urandom >tree/a/big
        seq 1000 >tree/small
        mkfs.ext4 -q -b 4096 -d tree disk.img 32M
        cp disk.img lie.img
        block=$(debugfs -R 'blocks /a/big' disk.img | awk '{print $300}')
        free=$(dumpe2fs -h disk.img | sed -n 's/^Free blocks: *//p')
        debugfs -w -f - lie.img <<D
freeb $block
set_bg 0 free_blocks_count $((free + 1))
set_bg 0 checksum calc
ssv free_blocks_count $((free + 1))
D
    "#;
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    shell(&format!("cd '{}'\n{LIE}", path.display()));
    for name in ["disk", "lie"] {
        let disk = format!("{name}.img");
        let made = rescue(path, &["image", &disk, ".", "--name", name, "--no-verify"]);
        assert!(made.status.success(), "{made:?}");
        let checked = rescue(path, &["check", &format!("{name}.img.zst")]);
        assert!(checked.status.success(), "{checked:?}");
    }
    let said = |name: &str, code: i32| {
        let output = rescue(path, &["check", name, "--deep"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    };
    assert!(said("disk.img.zst", 0).contains("(ext4): whole, 2 files in 3 directories"));
    let lie = said("lie.img.zst", 2);
    assert!(lie.contains("4.1 kB that it needs are not there"), "{lie}");
    assert!(lie.contains("the disk (ext4) lacks what it needs"), "{lie}");
    // The rest of it is a sound image.
    let to = path.join("out");
    fs::create_dir(&to).unwrap();
    let taken = rescue(path, &["cp", "lie.img.zst", "small", "out"]);
    assert!(taken.status.success(), "{taken:?}");
    assert!(fs::read(to.join("small")).unwrap() == fs::read(path.join("tree/small")).unwrap());
}
