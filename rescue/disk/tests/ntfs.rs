//! NTFS against ntfs-3g's tools and partclone, on volumes made by mkntfs and filled through ntfs-3g.

mod made;
#[path = "made/ntfs.rs"]
mod mkfs;

use disk::extent::{Extent, ExtentMap};
use disk::fs::{Basis, Filesystem, State, Used, recognise};
use made::{FileSource, open, read_at, run, write_at};
use mkfs::{Mounted, filled, made, ntfsinfo, partclone_used};
use tempfile::NamedTempFile;

const MIB: u64 = 1 << 20;

fn read(file: &NamedTempFile) -> Filesystem {
    recognise(&open(file)).unwrap().expect("it is NTFS").1
}

fn map(filesystem: &Filesystem) -> (Basis, &ExtentMap) {
    match &filesystem.used {
        Used::Map { basis, extents } => (*basis, extents),
        Used::Whole(why) => panic!("it was taken whole: {why}"),
    }
}

fn whole(filesystem: &Filesystem) -> &str {
    match &filesystem.used {
        Used::Whole(why) => why,
        Used::Map { .. } => panic!("it was mapped"),
    }
}

fn dirty(filesystem: &Filesystem) -> &str {
    match &filesystem.state {
        State::Dirty(why) => why,
        state => panic!("it is {state}"),
    }
}

fn size(file: &NamedTempFile) -> u64 {
    file.as_file().metadata().unwrap().len()
}

fn blkid(file: &NamedTempFile, tag: &str) -> String {
    let path = file.path().to_str().unwrap();
    let args = ["-p", "-o", "value", "-s", tag, path];
    run("blkid", "util-linux", &args, "").trim().to_owned()
}

/// Partition size, bytes a sector, bytes a cluster.
const SHAPES: &[(u64, u32, u32)] = &[
    (64 * MIB, 512, 512),
    (64 * MIB + 3584, 512, 4096),
    (64 * MIB, 4096, 4096),
    (64 * MIB, 1024, 2048),
    (96 * MIB + 512, 512, 65536),
    (1024 * MIB, 4096, 2 << 20),
];

#[test]
fn a_filled_volume_is_mapped_cluster_by_cluster_as_partclone_and_ntfsinfo_do() {
    for (size_bytes, sector, cluster) in SHAPES.iter().copied() {
        let file = filled(size_bytes, sector, cluster);
        let found = recognise(&FileSource::open(file.path(), sector))
            .unwrap()
            .expect("it is NTFS")
            .1;
        let shape = format!("{size_bytes} {sector} {cluster}");
        assert_eq!(found.kind, blkid(&file, "TYPE"), "{shape}");
        assert_eq!(
            found.uuid.as_deref(),
            Some(&*blkid(&file, "UUID")),
            "{shape}"
        );
        assert_eq!(found.label.as_deref(), Some("Täst 文件"), "{shape}");
        assert_eq!(found.state, State::Clean, "{shape}");
        assert_eq!(found.block_size, cluster, "{shape}");
        assert_eq!(
            found.size_bytes,
            size_bytes / u64::from(sector) * u64::from(sector) - u64::from(sector)
        );
        let (basis, used) = map(&found);
        assert_eq!(basis, Basis::Records, "{shape}");
        let cluster = u64::from(cluster);
        let end = found.size_bytes / cluster * cluster;
        let tail = ExtentMap::from(vec![Extent::between(end, size_bytes).unwrap()]);
        assert_eq!(*used, partclone_used(file.path()).union(&tail), "{shape}");
        let free = used.complement(size_bytes).total_bytes() / cluster;
        assert_eq!(free, ntfsinfo(file.path(), "Free Clusters"), "{shape}");
    }
}
