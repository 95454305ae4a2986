//! Raw disks that gzip, xz and zstd packed, read as the disk.

use std::path::Path;

use crate::clonezilla::shell;
use crate::made::{Dir, digest_of, disk, read_all};
use disk::source::ReadError;
use foreign::{ForeignError, Opened, Order};

fn open(dir: &Path, name: &str) -> Result<Option<Opened>, ForeignError> {
    foreign::piped::open(name, &Dir(dir.to_owned()), None)
}

#[test]
fn what_was_packed_in_any_way_is_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let raw = disk(dir.path());
    let expected = std::fs::read(&raw).unwrap();
    shell(&format!(
        "cd {}; gzip -1 <disk.raw >one.img.gz; xz -0 <disk.raw >one.img.xz; zstd -q disk.raw -o told.img.zst
         zstd -q <disk.raw >piped.img.zst
         head -c 5M disk.raw | gzip -1 >two.gz; tail -c +$((5 * 1024 * 1024 + 1)) disk.raw | gzip -9 >>two.gz
         head -c 5M disk.raw >front; tail -c +$((5 * 1024 * 1024 + 1)) disk.raw >rest
         printf '\\x5e\\x2a\\x4d\\x18\\x02\\0\\0\\0ab' >frames.zst; zstd -q front rest -c >>frames.zst
         xz -0 -c front rest >streams.xz
         for kind in gz xz zst; do split -b 700K -a 2 one.img.$kind cut.$kind. 2>/dev/null || split -b 700K -a 2 told.img.zst cut.zst.; done
         split -b 1M -a 3 --numeric-suffixes=1 piped.img.zst numbered.zst.",
        dir.path().display()
    ));
    let told = "said nowhere";
    for (name, format, is_told) in [
        ("one.img.gz", "gzip", false),
        ("one.img.xz", "xz", true),
        ("told.img.zst", "zstd", true),
        ("piped.img.zst", "zstd", false),
        ("two.gz", "gzip", false),
        ("frames.zst", "zstd", true),
        ("streams.xz", "xz", true),
        ("cut.gz.aa", "gzip", false),
        ("cut.xz.aa", "xz", true),
        ("cut.zst.ab", "zstd", true),
        ("numbered.zst.001", "zstd", false),
    ] {
        let opened = open(dir.path(), name).unwrap().unwrap();
        assert_eq!((opened.format, opened.order), (format, Order::Forward));
        let notes = opened.notes.concat();
        assert_eq!(notes.contains(told), !is_told, "{name}: {notes}");
        let got = read_all(&*opened.source);
        assert_eq!(digest_of(&got), digest_of(&expected), "{name}");
        let mut again = [0; 1000];
        opened.source.read_at(4096, &mut again).unwrap();
        assert!(again == expected[4096..5096], "{name}");
    }
}

fn says(opened: Result<Option<Opened>, ForeignError>, word: &str) {
    match opened {
        Err(error) => assert!(error.to_string().contains(word), "{error}"),
        other => panic!("{other:?} without '{word}'"),
    }
}

#[test]
fn a_stream_that_breaks_off_or_misses_a_part_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    disk(dir.path());
    shell(&format!(
        "cd {}; gzip -1 <disk.raw >a.gz; xz -0 <disk.raw >a.xz; zstd -q disk.raw -o a.zst; zstd -q <disk.raw >b.zst
         for name in a.gz a.xz a.zst b.zst; do head -c 900K $name >cut-$name; done
         split -b 500K -a 2 a.gz parts.gz.; rm parts.gz.ac
         split -b 500K -a 2 a.gz begin.gz.; rm begin.gz.aa
         cp disk.raw named.gz; tar -cf - a.gz | gzip -1 >files.gz
         qemu-img convert -O qcow2 disk.raw disk.qcow2; gzip -1 disk.qcow2; printf BZh91AY >bz.xz",
        dir.path().display()
    ));
    for name in ["cut-a.gz", "cut-a.xz", "cut-a.zst", "cut-b.zst"] {
        says(open(dir.path(), name), "breaks off");
    }
    says(
        open(dir.path(), "parts.gz.aa"),
        "missing between parts.gz.ab and parts.gz.ad",
    );
    says(
        open(dir.path(), "begin.gz.ab"),
        "missing before begin.gz.ab",
    );
    says(open(dir.path(), "named.gz"), "does not begin as gzip does");
    says(open(dir.path(), "bz.xz"), "does not begin as xz does");
    says(open(dir.path(), "files.gz"), "archive");
    says(open(dir.path(), "disk.qcow2.gz"), "qcow2 image");
    assert!(open(dir.path(), "disk.raw").unwrap().is_none());
}

#[test]
fn bent_bytes_in_a_stream_of_known_size_end_the_reading_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let raw = disk(dir.path());
    let expected = std::fs::read(&raw).unwrap();
    shell(&format!(
        "cd {}; xz -0 --check=crc64 <disk.raw >a.xz; zstd -q --check disk.raw -o a.zst
         for name in a.xz a.zst; do printf 'bent' | dd of=$name bs=1 seek=1500000 conv=notrunc status=none; done",
        dir.path().display()
    ));
    for name in ["a.xz", "a.zst"] {
        let opened = open(dir.path(), name).unwrap().unwrap();
        let mut piece = vec![0; 1 << 20];
        // Without damage to its structure it is found when the checksum comes, at the end.
        let error = (0..expected.len()).step_by(piece.len()).find_map(|at| {
            let len = piece.len().min(expected.len() - at);
            opened.source.read_at(at as u64, &mut piece[..len]).err()
        });
        let error = error.unwrap_or_else(|| panic!("{name} was read whole"));
        let ReadError::Fault(text) = error else {
            panic!("{name}: {error:?}");
        };
        assert!(text.contains("breaks off before"), "{text}");
    }
}

/// Files in memory.
struct Held(Vec<u8>);

impl foreign::Folder for Held {
    fn open(&self, _name: &str) -> Result<foreign::File, String> {
        let source = disk::memory::MemorySource::new(self.0.clone());
        Ok(std::sync::Arc::new(source))
    }

    fn names(&self) -> Result<Vec<String>, String> {
        Ok(vec!["a".into()])
    }
}

#[test]
fn bent_streams_are_an_error_or_a_disk() {
    let dir = tempfile::tempdir().unwrap();
    shell(&format!(
        "cd {}; (head -c 40K /dev/urandom; head -c 300K /dev/zero; seq 20000) >raw
         gzip -1 <raw >a.gz; xz -1 <raw >a.xz; zstd -q raw -o a.zst; zstd -q <raw >b.zst",
        dir.path().display()
    ));
    let mut seed = 7u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap()
    };
    let rounds = match std::env::var_os("RESCUE_TEST_ALL") {
        Some(_) => 3000,
        None => 60,
    };
    let (mut refused, mut broken) = (0, 0);
    for name in ["a.gz", "a.xz", "a.zst", "b.zst"] {
        let whole = std::fs::read(dir.path().join(name)).unwrap();
        for round in 0..rounds {
            let mut bent = whole.clone();
            for _ in 0..=random(4) {
                // Half of them where the structure is.
                let at = if round % 2 == 0 {
                    random(64)
                } else {
                    random(bent.len())
                };
                let at = if random(4) == 0 {
                    bent.len() - 1 - at
                } else {
                    at
                };
                bent[at] = u8::try_from(random(256)).unwrap();
            }
            if random(5) == 0 {
                bent.truncate(random(bent.len()));
            }
            match foreign::piped::open(name, &Held(bent), None) {
                Ok(Some(opened)) => {
                    let size = opened.source.size_bytes().min(1 << 20);
                    let mut front = vec![0; usize::try_from(size).unwrap()];
                    broken += usize::from(opened.source.read_at(0, &mut front).is_err());
                }
                Ok(None) => panic!("{name} has its name still"),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(
        refused > rounds && broken > 0,
        "{refused} refused, {broken} broken"
    );
}
