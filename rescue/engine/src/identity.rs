//! What a disk is, wherever it is plugged in and whatever the kernel calls it today.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Two disks are the same when their identities match; `sda` is never part of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    pub serial: Option<String>,
    pub wwn: Option<String>,
    pub model: Option<String>,
    /// Where the machine has it plugged in, for a disk without serial and WWN: what tells two of the same kind
    /// apart (`pci0000:00/0000:00:04.0/virtio1`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    pub size_bytes: u64,
    /// BLAKE3 over the first and last 64 KiB: changes when somebody repartitions the disk.
    pub fingerprint: Fingerprint,
    /// Set for a regular file that is used as a disk: its canonical path. Its model is the format of another
    /// program where it is not a raw disk.
    pub file: Option<PathBuf>,
}

impl Identity {
    /// The word that consents to writing there: the last four characters of the serial, or the file's name.
    /// `None` for a disk without a serial: its model and size are asked for instead by [`Identity::word`].
    pub fn word(&self) -> String {
        if let Some(name) = self.file.as_ref().and_then(|f| f.file_name()) {
            return name.to_string_lossy().into_owned();
        }
        let known = self
            .serial
            .as_deref()
            .or(self.wwn.as_deref())
            .map(str::trim)
            .filter(|s| !s.is_empty());
        let text = known.map_or_else(|| self.size_bytes.to_string(), str::to_owned);
        let chars: Vec<char> = text.chars().collect();
        chars[chars.len().saturating_sub(4)..].iter().collect()
    }

    /// Of a regular file that is an image of another program: how people call its format. It is only ever read.
    pub fn format(&self) -> Option<&str> {
        self.file.as_ref().and(self.model.as_deref())
    }

    /// The same device, whatever is on it now.
    pub fn same_device(&self, other: &Identity) -> bool {
        self.serial == other.serial
            && self.wwn == other.wwn
            && self.model == other.model
            && self.location == other.location
            && self.size_bytes == other.size_bytes
            && self.file == other.file
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            return write!(f, "{}", file.display());
        }
        write!(f, "{}", self.model.as_deref().unwrap_or("unnamed disk"))?;
        if let Some(serial) = &self.serial {
            write!(f, ", serial {serial}")?;
        } else if let Some(location) = &self.location {
            write!(f, " at {location}")?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Fingerprint, Self::Error> {
        const WRONG: &str = "a fingerprint is 64 hexadecimal digits";
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(WRONG);
        }
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| WRONG)?;
        }
        Ok(Fingerprint(bytes))
    }
}
