//! SCSI commands of our own (SG_IO), and ATA commands packed into them: nothing is repeated by the kernel, every one
//! has its deadline, and the answer is the drive's own.

use std::fs::File;
use std::io;

use crate::linux::ioctl::{self, ScsiData, ScsiEnd};
use crate::linux::sense::{self, AtaStatus, Sense};

const CHECK_CONDITION: u8 = 2;
const BUSY: u8 = 8;

/// READ(16), or READ(10) where that reaches: many USB bridges know no other.
pub fn read(
    device: &File,
    lba: u64,
    sectors: u32,
    buf: &mut [u8],
    millis: u32,
) -> io::Result<Sense> {
    let command = read_command(lba, sectors);
    let end = ioctl::scsi(device, &command, ScsiData::In(buf), millis)?;
    Ok(told(&end))
}

fn read_command(lba: u64, sectors: u32) -> [u8; 16] {
    let mut command = [0; 16];
    match (u32::try_from(lba), u16::try_from(sectors)) {
        (Ok(lba), Ok(sectors)) if lba.checked_add(sectors.into()).is_some() => {
            command[0] = 0x28;
            command[2..6].copy_from_slice(&lba.to_be_bytes());
            command[7..9].copy_from_slice(&sectors.to_be_bytes());
        }
        _ => {
            command[0] = 0x88;
            command[2..10].copy_from_slice(&lba.to_be_bytes());
            command[10..14].copy_from_slice(&sectors.to_be_bytes());
        }
    }
    command
}

/// What an answer without data means is for its caller to say: here it is [`Sense::Path`].
fn told(end: &ScsiEnd) -> Sense {
    // `DID_…` of the kernel's <scsi/scsi_status.h>.
    const NO_CONNECT: u16 = 1;
    const TIME_OUT: u16 = 3;
    const BAD_TARGET: u16 = 4;
    const ABORT: u16 = 5;
    const RESET: u16 = 8;
    match (end.host_status, end.status) {
        (NO_CONNECT | BAD_TARGET, _) => Sense::Gone,
        (TIME_OUT | ABORT | RESET, _) => Sense::Reset,
        (0, 0) if end.missing == 0 => Sense::Fine,
        (0, BUSY) => Sense::Again,
        (0, CHECK_CONDITION) => match sense::decode(&end.sense) {
            Sense::Fine if end.missing > 0 => Sense::Path,
            told => told,
        },
        _ => Sense::Path,
    }
}

/// Registers of a 28-bit ATA command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ata {
    pub command: u8,
    pub features: u8,
    pub count: u8,
    /// Low, middle, high.
    pub lba: [u8; 3],
}

/// Sends an ATA command through the SCSI layer (SAT-3, 12.2.2); `None` where the drive, or what stands before it,
/// does not take it.
pub fn ata(
    device: &File,
    ata: Ata,
    data: ScsiData<'_>,
    millis: u32,
) -> io::Result<Option<AtaStatus>> {
    let command = pass_through(ata, &data);
    let end = ioctl::scsi(device, &command, data, millis)?;
    let status = AtaStatus::of(&end.sense);
    Ok(match (end.host_status, end.status) {
        (0, 0) if end.missing > 0 => None,
        (0, 0) => Some(status.unwrap_or(AtaStatus {
            status: 0x50,
            count: 0,
            lba: [0; 3],
        })),
        (0, CHECK_CONDITION) => status.filter(|status| !status.failed()),
        _ => None,
    })
}

/// ATA PASS-THROUGH(16). It asks for the registers afterwards where nothing else comes back: they come as an error of
/// a command that had none, and with data some adapters make a failure of that.
fn pass_through(ata: Ata, data: &ScsiData<'_>) -> [u8; 16] {
    // Check condition wanted; length in the count, in blocks; its direction.
    const REGISTERS: u8 = 0x20;
    const BLOCKS_IN_COUNT: u8 = 0x06;
    const FROM_DRIVE: u8 = 0x08;
    let (protocol, flags) = match data {
        ScsiData::None => (3, REGISTERS),
        ScsiData::In(_) => (4, BLOCKS_IN_COUNT | FROM_DRIVE),
        ScsiData::Out(_) => (5, BLOCKS_IN_COUNT | REGISTERS),
    };
    let mut command = [0; 16];
    command[0] = 0x85;
    command[1] = protocol << 1;
    command[2] = flags;
    command[4] = ata.features;
    command[6] = ata.count;
    command[8] = ata.lba[0];
    command[10] = ata.lba[1];
    command[12] = ata.lba[2];
    command[14] = ata.command;
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_its_sectors() {
        assert_eq!(
            read_command(0x0102_0304_0506_0708, 0x0A0B_0C0D),
            [
                0x88, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0x0A, 0x0B, 0x0C, 0x0D, 0, 0
            ]
        );
        assert_eq!(
            read_command(0x0102_0304, 0x0506)[..10],
            [0x28, 0, 1, 2, 3, 4, 0, 5, 6, 0]
        );
        // The last sectors that 32 bits reach are not reached by a command that ends behind them.
        assert_eq!(read_command(u64::from(u32::MAX), 1)[0], 0x88);
    }

    #[test]
    fn an_ata_command_goes_into_a_scsi_one() {
        let identify = Ata {
            command: 0xEC,
            count: 1,
            ..Ata::default()
        };
        let command = pass_through(identify, &ScsiData::In(&mut [0; 512]));
        assert_eq!(
            command,
            [0x85, 8, 0x0E, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xEC, 0]
        );
    }

    #[test]
    fn an_adapter_that_lost_a_command_is_no_bad_sector() {
        let end = |host_status, status, missing| ScsiEnd {
            status,
            host_status,
            sense: Vec::new(),
            missing,
        };
        assert_eq!(told(&end(0, 0, 0)), Sense::Fine);
        assert_eq!(told(&end(0, 0, 512)), Sense::Path);
        assert_eq!(told(&end(1, 0, 0)), Sense::Gone);
        assert_eq!(told(&end(3, 0, 0)), Sense::Reset);
        assert_eq!(told(&end(7, 0, 0)), Sense::Path);
        assert_eq!(told(&end(0, 8, 0)), Sense::Again);
        // A check condition that says nothing.
        assert_eq!(told(&end(0, 2, 0)), Sense::Path);
    }
}
