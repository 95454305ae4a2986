//! Every filesystem there and back: made by its own mkfs, filled from a real tree, fragmented by deletes (where no
//! driver is everywhere: as a kernel left it, kept beside the reader's tests), imaged,
//! restored onto a disk full of 0xFF. Its own checker finds nothing, and every file's digest is what it was, taken
//! by tools that are not ours and by `rescue cp`.
//!
//! By default each filesystem in the shapes most often met; `RESCUE_TEST_ALL=1` takes all.

mod hands;
mod shape;
mod stage;

use hands::{
    APFS, DEBUGFS, EXFAT, F2FS, F2FS_KEPT, HFSPLUS, Hands, JFS, MTOOLS, NTFS, REISERFS, SWAP,
    XFS_DB, mounted,
};
use shape::Run::{Always, Asked};
use shape::Sectors::{Of512, Of4096};
use shape::shape;

#[test]
fn ext2_ext3_and_ext4_come_back() {
    const EXT: Hands = mounted("e2fsck -fn $disk", "e2fsck, the kernel");
    shape::all(&[
        shape("mkfs.ext2 -q -F -b 1024", 40, Of512, EXT, Always),
        shape("mkfs.ext3 -q -F -b 4096", 64, Of512, EXT, Asked),
        shape("mkfs.ext3 -q -F -b 1024", 64, Of512, EXT, Asked),
        shape("mkfs.ext4 -q -F -b 1024", 48, Of512, EXT, Asked),
        shape("mkfs.ext4 -q -F -b 4096", 64, Of4096, EXT, Always),
        shape("mkfs.ext4 -q -F -b 4096", 200, Of512, EXT, Asked),
        shape(
            "mkfs.ext4 -q -F -O bigalloc -C 16384",
            64,
            Of512,
            EXT,
            Always,
        ),
        shape(
            "mkfs.ext4 -q -F -O bigalloc -b 1024 -C 65536",
            200,
            Of512,
            EXT,
            Asked,
        ),
        shape(
            "mkfs.ext4 -q -F -O ^has_journal,^extents,^64bit -b 1024",
            64,
            Of512,
            EXT,
            Asked,
        ),
        shape(
            "mkfs.ext4 -q -F -O meta_bg,^resize_inode -b 1024",
            200,
            Of512,
            EXT,
            Asked,
        ),
        // No kernel with pages of 4 KiB before 6.19 mounts it.
        shape("mkfs.ext4 -q -F -b 65536", 280, Of512, DEBUGFS, Asked),
        shape("mkfs.ext4 -q -F -b 65536", 280, Of4096, DEBUGFS, Asked),
    ]);
}

#[test]
fn ntfs_comes_back() {
    shape::all(&[
        shape("mkntfs -q -Q -F -c 4096", 64, Of512, NTFS, Always),
        shape("mkntfs -q -Q -F -c 512", 40, Of512, NTFS, Asked),
        shape("mkntfs -q -Q -F -c 65536", 280, Of512, NTFS, Asked),
        shape("mkntfs -q -Q -F -s 4096 -c 4096", 64, Of4096, NTFS, Asked),
        shape("mkntfs -q -Q -F -s 4096 -c 65536", 280, Of4096, NTFS, Asked),
    ]);
}

#[test]
fn fat12_fat16_and_fat32_come_back() {
    shape::all(&[
        shape("mkfs.fat -F 12 -s 8", 15, Of512, MTOOLS, Always),
        shape("mkfs.fat -F 16 -s 4", 32, Of512, MTOOLS, Asked),
        shape("mkfs.fat -F 16 -s 128", 280, Of512, MTOOLS, Asked),
        shape("mkfs.fat -F 16 -S 4096 -s 1 -I", 64, Of4096, MTOOLS, Asked),
        shape("mkfs.fat -F 32 -s 1", 48, Of512, MTOOLS, Always),
        shape("mkfs.fat -F 32 -s 8", 280, Of512, MTOOLS, Asked),
        shape("mkfs.fat -F 32 -S 4096 -s 1 -I", 280, Of4096, MTOOLS, Asked),
    ]);
}

#[test]
fn exfat_comes_back() {
    shape::all(&[
        shape("mkfs.exfat -c 4K", 48, Of512, EXFAT, Always),
        shape("mkfs.exfat -c 512", 32, Of512, EXFAT, Asked),
        shape("mkfs.exfat -c 64K", 280, Of512, EXFAT, Asked),
        shape("mkfs.exfat -c 4K", 48, Of4096, EXFAT, Asked),
        shape("mkfs.exfat -c 64K", 280, Of4096, EXFAT, Asked),
    ]);
}

#[test]
fn xfs_comes_back() {
    const MOUNTED: Hands = mounted("xfs_repair -n $disk", "xfs_repair, the kernel");
    shape::all(&[
        shape("mkfs.xfs -q -f -b size=4096", 300, Of4096, MOUNTED, Always),
        shape("mkfs.xfs -q -f -b size=4096", 300, Of512, MOUNTED, Asked),
        shape("mkfs.xfs -q -f -b size=1024", 300, Of512, MOUNTED, Asked),
        shape(
            "mkfs.xfs -q -f -b size=1024 -m rmapbt=1,reflink=0",
            300,
            Of512,
            MOUNTED,
            Asked,
        ),
        // Kernels from 6.12 mount blocks larger than a page, and many are built without version 4.
        shape(
            "mkfs.xfs -q -f -b size=65536 -p $stage/proto",
            300,
            Of512,
            XFS_DB,
            Asked,
        ),
        shape(
            "mkfs.xfs -q -f -b size=65536 -p $stage/proto",
            300,
            Of4096,
            XFS_DB,
            Asked,
        ),
        shape(
            "mkfs.xfs -q -f -m crc=0 -b size=4096 -p $stage/proto",
            300,
            Of512,
            XFS_DB,
            Asked,
        ),
        shape(
            "mkfs.xfs -q -f -m crc=0 -b size=1024 -p $stage/proto",
            300,
            Of512,
            XFS_DB,
            Asked,
        ),
    ]);
}

#[test]
fn btrfs_comes_back() {
    const MOUNTED: Hands = mounted(
        "btrfs check --check-data-csum $disk",
        "btrfs check, the kernel",
    );
    shape::all(&[
        shape("mkfs.btrfs -q -n 16384", 200, Of512, MOUNTED, Always),
        shape(
            "mkfs.btrfs -q -n 4096 -m single",
            200,
            Of512,
            MOUNTED,
            Asked,
        ),
        shape(
            "mkfs.btrfs -q -n 65536 -m single",
            280,
            Of512,
            MOUNTED,
            Asked,
        ),
        shape(
            "mkfs.btrfs -q -n 16384 -m dup -d dup",
            280,
            Of4096,
            MOUNTED,
            Asked,
        ),
        shape("mkfs.btrfs -q --mixed", 120, Of512, MOUNTED, Asked),
    ]);
}

#[test]
fn f2fs_comes_back() {
    shape::all(&[
        shape("mkfs.f2fs -q -f", 160, Of512, F2FS, Always),
        shape("mkfs.f2fs -q -f -w 4096", 160, Of4096, F2FS, Asked),
        shape("mkfs.f2fs -q -f -s 2", 200, Of512, F2FS, Asked),
        shape("kept f2fs/left.img", 96, Of512, F2FS_KEPT, Always),
    ]);
}

#[test]
fn hfsplus_comes_back() {
    shape::all(&[
        shape("kept hfsplus/plain.img", 24, Of512, HFSPLUS, Always),
        shape("kept hfsplus/plain.img", 24, Of4096, HFSPLUS, Asked),
        shape("kept hfsplus/x.img", 24, Of512, HFSPLUS, Asked),
        shape("kept hfsplus/large.img", 64, Of512, HFSPLUS, Asked),
        shape("kept hfsplus/large.img", 64, Of4096, HFSPLUS, Always),
    ]);
}

#[test]
fn apfs_comes_back() {
    shape::all(&[
        shape("kept apfs/plain.img", 300, Of512, APFS, Always),
        shape("kept apfs/plain.img", 300, Of4096, APFS, Asked),
        shape("kept apfs/cased.img", 300, Of512, APFS, Asked),
    ]);
}

#[test]
fn reiserfs_comes_back() {
    shape::all(&[
        shape("kept reiserfs/plain", 64, Of512, REISERFS, Always),
        shape("kept reiserfs/plain", 64, Of4096, REISERFS, Asked),
    ]);
}

#[test]
fn jfs_comes_back() {
    shape::all(&[
        shape("kept jfs/plain", 64, Of512, JFS, Always),
        shape("kept jfs/plain", 64, Of4096, JFS, Asked),
    ]);
}

#[test]
fn swap_comes_back() {
    shape::all(&[
        shape("mkswap -q -L swap", 16, Of512, SWAP, Always),
        shape("mkswap -q -L swap -p 65536", 16, Of4096, SWAP, Asked),
    ]);
}
