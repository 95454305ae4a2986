//! The checksums of ext4 and of its journal.

/// CRC32C as the kernel's `crc32c(seed, bytes)`: without the inversions at both ends, so that sums can be chained.
pub(super) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

/// CRC16 (reflected, 0x8005), as `uninit_bg` uses it.
pub(super) fn crc16(seed: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(seed, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xA001 } else { 0 }
        })
    })
}

/// CRC32, most significant bit first, as the oldest journal checksums (`JBD2_FEATURE_COMPAT_CHECKSUM`) use it.
pub(super) fn crc32_be(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |crc, byte| {
        let top = (crc >> 24) ^ u32::from(*byte);
        (crc << 8) ^ CRC32_BE[top as usize]
    })
}

const CRC32_BE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    let mut top = 0u32;
    while at < 256 {
        let mut crc = top;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc << 1)
                ^ if crc & 0x8000_0000 != 0 {
                    0x04C1_1DB7
                } else {
                    0
                };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
        top = top.wrapping_add(0x0100_0000);
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_check_values_come_out() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xE306_9283);
        assert_eq!(crc16(0, b"123456789"), 0xBB3D);
        assert_eq!(!crc32_be(!0, b"123456789"), 0xFC89_1918);
    }
}
