//! A raw disk that gzip, xz or zstd packed, in one file or cut into several (`pc.img.gz`, or `pc.img.gz.aa` and on).

use std::io::{self, Read};

use disk::extent::Extent;
use disk::memory::MemorySource;
use disk::source::{ReadError, read_vec};

use crate::error::ForeignError;
use crate::packed::{Joined, Packing};
use crate::stream::{Begin, Content, Stream};
use crate::{FORMATS, File, Folder, Opened, Order};

/// Where other formats are known by.
const FRONT: u64 = 64 << 10;
const COUNTED: usize = 1 << 20;
/// Digits or letters behind the name of a part.
const SUFFIX: std::ops::RangeInclusive<usize> = 2..=4;

const ENDINGS: &[(&str, Packing)] = &[
    (".gz", Packing::Gzip),
    (".zst", Packing::Zstd),
    (".zstd", Packing::Zstd),
    (".xz", Packing::Xz),
];

/// `Ok(None)` for a name that does not say so. `size_bytes` is what an earlier look found: without it a stream that
/// does not tell how much it holds is unpacked once to count it.
pub fn open(
    name: &str,
    folder: &dyn Folder,
    size_bytes: Option<u64>,
) -> Result<Option<Opened>, ForeignError> {
    let (whole, suffix) = split(name);
    let lower = whole.to_ascii_lowercase();
    let Some((ending, packing)) = ENDINGS.iter().find(|(ending, _)| lower.ends_with(ending)) else {
        return Ok(None);
    };
    let format = packing.name();
    let damaged = |what: String| ForeignError::Damaged { format, what };
    let names = match suffix {
        None => vec![name.to_owned()],
        Some(suffix) => parts(whole, suffix, folder, format)?,
    };
    let files = names.iter().map(|name| {
        folder.open(name).map_err(|why| ForeignError::Unsupported {
            format,
            what: format!("whose {name} cannot be opened ({why})"),
        })
    });
    let parts: Vec<File> = files.collect::<Result<_, _>>()?;
    let front = read_vec(&parts[0], 0, parts[0].size_bytes().min(16))?;
    if Packing::of(&front) != Some(*packing) {
        return Err(damaged(format!(
            "it does not begin as {format} does (a raw disk must not be named *{ending})"
        )));
    }
    let raw = Raw {
        parts,
        packing: *packing,
        size_bytes: 0,
    };
    raw.is_a_disk()?;
    let mut notes = Vec::new();
    let counted = |error: io::Error| damaged(format!("it breaks off or is bent ({error})"));
    let size_bytes = match size_bytes {
        Some(known) => known,
        None => match packing.told_bytes(&raw.parts).map_err(counted)? {
            Some(told) => told,
            None => {
                notes.push(
                    "how much it holds is said nowhere, so it was unpacked once to count it".into(),
                );
                raw.count().map_err(counted)?
            }
        },
    };
    let raw = Raw { size_bytes, ..raw };
    Ok(Some(Opened {
        format,
        source: Box::new(Stream::new(raw, size_bytes)),
        order: Order::Forward,
        notes,
    }))
}

/// `pc.img.gz.aa` is `pc.img.gz` and `aa`.
fn split(name: &str) -> (&str, Option<&str>) {
    let parts = name.rsplit_once('.');
    let is_suffix = |suffix: &str| {
        let letters = suffix.bytes().all(|byte| byte.is_ascii_lowercase());
        let digits = suffix.bytes().all(|byte| byte.is_ascii_digit());
        SUFFIX.contains(&suffix.len()) && (letters || digits)
    };
    match parts {
        Some((whole, suffix))
            if is_suffix(suffix) && ENDINGS.iter().all(|(ending, _)| ending[1..] != *suffix) =>
        {
            (whole, Some(suffix))
        }
        _ => (name, None),
    }
}

/// All that there are of a whole, from the first on, none missing between.
fn parts(
    whole: &str,
    suffix: &str,
    folder: &dyn Folder,
    format: &'static str,
) -> Result<Vec<String>, ForeignError> {
    let unsupported = |what| ForeignError::Unsupported { format, what };
    let is_digits = suffix.starts_with(|first: char| first.is_ascii_digit());
    let number = |name: &str| {
        let found = name.strip_prefix(whole)?.strip_prefix('.')?;
        (found.len() == suffix.len()).then_some(())?;
        let (radix, zero) = if is_digits { (10, b'0') } else { (26, b'a') };
        found.bytes().try_fold(0u64, |sum, byte| {
            let digit = byte.checked_sub(zero).filter(|digit| *digit < radix)?;
            Some(sum * u64::from(radix) + u64::from(digit))
        })
    };
    let names = folder.names().map_err(unsupported)?;
    let mut found: Vec<(u64, String)> = names
        .into_iter()
        .filter_map(|name| Some((number(&name)?, name)))
        .collect();
    found.sort();
    let first = found.first().map_or(0, |(number, _)| *number);
    // Letters begin at aa; who counts in digits begins at 0 or 1.
    let begins = first == 0 || is_digits && first == 1;
    let gap = found.windows(2).find(|pair| pair[0].0 + 1 != pair[1].0);
    let missing = match (begins, gap) {
        (true, None) => return Ok(found.into_iter().map(|(_, name)| name).collect()),
        (false, _) => format!("before {}", found[0].1),
        (true, Some(pair)) => format!("between {} and {}", pair[0].1, pair[1].1),
    };
    Err(unsupported(format!(
        "of which a part is missing {missing}; put all parts into one directory"
    )))
}

/// The files, and how they are unpacked.
struct Raw {
    parts: Vec<File>,
    packing: Packing,
    /// Of the disk.
    size_bytes: u64,
}

impl Raw {
    /// What packs a disk packs anything.
    fn is_a_disk(&self) -> Result<(), ForeignError> {
        let format = self.packing.name();
        let mut front = Vec::new();
        let stream = self.packing.open(&self.parts);
        // An error behind the first bytes is found by who goes there.
        let read = stream.and_then(|stream| stream.take(FRONT).read_to_end(&mut front));
        if let (Err(error), true) = (read, front.is_empty()) {
            let what = format!("nothing of it can be unpacked ({error})");
            return Err(ForeignError::Damaged { format, what });
        }
        let other = |what: &str| ForeignError::Unsupported {
            format,
            what: format!(
                "of {what}, not of a raw disk; unpack it with {format} -d and take what comes out"
            ),
        };
        if front.get(257..262) == Some(b"ustar") {
            return Err(other("an archive of files"));
        }
        let file: File = std::sync::Arc::new(MemorySource::new(front));
        for inner in FORMATS {
            // Sound or not, it is one: most of it is not among the first bytes.
            if !matches!((inner.open)(&file, &Nothing), Ok(None)) {
                return Err(other(&format!("a {} image", inner.name)));
            }
        }
        Ok(())
    }

    /// Unpacks all of it, which proves it too.
    fn count(&self) -> io::Result<u64> {
        let mut stream = self.packing.open(&self.parts)?;
        let mut buffer = vec![0; COUNTED];
        let mut sum: u64 = 0;
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(sum),
                Ok(len) => sum = sum.saturating_add(len as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Begin for Raw {
    fn begin(&self) -> io::Result<Box<dyn Content>> {
        Ok(Box::new(Exactly {
            stream: self.packing.open(&self.parts)?,
            left: self.size_bytes,
        }))
    }

    fn packed_bytes(&self) -> u64 {
        Joined::new(self.parts.clone()).size_bytes()
    }

    /// Nothing behind can be had, and what came before may be wrong: there is no image of such a disk.
    fn broken(&self, asked: Extent, error: &str) -> ReadError {
        ReadError::Fault(format!(
            "the {} stream breaks off before byte {} of {} ({error}); use another copy of it, or unpack what can be \
             had of it and take that",
            self.packing.name(),
            asked.end(),
            self.size_bytes
        ))
    }
}

/// A stream that must end where its size says: only at its end its checksum is compared.
struct Exactly {
    stream: Box<dyn Read + Send>,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.stream.read(buf)?;
        if buf.is_empty() {
            return Ok(0);
        }
        if len == 0 && self.left > 0 {
            return Err(io::Error::other("it ends too early"));
        }
        self.left = self.left.saturating_sub(len as u64);
        if self.left == 0 && self.stream.read(&mut [0])? != 0 {
            return Err(io::Error::other("it holds more than it said"));
        }
        Ok(len)
    }
}

impl Content for Exactly {}

/// Formats are looked for in the first bytes only.
struct Nothing;

impl Folder for Nothing {
    fn open(&self, name: &str) -> Result<File, String> {
        Err(format!("{name} is no part of it"))
    }

    fn names(&self) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }
}
