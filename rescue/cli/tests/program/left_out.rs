//! Content that an image leaves out: trees like those of Windows and Linux with a third of junk, restored onto a disk
//! full of 0xFF. Each filesystem's own checker finds nothing, what was not left out has its digest, and what was has
//! its size and reads as zeros, by drivers and tools that are not ours.

use std::path::Path;

use tempfile::TempDir;

use crate::flow::expect;
use crate::made::{UNMOUNT, full_of_ones, shell};

/// Name, how it is made of `$1`, mounted on `mnt`, mounted again to be read, and checked; its tree; its size in MiB.
struct Kind {
    name: &'static str,
    mkfs: &'static str,
    mount: &'static str,
    check: &'static str,
    tree: &'static str,
    mib: u64,
}

const NTFS: Kind = Kind {
    name: "ntfs",
    mkfs: "mkntfs -q -Q -F",
    mount: "ntfs-3g -o big_writes",
    check: "ntfsfix -n $1; ntfsresize --info --force $1",
    tree: "windows; ln mnt/Windows/Temp/linked mnt/Users/ada/Documents/linked; keep Windows/Temp/linked",
    mib: 48,
};
const EXFAT: Kind = Kind {
    name: "exfat",
    mkfs: "mkfs.exfat -c 4K",
    mount: "mount.exfat-fuse",
    check: "fsck.exfat -n $1",
    tree: "windows",
    mib: 40,
};
const EXT4: Kind = Kind {
    name: "ext4",
    mkfs: "mkfs.ext4 -q -F",
    mount: "mount",
    check: "e2fsck -fn $1",
    tree: "linux; swapfile",
    mib: 48,
};
const XFS: Kind = Kind {
    name: "xfs",
    // Smaller than it makes them for people; its own tests have these names.
    mkfs: "TEST_DIR=1 TEST_DEV=1 QA_CHECK_FS=1 mkfs.xfs -q -f",
    mount: "mount -o nouuid",
    check: "xfs_repair -n $1",
    tree: "linux; swapfile; cp --reflink=always mnt/home/ada/letter mnt/tmp/clone; keep tmp/clone",
    mib: 48,
};
const FAT32: Kind = Kind {
    name: "vfat",
    mkfs: "mkfs.fat -F 32 -s 1",
    mount: "",
    check: "fsck.fat -n $1",
    tree: "windows",
    mib: 48,
};

/// `junk SIZE FILE` and `real SIZE FILE` in kibibytes write noise below `mnt` and remember what they wrote. What keeps
/// its first page is remembered by `memory`.
const TREES: &str = r#"
put() { mkdir -p "mnt/$(dirname "$2")"; head -c $1K /dev/urandom >"mnt/$2"; }
real() { put $1 "$2"; echo "$2" >>$fs.real; }
junk() { put $1 "$2"; echo "$2" >>$fs.junk; }
memory() { put $1 "$2"; echo "$2" >>$fs.memory; }
keep() { grep -vxF "$1" $fs.junk >rest || :; mv rest $fs.junk; echo "$1" >>$fs.real; }
windows() {
    real 6000 Users/ada/Documents/film.mkv; real 900 Windows/System32/config/SYSTEM
    for n in $(seq 40); do real 31 "Users/ada/Documents/letter $n.odt"; done
    real 3 'Users/ada/AppData/Local/Google/Chrome/User Data/Default/History'
    real 1 '$Recycle.Bin/S-1-5-21-1/$IABCDE.txt'; real 40 Users/ada/pagefile.sys
    memory 1100 pagefile.sys; memory 300 swapfile.sys; memory 900 hiberfil.sys
    junk 200 Windows/Temp/a.log; junk 64 Windows/Temp/linked; junk 100 Users/ada/AppData/Local/Temp/deep/er/x.tmp
    for n in $(seq 30); do junk 17 "Users/ada/AppData/Local/Google/Chrome/User Data/Default/Cache/Cache_Data/f_$n"; done
    junk 300 Users/ada/AppData/Local/Microsoft/Windows/Explorer/thumbcache_256.db
    junk 400 Windows/SoftwareDistribution/Download/0a1b/update.cab; junk 200 '$Recycle.Bin/S-1-5-21-1/$RABCDE.txt'
}
linux() {
    real 6000 home/ada/letter; real 900 usr/lib/libc.so; real 20 home/ada/.cache/notes; real 30 home/ada/swap.img
    for n in $(seq 40); do real 31 home/ada/Documents/$n.odt; done
    junk 1500 var/cache/apt/archives/firefox_1_amd64.deb; junk 300 tmp/a; junk 300 var/tmp/b/c
    for n in $(seq 30); do junk 17 home/ada/.cache/mozilla/firefox/x.default/cache2/entries/$n; done
    junk 200 home/ada/.cache/thumbnails/normal/1.png; junk 300 home/ada/.local/share/Trash/files/old/draft
    junk 64 tmp/linked; ln mnt/tmp/linked mnt/home/ada/linked; keep tmp/linked
}
swapfile() { memory 900 swapfile; mkswap -q mnt/swapfile; }
"#;

/// What is mounted and how it is judged, below the folder of the test.
const HANDS: &str = r#"
export LC_ALL=C MTOOLS_SKIP_CHECK=1
gone() { unmount mnt; for n in $(seq 600); do [ -n "$(find /proc/[0-9]*/fd -lname "$PWD/$1" 2>/dev/null)" ] || return 0; sleep 0.1; done; false; }
# Everything of it below mnt, whatever reads it.
show() {
    case "$2" in
    '') mcopy -i $1 -s '::/*' mnt ;;
    mount.exfat-fuse) disk=$(losetup -f --show $1); mount.exfat-fuse $3 $disk mnt >&2; losetup -d $disk ;;
    *) $2 $3 $1 mnt ;;
    esac
}
hide() { case "$2" in '') rm -r mnt; mkdir mnt ;; *) gone $1 ;; esac; }
zeros() { cmp -s -n $1 "$2" /dev/zero; }
# Sizes of all files, digests of what was not left out; with $4 what was left out is to be zeros.
story() {
    show $1 "$2" "-o ro"
    (cd mnt; find . -type f ! -path './lost+found/*' -printf '%s %p\n' | sort -k 2
     while IFS= read -r f; do sha256sum "./$f"; done <../$fs.real
     while IFS= read -r f; do head -c 4096 "./$f" | sha256sum; done <../$fs.memory)
    if [ -n "$4" ]; then (cd mnt
        while IFS= read -r f; do zeros $(stat -c %s "./$f") "./$f" || { echo "$f is not zeros" >&2; exit 1; }; done <../$fs.junk
        while IFS= read -r f; do cmp -s -i 4096:0 -n $(($(stat -c %s "./$f") - 4096)) "./$f" /dev/zero || { echo "$f is not zeros" >&2; exit 1; }; done <../$fs.memory)
    fi
    hide $1 "$2"
}
"#;

fn run(at: &Path, kind: &Kind, script: &str) -> String {
    let Kind { name, .. } = kind;
    shell(&format!(
        "cd {}; mkdir -p mnt; fs={name}\n{UNMOUNT}\n{TREES}\n{HANDS}\n{script}",
        at.display()
    ))
}

fn make(at: &Path, kind: &Kind) {
    let Kind {
        name,
        mkfs,
        mount,
        tree,
        mib,
        ..
    } = kind;
    let filled = match *mount {
        "" => format!(
            "{tree}; for f in mnt/* 'mnt/$Recycle.Bin'; do [ \"${{f#mnt/$}}\" = \"$f\" ] || [ -d \"$f\" ] || continue; mcopy -n -o -i {name} -s \"$f\" ::/; done; rm -r mnt; mkdir mnt"
        ),
        _ => format!("show {name} '{mount}' ''; {tree}; hide {name} '{mount}'"),
    };
    run(
        at,
        kind,
        &format!(
            ": >{name}.junk; : >{name}.memory; truncate -s {mib}M {name}; {mkfs} {name} >&2; {filled}; story {name} '{mount}' '' '' >{name}.before"
        ),
    );
}

/// A disk with a GPT and these on it, its free space full of noise that nobody uses.
fn disk(at: &Path, kinds: &[Kind]) {
    let mut script = format!("cd {}\n", at.display());
    let size: u64 = 2 + kinds.iter().map(|kind| kind.mib).sum::<u64>();
    script += &format!("truncate -s {size}M disk.img; sgdisk --clear");
    for (n, kind) in kinds.iter().enumerate() {
        script += &format!(" --new={}:0:+{}M", n + 1, kind.mib);
    }
    script += " disk.img >&2\n";
    let mut start = 1;
    for kind in kinds {
        script += &format!(
            "dd if={} of=disk.img bs=1M seek={start} conv=notrunc,sparse status=none; rm {0}\n",
            kind.name
        );
        start += kind.mib;
    }
    shell(&script);
}

fn size(at: &Path, name: &str) -> u64 {
    at.join(name).metadata().unwrap().len()
}

fn restored(at: &Path, kinds: &[Kind], image: &str) {
    let size: u64 = 2 + kinds.iter().map(|kind| kind.mib).sum::<u64>();
    full_of_ones(&at.join("back.img"), size);
    let said = expect(at, &["restore", image, "back.img"], 3);
    let word = said.rsplit("--approve ").next().unwrap().trim().to_owned();
    expect(at, &["restore", image, "back.img", "--approve", &word], 0);
}

fn judge(at: &Path, kinds: &[Kind]) {
    let mut start = 1;
    for kind in kinds {
        let Kind {
            name,
            mount,
            check,
            mib,
            ..
        } = kind;
        run(
            at,
            kind,
            &format!(
                "dd if=back.img of={name} bs=1M skip={start} count={mib} status=none\n\
                 check() {{ {check}; }}; check {name} >&2\n\
                 story {name} '{mount}' '' zeros >{name}.after; diff {name}.before {name}.after >&2; rm {name}"
            ),
        );
        start += mib;
    }
}

fn there_and_back(kinds: &[Kind]) {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    kinds.iter().for_each(|kind| make(at, kind));
    disk(at, kinds);
    let before = shell(&format!("sha256sum <{}/disk.img", at.display()));
    expect(
        at,
        &["image", "disk.img", ".", "--name", "all", "--no-verify"],
        0,
    );
    let words = [
        "image",
        "disk.img",
        ".",
        "--name",
        "some",
        "--leave-out",
        "smart",
    ];
    let said = expect(at, &words, 0);
    println!("{said}");
    let (all, some) = (size(at, "all.img.zst"), size(at, "some.img.zst"));
    println!("{some} bytes instead of {all}");
    assert!(some * 100 <= all * 75, "{some} of {all}: {said}");
    let info = expect(at, &["info", "some.img.zst"], 0);
    for told in [
        "left out   swap: ",
        "left out   trash: ",
        "left out   caches: ",
    ] {
        assert!(info.contains(told), "{info}");
    }
    expect(at, &["check", "some.img.zst"], 0);
    restored(at, kinds, "some.img.zst");
    judge(at, kinds);
    let after = shell(&format!("sha256sum <{}/disk.img", at.display()));
    assert_eq!(before, after, "the source was touched");
}

#[test]
fn junk_of_windows_and_linux_is_left_out_and_everything_else_comes_back() {
    there_and_back(&[NTFS, EXFAT, EXT4, XFS]);
}

#[test]
fn junk_on_fat32_is_left_out_and_everything_else_comes_back() {
    there_and_back(&[FAT32]);
}
