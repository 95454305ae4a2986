//! What a SCSI drive says of a command that failed: sense data (SPC-4, 4.5), fixed and descriptor format.

/// What went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sense {
    /// Nothing that matters: recovered, or only told.
    Fine,
    /// The medium cannot be read; at this logical sector, where the drive says it.
    Medium { lba: Option<u64> },
    /// The drive, or the way to it, failed for another reason.
    Path,
    /// There is no drive any more, or it has no medium.
    Gone,
}

const RECOVERED_ERROR: u8 = 1;
const NOT_READY: u8 = 2;
const MEDIUM_ERROR: u8 = 3;
const HARDWARE_ERROR: u8 = 4;
const MEDIUM_NOT_PRESENT: u8 = 0x3A;
/// Set when the information field holds something.
const VALID: u8 = 0x80;
const INFORMATION: u8 = 0;

pub fn decode(sense: &[u8]) -> Sense {
    let byte = |at: usize| sense.get(at).copied();
    let Some(code) = byte(0) else {
        return Sense::Path;
    };
    let (key, additional, lba) = match code & 0x7F {
        0x70 => {
            let lba = (code & VALID != 0).then(|| number(sense, 3, 4)).flatten();
            (byte(2), byte(12), lba)
        }
        0x72 => (byte(1), byte(2), in_descriptors(sense)),
        _ => return Sense::Path,
    };
    match (key.map(|key| key & 0xF), additional) {
        (Some(0 | RECOVERED_ERROR), _) => Sense::Fine,
        (Some(MEDIUM_ERROR | HARDWARE_ERROR), _) => Sense::Medium { lba },
        (Some(NOT_READY), Some(MEDIUM_NOT_PRESENT)) => Sense::Gone,
        _ => Sense::Path,
    }
}

/// The information descriptor's number.
fn in_descriptors(sense: &[u8]) -> Option<u64> {
    let mut rest = sense.get(8..)?;
    loop {
        let (kind, len) = (*rest.first()?, usize::from(*rest.get(1)?));
        if kind == INFORMATION {
            let valid = rest.get(2)? & VALID != 0;
            return valid.then(|| number(rest, 4, 8)).flatten();
        }
        rest = rest.get(2 + len..)?;
    }
}

/// Big-endian.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(len)?)?;
    Some(bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}

/// READ(16) of SBC-3.
pub fn read_16(lba: u64, sectors: u32) -> [u8; 16] {
    let mut command = [0; 16];
    command[0] = 0x88;
    command[2..10].copy_from_slice(&lba.to_be_bytes());
    command[10..14].copy_from_slice(&sectors.to_be_bytes());
    command
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    /// As scsi_debug answers a read of sectors 0x1230 to 0x123F with a medium error at 0x1234.
    fn fixed(key: u8, valid: u8, lba: u32) -> Vec<u8> {
        let mut sense = vec![0; 18];
        sense[0] = 0x70 | valid;
        sense[2] = key;
        sense[3..7].copy_from_slice(&lba.to_be_bytes());
        sense[7] = 10;
        sense[12] = 0x11;
        sense
    }

    fn descriptor(key: u8, before: &[u8], lba: u64) -> Vec<u8> {
        let mut sense = vec![0x72, key, 0x11, 0, 0, 0, 0, 0];
        sense.extend(before);
        sense.extend([0, 0x0A, 0x80, 0]);
        sense.extend(lba.to_be_bytes());
        sense[7] = u8::try_from(sense.len() - 8).unwrap();
        sense
    }

    #[test]
    fn the_bad_sector_is_told_in_both_formats() {
        assert_eq!(
            decode(&fixed(3, VALID, 0x1234)),
            Sense::Medium { lba: Some(0x1234) }
        );
        assert_eq!(decode(&fixed(3, 0, 0x1234)), Sense::Medium { lba: None });
        let far = 0x12_3456_789A;
        assert_eq!(
            decode(&descriptor(3, &[], far)),
            Sense::Medium { lba: Some(far) }
        );
        // An ATA status return stands before it (SAT-3, 12.2.6).
        let ata = [9, 12, 0, 0x40, 0, 0, 0, 1, 0, 2, 0, 3, 0xE0, 0x51];
        assert_eq!(
            decode(&descriptor(3, &ata, far)),
            Sense::Medium { lba: Some(far) }
        );
    }

    #[test]
    fn the_way_to_the_drive_is_told_from_its_medium() {
        assert_eq!(decode(&fixed(1, VALID, 5)), Sense::Fine);
        assert_eq!(decode(&fixed(0xB, 0, 0)), Sense::Path);
        assert_eq!(decode(&fixed(6, 0, 0)), Sense::Path);
        assert_eq!(decode(&[]), Sense::Path);
        let mut gone = fixed(2, 0, 0);
        gone[12] = MEDIUM_NOT_PRESENT;
        assert_eq!(decode(&gone), Sense::Gone);
    }

    #[test]
    fn a_command_names_its_sectors() {
        let command = read_16(0x0102_0304_0506_0708, 0x0A0B_0C0D);
        assert_eq!(
            command,
            [
                0x88, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0x0A, 0x0B, 0x0C, 0x0D, 0, 0
            ]
        );
    }

    proptest! {
        #[test]
        fn no_sense_data_is_a_panic(sense in proptest::collection::vec(any::<u8>(), 0..80), code in 0x70u8..0x74) {
            decode(&sense);
            let mut sense = sense;
            if let Some(first) = sense.first_mut() {
                *first = code;
            }
            decode(&sense);
        }
    }
}
