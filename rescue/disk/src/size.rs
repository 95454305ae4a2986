//! A number of bytes as people read it.

use std::fmt;

/// Prints decimal units as on a drive's label: `512 GB`, `4.2 MB`, `17 bytes`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit = 1u64;
        let mut name = "bytes";
        for (next, next_name) in [
            (1_000, "kB"),
            (1_000_000, "MB"),
            (1_000_000_000, "GB"),
            (1_000_000_000_000, "TB"),
        ] {
            // 999.5 of a unit reads as one of the next.
            if self.0 >= next - next / 2000 {
                (unit, name) = (next, next_name);
            }
        }
        let tenths = (u128::from(self.0) * 10 + u128::from(unit) / 2) / u128::from(unit);
        if unit == 1 || tenths >= 1000 {
            let whole = (u128::from(self.0) + u128::from(unit) / 2) / u128::from(unit);
            f.pad(&format!("{whole} {name}"))
        } else {
            f.pad(&format!("{}.{} {name}", tenths / 10, tenths % 10))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_on_the_label() {
        let shown = |n| Size(n).to_string();
        assert_eq!(shown(0), "0 bytes");
        assert_eq!(shown(999), "999 bytes");
        assert_eq!(shown(1_000), "1.0 kB");
        assert_eq!(shown(4_194_304), "4.2 MB");
        assert_eq!(shown(512_110_190_592), "512 GB");
        assert_eq!(shown(999_960_000_000), "1.0 TB");
        assert_eq!(shown(18_446_744_073_709_551_615), "18446744 TB");
        assert_eq!(format!("{:>9}", Size(2_000_000)), "   2.0 MB");
    }
}
