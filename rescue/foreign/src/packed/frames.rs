//! How large the content of a Zstandard stream is, from the heads of its frames and blocks (RFC 8878, 3.1.1).

use std::io::{self, BufReader, Read, Seek, SeekFrom};

const FRAME: u32 = 0xfd2f_b528;
/// The last four bits are free.
const SKIPPABLE: u32 = 0x184d_2a50;
const READ: usize = 256 << 10;

/// `None` where a frame does not say it. Frames are followed to the last: a stream that ends too early is an error.
pub fn content_bytes(stream: impl Read + Seek) -> io::Result<Option<u64>> {
    let mut stream = BufReader::with_capacity(READ, stream);
    let end = stream.seek(SeekFrom::End(0))?;
    stream.rewind()?;
    let mut sum: u64 = 0;
    loop {
        let mut magic = [0; 4];
        if stream.read(&mut magic[..1])? == 0 {
            // Some files are passed over beyond their end.
            return match stream.stream_position()? == end {
                true => Ok(Some(sum)),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        stream.read_exact(&mut magic[1..])?;
        let magic = u32::from_le_bytes(magic);
        if magic & !0xf == SKIPPABLE {
            let len = number(&mut stream, 4)?;
            skip(&mut stream, len)?;
        } else if magic == FRAME {
            let Some(len) = frame(&mut stream)? else {
                return Ok(None);
            };
            let more = sum.checked_add(len);
            sum = more.ok_or_else(|| wrong("its frames claim more than there can be"))?;
        } else {
            return Err(wrong("behind one of its frames there is none"));
        }
    }
}

/// Passes over the rest of a frame whose content has a known size.
fn frame(stream: &mut (impl Read + Seek)) -> io::Result<Option<u64>> {
    let flags = number(stream, 1)?;
    let is_single = flags >> 5 & 1 == 1;
    let size_len = match (flags >> 6, is_single) {
        (0, false) => return Ok(None),
        (0, true) => 1,
        (1, _) => 2,
        (2, _) => 4,
        _ => 8,
    };
    let window = u64::from(!is_single);
    let dictionary = [0, 1, 2, 4][usize::try_from(flags & 3).unwrap_or(0)];
    skip(stream, window + dictionary)?;
    let size = number(stream, size_len)?;
    let size = if size_len == 2 { size + 256 } else { size };
    loop {
        let block = number(stream, 3)?;
        skip(
            stream,
            match block >> 1 & 3 {
                0 | 2 => block >> 3,
                1 => 1,
                _ => return Err(wrong("one of its blocks is of no kind there is")),
            },
        )?;
        if block & 1 == 1 {
            break;
        }
    }
    skip(stream, if flags >> 2 & 1 == 1 { 4 } else { 0 })?;
    Ok(Some(size))
}

/// Little-endian, of at most eight bytes.
fn number(stream: &mut impl Read, len: usize) -> io::Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes[..len])?;
    Ok(u64::from_le_bytes(bytes))
}

/// Inside of what is buffered it costs nothing.
fn skip(stream: &mut (impl Read + Seek), len: u64) -> io::Result<()> {
    let len = i64::try_from(len).map_err(|_| wrong("it claims more than there can be"))?;
    stream.seek_relative(len)
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn frames_say_what_they_hold_and_a_cut_is_seen() {
        let text = b"0123456789".repeat(50_000);
        let mut stream = vec![0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        for part in [&text[..], &text[..200], &text[..300], &[]] {
            let mut frame = zstd::bulk::compress(part, 3).unwrap();
            stream.append(&mut frame);
        }
        let size = text.len() as u64 + 500;
        assert_eq!(content_bytes(Cursor::new(&stream)).unwrap(), Some(size));
        for cut in [stream.len() - 1, stream.len() / 2, 5] {
            let cut = content_bytes(Cursor::new(&stream[..cut]));
            assert!(cut.is_err(), "{cut:?}");
        }
        let unsized_frame = zstd::encode_all(&text[..], 3).unwrap();
        assert_eq!(content_bytes(Cursor::new(&unsized_frame)).unwrap(), None);
    }
}
