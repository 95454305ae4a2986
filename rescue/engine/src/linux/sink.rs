//! A destination: a disk or a regular file that is written past the page cache.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::OnceLock;

use disk::extent::Extent;
use disk::source::{BlockSink, WriteError};
use nix::fcntl::{FallocateFlags, OFlag, fallocate};
use nix::libc;

use crate::host::HostError;
use crate::linux::bounce::{Bounce, MEMORY_ALIGNMENT, PIECE};
use crate::linux::claim::Claim;
use crate::linux::ioctl;
use crate::linux::node::{Kind, Node};

/// Whole blocks go past the page cache; what is left at the edges of a write goes through it and is made
/// durable at once, so that an error is told for the write that had it.
#[derive(Debug)]
pub struct DirectSink {
    node: Node,
    /// The same file without `O_DIRECT`, opened when the first edge comes.
    edges: OnceLock<File>,
    novelty: Novelty,
    /// Holds everybody else off as long as it is written.
    _claim: Option<Claim>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Novelty {
    /// Its name in the directory is not durable yet, and what was never written reads as zeros.
    New,
    Existing,
}

impl DirectSink {
    pub fn new(node: Node) -> DirectSink {
        DirectSink {
            node,
            edges: OnceLock::new(),
            novelty: Novelty::Existing,
            _claim: None,
        }
    }

    pub fn claimed(node: Node, claim: Claim) -> DirectSink {
        DirectSink {
            _claim: Some(claim),
            ..DirectSink::new(node)
        }
    }

    /// Makes the file, sparse, with its whole size.
    pub fn create(path: &Path, size_bytes: u64) -> Result<DirectSink, HostError> {
        let failed = |error: &io::Error| HostError(creation_trouble(path, error));
        let create = |flags: OFlag| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .custom_flags(flags.bits())
                .open(path)
        };
        let (file, direct) = match create(OFlag::O_DIRECT) {
            // The kernel may have made the file before it refused the flag.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                let _ = std::fs::remove_file(path);
                (create(OFlag::empty()), false)
            }
            created => (created, true),
        };
        let file = file.map_err(|error| failed(&error))?;
        let made = file
            .set_len(size_bytes)
            .and_then(|()| Node::of_new_file(file, path));
        let node = made.map_err(|error| {
            // Ours: it did not exist a moment ago.
            let _ = std::fs::remove_file(path);
            failed(&error)
        })?;
        if !direct {
            node.leave_direct().map_err(|error| failed(&error))?;
        }
        Ok(DirectSink {
            node,
            edges: OnceLock::new(),
            novelty: Novelty::New,
            _claim: None,
        })
    }

    fn checked(&self, offset: u64, len: u64) -> Result<Option<Extent>, WriteError> {
        let size_bytes = self.node.geometry.size_bytes;
        if offset.checked_add(len).is_some_and(|end| end <= size_bytes) {
            return Ok(Extent::new(offset, len));
        }
        Err(WriteError::Fault(format!(
            "{len} bytes at {offset} lie beyond the end of {} at {size_bytes}; choose a larger destination",
            self.node.title
        )))
    }

    /// Whole blocks, from any memory.
    fn write_blocks(&self, extent: Extent, data: &[u8]) -> io::Result<()> {
        if data.as_ptr().addr().is_multiple_of(MEMORY_ALIGNMENT) {
            return self.put(extent.start(), data);
        }
        let mut rest = data;
        for piece in extent.split_at_multiples(PIECE) {
            let (now, later) = rest.split_at(small(piece.len()));
            let mut bounce = Bounce::new(piece.len());
            bounce.as_mut().copy_from_slice(now);
            self.put(piece.start(), bounce.as_ref())?;
            rest = later;
        }
        Ok(())
    }

    fn put(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < data.len() {
            match self.node.file.write_at(&data[done..], offset + done as u64) {
                Ok(0) => return Err(io::Error::from_raw_os_error(libc::ENOSPC)),
                Ok(n) => done += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if error.raw_os_error() == Some(libc::EINVAL) && self.node.is_direct() =>
                {
                    self.node.leave_direct()?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_edge(&self, extent: Extent, data: &[u8]) -> io::Result<()> {
        let file = match self.edges.get() {
            Some(file) => file,
            None => {
                let file = self.without_direct()?;
                self.edges.get_or_init(|| file)
            }
        };
        file.write_all_at(data, extent.start())?;
        file.sync_data()
    }

    /// Through the open file, not its path: the path may name something else by now.
    fn without_direct(&self) -> io::Result<File> {
        let same = format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&self.node.file)
        );
        OpenOptions::new().read(true).write(true).open(same)
    }

    fn write(&self, extent: Extent, data: &[u8]) -> io::Result<()> {
        if !self.node.is_direct() {
            return self.put(extent.start(), data);
        }
        let block = u64::from(self.node.block());
        let head_end = extent.start().next_multiple_of(block).min(extent.end());
        let body_end = (extent.end() / block * block).max(head_end);
        let (head, rest) = data.split_at(small(head_end - extent.start()));
        let (body, tail) = rest.split_at(small(body_end - head_end));
        if let Some(edge) = Extent::between(extent.start(), head_end) {
            self.write_edge(edge, head)?;
        }
        if let Some(blocks) = Extent::between(head_end, body_end) {
            self.write_blocks(blocks, body)?;
        }
        if let Some(edge) = Extent::between(body_end, extent.end()) {
            self.write_edge(edge, tail)?;
        }
        Ok(())
    }

    /// By the device or the filesystem; an error says that they do not know how.
    fn zero_fast(&self, extent: Extent) -> nix::Result<()> {
        let wide = |n: u64| i64::try_from(n).map_err(|_| nix::errno::Errno::EFBIG);
        let mode = match (self.node.kind, self.novelty) {
            (Kind::Block, _) => {
                return ioctl::zero_out(&self.node.file, extent.start(), extent.len());
            }
            (Kind::File, Novelty::New) => {
                FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE
            }
            (Kind::File, Novelty::Existing) => FallocateFlags::FALLOC_FL_ZERO_RANGE,
        };
        fallocate(
            &self.node.file,
            mode,
            wide(extent.start())?,
            wide(extent.len())?,
        )
    }

    fn make_durable(&self) -> io::Result<()> {
        self.node.file.sync_all()?;
        if self.node.kind == Kind::Block {
            // What others had cached of the old content is stale now. They would read it again anyway: not a
            // reason to fail where only root may ask for it.
            let _ = ioctl::flush_buffers(&self.node.file);
        }
        if self.novelty == Novelty::New {
            let parent = self
                .node
                .path
                .parent()
                .filter(|p| !p.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(())
    }

    fn whole(&self) -> Extent {
        Extent::new(0, self.node.geometry.size_bytes.max(1)).expect("it is not empty")
    }
}

impl BlockSink for DirectSink {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), WriteError> {
        let Some(extent) = self.checked(offset, data.len() as u64)? else {
            return Ok(());
        };
        self.write(extent, data)
            .map_err(|error| self.node.write_trouble(&error, extent))
    }

    fn zero_at(&self, offset: u64, len: u64) -> Result<(), WriteError> {
        let Some(extent) = self.checked(offset, len)? else {
            return Ok(());
        };
        if self.zero_fast(extent).is_ok() {
            return Ok(());
        }
        for piece in extent.split_at_multiples(PIECE) {
            let zeros = Bounce::new(piece.len());
            self.write_at(piece.start(), zeros.as_ref())?;
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), WriteError> {
        self.node
            .file
            .sync_data()
            .map_err(|error| self.node.write_trouble(&error, self.whole()))
    }

    fn finish(self: Box<Self>) -> Result<(), WriteError> {
        self.make_durable()
            .map_err(|error| self.node.write_trouble(&error, self.whole()))
    }
}

fn creation_trouble(path: &Path, error: &io::Error) -> String {
    let what = path.display();
    match error.raw_os_error().unwrap_or(0) {
        libc::EEXIST => format!("{what} exists already; choose another name or remove it"),
        libc::ENOENT => format!("the directory of {what} does not exist; make it first"),
        libc::EACCES | libc::EPERM => {
            format!("{what} cannot be made: not permitted; choose a directory of yours")
        }
        libc::EROFS => {
            format!("{what} cannot be made: its filesystem is read-only; choose another")
        }
        libc::EFBIG => {
            format!("{what} is too large for its filesystem; choose another, or an image instead")
        }
        libc::ENOSPC | libc::EDQUOT => format!("there is no room for {what}; choose another place"),
        _ => format!("{what} cannot be made: {error}; choose another place"),
    }
}

fn small(n: u64) -> usize {
    usize::try_from(n).expect("data in memory has a length that fits")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::linux::node::Access;

    const SIZE: usize = 300_001;

    fn folder() -> tempfile::TempDir {
        let here = std::env::current_exe().unwrap();
        tempfile::tempdir_in(here.parent().unwrap()).unwrap()
    }

    #[test]
    fn what_is_written_anywhere_is_what_the_file_holds() {
        let folder = folder();
        proptest!(|(writes in proptest::collection::vec((0..SIZE, 0usize..90_000, any::<u8>(), any::<bool>()), 1..12), buffered: bool, new: bool)| {
            let path = folder.path().join("disk");
            let _ = std::fs::remove_file(&path);
            let sink = if new {
                DirectSink::create(&path, SIZE as u64).unwrap()
            } else {
                File::create(&path).unwrap().set_len(SIZE as u64).unwrap();
                DirectSink::new(Node::open(&path, Access::Write, Path::new("/sys")).unwrap())
            };
            if buffered {
                sink.node.leave_direct().unwrap();
            }
            let mut expected = vec![0; SIZE];
            for (start, len, byte, zero) in writes {
                let len = len.min(SIZE - start);
                if zero {
                    sink.zero_at(start as u64, len as u64).unwrap();
                } else {
                    sink.write_at(start as u64, &vec![byte; len]).unwrap();
                }
                expected[start..start + len].fill(if zero { 0 } else { byte });
            }
            prop_assert_eq!(sink.node.is_direct(), !buffered);
            Box::new(sink).finish().unwrap();
            prop_assert_eq!(std::fs::read(&path).unwrap(), expected);
        });
    }

    #[test]
    fn a_new_file_is_sparse_and_never_replaces_one() {
        use std::os::unix::fs::MetadataExt;
        let folder = folder();
        let path = folder.path().join("disk");
        let sink = Box::new(DirectSink::create(&path, 1 << 30).unwrap());
        sink.write_at(1 << 20, &[7; 4096]).unwrap();
        sink.zero_at(0, 1 << 29).unwrap();
        sink.finish().unwrap();
        let found = path.metadata().unwrap();
        assert_eq!(found.len(), 1 << 30);
        assert!(found.blocks() * 512 < 1 << 20, "{} blocks", found.blocks());
        let error = DirectSink::create(&path, 5).unwrap_err();
        assert!(error.0.contains("exists already"), "{error}");
        assert_eq!(path.metadata().unwrap().len(), 1 << 30);
    }

    #[test]
    fn nothing_is_written_beyond_the_end() {
        let folder = folder();
        let path = folder.path().join("disk");
        let sink = DirectSink::create(&path, 5000).unwrap();
        for (offset, len) in [(4999, 2), (u64::MAX, 1), (5000, 1)] {
            let got = sink.write_at(offset, &vec![1; len]);
            assert!(matches!(got, Err(WriteError::Fault(_))), "{got:?}");
        }
        assert!(sink.zero_at(1, 5000).is_err());
        Box::new(sink).finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), vec![0; 5000]);
    }

    #[test]
    fn a_full_filesystem_is_told_as_full() {
        let sink = DirectSink::create(&folder().path().join("disk"), 4096).unwrap();
        let extent = Extent::new(0, 512).unwrap();
        let told = |code| {
            sink.node
                .write_trouble(&io::Error::from_raw_os_error(code), extent)
        };
        assert!(matches!(told(libc::ENOSPC), WriteError::Full(_)));
        assert!(matches!(told(libc::EIO), WriteError::Refused { .. }));
        assert!(matches!(told(libc::ENODEV), WriteError::Gone(_)));
        assert!(matches!(told(libc::EPERM), WriteError::Fault(_)));
    }
}
