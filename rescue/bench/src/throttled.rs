//! Two slow devices in one program: a clone whose source and destination each give so many bytes a second and no more.
//! A tool that reads and writes in turn takes the sum of both times; one that overlaps them takes the longer one.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use disk::geometry::Geometry;
use disk::source::{BlockSink, BlockSource, ReadError, WriteError};
use engine::event::{Cancel, Silent};
use engine::host::{Disk, Host, HostError, OpenPlace, Protection};
use engine::identity::Identity;
use engine::job;
use engine::linux::Linux;
use engine::permit::WritePermit;
use engine::plan::{Consent, prepare};
use engine::report::Outcome;
use engine::request::{
    Action, Ancestor, Coverage, DiskName, Options, Place, Request, Verification,
};

use crate::work::Work;

/// Bytes a second.
const READ_RATE: f64 = 300e6;
const WRITE_RATE: f64 = 250e6;
/// Of the longer of the two times.
const AT_MOST: f64 = 1.05;
const DD_BLOCK: u64 = 4 << 20;

/// Prints ours and dd's way beside the floor; false when the goal was missed.
pub fn run(work: &Work, repeat: usize) -> Result<bool, String> {
    let (source, destination) = (work.path("disk.img"), work.path("out.img"));
    let size_bytes = std::fs::metadata(&source)
        .map_err(|error| format!("{source}: {error}"))?
        .len();
    let floor = size_bytes as f64 / READ_RATE.min(WRITE_RATE);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..repeat {
        ours.push(timed(&destination, || clone(&source, &destination))?);
        theirs.push(timed(&destination, || in_turn(&source, &destination))?);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let ratio = ours / floor;
    let missed = ratio > AT_MOST;
    println!(
        "\ntwo devices, {:.0} MB/s read and {:.0} MB/s written: the longer of both takes {floor:.2} s",
        READ_RATE / 1e6,
        WRITE_RATE / 1e6
    );
    println!(
        "  rescue                    {ours:.2} s, {ratio:.2} of it; at most {AT_MOST}{}",
        if missed { "  MISSED" } else { "" }
    );
    println!(
        "  blocks of 4 MiB in turn   {theirs:.2} s, {:.2} of it",
        theirs / floor
    );
    Ok(!missed)
}

/// What a disk that is neither the slowest nor the fastest gives.
const SECOND_READ_RATE: f64 = 500e6;
/// Of the time that reading what is in use takes from such a disk.
const SECOND_AT_MOST: f64 = 1.10;

/// The second image, of a disk that gives so many bytes a second and no more.
pub fn second(work: &Work, repeat: usize) -> Result<bool, String> {
    let mut ratios = Vec::new();
    for _ in 0..repeat {
        ratios.push(second_image(work)?);
    }
    let ratio = median(ratios);
    let missed = ratio > SECOND_AT_MOST;
    println!(
        "\nsecond image of a disk that gives {:.0} MB/s: {ratio:.2} of the time that reading once what is in use takes; \
         at most {SECOND_AT_MOST}{}",
        SECOND_READ_RATE / 1e6,
        if missed { "  MISSED" } else { "" }
    );
    Ok(!missed)
}

fn second_image(work: &Work) -> Result<f64, String> {
    let output = work.path("slow.img.zst");
    let _ = std::fs::remove_file(&output);
    let request = Request {
        action: Action::Image {
            source: DiskName::Path(work.path("later.img").into()),
            store: Place::Path(work.path("").into()),
            name: "slow".into(),
        },
        options: Options {
            parent: Ancestor::Named("first".into()),
            verification: Verification::Skip,
            ..Options::default()
        },
    };
    let host = Throttled::reading_at(SECOND_READ_RATE);
    let plan = prepare(&request, &host).map_err(|refusals| format!("refused: {refusals:?}"))?;
    let floor = plan.used().total_bytes() as f64 / SECOND_READ_RATE;
    let plan = plan
        .approve(&Consent::NothingOverwritten)
        .map_err(|_| "the image is there already".to_owned())?;
    host.read.rest();
    let seconds = timed(&output, || {
        let report = job::run(&plan, &host, &Silent, &Cancel::default());
        match report.outcome {
            Outcome::Done => Ok(()),
            other => Err(format!("the second image ended with {other:?}")),
        }
    })?;
    Ok(seconds / floor)
}

fn timed(destination: &str, job: impl FnOnce() -> Result<(), String>) -> Result<f64, String> {
    let started = Instant::now();
    job()?;
    let seconds = started.elapsed().as_secs_f64();
    std::fs::remove_file(destination).map_err(|error| format!("{destination}: {error}"))?;
    Ok(seconds)
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn request(source: &str, destination: &str) -> Request {
    let name = |path: &str| DiskName::Path(path.into());
    Request {
        action: Action::Clone {
            source: name(source),
            destination: name(destination),
        },
        options: Options {
            coverage: Coverage::Exact,
            verification: Verification::Skip,
            ..Options::default()
        },
    }
}

fn clone(source: &str, destination: &str) -> Result<(), String> {
    let host = Throttled::reading_at(READ_RATE);
    let plan = prepare(&request(source, destination), &host)
        .map_err(|refusals| format!("the clone is refused: {refusals:?}"))?;
    let plan = plan
        .approve(&Consent::NothingOverwritten)
        .map_err(|_| "the destination exists".to_owned())?;
    // What was read to make the plan is not the job's.
    host.read.rest();
    let report = job::run(&plan, &host, &Silent, &Cancel::default());
    match report.outcome {
        Outcome::Done => Ok(()),
        other => Err(format!("the clone ended with {other:?}")),
    }
}

/// What dd does.
fn in_turn(source: &str, destination: &str) -> Result<(), String> {
    use std::os::unix::fs::FileExt;
    let told = |error: std::io::Error| error.to_string();
    let (from, to) = (
        std::fs::File::open(source).map_err(told)?,
        std::fs::File::create_new(destination).map_err(told)?,
    );
    let (read, write) = (Throttle::new(READ_RATE), Throttle::new(WRITE_RATE));
    let size_bytes = from.metadata().map_err(told)?.len();
    let mut buffer = vec![0; usize::try_from(DD_BLOCK).expect("a block fits in memory")];
    let mut at = 0;
    while at < size_bytes {
        let len = DD_BLOCK.min(size_bytes - at);
        let block = &mut buffer[..usize::try_from(len).expect("it is a block at most")];
        read.pass(len, || from.read_exact_at(block, at))
            .map_err(told)?;
        write
            .pass(len, || to.write_all_at(block, at))
            .map_err(told)?;
        at += len;
    }
    Ok(())
}

/// A device that does one thing after the other.
#[derive(Debug)]
struct Throttle {
    bytes_per_second: f64,
    free_at: Mutex<Instant>,
}

impl Throttle {
    fn new(bytes_per_second: f64) -> Throttle {
        Throttle {
            bytes_per_second,
            free_at: Mutex::new(Instant::now()),
        }
    }

    /// Does it, and returns when the device is done with these bytes.
    fn pass<T>(&self, bytes: u64, transfer: impl FnOnce() -> T) -> T {
        let until = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
            *free_at = (*free_at).max(Instant::now()) + takes;
            *free_at
        };
        let done = transfer();
        thread::sleep(until.saturating_duration_since(Instant::now()));
        done
    }

    fn rest(&self) {
        *self.free_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// This machine with slow devices.
struct Throttled {
    inner: Linux,
    read: Arc<Throttle>,
    write: Arc<Throttle>,
}

impl Throttled {
    fn reading_at(bytes_per_second: f64) -> Throttled {
        Throttled {
            inner: Linux::default(),
            read: Arc::new(Throttle::new(bytes_per_second)),
            write: Arc::new(Throttle::new(WRITE_RATE)),
        }
    }
}

struct SlowSource {
    inner: Box<dyn BlockSource>,
    throttle: Arc<Throttle>,
}

impl BlockSource for SlowSource {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let bytes = buf.len() as u64;
        self.throttle
            .pass(bytes, || self.inner.read_at(offset, buf))
    }
}

struct SlowSink {
    inner: Box<dyn BlockSink>,
    throttle: Arc<Throttle>,
}

impl BlockSink for SlowSink {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), WriteError> {
        let bytes = data.len() as u64;
        self.throttle
            .pass(bytes, || self.inner.write_at(offset, data))
    }

    /// As slow as any other write, so that zeros are no advantage over dd.
    fn zero_at(&self, offset: u64, len: u64) -> Result<(), WriteError> {
        self.throttle.pass(len, || self.inner.zero_at(offset, len))
    }

    fn sync(&self) -> Result<(), WriteError> {
        self.inner.sync()
    }

    fn finish(self: Box<Self>) -> Result<(), WriteError> {
        self.inner.finish()
    }
}

impl Host for Throttled {
    fn disks(&self) -> Result<Vec<Disk>, HostError> {
        self.inner.disks()
    }

    fn find(&self, name: &DiskName) -> Result<Vec<Disk>, HostError> {
        self.inner.find(name)
    }

    fn open_source(&self, identity: &Identity) -> Result<Box<dyn BlockSource>, HostError> {
        Ok(Box::new(SlowSource {
            inner: self.inner.open_source(identity)?,
            throttle: Arc::clone(&self.read),
        }))
    }

    fn identify(&self, known: &Identity) -> Result<Identity, HostError> {
        self.inner.identify(known)
    }

    fn open_destination(&self, permit: &WritePermit) -> Result<Box<dyn BlockSink>, HostError> {
        Ok(Box::new(SlowSink {
            inner: self.inner.open_destination(permit)?,
            throttle: Arc::clone(&self.write),
        }))
    }

    fn open_place(
        &self,
        place: &Place,
        permit: Option<&WritePermit>,
    ) -> Result<OpenPlace, HostError> {
        self.inner.open_place(place, permit)
    }

    fn protect_all_but(
        &self,
        source: Option<&Identity>,
        permits: &[&WritePermit],
    ) -> Result<Protection, HostError> {
        self.inner.protect_all_but(source, permits)
    }

    fn sectors_written(&self, identity: &Identity) -> Option<u64> {
        self.inner.sectors_written(identity)
    }

    fn kernel_read_only(&self, identity: &Identity) -> Option<bool> {
        self.inner.kernel_read_only(identity)
    }

    fn reread_table(&self, permit: &WritePermit) -> Result<(), HostError> {
        self.inner.reread_table(permit)
    }

    fn grow_filesystem(&self, permit: &WritePermit, partition: u32) -> Result<String, HostError> {
        self.inner.grow_filesystem(permit, partition)
    }

    fn full_path(&self, path: &Path) -> std::path::PathBuf {
        self.inner.full_path(path)
    }
}
