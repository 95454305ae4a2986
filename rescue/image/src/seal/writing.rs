//! A sealed file that is written: what is appended becomes blocks, and what is made durable is never written again.

use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::seal::block::{FileKey, NONCE, ROOM};
use crate::seal::keyring::Keyring;
use crate::store::{Append, StoreError};

/// What has no block yet; whoever opens the file meanwhile sees it too.
pub type Tail = Arc<Mutex<Zeroizing<Vec<u8>>>>;

pub struct Writing {
    file: Box<dyn Append>,
    name: String,
    key: FileKey,
    keyring: Arc<Keyring>,
    /// Of the next block.
    number: u64,
    /// Where the tail begins in the image.
    start: u64,
    tail: Tail,
    block: Vec<u8>,
    /// A block was not written whole: nothing may follow it.
    broken: bool,
}

impl Writing {
    /// Goes on behind `number` blocks with `start` bytes of the image, and some that have none yet.
    pub fn new(
        file: Box<dyn Append>,
        name: String,
        key: FileKey,
        keyring: Arc<Keyring>,
        (number, start): (u64, u64),
        tail: Tail,
    ) -> Writing {
        Writing {
            file,
            name,
            key,
            keyring,
            number,
            start,
            tail,
            block: Vec::new(),
            broken: false,
        }
    }

    fn put_block(&mut self) -> Result<(), StoreError> {
        let mut nonce = [0; NONCE];
        self.keyring.random(&mut nonce).map_err(StoreError::Fault)?;
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        self.key
            .seal(self.number, self.start, nonce, &tail, &mut self.block);
        // Until it is there as a whole, nobody knows what is.
        self.broken = true;
        self.file.append(&self.block)?;
        self.broken = false;
        self.number += 1;
        self.start += tail.len() as u64;
        tail.clear();
        Ok(())
    }

    fn pending(&self) -> usize {
        self.tail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    fn may_go_on(&self) -> Result<(), StoreError> {
        match self.broken {
            false => Ok(()),
            true => Err(StoreError::Fault(format!(
                "{} cannot be written any more; repeat the command, it goes on",
                self.name
            ))),
        }
    }
}

impl Drop for Writing {
    /// What has no block is lost with it.
    fn drop(&mut self) {
        self.tail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

impl Append for Writing {
    fn len(&self) -> u64 {
        self.start + self.pending() as u64
    }

    fn append(&mut self, mut data: &[u8]) -> Result<(), StoreError> {
        self.may_go_on()?;
        while !data.is_empty() {
            let room = ROOM - self.pending();
            let (now, later) = data.split_at(room.min(data.len()));
            self.tail
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(now);
            data = later;
            if self.pending() == ROOM {
                self.put_block()?;
            }
        }
        Ok(())
    }

    /// Ends the block: its nonce is used, so nothing is ever added to it.
    fn sync(&mut self) -> Result<(), StoreError> {
        self.may_go_on()?;
        if self.pending() > 0 {
            self.put_block()?;
        }
        self.file.sync()
    }
}
