//! Volumes that somebody damaged on purpose: an answer in bounded time, never a panic, never too much freed.

use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use disk::extent::{Extent, ExtentMap};
use disk::fs::Used;
use disk::fs::tree::{NodeId, Tree, walk};
use disk::memory::MemorySource;
use disk::source::BlockSource;
use proptest::prelude::{any, prop_assert, prop_oneof, proptest};
use proptest::strategy::Strategy;
use proptest::test_runner::Config;

use crate::made::cases;
use crate::mkfs::{Mounted, bytes, made};
use crate::reader;

const TIME_LIMIT: Duration = Duration::from_secs(2);

/// A small filled volume, and where its records of every kind lie.
struct Base {
    bytes: Vec<u8>,
    used: ExtentMap,
    places: Vec<Extent>,
}

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let file = made(4 << 20, 512, 512);
        let mounted = Mounted::new(file.path(), "rw");
        std::fs::create_dir(mounted.at("many")).unwrap();
        for n in 0..60 {
            let name = format!("many/{n} {}", "x".repeat(n));
            std::fs::write(mounted.at(&name), bytes(n as u64, n * 150)).unwrap();
        }
        std::fs::write(mounted.at("hiberfil.sys"), "wake".repeat(1000)).unwrap();
        mounted.end();
        let bytes = std::fs::read(file.path()).unwrap();
        let size = bytes.len() as u64;
        let source = MemorySource::new(bytes.clone());
        let of = |number| {
            crate::pieces(&source, NodeId(number))
                .into_iter()
                .map(|p| p.extent)
        };
        let mut places: Vec<Extent> = of(0).chain(of(1)).chain(of(5)).chain(of(6)).collect();
        places.extend(
            crate::pieces_of(&source, &["many"])
                .into_iter()
                .map(|p| p.extent),
        );
        // Boot sector, its backup, and the pages at the start of the journal.
        places.extend([(0, 512), (size - 512, 512)].map(|(s, l)| Extent::new(s, l).unwrap()));
        places.push(Extent::new(of(2).next().unwrap().start(), 16384).unwrap());
        let used = crate::used_by(&source);
        Base {
            bytes,
            used,
            places,
        }
    })
}

/// One act of damage; a place is one of [`Base::places`] and an offset in it.
#[derive(Clone, Debug)]
enum Damage {
    Put(usize, usize, Vec<u8>),
    /// One record over another.
    Copy((usize, usize), (usize, usize), usize),
    Truncate(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = || any::<usize>();
    let absurd = prop_oneof![
        any::<u8>().prop_map(|b| vec![b]),
        any::<u16>().prop_map(|w| w.to_le_bytes().to_vec()),
        any::<u32>().prop_map(|w| w.to_le_bytes().to_vec()),
        any::<u64>().prop_map(|w| w.to_le_bytes().to_vec()),
        (0u32..64).prop_map(|n| (1u64 << n).to_le_bytes().to_vec()),
        (1usize..9).prop_map(|n| vec![0xFF; n]),
        (1usize..9).prop_map(|n| vec![0; n]),
    ];
    prop_oneof![
        12 => (place(), place(), absurd).prop_map(|(p, o, b)| Damage::Put(p, o, b)),
        2 => ((place(), place()), (place(), place()), 1usize..2048)
            .prop_map(|(a, b, n)| Damage::Copy(a, b, n)),
        1 => any::<usize>().prop_map(Damage::Truncate),
    ]
}

impl Damage {
    fn strike(&self, bytes: &mut Vec<u8>) {
        let base = base();
        let offset = |place: usize, offset: usize| {
            let extent = base.places[place % base.places.len()];
            let inside = offset as u64 % extent.len();
            usize::try_from(extent.start() + inside).unwrap()
        };
        match self {
            Damage::Put(place, at, new) => {
                let at = offset(*place, *at);
                for (old, new) in bytes.iter_mut().skip(at).zip(new) {
                    *old = *new;
                }
            }
            Damage::Copy(from, to, len) => {
                let from = offset(from.0, from.1) / 512 * 512;
                let to = offset(to.0, to.1) / 512 * 512;
                if let Some(part) = bytes.get(from..from + len).map(<[u8]>::to_vec) {
                    for (old, new) in bytes.iter_mut().skip(to).zip(part) {
                        *old = new;
                    }
                }
            }
            Damage::Truncate(len) => bytes.truncate(len % (base.bytes.len() + 1)),
        }
    }
}

/// Everything a caller may ask of a volume.
fn ask(source: &dyn BlockSource) {
    if let Ok(Some(found)) = (reader().read)(source)
        && let Used::Map { extents, .. } = &found.used
    {
        assert!(extents.end() <= source.size_bytes());
        let tail = found.size_bytes / u64::from(found.block_size) * u64::from(found.block_size);
        if let Some(tail) = Extent::between(tail, source.size_bytes()) {
            assert!(
                extents.covers(tail),
                "what lies behind the clusters is kept"
            );
        }
    }
    if let Ok(tree) = reader().tree.unwrap()(source) {
        look(&*tree, source);
    }
}

fn look(tree: &dyn Tree, source: &dyn BlockSource) {
    let mut left = 500;
    walk(
        tree,
        &mut |file| {
            let _ = file.node.read(source, 1 << 20);
            left -= 1;
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        },
        &mut |_, _| {},
    );
}

proptest! {
    #![proptest_config(Config::with_cases(cases(300)))]

    #[test]
    fn no_damage_makes_it_panic_or_hang(damages in proptest::collection::vec(damage(), 1..6)) {
        let mut bytes = base().bytes.clone();
        for damage in &damages {
            damage.strike(&mut bytes);
        }
        let begun = Instant::now();
        ask(&MemorySource::new(bytes));
        prop_assert!(begun.elapsed() < TIME_LIMIT, "{:?}", begun.elapsed());
    }

    #[test]
    fn no_run_list_frees_what_the_bitmap_holds(pairs in proptest::collection::vec(any::<u8>(), 1..60)) {
        // The run list of a file, in a volume whose files are counted: the map can only grow, or be given up.
        let mut bytes = base().bytes.clone();
        let mft = usize::try_from(base().places[0].start()).unwrap();
        let record = (24..200).map(|n| mft + n * 1024).find(|at| {
            bytes[*at..*at + 4] == *b"FILE" && bytes[*at + 22] == 1 && data(&bytes[*at..*at + 1024]).is_some()
        });
        let at = record.unwrap();
        let list = at + data(&bytes[at..at + 1024]).unwrap() + 64;
        let room = (at + 510 - list).min(pairs.len());
        bytes[list..list + room].copy_from_slice(&pairs[..room]);
        let found = (reader().read)(&MemorySource::new(bytes)).unwrap().unwrap();
        if let Used::Map { extents, .. } = found.used {
            prop_assert!(base().used.iter().all(|extent| extents.covers(extent)));
        }
    }
}

/// Where the nonresident content of a file record starts in it.
fn data(record: &[u8]) -> Option<usize> {
    let u32_at = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap());
    let mut at = usize::from(record[20]);
    while u32_at(at) < 0x80 {
        at += u32_at(at + 4) as usize;
    }
    (u32_at(at) == 0x80 && record[at + 8] == 1).then_some(at)
}
