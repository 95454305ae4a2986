//! A disk that comes out of a compressed stream: its bytes are had in order, and cheaply only so.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use disk::extent::{Extent, ExtentMap};
use disk::geometry::Geometry;
use disk::source::{self, BlockSource, ReadError};

const BLOCK: usize = 1 << 20;
/// Blocks behind the newest that are kept, for several readers that go forward together.
const KEPT: usize = 32;

/// What a stream is made of, begun anew as often as it is needed.
pub trait Begin: Send + Sync {
    fn begin(&self) -> io::Result<Box<dyn Content>>;

    /// Bytes that it lies in.
    fn packed_bytes(&self) -> u64;

    /// What it means to who asks for these bytes that the stream breaks off before them.
    fn broken(&self, asked: Extent, _error: &str) -> ReadError {
        ReadError::Unreadable(asked)
    }
}

/// Bytes in order; what of them is known to be wrong.
pub trait Content: Read + Send {
    /// Of what was read so far, as extents of the content.
    fn damaged(&self) -> ExtentMap {
        ExtentMap::new()
    }
}

/// Reading behind the window begins the stream anew.
pub struct Stream<B> {
    begin: B,
    size_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    content: Option<Box<dyn Content>>,
    /// Number of the first block that is kept.
    first: u64,
    kept: VecDeque<Vec<u8>>,
    /// Where the stream breaks off, and why.
    broken: Option<(u64, String)>,
}

impl<B: Begin> Stream<B> {
    pub fn new(begin: B, size_bytes: u64) -> Stream<B> {
        Stream {
            begin,
            size_bytes,
            state: Mutex::default(),
        }
    }

    /// Gives back the memory of what was read.
    pub fn rest(&self) {
        let mut state = self.lock();
        let broken = state.broken.take();
        *state = State {
            broken,
            ..State::default()
        };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on until the block is kept; false where the stream breaks off before.
    fn reach(&self, state: &mut State, number: u64) -> bool {
        let is_behind = |state: &State, number: u64| matches!(state.broken, Some((broken, _)) if number * BLOCK as u64 >= broken);
        if is_behind(state, number) {
            return false;
        }
        if number < state.first || state.content.is_none() {
            match self.begin.begin() {
                Ok(content) => state.content = Some(content),
                Err(error) => {
                    state.broken = Some((0, error.to_string()));
                    return false;
                }
            }
            state.first = 0;
            state.kept.clear();
        }
        while state.first + state.kept.len() as u64 <= number {
            let next = state.first + state.kept.len() as u64;
            if is_behind(state, next) {
                return false;
            }
            let len = self.size_bytes.saturating_sub(next * BLOCK as u64);
            let len = usize::try_from(len).unwrap_or(usize::MAX).min(BLOCK);
            let mut block = vec![0; len];
            let content = state.content.as_mut().expect("it was begun");
            let (filled, error) = fill(content, &mut block);
            if let Some(error) = error {
                // What came before stays.
                let at = next * BLOCK as u64 + filled as u64;
                state.broken = Some((at, error.to_string()));
                if filled == 0 {
                    return false;
                }
            }
            state.kept.push_back(block);
            if state.kept.len() > KEPT {
                state.kept.pop_front();
                state.first += 1;
            }
        }
        true
    }
}

/// How much came, and why no more did.
fn fill(content: &mut dyn Read, block: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut filled = 0;
    while filled < block.len() {
        match content.read(&mut block[filled..]) {
            Ok(0) => return (filled, Some(io::ErrorKind::UnexpectedEof.into())),
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (filled, Some(error)),
        }
    }
    (filled, None)
}

impl<B: Begin> BlockSource for Stream<B> {
    fn geometry(&self) -> Geometry {
        Geometry::of_file(self.size_bytes)
    }

    fn packed_bytes(&self) -> Option<u64> {
        Some(self.begin.packed_bytes())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let Some(asked) = source::asked(offset, buf.len() as u64, self.size_bytes)? else {
            return Ok(());
        };
        let mut state = self.lock();
        let mut rest = buf;
        for part in asked.split_at_multiples(BLOCK as u64) {
            let number = part.start() / BLOCK as u64;
            let reached = self.reach(&mut state, number);
            if let Some((broken, why)) = &state.broken
                && let Some(lost) = Extent::between(part.start().max(*broken), part.end())
            {
                return Err(self.begin.broken(lost, why));
            }
            if !reached {
                return Err(self.begin.broken(part, "it gives nothing"));
            }
            let nth = usize::try_from(number - state.first).expect("a few blocks are kept");
            let from = usize::try_from(part.start() % BLOCK as u64).expect("a block is small");
            let len = usize::try_from(part.len()).expect("it is part of a buffer");
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(&state.kept[nth][from..from + len]);
            rest = later;
        }
        let damaged = state.content.as_ref().map(|content| content.damaged());
        let lost = damaged.and_then(|damaged| damaged.within(asked).next());
        match lost {
            Some(lost) => Err(ReadError::Unreadable(lost)),
            None => Ok(()),
        }
    }
}
