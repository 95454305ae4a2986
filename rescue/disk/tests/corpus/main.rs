//! Every reader over real images, healthy and broken, that nobody of this project made.
//!
//! `RESCUE_CORPUS` names a folder with `MANIFEST.tsv`, `images/` and `maps/`. Without it the same judgement
//! falls on a few images made here, and the output says so.

#![expect(clippy::unwrap_used, reason = "a test that stops has failed")]

mod facts;
mod judge;
#[path = "../made/mod.rs"]
mod made;
mod own;
mod peak;
mod sparse;
mod summary;

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use facts::{Facts, used_of_map};
use judge::{Compared, Verdict, judge};
use sparse::Sparse;

#[test]
fn every_image_is_judged_as_others_judge_it() {
    let verdicts = match std::env::var_os("RESCUE_CORPUS") {
        Some(folder) => corpus(Path::new(&folder)),
        None => {
            println!("RESCUE_CORPUS is not set: only images made here are judged");
            own::images()
        }
    };
    report(&verdicts);
}

fn report(verdicts: &[Verdict]) {
    let mut faulty = 0;
    for verdict in verdicts {
        println!("{verdict}");
        faulty += usize::from(!verdict.faults.is_empty());
    }
    print!("{}", summary::of(verdicts));
    let compared =
        |wanted: fn(&Compared) -> bool| verdicts.iter().filter(|v| wanted(&v.map)).count();
    let agreeing = compared(|m| matches!(m, Compared::Agrees { .. }));
    let whole = compared(|m| *m == Compared::Whole);
    println!(
        "{} images, {faulty} with faults; used maps compared: {agreeing}, kept whole where a map was to be had: {whole}",
        verdicts.len()
    );
    assert!(agreeing > 0, "no used map was compared");
    assert!(whole <= agreeing / 4, "too much is kept whole");
    assert_eq!(faulty, 0);
}

fn corpus(folder: &Path) -> Vec<Verdict> {
    let manifest = fs::read_to_string(folder.join("MANIFEST.tsv"))
        .expect("RESCUE_CORPUS names a folder with a MANIFEST.tsv");
    let mut verdicts = Vec::new();
    for line in manifest.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [path, _, size, kind, ..] = fields[..] else {
            panic!("a line of the manifest has too few fields: {line}");
        };
        let Some(bare) = path.strip_suffix(".zst") else {
            println!("{path}: not judged, it is packed in a way that is not read here");
            continue;
        };
        let mut facts = Facts::new(path, kind, fields.get(7).unwrap_or(&""));
        let map = folder.join(bare.replacen("images/", "maps/", 1) + ".map.zst");
        if map.exists() {
            let text = zstd::decode_all(File::open(map).unwrap()).unwrap();
            facts.map = Some(used_of_map(&String::from_utf8_lossy(&text)));
        }
        let packed = File::open(folder.join(path)).unwrap();
        let image = Sparse::read(zstd::Decoder::new(packed).unwrap()).unwrap();
        assert_eq!(
            disk::source::BlockSource::size_bytes(&image).to_string(),
            size,
            "{path}"
        );
        verdicts.push(without_panic(&image, &facts));
    }
    verdicts
}

/// A reader that panics is a fault of this image; the others are still judged.
fn without_panic(image: &Sparse, facts: &Facts) -> Verdict {
    catch_unwind(AssertUnwindSafe(|| judge(image, facts))).unwrap_or_else(|_| Verdict {
        path: facts.path.clone(),
        recorded: facts.kind.clone(),
        found: "panic".into(),
        map: Compared::Nothing,
        time: std::time::Duration::ZERO,
        peak_bytes: 0,
        faults: vec!["a reader panicked".into()],
    })
}
