//! The SMART / Health Information log of NVMe drives (NVMe Base 2.0, 5.16.1.3).

use disk::fields::Fields;

use super::{Health, Verdict, plausible};

/// Of the log page.
pub const BYTES: usize = 512;
const KELVIN: i32 = 273;
/// Bits of the critical warning.
const WARNINGS: [&str; 6] = [
    "its spare blocks run out",
    "its temperature is beyond its limits",
    "its errors make it unreliable",
    "it takes no more writes",
    "the supply of its volatile memory failed",
    "its persistent memory region is no longer reliable",
];

impl Health {
    pub fn of_nvme(page: &[u8]) -> Option<Health> {
        let page = Fields(
            page.get(..BYTES)
                .filter(|page| page.iter().any(|b| *b != 0))?,
        );
        let critical = page.u8(0)?;
        let warnings: Vec<String> = WARNINGS
            .iter()
            .enumerate()
            .filter(|(bit, _)| critical >> bit & 1 != 0)
            .map(|(_, warning)| (*warning).to_owned())
            .collect();
        // Heat alone foretells nothing.
        let failing = critical & !0b10 != 0;
        Some(Health {
            verdict: if failing {
                Verdict::Failing
            } else {
                Verdict::Good
            },
            celsius: plausible(i32::from(page.u16(1)?) - KELVIN),
            worn_percent: page.u8(5),
            starts: wide(page, 112),
            hours: wide(page, 128),
            uncorrectable: wide(page, 160),
            warnings,
            ..Health::default()
        })
    }
}

/// 128 bits, of which nobody needs more than 64.
fn wide(page: Fields<'_>, at: usize) -> Option<u64> {
    let value = page.array(at).map(u128::from_le_bytes)?;
    Some(u64::try_from(value).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn page() -> Vec<u8> {
        let mut page = vec![0; BYTES];
        page[1..3].copy_from_slice(&314u16.to_le_bytes());
        (page[3], page[4], page[5]) = (100, 10, 7);
        page[112] = 9;
        page[128..130].copy_from_slice(&4_321u16.to_le_bytes());
        page[160] = 2;
        page
    }

    #[test]
    fn the_log_tells_wear_heat_and_errors() {
        let health = Health::of_nvme(&page()).unwrap();
        assert_eq!(
            health,
            Health {
                verdict: Verdict::Good,
                celsius: Some(41),
                hours: Some(4_321),
                starts: Some(9),
                uncorrectable: Some(2),
                worn_percent: Some(7),
                ..Health::default()
            }
        );
        assert!(health.is_suspect());
    }

    #[test]
    fn a_critical_warning_is_a_verdict_and_heat_is_none() {
        let with = |critical| {
            let mut page = page();
            page[0] = critical;
            Health::of_nvme(&page).unwrap()
        };
        assert_eq!(with(0b10).verdict, Verdict::Good);
        assert_eq!(with(0b10).warnings.len(), 1);
        let failing = with(0b1001);
        assert_eq!(failing.verdict, Verdict::Failing);
        assert_eq!(
            failing.warnings,
            ["its spare blocks run out", "it takes no more writes"]
        );
    }

    #[test]
    fn a_page_that_is_empty_or_short_tells_nothing() {
        assert_eq!(Health::of_nvme(&[0; BYTES]), None);
        assert_eq!(Health::of_nvme(&page()[..511]), None);
    }

    proptest! {
        #[test]
        fn no_page_is_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            Health::of_nvme(&bytes);
        }
    }
}
