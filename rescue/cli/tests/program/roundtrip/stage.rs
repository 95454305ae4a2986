//! What filesystems are filled with: this project's own files, and bytes that no compression makes small.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::made::shell;

const NOISE_MIB: usize = 150;
const TREE: usize = 5_000_000;
const PIECES: usize = 300;
const LARGE: usize = 20 << 20;

/// A folder of `noise`, of `tree`, `pieces` and `large`, and of `proto`, the list of these three for `mkfs.xfs -p`.
pub fn folder() -> &'static Path {
    static STAGE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = STAGE.get_or_init(|| {
        let dir = TempDir::new().unwrap();
        let path = dir.path().to_owned();
        fill(&path);
        (dir, path)
    });
    path
}

fn fill(stage: &Path) {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // As much in whole blocks of 4 KiB as the smallest of them takes, however the project grows.
    shell(&format!(
        "mkdir {0}/tree {0}/pieces; cd {1}; \
         find Cargo.* README.md rescue tui qemu-tests buildroot -type f ! -path '*/target/*' ! -path '*/corpus/*' \
         ! -path '*/artifacts/*' ! -name '*.zst' -printf '%s %p\n' | LC_ALL=C sort -k 2 | \
         awk '{{ all += int(($1 + 4095) / 4096) * 4096 }} all < {TREE} {{ print $2 }}' >{0}/files; \
         tar -c -T {0}/files | tar -x -C {0}/tree; rm {0}/files; [ $(find {0}/tree -type f | wc -l) -gt 300 ]",
        stage.display(),
        project.display()
    ));
    let noise = noise(NOISE_MIB << 20);
    for (n, piece) in noise.chunks(37_000).take(PIECES).enumerate() {
        fs::write(stage.join(format!("pieces/{n:03}")), piece).unwrap();
    }
    // As large as mkfs.xfs may be given: a file that does not fit into one allocation group overwrites the next.
    fs::write(stage.join("large"), &noise[..LARGE]).unwrap();
    // A boot file that nobody uses, sizes that are the device's, and the root.
    let mut list = "/dev/null\n0 0\nd--755 0 0\n".to_owned();
    proto(stage, &mut list);
    list.push_str("$\n");
    fs::write(stage.join("proto"), list).unwrap();
    fs::write(stage.join("noise"), noise).unwrap();
}

/// The same bytes every time (xorshift64).
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

fn proto(folder: &Path, list: &mut String) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().display();
        if path.is_dir() {
            writeln!(list, "{name} d--755 0 0").unwrap();
            proto(&path, list);
            list.push_str("$\n");
        } else {
            writeln!(list, "{name} ---644 0 0 {}", path.display()).unwrap();
        }
    }
}
