//! The life of a chain: images over images of a disk that changes, each restored as the disk was then; made shorter, also
//! under kill -9.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use crate::made::{self, EXT4, NTFS, rescue, shell, tool};

const POINTS: usize = 6;

/// What it says on both of its outputs.
fn done(directory: &Path, words: &[&str]) -> String {
    let output = rescue(directory, words);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "rescue {words:?}: {said}");
    said
}

/// What happens to the disk between one point and the next: files added, deleted, grown, defragmented; a partition
/// resized, a filesystem made anew. On `p2` (ext4), `p3` (NTFS), `p1` (FAT32), cut out of it.
const CHANGES: [&str; POINTS - 1] = [
    // Files added and deleted on ext4.
    "head -c 3M /dev/urandom >new; { echo write new new.bin; for n in 1 2 4 5 7; do echo rm docs/$n.txt; done; } |
        debugfs -w -f - p2 >/dev/null 2>&1; e2fsck -fn p2 >/dev/null; rm new",
    // One grown on NTFS, one new.
    "[ $(ntfscat p3 media.bin | wc -c) = 6291456 ]; { ntfscat p3 media.bin; head -c 3M /dev/urandom; } >grown
        ntfscp -q p3 grown media.bin; ntfscat p3 media.bin | cmp - grown; head -c 300K /dev/urandom >other; ntfscp -q p3 other 20.txt
        rm grown other",
    // Deleted, added and grown on FAT; on ext4 the file that fell into the holes of others is defragmented by the kernel.
    "mkdir m; mount -o loop p2 m; trap 'mountpoint -q m && umount m' EXIT; extents() { filefrag m/new.bin | awk '{ print $2 }'; }
        was=$(extents); sum=$(sha256sum <m/new.bin); [ $was -ge 8 ]; e4defrag m/new.bin >/dev/null; sync
        [ $(extents) -le $((was / 4)) ]; [ \"$sum\" = \"$(sha256sum <m/new.bin)\" ]; umount m; rmdir m; e2fsck -fn p2 >/dev/null
        mdel -i p1 ::/docs/10.txt ::/docs/11.txt; head -c 1M /dev/urandom >new; mcopy -i p1 new ::/new; mcopy -o -i p1 new ::/docs/12.txt
        rm new; fsck.fat -n p1 >/dev/null",
    // The partition of ext4 made smaller with its filesystem.
    "e2fsck -fy p2 >/dev/null 2>&1 || [ $? -le 1 ]; resize2fs -f p2 50M >/dev/null 2>&1; e2fsck -fn p2 >/dev/null; small=1",
    // NTFS becomes ext4.
    "mkdir t; head -c 4M /dev/urandom >t/a; mke2fs -q -F -t ext4 -E nodiscard -d t p3; rm -r t; e2fsck -fn p3 >/dev/null",
];

struct Chain {
    directory: TempDir,
    /// Of the restored disk at the last two points.
    fourth: String,
    fifth: String,
}

impl Chain {
    fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Images `p0` to `p5` in `store`, each a child of the one before, and `d5`, a child of the first; the disk at each
/// point as `raw0` to `raw5`.
fn chain() -> &'static Chain {
    static CHAIN: OnceLock<Chain> = OnceLock::new();
    CHAIN.get_or_init(|| {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        std::fs::create_dir(path.join("store")).unwrap();
        std::fs::copy(made::disk(), path.join("disk.img")).unwrap();
        for nth in 0..POINTS {
            if nth > 0 {
                change(path, CHANGES[nth - 1]);
            }
            let name = format!("p{nth}");
            let words = [
                "image", "disk.img", "store", "--name", &name, "--parent", "auto",
            ];
            let said = done(path, &words);
            let parent = match nth {
                0 => "parent: none".to_owned(),
                _ => format!("parent: p{}.img.zst", nth - 1),
            };
            assert!(said.contains(&parent), "{said}");
            next_second();
            shell(&format!(
                "cp --sparse=always {0}/disk.img {0}/raw{nth}",
                path.display()
            ));
        }
        done(
            path,
            &[
                "image", "disk.img", "store", "--name", "d5", "--parent", "p0",
            ],
        );
        let (fourth, fifth) = (restored(path, "p4"), restored(path, "p5"));
        Chain {
            directory,
            fourth,
            fifth,
        }
    })
}

/// Images tell of their age in seconds.
fn next_second() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    std::thread::sleep(
        Duration::from_millis(1010) - Duration::from_nanos(now.subsec_nanos().into()),
    );
}

fn change(directory: &Path, script: &str) {
    let parts = [made::ESP, EXT4, NTFS];
    let mut all = format!("cd {}; small=0\n", directory.display());
    for (number, start, len) in parts {
        all += &format!("dd if=disk.img of=p{number} bs=1M skip={start} count={len} status=none\n");
    }
    all += script;
    for (number, start, _) in parts {
        all +=
            &format!("\ndd if=p{number} of=disk.img bs=1M seek={start} conv=notrunc status=none");
    }
    all +=
        "\n[ $small = 0 ] || sgdisk --delete=2 --new=2:41M:+50M disk.img >/dev/null; rm p1 p2 p3";
    shell(&all);
}

/// The digest of what an image gives.
fn restored(directory: &Path, name: &str) -> String {
    let out = directory.join(format!("{name}.restored"));
    let image = format!("store/{name}.img.zst");
    done(
        directory,
        &["restore", &image, &out.display().to_string(), "--no-verify"],
    );
    let digest = made::digest(&out);
    std::fs::remove_file(&out).unwrap();
    digest
}

/// What a disk uses, as `rescue map` has it: start and length.
fn used(directory: &Path, disk: &str) -> Vec<(u64, usize)> {
    let map = String::from_utf8(rescue(directory, &["map", disk]).stdout).unwrap();
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let rows = map
        .lines()
        .filter(|row| row.ends_with('+') && row.starts_with("0x"));
    rows.filter_map(|row| match row.split_whitespace().collect::<Vec<_>>()[..] {
        [start, len, "+"] => Some((number(start), usize::try_from(number(len)).unwrap())),
        _ => None,
    })
    .collect()
}

#[test]
fn every_point_of_a_chain_and_a_differential_restore_what_the_disk_held_then() {
    let chain = chain();
    let path = chain.path();
    for (name, nth) in (0..POINTS)
        .map(|nth| (format!("p{nth}"), nth))
        .chain([("d5".to_owned(), 5)])
    {
        let out = path.join(format!("{name}.out"));
        let image = format!("store/{name}.img.zst");
        done(path, &["check", &image]);
        done(path, &["restore", &image, &out.display().to_string()]);
        let raw = std::fs::read(path.join(format!("raw{nth}"))).unwrap();
        let back = std::fs::read(&out).unwrap();
        let used = used(path, &format!("raw{nth}"));
        assert!(used.iter().map(|(_, len)| len).sum::<usize>() > 20 << 20);
        for (start, len) in used {
            let start = usize::try_from(start).unwrap();
            assert!(
                raw[start..start + len] == back[start..start + len],
                "{name} at {start}"
            );
        }
        // And by those who know the filesystems.
        let part = |(number, start, len): (u32, u64, u64)| {
            let part = path.join(format!("{name}.{number}"));
            shell(&format!(
                "dd if={} of={} bs=1M skip={start} count={len} status=none",
                out.display(),
                part.display()
            ));
            part.display().to_string()
        };
        let ext4 = match nth {
            4.. => (2, 41, 50),
            _ => EXT4,
        };
        tool("e2fsck", &["-fn", &part(ext4)]);
        tool("fsck.fat", &["-n", &part(made::ESP)]);
        match nth {
            5 => tool("e2fsck", &["-fn", &part(NTFS)]),
            _ => tool("ntfsfix", &["-n", &part(NTFS)]),
        };
    }
    let sizes: Vec<u64> = (0..POINTS)
        .map(|nth| size(path, &format!("p{nth}")))
        .collect();
    // What changed is 3 to 10 MiB of a disk of which more than 30 are in use.
    assert!(
        sizes[1..].iter().all(|size| *size * 2 < sizes[0]),
        "{sizes:?}"
    );
}

#[test]
fn every_point_of_an_exact_chain_and_a_differential_are_the_raw_copy_to_the_last_byte() {
    let chain = chain();
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let raw = |nth: usize| chain.path().join(format!("raw{nth}")).display().to_string();
    let disk = path.join("disk.img").display().to_string();
    let image = |name: &str, parent: &[&str]| {
        let words = ["image", "disk.img", ".", "--exact", "--name", name];
        done(path, &[&words, parent].concat())
    };
    for nth in 0..POINTS {
        tool("cp", &[&raw(nth), &disk]);
        let parent = format!("e{}", nth.saturating_sub(1));
        let parent = ["--parent", &parent];
        image(&format!("e{nth}"), if nth > 0 { &parent } else { &[] });
    }
    image("d5", &["--parent", "e0"]);
    let points = (0..POINTS).map(|nth| (format!("e{nth}"), nth));
    for (name, nth) in points.chain([("d5".to_owned(), POINTS - 1)]) {
        let image = format!("{name}.img.zst");
        let out = path.join("out").display().to_string();
        done(path, &["restore", &image, &out, "--no-verify"]);
        tool("cmp", &[&out, &raw(nth)]);
        std::fs::remove_file(&out).unwrap();
        let bytes = std::fs::metadata(path.join(&image)).unwrap().len();
        assert!(
            nth == 0 || bytes < made::SIZE_MIB << 18,
            "{name} has {bytes}"
        );
    }
}

fn size(directory: &Path, name: &str) -> u64 {
    let file = directory.join(format!("store/{name}.img.zst"));
    std::fs::metadata(file).unwrap().len()
}

#[test]
fn the_store_is_shown_as_a_tree_of_chains() {
    let path = chain().path();
    let tree = done(path, &["images", "store"]);
    let depth = |name: &str| {
        let row = tree
            .lines()
            .find(|row| row.trim_start().starts_with(&format!("{name} ")));
        let row = row.unwrap_or_else(|| panic!("{name} is not in {tree}"));
        row.len() - row.trim_start().len()
    };
    assert_eq!(
        [depth("p0"), depth("d5"), depth("p1"), depth("p5")],
        [2, 4, 4, 12],
        "{tree}"
    );
    let rows = done(path, &["images", "store", "--json"]);
    assert!(
        rows.contains("\"parent\": \"p4\"") && rows.contains("\"whole\": true"),
        "{rows}"
    );
    let info = done(path, &["info", "store/p3.img.zst"]);
    assert!(info.contains("parent     p2.img.zst"), "{info}");
}

/// The chain's store again, for a test that changes it.
fn copy(chain: &Chain) -> TempDir {
    let copy = TempDir::new().unwrap();
    let (from, to) = (chain.path().display(), copy.path().display());
    shell(&format!("cp -r --reflink=auto {from}/store {to}/store"));
    copy
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory.join("store")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_merge_makes_a_full_image_that_the_stock_tool_reads_and_children_keep_theirs() {
    let chain = chain();
    let store = copy(chain);
    let path = store.path();
    done(path, &["merge", "store/p3.img.zst", "--onto", "p1"]);
    done(path, &["merge", "store/p4.img.zst"]);
    let said = rescue(path, &["merge", "store/p4.img.zst"]);
    assert_eq!(said.status.code(), Some(3));
    for name in ["p1", "p2"] {
        std::fs::remove_file(path.join(format!("store/{name}.img.zst"))).unwrap();
    }
    let orphan = rescue(path, &["images", "store"]);
    assert_eq!(orphan.status.code(), Some(2));
    let text = String::from_utf8_lossy(&orphan.stdout).into_owned();
    assert!(
        text.contains("cannot be read: p1, which it needs, is not there"),
        "{text}"
    );
    assert_eq!(restored(path, "p4"), chain.fourth);
    assert_eq!(restored(path, "p5"), chain.fifth);
    tool(
        "zstd",
        &["-tq", &path.join("store/p4.img.zst").display().to_string()],
    );
    let raw = shell(&format!(
        "zstd -dcq {}/store/p4.img.zst | sha256sum",
        path.display()
    ));
    assert_eq!(raw, chain.fourth);
}

#[test]
fn prune_shows_its_plan_asks_for_its_word_and_leaves_what_the_rules_keep() {
    let chain = chain();
    let store = copy(chain);
    let path = store.path();
    let before = names(path);
    assert_eq!(rescue(path, &["prune", "store"]).status.code(), Some(3));
    let asked = rescue(path, &["prune", "store", "--keep-last", "2"]);
    assert_eq!(asked.status.code(), Some(3));
    let plan = String::from_utf8_lossy(&asked.stderr).into_owned();
    for line in [
        "remove 5 of 7 images",
        "step: make p5 a full image",
        "--approve store",
    ] {
        assert!(plan.contains(line), "{plan}");
    }
    assert_eq!(names(path), before);
    done(
        path,
        &["prune", "store", "--keep-last", "2", "--approve", "store"],
    );
    assert_eq!(names(path), ["d5.img.zst", "p5.img.zst"]);
    assert_eq!(restored(path, "p5"), chain.fifth);
    assert_eq!(restored(path, "d5"), chain.fifth);
    done(path, &["check", "store/p5.img.zst"]);
}

fn kills() -> u32 {
    match std::env::var_os("RESCUE_TEST_ALL") {
        Some(_) => 100,
        None => 3,
    }
}

/// Kills the command at random moments; what it takes when nobody does is measured first. Each round begins with the
/// chain's store as it was.
fn killed(words: &[&str], judge: impl Fn(&Path, f64)) {
    let chain = chain();
    let store = copy(chain);
    let begun = Instant::now();
    done(store.path(), words);
    let took = begun.elapsed();
    let seed = f64::from(std::process::id() % 997) / 997.0;
    let mut in_time = 0;
    for nth in 0..kills() {
        let moment = (seed + f64::from(nth) * 0.618_033_988_75).fract();
        let store = copy(chain);
        let mut child = Command::new(env!("CARGO_BIN_EXE_rescue"))
            .args(words)
            .current_dir(store.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_secs_f64(took.as_secs_f64() * moment));
        in_time += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        judge(store.path(), moment);
    }
    println!("{words:?}: {in_time} of {} kills before its end", kills());
}

#[test]
fn a_prune_that_is_killed_at_any_moment_loses_no_image_and_goes_on() {
    let words = ["prune", "store", "--keep-last", "2", "--approve", "store"];
    let fifth = &chain().fifth;
    killed(&words, |path, moment| {
        for name in ["d5", "p5"] {
            assert_eq!(restored(path, name), *fifth, "{name} after {moment}");
        }
        done(path, &words);
        assert_eq!(names(path), ["d5.img.zst", "p5.img.zst"]);
        assert_eq!(restored(path, "p5"), *fifth, "after {moment}");
        done(path, &["check", "store/d5.img.zst"]);
    });
}

#[test]
fn a_merge_that_is_killed_at_any_moment_loses_no_image_and_goes_on() {
    let words = ["merge", "store/p4.img.zst"];
    let before = names(chain().path());
    killed(&words, |path, moment| {
        for (name, raw) in [("p4", &chain().fourth), ("p5", &chain().fifth)] {
            assert_eq!(restored(path, name), *raw, "{name} after {moment}");
        }
        // 3: it was a full image already.
        let again = rescue(path, &words);
        assert!(matches!(again.status.code(), Some(0 | 3)), "{again:?}");
        assert_eq!(names(path), before, "after {moment}");
        assert_eq!(restored(path, "p4"), chain().fourth, "after {moment}");
        done(path, &["check", "store/p4.img.zst"]);
        done(path, &["check", "store/p5.img.zst"]);
    });
}

#[test]
fn auto_takes_no_image_of_another_disk() {
    let directory = TempDir::new().unwrap();
    let path: PathBuf = directory.path().to_owned();
    std::fs::create_dir(path.join("store")).unwrap();
    for name in ["one.img", "two.img"] {
        shell(&format!(
            "cd {}; truncate -s 8M {name}; sgdisk --new=1:1M:+4M {name} >/dev/null",
            path.display()
        ));
    }
    done(&path, &["image", "one.img", "store", "--name", "one"]);
    let said = done(
        &path,
        &[
            "image", "two.img", "store", "--name", "two", "--parent", "auto",
        ],
    );
    assert!(
        said.contains("parent: none; no finished image of this disk"),
        "{said}"
    );
    let said = done(
        &path,
        &[
            "image", "one.img", "store", "--name", "again", "--parent", "auto",
        ],
    );
    assert!(said.contains("parent: one.img.zst"), "{said}");
}
