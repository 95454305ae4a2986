//! An image as files: the whole disk and each partition, read-only, in a directory that is mounted by FUSE.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry,
    ReplyLseek, Request,
};

use disk::source::BlockSource;

use crate::event::Cancel;
use crate::serve::{Allocation, Content, Export, OfImage};

/// Nothing of an image changes.
const VALID: Duration = Duration::from_secs(3600);
const POLL: Duration = Duration::from_millis(100);
/// Reads that are under way at once.
const THREADS: usize = 4;
/// The kernel asks for less (`FUSE_MAX_MAX_PAGES`).
const LONGEST_READ: u64 = 1 << 20;

/// What was read through it.
#[derive(Default, Debug)]
pub struct Tally {
    pub read_bytes: AtomicU64,
    /// Reads that damage of the image did not let through.
    pub failed_reads: AtomicU64,
}

/// Mounted until it is dropped.
#[derive(Debug)]
pub struct Mounted {
    session: BackgroundSession,
    pub tally: Arc<Tally>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Data,
    Hole,
}

struct Files {
    content: OfImage,
    exports: Vec<Export>,
    /// How much of each the image has: with less than its size, programs look for holes.
    data_bytes: Vec<u64>,
    tally: Arc<Tally>,
    owner: (u32, u32),
}

/// What a file of the directory is called.
pub fn file_name(export: &Export) -> String {
    match export.name.as_str() {
        "" => "disk.img".into(),
        number => format!("partition-{number}.img"),
    }
}

impl Mounted {
    /// # Errors
    /// When the kernel has no FUSE, or does not let this user mount.
    pub fn at(directory: &Path, content: OfImage, exports: Vec<Export>) -> io::Result<Mounted> {
        let data_bytes = exports
            .iter()
            .map(|export| content.data_bytes(export.extent));
        let data_bytes = data_bytes.collect();
        let tally = Arc::new(Tally::default());
        let user = (nix::unistd::geteuid(), nix::unistd::getegid());
        let files = Files {
            content,
            exports,
            data_bytes,
            tally: tally.clone(),
            owner: (user.0.as_raw(), user.1.as_raw()),
        };
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::RO,
            MountOption::NoDev,
            MountOption::NoSuid,
            MountOption::FSName("rescue".into()),
        ];
        config.n_threads = Some(THREADS);
        config.clone_fd = true;
        let session = fuser::spawn_mount(files, directory, &config)?;
        Ok(Mounted { session, tally })
    }

    /// Until it is cancelled, or somebody has unmounted it.
    ///
    /// # Errors
    /// When it cannot be unmounted.
    pub fn last(self, cancel: &Cancel) -> io::Result<()> {
        while !self.session.guard.is_finished() {
            if cancel.is_cancelled() {
                return self.session.umount_and_join();
            }
            sleep(POLL);
        }
        self.session.join()
    }
}

impl Files {
    fn nth(ino: INodeNo) -> Option<usize> {
        usize::try_from(u64::from(ino).checked_sub(2)?).ok()
    }

    fn export(&self, ino: INodeNo) -> Option<&Export> {
        self.exports.get(Self::nth(ino)?)
    }

    fn directory(&self) -> FileAttr {
        self.attributes(INodeNo::ROOT, FileType::Directory, 0, 0)
    }

    fn file(&self, ino: INodeNo) -> Option<FileAttr> {
        let size = self.export(ino)?.extent.len();
        let data = *self.data_bytes.get(Self::nth(ino)?)?;
        Some(self.attributes(ino, FileType::RegularFile, size, data))
    }

    fn attributes(&self, ino: INodeNo, kind: FileType, size: u64, data: u64) -> FileAttr {
        let (perm, nlink) = match kind {
            FileType::Directory => (0o555, 2),
            _ => (0o444, 1),
        };
        FileAttr {
            ino,
            size,
            blocks: data.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink,
            uid: self.owner.0,
            gid: self.owner.1,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    /// Fewer than asked for only at the end of the file; `None` where the image is damaged.
    fn bytes(&self, export: &Export, offset: u64, size: u32) -> Option<Vec<u8>> {
        let left = export.extent.len().saturating_sub(offset);
        let len = left.min(u64::from(size)).min(LONGEST_READ);
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        let from = export.extent.start().checked_add(offset)?;
        match self.content.read_at(from, &mut bytes) {
            Ok(()) => {
                self.tally.read_bytes.fetch_add(len, Ordering::Relaxed);
                Some(bytes)
            }
            Err(_) => {
                self.tally.failed_reads.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Where data, or a hole, begins at or behind `offset` of a file.
    fn next(&self, export: &Export, offset: u64, wanted: Wanted) -> Option<u64> {
        let (start, len) = (export.extent.start(), export.extent.len());
        let mut at = offset;
        while at < len {
            let run = self.content.run_at(start + at).ok()?;
            if (run.allocation == Allocation::Data) == (wanted == Wanted::Data) {
                return Some(at);
            }
            at = run.end.checked_sub(start)?.min(len);
        }
        // Every file ends in a hole.
        (wanted == Wanted::Hole && offset < len).then_some(len)
    }
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let named = |export: &Export| name == file_name(export).as_str();
        let nth = self.exports.iter().position(named);
        let found = nth.filter(|_| parent == INodeNo::ROOT);
        match found.and_then(|nth| self.file(INodeNo(nth as u64 + 2))) {
            Some(attributes) => reply.entry(&VALID, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let attributes = match ino {
            INodeNo::ROOT => Some(self.directory()),
            _ => self.file(ino),
        };
        match attributes {
            Some(attributes) => reply.attr(&VALID, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(export) = self.export(ino) else {
            return reply.error(Errno::ENOENT);
        };
        match self.bytes(export, offset, size) {
            Some(bytes) => reply.data(&bytes),
            None => reply.error(Errno::EIO),
        }
    }

    fn lseek(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let wanted = match whence {
            libc::SEEK_DATA => Wanted::Data,
            libc::SEEK_HOLE => Wanted::Hole,
            _ => return reply.error(Errno::EINVAL),
        };
        let found = self.export(ino).and_then(|export| {
            let found = self.next(export, u64::try_from(offset).ok()?, wanted)?;
            i64::try_from(found).ok()
        });
        match found {
            Some(offset) => reply.offset(offset),
            None => reply.error(Errno::ENXIO),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        if ino != INodeNo::ROOT {
            return reply.error(Errno::ENOTDIR);
        }
        let own = [".", ".."].map(|name| (INodeNo::ROOT, FileType::Directory, name.to_owned()));
        let files = self.exports.iter().zip(2..).map(|(export, number)| {
            let name = file_name(export);
            (INodeNo(number), FileType::RegularFile, name)
        });
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for (at, (ino, kind, name)) in own.into_iter().chain(files).enumerate().skip(skipped) {
            if reply.add(ino, at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
