//! A file in volumes, read as one.

use crate::store::{ReadFile, StoreError};

pub struct Volume {
    pub start: u64,
    pub len: u64,
    /// `None` for one that is missing.
    pub file: Option<Box<dyn ReadFile>>,
}

pub struct Opened {
    pub name: String,
    pub volumes: Vec<Volume>,
    pub len: u64,
}

impl Opened {
    fn missing_text(&self, nth: usize) -> String {
        format!(
            "volume {} of {} is missing; put it beside the others",
            nth + 1,
            self.name
        )
    }
}

impl ReadFile for Opened {
    fn len(&self) -> u64 {
        self.len
    }

    fn missing(&self) -> Vec<String> {
        let missing = self
            .volumes
            .iter()
            .enumerate()
            .filter(|(_, volume)| volume.file.is_none());
        missing.map(|(nth, _)| self.missing_text(nth)).collect()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        let unreadable = |len: u64, text: String| StoreError::Unreadable { offset, len, text };
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let nth = self.volumes.partition_point(|volume| volume.start <= at) - 1;
            let volume = &self.volumes[nth];
            let within = at - volume.start;
            let room = volume.len.saturating_sub(within);
            let len = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
            if len == 0 {
                let text = format!(
                    "{} ends at {} bytes; it was cut short; copy it again from where it came from",
                    self.name, self.len
                );
                return Err(unreadable(rest.len() as u64, text));
            }
            let (now, later) = rest.split_at_mut(len);
            let Some(file) = &volume.file else {
                return Err(unreadable(now.len() as u64, self.missing_text(nth)));
            };
            file.read_at(within, now)
                .map_err(|error| moved(error, volume.start))?;
            at += len as u64;
            rest = later;
        }
        Ok(())
    }
}

/// As an offset of the file, not of its volume.
fn moved(error: StoreError, start: u64) -> StoreError {
    match error {
        StoreError::Unreadable { offset, len, text } => StoreError::Unreadable {
            offset: offset.saturating_add(start),
            len,
            text,
        },
        other => other,
    }
}
