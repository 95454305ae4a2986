//! XFS as mkfs.xfs makes it and the kernel fills it, and what xfsprogs says of it.
#![allow(
    clippy::allow_attributes,
    dead_code,
    clippy::cast_possible_truncation,
    reason = "each test binary uses its own share"
)]

use std::path::Path;

use disk::extent::{Extent, ExtentMap};
use tempfile::{NamedTempFile, TempDir};

use crate::made::{blank, run, run_any};

const PACKAGE: &str = "xfsprogs";

pub fn mkfs(file: &NamedTempFile, options: &[&str]) {
    let path = file.path().to_str().unwrap();
    run(
        "mkfs.xfs",
        PACKAGE,
        &[&["-q", "-f"], options, &[path]].concat(),
        "",
    );
}

/// Lets the kernel mount it and a shell work in it, at `$PWD`; what the shell printed.
pub fn mounted(path: &Path, script: &str) -> String {
    mounted_with("nouuid", path, script)
}

pub fn mounted_with(options: &str, path: &Path, script: &str) -> String {
    let dir = TempDir::new().unwrap();
    let at = dir.path().to_str().unwrap();
    // A filesystem that was shut down still is unmounted.
    let script = format!(
        "set -eu; mount -t xfs -o loop,{options} \"$1\" {at}; trap 'cd /; umount {at}' EXIT; cd {at}; {script}"
    );
    let args = ["-c", &script, "sh", path.to_str().unwrap()];
    let (code, text) = run_any("bash", "bash", &args, "");
    assert_eq!(
        code, 0,
        "a kernel with XFS, loop devices and root are needed: {text}"
    );
    text
}

/// Makes directories of every form, files of every kind of fork, and holes between them.
pub const FILL: &str = r#"
for d in few block leaf node; do mkdir -p deep/er/$d; done
touch deep/er/few/{a,b,c}
touch deep/er/block/name{1..60}
touch deep/er/leaf/some-longer-name-{1..900}
touch deep/er/node/quite-a-long-name-for-a-file-{1..6000}
mkdir many; for n in {1..120}; do head -c $((n * n % 9000)) /dev/urandom > "many/$n x"; done
for n in 0 1 100 4096 70000 3000001; do head -c $n /dev/urandom > deep/file$n; done
for n in {0..400}; do echo "pwrite -q -S $((n % 250 + 1)) $((n * 28672)) 4096"; done | xfs_io -f deep/sparse
ln -s short link; ln -s $(printf 'long/%.0s' {1..100}) 'deep/long link'
mkdir -p usr/lib; echo 'PRETTY_NAME="Some Linux 7"' > usr/lib/os-release
echo hello > 'deep/grüße 文件'
sync; rm many/*[147]' x'; rm deep/er/node/*[15]
"#;

/// Made, mounted, filled and unmounted.
pub fn filled(size: u64, options: &[&str]) -> NamedTempFile {
    let file = blank(size);
    mkfs(&file, options);
    mounted(file.path(), FILL);
    file
}

/// Files written and fsynced, others removed, then the power goes.
pub const CUT: &str = r#"
for n in {1..40}; do dd if=/dev/urandom of=new$n bs=64K count=$((n % 5 + 1)) conv=fsync status=none; done
rm deep/file3000001 deep/er/leaf/*7; for n in {1..60}; do echo $n > many/late$n; done
mkdir dir; touch dir/name{1..500}; mv link dir; truncate -s 100 deep/sparse; fallocate -l 2M dir/more
sync dir; find . -name 'new*' | sort | xargs sha256sum; xfs_io -x -c 'shutdown -f' .
"#;

/// Four at work at once, until the power goes, soon after ten files were fsynced and the log is in this round of its
/// ring; nothing more is flushed. One of them fsyncs and remembers in `sums` what.
pub fn churned(size: u64, options: &[&str], log: &str, round: u32) -> (NamedTempFile, String) {
    let file = filled(size, options);
    let sums = NamedTempFile::new().unwrap();
    let script = format!(
        r#"
        sums={}
        cp -r deep/er/leaf names; mkdir synced
        work() {{ while :; do "$@" || return 0; done 2>/dev/null; }}
        files() {{ n=$RANDOM; head -c $((n * 7)) /dev/zero > many/new$((n % 300)) && rm -f many/new$((RANDOM % 300)); }}
        names() {{ mkdir d$RANDOM && touch names/$RANDOM{{a..z}} && rm -rf names/$((RANDOM % 10))* d*; }}
        holes() {{ xfs_io -c "pwrite -q $((RANDOM * 4096)) 4096" -c "fpunch $((RANDOM * 4096)) 65536" -c "falloc $((RANDOM * 2048)) 8192" deep/sparse; [ -d deep ]; }}
        synced() {{
            n=$((n + 1)); xfs_io -f -c "pwrite -q -S $((n % 250 + 1)) 0 $((RANDOM * 3))" -c fsync synced/$n || return 1
            sha256sum synced/$n >> $sums.new
            rm -f synced/$((n - 60))
        }}
        n=0; (work files) & (work names) & (work holes) & (work synced) &
        for wait in {{1..600}}; do
            sleep 0.1
            [ $(cat $sums.new 2>/dev/null | wc -l) -ge 10 ] || continue
            # The first block of the log: its round, or the magic number of a record and then its round.
            set -- $(od -An -tx4 --endian=big -j {log_start} -N 8 {image})
            [ $1 = feedbabe ] && set -- $2; [ $((16#$1)) -ge {round} ] && break
        done
        [ $((16#$1)) -ge {round} ]; sleep 1.$RANDOM; xfs_io -x -c shutdown . ; wait; touch $sums.new; mv $sums.new $sums
        "#,
        sums.path().display(),
        log_start = log_start(file.path()),
        image = file.path().display(),
    );
    mounted_with(log, file.path(), &script);
    let sums = std::fs::read_to_string(sums.path()).unwrap();
    (file, sums)
}

/// As a power cut leaves it, and the digests of what was fsynced.
pub fn cut_off(size: u64, options: &[&str]) -> (NamedTempFile, String) {
    let file = filled(size, options);
    let sums = mounted(file.path(), CUT);
    (file, sums)
}

/// Bytes that differ from place to place.
pub fn noise() -> Vec<u8> {
    (0..300_000u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8 | 1)
        .collect()
}

/// Files put into it by mkfs.xfs itself, for layouts that not every kernel mounts.
pub fn poured(size: u64, options: &[&str]) -> NamedTempFile {
    let content = NamedTempFile::new().unwrap();
    std::fs::write(content.path(), noise()).unwrap();
    let path = content.path().to_str().unwrap();
    let mut list = String::from("/\n0 0\nd--755 0 0\n");
    for dir in 0..4 {
        list += &format!("dir{dir} d--755 0 0\n");
        for n in 0..40 << (dir * 2) {
            let from = if n % 60 == 0 { path } else { "/etc/hostname" };
            list += &format!("file-with-a-name-{n} ---644 0 0 {from}\n");
        }
        list += "link l--777 0 0 where/it/leads\n$\n";
    }
    list += "$\n";
    let proto = NamedTempFile::new().unwrap();
    std::fs::write(proto.path(), list).unwrap();
    let file = blank(size);
    mkfs(
        &file,
        &[options, &["-p", proto.path().to_str().unwrap()]].concat(),
    );
    file
}

/// Free bytes by xfs_db, without the blocks of the reserves, which it calls free too.
pub fn free(path: &Path) -> ExtentMap {
    let number = |text: &str, name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .parse()
            .unwrap()
    };
    let shape = db(path, &["sb 0", "p blocksize agblocks agcount"]);
    let size = number(&shape, "blocksize = ");
    let group = number(&shape, "agblocks = ") * size;
    let mut free: ExtentMap = db(path, &["freesp -d"])
        .lines()
        .skip(1)
        .map_while(|line| {
            let mut words = line.split_whitespace().map_while(|word| word.parse().ok());
            let mut next = || words.next();
            let (ag, at, len): (u64, u64, u64) = (next()?, next()?, next()?);
            Extent::new(ag * group + at * size, len * size)
        })
        .collect::<Vec<_>>()
        .into();
    for ag in 0..number(&shape, "agcount = ") {
        let text = db(
            path,
            &[
                &format!("agf {ag}"),
                "p flfirst fllast flcount",
                &format!("agfl {ag}"),
                "p bno",
            ],
        );
        let (first, last) = (number(&text, "flfirst = "), number(&text, "fllast = "));
        let count = number(&text, "flcount = ");
        let (_, slots) = text.split_once("bno[").unwrap();
        let mut met = 0;
        for slot in slots.split_whitespace() {
            let Some((index, Ok(block))) = slot.split_once(':').map(|(i, b)| (i, b.parse::<u64>()))
            else {
                continue;
            };
            let index: u64 = index.parse().unwrap();
            let active = if first <= last {
                (first..=last).contains(&index)
            } else {
                index >= first || index <= last
            };
            if count > 0 && active {
                met += 1;
                free.remove(Extent::new(ag * group + block * size, size).unwrap());
            }
        }
        assert_eq!(met, count, "{text}");
    }
    free
}

/// Where the log begins, in bytes.
fn log_start(path: &Path) -> u64 {
    let shape = db(path, &["sb 0", "p blocksize agblocks agblklog logstart"]);
    let number = |name: &str| -> u64 {
        let line = shape.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim_start_matches(" = ").parse().unwrap()
    };
    let (start, log) = (number("logstart"), number("agblklog"));
    let block = (start >> log) * number("agblocks") + (start & ((1 << log) - 1));
    block * number("blocksize")
}

pub fn db(path: &Path, commands: &[&str]) -> String {
    let mut args = vec!["-r"];
    for command in commands {
        args.extend(["-c", command]);
    }
    args.push(path.to_str().unwrap());
    run("xfs_db", PACKAGE, &args, "")
}

/// xfs_repair finds nothing to repair.
pub fn check(path: &Path) {
    run(
        "xfs_repair",
        PACKAGE,
        &["-n", "-f", path.to_str().unwrap()],
        "",
    );
}

/// Only the used bytes of it, on a disk that held something else.
pub fn restored(file: &NamedTempFile, used: &ExtentMap) -> NamedTempFile {
    use std::os::unix::fs::FileExt;
    let size = file.as_file().metadata().unwrap().len();
    let back = blank(size);
    let full = vec![0xFF; 1 << 20];
    // Whole gaps would be gigabytes; zeros are something else too.
    for extent in used.complement(size).iter() {
        let len = usize::try_from(extent.len().min(1 << 20)).unwrap();
        back.as_file()
            .write_all_at(&full[..len], extent.start())
            .unwrap();
    }
    for extent in used.iter() {
        for piece in extent.split_at_multiples(1 << 20) {
            let mut bytes = vec![0; usize::try_from(piece.len()).unwrap()];
            file.as_file()
                .read_exact_at(&mut bytes, piece.start())
                .unwrap();
            if bytes.iter().any(|byte| *byte != 0) {
                back.as_file().write_all_at(&bytes, piece.start()).unwrap();
            }
        }
    }
    back
}

pub fn copy(file: &NamedTempFile) -> NamedTempFile {
    let copy = NamedTempFile::new().unwrap();
    let [from, to] = [file, &copy].map(|file| file.path().to_str().unwrap());
    run("cp", "coreutils", &["--sparse=always", from, to], "");
    copy
}

/// Digests of all files, as `sha256sum -c` takes them.
pub const SUMS: &str = "find . -type f -print0 | sort -z | xargs -0 sha256sum";
