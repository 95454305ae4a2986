//! What a SCSI drive says of a command that failed: sense data (SPC-4, 4.5), fixed and descriptor format.

/// What went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sense {
    /// Nothing that matters: recovered, or only told.
    Fine,
    /// The medium cannot be read; at this logical sector, where the drive says it.
    Medium { lba: Option<u64> },
    /// The command was not carried out: the drive had to tell something else first, or is not ready yet.
    Again,
    /// The drive, or the way to it, failed for another reason.
    Path,
    /// It did not answer, or its bus was reset: the kernel brought it back, its settings may be gone.
    Reset,
    /// There is no drive any more, or it has no medium.
    Gone,
}

const RECOVERED_ERROR: u8 = 1;
const NOT_READY: u8 = 2;
const MEDIUM_ERROR: u8 = 3;
const HARDWARE_ERROR: u8 = 4;
const UNIT_ATTENTION: u8 = 6;
const LOGICAL_UNIT_NOT_READY: u8 = 4;
const MEDIUM_NOT_PRESENT: u8 = 0x3A;
/// Qualifiers of "not ready" that pass on their own (SPC-4, annex F): it is becoming ready, or needs a start.
const BECOMING_READY: u8 = 1;
/// Set when the information field holds something.
const VALID: u8 = 0x80;
const INFORMATION: u8 = 0;

pub fn decode(sense: &[u8]) -> Sense {
    let byte = |at: usize| sense.get(at).copied();
    let Some(code) = byte(0) else {
        return Sense::Path;
    };
    let (key, code_of, lba) = match code & 0x7F {
        0x70 => {
            let lba = (code & VALID != 0).then(|| number(sense, 3, 4)).flatten();
            (byte(2), (byte(12), byte(13)), lba)
        }
        0x72 => (byte(1), (byte(2), byte(3)), information(sense)),
        _ => return Sense::Path,
    };
    match (key.map(|key| key & 0xF), code_of) {
        (Some(0 | RECOVERED_ERROR), _) => Sense::Fine,
        (Some(MEDIUM_ERROR | HARDWARE_ERROR), _) => Sense::Medium { lba },
        (Some(UNIT_ATTENTION), _) => Sense::Again,
        (Some(NOT_READY), (Some(MEDIUM_NOT_PRESENT), _)) => Sense::Gone,
        (Some(NOT_READY), (Some(LOGICAL_UNIT_NOT_READY), Some(BECOMING_READY))) => Sense::Again,
        _ => Sense::Path,
    }
}

fn information(sense: &[u8]) -> Option<u64> {
    let found = descriptor(sense, INFORMATION)?;
    let valid = found.get(2)? & VALID != 0;
    valid.then(|| number(found, 4, 8)).flatten()
}

/// The first descriptor of a kind, from its head on.
fn descriptor(sense: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = sense.get(8..)?;
    loop {
        let (kind, len) = (*rest.first()?, usize::from(*rest.get(1)?));
        if kind == wanted {
            return Some(rest);
        }
        rest = rest.get(2 + len..)?;
    }
}

/// The registers of an ATA drive after a command that was passed through to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AtaStatus {
    pub status: u8,
    /// The low byte.
    pub count: u8,
    /// Low, middle, high.
    pub lba: [u8; 3],
}

impl AtaStatus {
    /// In the status return descriptor, or where the fixed format has it (SAT-3, 12.2.2.6 and 12.2.2.7).
    pub fn of(sense: &[u8]) -> Option<AtaStatus> {
        const STATUS_RETURN: u8 = 9;
        const PASSED_THROUGH: (u8, u8) = (0, 0x1D);
        if sense.first()? & 0x7F == 0x70 {
            let code = (*sense.get(12)?, *sense.get(13)?);
            return (code == PASSED_THROUGH).then_some(AtaStatus {
                status: sense[4],
                count: sense[6],
                lba: [sense[9], sense[10], sense[11]],
            });
        }
        let found = descriptor(sense, STATUS_RETURN)?;
        Some(AtaStatus {
            count: *found.get(5)?,
            lba: [*found.get(7)?, *found.get(9)?, *found.get(11)?],
            status: *found.get(13)?,
        })
    }

    /// Error or device fault.
    pub fn failed(self) -> bool {
        self.status & 0x21 != 0
    }
}

/// Big-endian.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(len)?)?;
    Some(bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
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
        assert_eq!(decode(&fixed(6, 0, 0)), Sense::Again);
        assert_eq!(decode(&[]), Sense::Path);
        let mut gone = fixed(2, 0, 0);
        gone[12] = MEDIUM_NOT_PRESENT;
        assert_eq!(decode(&gone), Sense::Gone);
    }

    #[test]
    fn a_drive_that_spins_up_is_asked_again() {
        let mut sense = fixed(2, 0, 0);
        (sense[12], sense[13]) = (4, 1);
        assert_eq!(decode(&sense), Sense::Again);
        // Not ready for good.
        sense[13] = 3;
        assert_eq!(decode(&sense), Sense::Path);
    }

    #[test]
    fn the_registers_of_an_ata_drive_come_in_both_formats() {
        // SMART RETURN STATUS of a drive that expects to fail.
        let expected = AtaStatus {
            status: 0x50,
            count: 7,
            lba: [9, 0xF4, 0x2C],
        };
        let mut sense = vec![0x72, 1, 0, 0x1D, 0, 0, 0, 14];
        sense.extend([9, 12, 0, 0, 0, 7, 0, 9, 0, 0xF4, 0, 0x2C, 0xE0, 0x50]);
        assert_eq!(AtaStatus::of(&sense), Some(expected));
        assert!(!expected.failed());
        let fixed = [
            0x70, 0, 1, 0, 0x50, 0xE0, 7, 10, 0, 9, 0xF4, 0x2C, 0, 0x1D, 0, 0, 0, 0,
        ];
        assert_eq!(AtaStatus::of(&fixed), Some(expected));
        assert_eq!(AtaStatus::of(&sense[..20]), None);
        assert_eq!(AtaStatus::of(&fixed[..13]), None);
    }

    proptest! {
        #[test]
        fn no_sense_data_is_a_panic(sense in proptest::collection::vec(any::<u8>(), 0..80), code in 0x70u8..0x74) {
            decode(&sense);
            AtaStatus::of(&sense);
            let mut sense = sense;
            if let Some(first) = sense.first_mut() {
                *first = code;
            }
            decode(&sense);
            AtaStatus::of(&sense);
        }
    }
}
