//! Machines, disks and jobs for the tests.
#![allow(dead_code, reason = "each test file uses its own part of the scene")]

use std::time::Duration;

use disk::extent::{Extent, ExtentMap};
use disk::layout::Layout;
use disk::memory::MemorySource;
use engine::event::{Cancel, Event, Monitor, Silent};
use engine::fake::{FakeDisk, FakeHost};
use engine::host::Host;
use engine::job::{self, Threads, Tuning};
use engine::plan::{Approved, Consent, Plan, Refusal, prepare};
use engine::report::Report;
use engine::request::{Action, Coverage, DiskName, Options, Origin, Place, Request};

pub const MIB: usize = 1 << 20;

/// A generator whose numbers depend on its seed alone.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes.chunks_mut(8).for_each(|chunk| {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        });
        bytes
    }
}

/// A disk of `mib` MiB with an MBR and a FAT16 partition in which about half the clusters are used: noise, zeros and
/// text, and noise where nothing is used.
pub fn disk_bytes(mib: usize, seed: u64) -> Vec<u8> {
    const SECTOR: usize = 512;
    const START: usize = 2048;
    let mut dice = Dice::new(seed);
    let mut bytes = dice.bytes(mib * MIB);
    let partition = bytes.len() / SECTOR - START;
    let mbr = &mut bytes[..SECTOR];
    mbr.fill(0);
    mbr[440..444].copy_from_slice(&[1, 2, 3, 4]);
    mbr[446 + 4] = 6;
    mbr[446 + 8..446 + 12].copy_from_slice(&u32::try_from(START).unwrap().to_le_bytes());
    mbr[446 + 12..446 + 16].copy_from_slice(&u32::try_from(partition).unwrap().to_le_bytes());
    mbr[510..512].copy_from_slice(&[0x55, 0xAA]);
    fat16(&mut bytes[START * SECTOR..], &mut dice);
    bytes
}

/// FAT16 as Microsoft's specification ("FAT: General Overview of On-Disk Format") describes it.
fn fat16(volume: &mut [u8], dice: &mut Dice) {
    const SECTOR: usize = 512;
    const ROOT_ENTRIES: usize = 512;
    let sectors = volume.len() / SECTOR;
    let per_cluster = (sectors / 16_000).next_power_of_two().max(1);
    let fat_sectors = (sectors / per_cluster + 2).div_ceil(SECTOR / 2);
    let first_data = 1 + 2 * fat_sectors + ROOT_ENTRIES * 32 / SECTOR;
    let clusters = (sectors - first_data) / per_cluster;
    assert!(
        (4085..65_525).contains(&clusters),
        "{clusters} clusters are no FAT16"
    );
    volume[..first_data * SECTOR].fill(0);
    let boot = &mut volume[..SECTOR];
    boot[..11].copy_from_slice(b"\xEB\x3C\x90mkfs.fat");
    boot[11..13].copy_from_slice(&512u16.to_le_bytes());
    boot[13] = u8::try_from(per_cluster).unwrap();
    boot[14] = 1;
    boot[16] = 2;
    boot[17..19].copy_from_slice(&u16::try_from(ROOT_ENTRIES).unwrap().to_le_bytes());
    boot[21] = 0xF8;
    boot[22..24].copy_from_slice(&u16::try_from(fat_sectors).unwrap().to_le_bytes());
    boot[32..36].copy_from_slice(&u32::try_from(sectors).unwrap().to_le_bytes());
    boot[36] = 0x80;
    boot[38] = 0x29;
    boot[43..54].copy_from_slice(b"SCENE      ");
    boot[54..62].copy_from_slice(b"FAT16   ");
    boot[510..512].copy_from_slice(&[0x55, 0xAA]);
    let mut fat = vec![0; fat_sectors * SECTOR];
    fat[..4].copy_from_slice(&[0xF8, 0xFF, 0xFF, 0xFF]);
    let mut at = 0;
    while at < clusters {
        let most = if dice.one_in(4) { 900 } else { 40 };
        let run = usize::try_from(1 + dice.below(most)).unwrap();
        let run = run.min(clusters - at);
        if dice.one_in(2) {
            let place = (first_data + at * per_cluster) * SECTOR
                ..(first_data + (at + run) * per_cluster) * SECTOR;
            match dice.below(3) {
                0 => volume[place].fill(0),
                1 => volume[place].fill(b'x'),
                _ => {}
            }
            for cluster in at + 2..at + 2 + run {
                let next = if cluster == at + 1 + run {
                    0xFFFF
                } else {
                    cluster + 1
                };
                fat[2 * cluster..2 * cluster + 2]
                    .copy_from_slice(&u16::try_from(next).unwrap().to_le_bytes());
            }
        }
        at += run;
    }
    for copy in 0..2 {
        let start = (1 + copy * fat_sectors) * SECTOR;
        volume[start..start + fat.len()].copy_from_slice(&fat);
    }
}

pub fn used(bytes: &[u8]) -> ExtentMap {
    let layout = Layout::read(&MemorySource::new(bytes.to_vec())).unwrap();
    layout.used().aligned_out(4096, bytes.len() as u64)
}

pub fn extent(start: u64, len: u64) -> Extent {
    Extent::new(start, len).unwrap()
}

pub fn map(extents: &[(u64, u64)]) -> ExtentMap {
    extents
        .iter()
        .map(|(start, len)| extent(*start, *len))
        .collect()
}

/// What of `extents` is not the same in both.
pub fn differing(a: &[u8], b: &[u8], extents: &ExtentMap) -> ExtentMap {
    let differs = |piece: &Extent| {
        let range = usize::try_from(piece.start()).unwrap()..usize::try_from(piece.end()).unwrap();
        a.get(range.clone()) != b.get(range)
    };
    let pieces = extents
        .iter()
        .flat_map(|extent| extent.split_at_multiples(512));
    pieces.filter(differs).collect()
}

/// Small pieces, many threads, the state kept after every piece: everything that can go wrong does so in a
/// disk of a few MiB.
pub fn tuning() -> Tuning {
    Tuning {
        piece_bytes: 64 << 10,
        chunk_bytes: 64 << 10,
        slots: 4,
        threads: Threads {
            readers: 2,
            workers: 2,
        },
        checkpoint: Duration::ZERO,
        checkpoint_bytes: 0,
        progress: Duration::ZERO,
    }
}

pub fn path(path: &str) -> DiskName {
    DiskName::Path(path.into())
}

pub fn clone(source: &str, destination: &str) -> Action {
    Action::Clone {
        source: path(source),
        destination: path(destination),
    }
}

pub fn image(source: &str, store: &str, name: &str) -> Action {
    Action::Image {
        source: path(source),
        store: Place::Path(store.into()),
        name: name.into(),
    }
}

pub fn restore(image: &str, destination: &str) -> Action {
    Action::Restore {
        image: Place::Path(image.into()),
        destination: path(destination),
    }
}

pub fn verify(image: &str, disk: &str) -> Action {
    Action::Verify {
        against: Origin::Image(Place::Path(image.into())),
        disk: path(disk),
    }
}

pub fn request(action: Action) -> Request {
    Request {
        action,
        options: Options::default(),
    }
}

pub fn exact(action: Action) -> Request {
    Request {
        action,
        options: Options {
            coverage: Coverage::Exact,
            ..Options::default()
        },
    }
}

pub fn refused(request: &Request, host: &dyn Host) -> Vec<Refusal> {
    match prepare(request, host) {
        Ok(plan) => panic!("it was planned: {:?}", plan.lines()),
        Err(refusals) => refusals,
    }
}

pub fn consented(plan: Plan) -> Approved {
    let consent = match plan.word() {
        Some(word) => Consent::Word(word.into()),
        None => Consent::NothingOverwritten,
    };
    plan.approve(&consent).unwrap()
}

pub fn run(request: &Request, host: &dyn Host) -> Report {
    run_watched(request, host, &Silent, &Cancel::default())
}

pub fn run_watched(
    request: &Request,
    host: &dyn Host,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Report {
    let plan = match prepare(request, host) {
        Ok(plan) => plan,
        Err(refusals) => {
            let texts: Vec<String> = refusals.iter().map(ToString::to_string).collect();
            panic!("refused: {}", texts.join("\n"));
        }
    };
    job::run_tuned(&consented(plan), host, monitor, cancel, tuning())
}

/// Cancels at the given piece, or read of a rescue.
#[derive(Debug)]
pub struct CancelAt<'a> {
    pub cancel: &'a Cancel,
    pub left: std::sync::atomic::AtomicU64,
}

impl Monitor for CancelAt<'_> {
    fn event(&self, event: Event) {
        use std::sync::atomic::Ordering;
        if let Event::Progress(_) | Event::Standing(_) = event
            && self.left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.cancel.cancel();
        }
    }
}

/// Keeps every event.
#[derive(Debug, Default)]
pub struct Listening(pub std::sync::Mutex<Vec<Event>>);

impl Monitor for Listening {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// A machine with a source of `mib` MiB at `/dev/sda` and a larger noisy disk at `/dev/sdb`.
pub struct Bench {
    pub host: FakeHost,
    pub source: FakeDisk,
    pub destination: FakeDisk,
    pub bytes: Vec<u8>,
}

impl Bench {
    pub fn new(mib: usize, seed: u64) -> Bench {
        let host = FakeHost::new();
        let bytes = disk_bytes(mib, seed);
        let source = FakeDisk::new("/dev/sda", "SOURCE01", bytes.clone());
        let noise = Dice::new(seed ^ 77).bytes((mib + 2) * MIB);
        let destination = FakeDisk::new("/dev/sdb", "DEST0002", noise);
        host.add(&source);
        host.add(&destination);
        Bench {
            host,
            source,
            destination,
            bytes,
        }
    }

    /// The source was not touched, by its bytes and by its counter.
    pub fn assert_source_untouched(&self) {
        assert!(self.source.bytes() == self.bytes, "the source was changed");
        assert_eq!(self.source.sectors_written(), 0);
    }
}
