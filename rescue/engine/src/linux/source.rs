//! A disk or a regular file that is read past the page cache.

use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use disk::extent::Extent;
use disk::geometry::Geometry;
use disk::source::{BlockSource, ReadError};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc;

use crate::linux::bounce::{Bounce, PIECE, is_aligned};
use crate::linux::node::Node;

/// One attempt for each range that is asked: what to do about bad places is the job's to decide.
///
/// Memory, offset and length that are aligned to 4096 bytes go straight to the device; anything else is read in
/// whole blocks through a copy.
#[derive(Debug)]
pub struct DirectSource {
    node: Node,
}

impl DirectSource {
    pub fn new(node: Node) -> DirectSource {
        DirectSource { node }
    }

    /// Reads until `buf` is full or the end; how much it was.
    fn fill(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self
                .node
                .file
                .read_at(&mut buf[filled..], offset + filled as u64)
            {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if error.raw_os_error() == Some(libc::EINVAL) && self.node.is_direct() =>
                {
                    self.node.leave_direct()?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn fill_all(&self, asked: Extent, buf: &mut [u8]) -> Result<(), ReadError> {
        let filled = self
            .fill(asked.start(), buf)
            .map_err(|error| self.node.read_trouble(&error, asked))?;
        self.not_short(filled, buf.len())
    }

    /// In whole blocks through aligned memory.
    fn fill_by_copy(&self, asked: Extent, buf: &mut [u8]) -> Result<(), ReadError> {
        let whole = u64::from(self.node.block());
        let mut rest = buf;
        for piece in asked.split_at_multiples(PIECE) {
            let outer = piece
                .aligned_out(whole, u64::MAX)
                .expect("a piece inside the disk can be grown");
            let mut bounce = Bounce::new(outer.len());
            let filled = self
                .fill(outer.start(), bounce.as_mut())
                .map_err(|error| self.node.read_trouble(&error, piece))?;
            let skip = small(piece.start() - outer.start());
            let (now, later) = rest.split_at_mut(small(piece.len()));
            self.not_short(filled.saturating_sub(skip), now.len())?;
            now.copy_from_slice(&bounce.as_ref()[skip..skip + now.len()]);
            rest = later;
        }
        Ok(())
    }

    /// The range lay inside the disk when it was opened.
    fn not_short(&self, filled: usize, wanted: usize) -> Result<(), ReadError> {
        if filled >= wanted {
            return Ok(());
        }
        let what = &self.node.title;
        Err(if self.node.is_gone() {
            ReadError::Gone(what.clone())
        } else {
            ReadError::Fault(format!(
                "{what} became shorter while it was read; leave it alone and repeat the command"
            ))
        })
    }

    /// The page cache holds nothing that was read once.
    fn forget(&self, asked: Extent) {
        if let (Ok(start), Ok(len)) = (i64::try_from(asked.start()), i64::try_from(asked.len())) {
            let advice = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
            // Only advice: bytes are right without it.
            let _ = posix_fadvise(&self.node.file, start, len, advice);
        }
    }
}

impl BlockSource for DirectSource {
    fn geometry(&self) -> Geometry {
        self.node.geometry
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let len = buf.len() as u64;
        let size_bytes = self.node.geometry.size_bytes;
        let inside = offset.checked_add(len).is_some_and(|end| end <= size_bytes);
        let asked = match Extent::new(offset, len) {
            Some(asked) if inside => asked,
            None if inside => return Ok(()),
            _ => {
                return Err(ReadError::BeyondEnd {
                    offset,
                    len,
                    size_bytes,
                });
            }
        };
        if self.node.is_direct() && !is_aligned(buf, offset, self.node.block()) {
            return self.fill_by_copy(asked, buf);
        }
        self.fill_all(asked, buf)?;
        if !self.node.is_direct() {
            self.forget(asked);
        }
        Ok(())
    }
}

fn small(n: u64) -> usize {
    usize::try_from(n).expect("a piece fits in memory")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;
    use crate::linux::node::Access;

    const SIZE: usize = 3 << 20 | 777;

    fn numbered() -> Vec<u8> {
        (0..SIZE)
            .map(|i| (i ^ (i >> 8) ^ (i >> 16)).to_le_bytes()[0])
            .collect()
    }

    /// On a filesystem with direct I/O; the folder of the test's own binary is on one.
    fn on_disk() -> tempfile::NamedTempFile {
        let here = std::env::current_exe().unwrap();
        let file = tempfile::NamedTempFile::new_in(here.parent().unwrap()).unwrap();
        std::fs::write(file.path(), numbered()).unwrap();
        file
    }

    fn open(path: &Path) -> DirectSource {
        DirectSource::new(Node::open(path, Access::Read, Path::new("/sys")).unwrap())
    }

    #[test]
    fn any_range_of_a_file_is_read_past_the_cache() {
        let (file, bytes) = (on_disk(), numbered());
        let source = open(file.path());
        assert!(source.node.is_direct(), "direct I/O is what is tested here");
        assert_eq!(source.size_bytes(), SIZE as u64);
        proptest!(|(start in 0..SIZE, len in 0..SIZE, skew in 0usize..2)| {
            let len = len.min(SIZE - start);
            let mut memory = vec![0; len + skew];
            source.read_at(start as u64, &mut memory[skew..]).unwrap();
            prop_assert_eq!(&memory[skew..], &bytes[start..start + len]);
        });
        assert!(source.node.is_direct());
    }

    #[test]
    fn aligned_memory_is_read_into_without_a_copy() {
        let (file, bytes) = (on_disk(), numbered());
        let source = open(file.path());
        let mut memory = Bounce::new(8192);
        source.read_at(4096, memory.as_mut()).unwrap();
        assert_eq!(memory.as_ref(), &bytes[4096..4096 + 8192]);
    }

    #[test]
    fn without_direct_io_the_same_bytes_come() {
        let (file, bytes) = (on_disk(), numbered());
        let source = open(file.path());
        source.node.leave_direct().unwrap();
        let mut memory = vec![0; SIZE - 5];
        source.read_at(5, &mut memory).unwrap();
        assert_eq!(memory, &bytes[5..]);
    }

    #[test]
    fn beyond_the_end_is_an_error_and_so_is_a_file_that_shrank() {
        let file = on_disk();
        let source = open(file.path());
        for (offset, len) in [(SIZE as u64, 1), (u64::MAX, 2), (SIZE as u64 - 1, 2)] {
            let got = source.read_at(offset, &mut vec![0; len]);
            assert!(matches!(got, Err(ReadError::BeyondEnd { .. })), "{got:?}");
        }
        file.as_file().set_len(5000).unwrap();
        let got = source.read_at(8192, &mut [0; 512]);
        assert!(
            matches!(&got, Err(ReadError::Fault(text)) if text.contains("shorter")),
            "{got:?}"
        );
    }

    #[test]
    fn errors_of_the_medium_are_data_and_a_pulled_drive_is_gone() {
        let file = on_disk();
        let node = Node::open(file.path(), Access::Read, Path::new("/sys")).unwrap();
        let extent = Extent::new(4096, 512).unwrap();
        let told = |code| node.read_trouble(&io::Error::from_raw_os_error(code), extent);
        for code in [
            libc::EIO,
            libc::ENODATA,
            libc::EREMOTEIO,
            libc::EILSEQ,
            libc::ETIMEDOUT,
            libc::ENOLINK,
        ] {
            assert_eq!(told(code), ReadError::Unreadable(extent));
        }
        for code in [libc::ENODEV, libc::ENXIO, libc::ENOMEDIUM] {
            assert!(matches!(told(code), ReadError::Gone(_)));
        }
        assert!(matches!(told(libc::ENOMEM), ReadError::Fault(_)));
    }
}
