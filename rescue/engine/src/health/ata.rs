//! SMART of ATA drives: the page of values, the page of limits, the drive's verdict.
//!
//! The pages are of ATA/ATAPI-5 (8.41) and no longer part of ACS, but every drive has them: 30 entries of 12 bytes
//! from byte 2 on, and a sum of all 512 bytes that is 0. What an attribute's raw value means is its maker's word;
//! those used here are counted alike by all that have them (see smartmontools' drivedb.h).

use disk::fields::Fields;

use super::{Health, Verdict, plausible};

const ENTRIES: usize = 30;
const ENTRY_BYTES: usize = 12;

impl Health {
    /// From SMART READ DATA, SMART READ THRESHOLDS where it was given, and what SMART RETURN STATUS said.
    pub fn of_ata(values: &[u8], limits: Option<&[u8]>, verdict: Verdict) -> Option<Health> {
        let attributes = attributes(values)?;
        let raw = |id: u8| attributes.iter().find(|a| a.id == id).map(|a| a.raw);
        let celsius = [194, 190]
            .into_iter()
            .filter_map(raw)
            // Minimum and maximum stand in the bytes above.
            .map(|raw| i32::from(raw.to_le_bytes()[0].cast_signed()))
            .find_map(plausible);
        let mut health = Health {
            verdict,
            celsius,
            // Some count milliseconds above, in their own bytes.
            hours: raw(9).map(|raw| raw & 0x00FF_FFFF),
            starts: raw(12).map(|raw| raw & 0xFFFF_FFFF),
            reallocated: raw(5).map(|raw| raw & 0xFFFF),
            pending: raw(197).map(|raw| raw & 0xFFFF_FFFF),
            uncorrectable: raw(187)
                .map(|raw| raw & 0xFFFF)
                .max(raw(198).map(|raw| raw & 0xFFFF_FFFF)),
            transfer_errors: raw(199).map(|raw| raw & 0xFFFF_FFFF),
            ..Health::default()
        };
        let limits = limits.and_then(|page| sound(page)).unwrap_or_default();
        for attribute in attributes.iter().filter(|one| one.is_below(limits)) {
            health.verdict = Verdict::Failing;
            health.warnings.push(format!(
                "SMART attribute {} has fallen to its maker's limit",
                attribute.id
            ));
        }
        Some(health)
    }
}

struct Attribute {
    id: u8,
    /// It foretells a failure; others only tell age.
    foretells: bool,
    value: u8,
    /// 48 bits.
    raw: u64,
}

impl Attribute {
    fn is_below(&self, limits: &[u8]) -> bool {
        let limit = entries(limits).find_map(|entry| (entry[0] == self.id).then_some(entry[1]));
        // 0 always passes, 254 and 255 are reserved.
        let limit = limit.filter(|limit| (1..254).contains(limit));
        self.foretells && limit.is_some_and(|limit| self.value <= limit)
    }
}

/// Entries in use of a page that is whole; none where a page has no attributes.
fn attributes(page: &[u8]) -> Option<Vec<Attribute>> {
    let page = sound(page)?;
    let found = entries(page).map(|entry| {
        let mut raw = [0; 8];
        raw[..6].copy_from_slice(&entry[5..11]);
        Attribute {
            id: entry[0],
            foretells: Fields(entry).u16(1).is_some_and(|flags| flags & 1 != 0),
            value: entry[3],
            raw: u64::from_le_bytes(raw),
        }
    });
    Some(found.collect())
}

fn entries(page: &[u8]) -> impl Iterator<Item = &[u8]> {
    page.get(2..)
        .unwrap_or_default()
        .chunks_exact(ENTRY_BYTES)
        .take(ENTRIES)
        .filter(|entry| entry[0] != 0)
}

fn sound(page: &[u8]) -> Option<&[u8]> {
    let sum = page.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    let written = page.iter().any(|byte| *byte != 0);
    (page.len() == 512 && sum == 0 && written).then_some(page)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn page(entries: &[(u8, &[u8])]) -> Vec<u8> {
        let mut page = vec![0; 512];
        page[0] = 16;
        for (n, (id, rest)) in entries.iter().enumerate() {
            let at = 2 + n * ENTRY_BYTES;
            page[at] = *id;
            page[at + 1..at + 1 + rest.len()].copy_from_slice(rest);
        }
        sum(page)
    }

    fn sum(mut page: Vec<u8>) -> Vec<u8> {
        page[511] = 0;
        let sum = page.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        page[511] = sum.wrapping_neg();
        page
    }

    fn values() -> Vec<u8> {
        page(&[
            (5, &[0x33, 0, 90, 90, 24, 0, 0, 0, 0, 0]),
            (9, &[0x32, 0, 90, 90, 0x39, 0x30, 0, 0xEE, 0, 0]),
            (194, &[0x22, 0, 66, 40, 34, 0, 12, 0, 55, 0]),
            (197, &[0x12, 0, 100, 100, 8, 0, 0, 0, 0, 0]),
        ])
    }

    #[test]
    fn the_counters_are_found_by_their_numbers() {
        let health = Health::of_ata(&values(), None, Verdict::Good).unwrap();
        assert_eq!(health.reallocated, Some(24));
        assert_eq!(health.hours, Some(12_345));
        assert_eq!(health.celsius, Some(34));
        assert_eq!(health.pending, Some(8));
        assert_eq!((health.uncorrectable, health.starts), (None, None));
        assert_eq!(health.verdict, Verdict::Good);
    }

    #[test]
    fn an_attribute_at_its_limit_is_a_verdict() {
        let at = |limit| page(&[(5, &[limit]), (197, &[200])]);
        let judge = |limit| Health::of_ata(&values(), Some(&at(limit)), Verdict::Unknown).unwrap();
        assert_eq!(judge(89).verdict, Verdict::Unknown);
        let failing = judge(90);
        assert_eq!(failing.verdict, Verdict::Failing);
        // 197 is below its limit too, but foretells nothing.
        assert_eq!(
            failing.warnings,
            ["SMART attribute 5 has fallen to its maker's limit"]
        );
    }

    #[test]
    fn a_page_whose_sum_is_wrong_tells_nothing() {
        let mut broken = values();
        broken[7] ^= 1;
        assert_eq!(Health::of_ata(&broken, None, Verdict::Good), None);
        assert_eq!(Health::of_ata(&[0; 512], None, Verdict::Good), None);
        assert_eq!(Health::of_ata(&values()[..511], None, Verdict::Good), None);
    }

    proptest! {
        #[test]
        fn no_page_is_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 512), cut in 0usize..600) {
            bytes = sum(bytes);
            assert!(Health::of_ata(&bytes, Some(&bytes), Verdict::Good).is_some());
            bytes.truncate(cut);
            Health::of_ata(&bytes, Some(&bytes), Verdict::Good);
        }
    }
}
