//! A disk in memory that can be pulled, be full, have bad places and lose power.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::disk::extent::{Extent, ExtentMap};
use ::disk::geometry::Geometry;
use ::disk::layout::Layout;
use ::disk::source::{BlockSink, BlockSource, ReadError, WriteError};

use crate::host::{Disk, Transport, Use};
use crate::identity::{Fingerprint, Identity};

const ENDS: usize = 64 << 10;

/// Clones are the same disk.
#[derive(Clone)]
pub struct FakeDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    bytes: Vec<u8>,
    seen: Disk,
    bad: ExtentMap,
    /// The bad places at which reads ended, one for each failed read.
    failed: Vec<Extent>,
    there: bool,
    /// Reads and writes that still succeed before the cable comes off.
    reads_left: Option<u64>,
    writes_left: Option<u64>,
    /// Bytes that may still be written before it is full.
    room: Option<u64>,
    /// A write here is refused by the medium.
    refusing: ExtentMap,
    /// Writes here are acknowledged and lost.
    forgetful: ExtentMap,
    sectors_written: u64,
    kernel_read_only: bool,
    /// What writes replaced since the last sync, oldest first.
    undurable: Vec<(usize, Vec<u8>)>,
    manners: Manners,
}

/// How it answers to who asks it as a failing disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Manners {
    /// Its errors name the bad sector, as those of a SCSI drive do.
    pub names_sectors: bool,
    /// So many commands get no answer.
    pub lost_commands: u32,
    /// Once pulled it is there again when somebody waits for it.
    pub returns: bool,
}

impl Manners {
    pub(super) fn lose_one(&mut self) -> bool {
        let lost = self.lost_commands > 0;
        self.lost_commands = self.lost_commands.saturating_sub(1);
        lost
    }
}

impl FakeDisk {
    /// A SATA disk with 512-byte sectors; its model is `Fake`.
    pub fn new(path: &str, serial: &str, bytes: Vec<u8>) -> FakeDisk {
        let identity = Identity {
            serial: Some(serial.into()),
            wwn: None,
            model: Some("Fake".into()),
            location: None,
            size_bytes: bytes.len() as u64,
            fingerprint: Fingerprint([0; 32]),
            file: None,
        };
        FakeDisk::with(Path::new(path), identity, Transport::Sata, bytes)
    }

    pub fn file(path: &Path, bytes: Vec<u8>) -> FakeDisk {
        let identity = Identity {
            serial: None,
            wwn: None,
            model: None,
            location: None,
            size_bytes: bytes.len() as u64,
            fingerprint: Fingerprint([0; 32]),
            file: Some(path.to_owned()),
        };
        FakeDisk::with(path, identity, Transport::File, bytes)
    }

    fn with(path: &Path, identity: Identity, transport: Transport, bytes: Vec<u8>) -> FakeDisk {
        let seen = Disk {
            path: path.to_owned(),
            transport,
            vendor: None,
            firmware: None,
            health: None,
            geometry: Geometry::of_file(identity.size_bytes),
            rotational: None,
            read_only: false,
            removable: false,
            boot_medium: false,
            uses: Vec::new(),
            layout: Err("nobody has looked".into()),
            systems: Vec::new(),
            identity,
        };
        let state = State {
            bytes,
            seen,
            bad: ExtentMap::new(),
            failed: Vec::new(),
            there: true,
            reads_left: None,
            writes_left: None,
            room: None,
            refusing: ExtentMap::new(),
            forgetful: ExtentMap::new(),
            sectors_written: 0,
            kernel_read_only: false,
            undurable: Vec::new(),
            manners: Manners::default(),
        };
        FakeDisk {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Changes what the machine shows of it.
    pub fn show(&self, change: impl FnOnce(&mut Disk)) -> &FakeDisk {
        change(&mut self.state().seen);
        self
    }

    pub fn with_sectors(&self, logical_sector: u32, physical_sector: u32) -> &FakeDisk {
        self.show(|disk| {
            disk.geometry.logical_sector = logical_sector;
            disk.geometry.physical_sector = physical_sector;
        })
    }

    pub fn use_by(&self, used: Use) -> &FakeDisk {
        self.show(|disk| disk.uses.push(used))
    }

    pub fn set_bad(&self, bad: ExtentMap) {
        self.state().bad = bad;
    }

    /// Where reads failed since the last time this was asked.
    pub fn take_failed(&self) -> Vec<Extent> {
        std::mem::take(&mut self.state().failed)
    }

    pub fn show_manners(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.state().manners);
    }

    pub(super) fn manners<T>(&self, ask: impl FnOnce(&mut Manners) -> T) -> T {
        ask(&mut self.state().manners)
    }

    pub fn set_refusing(&self, refusing: ExtentMap) {
        self.state().refusing = refusing;
    }

    /// A write here is acknowledged and lost.
    pub fn forget_writes(&self, extent: Extent) {
        self.state().forgetful.insert(extent);
    }

    pub fn pull_after_reads(&self, reads: u64) {
        self.state().reads_left = Some(reads);
    }

    pub fn pull_after_writes(&self, writes: u64) {
        self.state().writes_left = Some(writes);
    }

    pub fn limit_room(&self, bytes: u64) {
        self.state().room = Some(bytes);
    }

    /// The cable is in again, and there is room.
    pub fn mend(&self) {
        let mut state = self.state();
        (state.there, state.reads_left, state.writes_left, state.room) = (true, None, None, None);
    }

    /// The power is cut: of what was written since the last sync, each write is kept or lost as `kept` says.
    pub fn cut_power(&self, mut kept: impl FnMut() -> bool) {
        let mut state = self.state();
        while let Some((at, before)) = state.undurable.pop() {
            if !kept() {
                state.bytes[at..at + before.len()].copy_from_slice(&before);
            }
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    /// Puts other content there, as another program would.
    pub fn set_bytes(&self, bytes: Vec<u8>) {
        self.state().bytes = bytes;
    }

    pub fn sectors_written(&self) -> u64 {
        self.state().sectors_written
    }

    pub fn is_kernel_read_only(&self) -> bool {
        self.state().kernel_read_only
    }

    pub(super) fn set_kernel_read_only(&self, on: bool) {
        self.state().kernel_read_only = on;
    }

    pub(super) fn is_there(&self) -> bool {
        self.state().there
    }

    pub(super) fn path(&self) -> PathBuf {
        self.state().seen.path.clone()
    }

    /// Fingerprint included, as it is now.
    pub fn identity(&self) -> Identity {
        let state = self.state();
        Identity {
            fingerprint: state.fingerprint(),
            ..state.seen.identity.clone()
        }
    }

    /// As an inventory shows it.
    pub(super) fn look(&self) -> Disk {
        // Looking is not one of the reads that are counted.
        let snapshot = self.state();
        let bytes = ::disk::memory::MemorySource::with_sectors(
            snapshot.bytes.clone(),
            snapshot.seen.geometry.logical_sector,
            snapshot.seen.geometry.physical_sector,
        );
        let source = ::disk::memory::BadPlaces {
            source: bytes,
            bad: snapshot.bad.clone(),
        };
        let seen = snapshot.seen.clone();
        let fingerprint = snapshot.fingerprint();
        drop(snapshot);
        Disk {
            layout: Layout::read(&source).map_err(|error| error.to_string()),
            identity: Identity {
                fingerprint,
                ..seen.identity.clone()
            },
            ..seen
        }
    }

    pub(super) fn reader(&self) -> Reading {
        Reading(self.clone())
    }

    pub(super) fn writer(&self) -> Writing {
        Writing(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fingerprint(&self) -> Fingerprint {
        let len = self.bytes.len().min(ENDS);
        let mut hasher = blake3::Hasher::new();
        for at in [0, self.bytes.len() - len] {
            let extent = Extent::new(at as u64, len as u64);
            match extent.and_then(|extent| self.bad.within(extent).next()) {
                Some(_) => hasher.update(b"unreadable"),
                None => hasher.update(&self.bytes[at..at + len]),
            };
        }
        Fingerprint(*hasher.finalize().as_bytes())
    }

    fn title(&self) -> String {
        self.seen.title()
    }

    /// Where it is and what it holds.
    fn part(&self, extent: Extent) -> (usize, Vec<u8>) {
        let at = usize::try_from(extent.start()).expect("it lies inside a vector");
        let end = usize::try_from(extent.end()).expect("it lies inside a vector");
        (at, self.bytes[at..end].to_vec())
    }

    /// One operation less until the cable comes off.
    fn count(left: &mut Option<u64>, there: &mut bool) -> bool {
        if *left == Some(0) {
            *there = false;
        }
        if let Some(left) = left {
            *left = left.saturating_sub(1);
        }
        *there
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        if !State::count(&mut self.reads_left, &mut self.there) {
            return Err(ReadError::Gone(self.title()));
        }
        let asked = Extent::new(offset, buf.len() as u64);
        if let Some(bad) = asked.and_then(|asked| self.bad.within(asked).next()) {
            self.failed.push(bad);
            return Err(ReadError::Unreadable(bad));
        }
        let found = usize::try_from(offset)
            .ok()
            .and_then(|at| self.bytes.get(at..at.checked_add(buf.len())?));
        match found {
            Some(found) => {
                buf.copy_from_slice(found);
                Ok(())
            }
            None => Err(ReadError::BeyondEnd {
                offset,
                len: buf.len() as u64,
                size_bytes: self.bytes.len() as u64,
            }),
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), WriteError> {
        let title = self.title();
        if !State::count(&mut self.writes_left, &mut self.there) {
            return Err(WriteError::Gone(title));
        }
        if self.kernel_read_only {
            return Err(WriteError::Fault(format!(
                "{title} is read-only in the kernel; choose another destination"
            )));
        }
        let len = data.len() as u64;
        let extent =
            Extent::new(offset, len).filter(|extent| extent.end() <= self.bytes.len() as u64);
        let Some(extent) = extent else {
            return Err(WriteError::Fault(format!(
                "{len} bytes at {offset} lie beyond the end of {title}"
            )));
        };
        if let Some(extent) = self.refusing.within(extent).next() {
            let text = "medium error".into();
            return Err(WriteError::Refused { extent, text });
        }
        if let Some(room) = &mut self.room {
            if *room < len {
                return Err(WriteError::Full(title));
            }
            *room -= len;
        }
        let at = usize::try_from(offset).expect("it lies inside a vector");
        let place = at..at + data.len();
        self.undurable
            .push((at, self.bytes[place.clone()].to_vec()));
        let forgotten: Vec<(usize, Vec<u8>)> = self
            .forgetful
            .within(extent)
            .map(|lost| self.part(lost))
            .collect();
        self.bytes[place].copy_from_slice(data);
        for (at, before) in forgotten {
            self.bytes[at..at + before.len()].copy_from_slice(&before);
        }
        self.sectors_written += len.div_ceil(512);
        Ok(())
    }
}

pub struct Reading(FakeDisk);

impl BlockSource for Reading {
    fn geometry(&self) -> Geometry {
        self.0.state().seen.geometry
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.0.state().read(offset, buf)
    }
}

pub struct Writing(FakeDisk);

impl BlockSink for Writing {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), WriteError> {
        self.0.state().write(offset, data)
    }

    fn sync(&self) -> Result<(), WriteError> {
        let mut state = self.0.state();
        if !state.there {
            return Err(WriteError::Gone(state.title()));
        }
        state.undurable.clear();
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), WriteError> {
        self.sync()
    }
}

impl fmt::Debug for FakeDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        write!(
            f,
            "FakeDisk({}, {} bytes)",
            state.title(),
            state.bytes.len()
        )
    }
}
