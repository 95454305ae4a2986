//! A shell pattern (`*`, `?`, `[a-z]`), as the kernel's module aliases use it.

/// Whether `text` as a whole matches `pattern`.
///
/// Only the last `*` is ever tried again, so the time is bounded by the product of the lengths
/// whatever the pattern.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, t));
            continue;
        }
        let step = match text.get(t) {
            None if p == pattern.len() => return true,
            None => return false,
            Some(byte) => one(&pattern[p..], *byte),
        };
        match (step, retry) {
            (Some(width), _) => (p, t) = (p + width, t + 1),
            (None, Some((after_star, from))) => {
                (p, t) = (after_star, from + 1);
                retry = Some((after_star, from + 1));
            }
            (None, None) => return false,
        }
    }
}

/// The width of the pattern's first item if it matches `byte`.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => match set(pattern, byte) {
            Some((width, found)) => found.then_some(width),
            None => (byte == b'[').then_some(1),
        },
        b'\\' if pattern.len() > 1 => (pattern[1] == byte).then_some(2),
        literal => (literal == byte).then_some(1),
    }
}

/// `[…]`: its width and whether `byte` is in it; nothing when the bracket is never closed.
fn set(pattern: &[u8], byte: u8) -> Option<(usize, bool)> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if negated { 2 } else { 1 };
    let mut at = first;
    let mut found = false;
    loop {
        let low = *pattern.get(at)?;
        if low == b']' && at > first {
            return Some((at + 1, found != negated));
        }
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(b'-'), Some(&high)) if high != b']' => {
                found |= (low..=high).contains(&byte);
                at += 3;
            }
            _ => {
                found |= low == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    #[test]
    fn an_alias_of_the_kernel_matches_as_fnmatch_says() {
        for (pattern, text, expected) in [
            (
                "pci:v00008086d*sv*sd*bc01sc06i01*",
                "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01",
                true,
            ),
            (
                "pci:v00008086d*sv*sd*bc01sc06i01*",
                "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i02",
                false,
            ),
            (
                "usb:v1645p0007d013[0-3]dc*",
                "usb:v1645p0007d0132dc00",
                true,
            ),
            (
                "usb:v1645p0007d013[0-3]dc*",
                "usb:v1645p0007d0134dc00",
                false,
            ),
            ("acpi*:PNP0C0A:*", "acpi:PNP0C0A:", true),
            ("acpi*:PNP0C0A:*", "acpi:LNXSYBUS:PNP0A03:", false),
            ("scsi:t-0x00*", "scsi:t-0x00", true),
            ("[!a]x", "bx", true),
            ("[!a]x", "ax", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("", "", true),
            ("*", "", true),
            ("[", "[", true),
            ("[]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!matches(&pattern, &"a".repeat(5000)));
    }

    proptest! {
        #[test]
        fn no_pattern_panics(pattern in "[a\\[\\]*?!^\\\\-]{0,24}", text in "[ab\\[\\]-]{0,24}") {
            matches(&pattern, &text);
        }

        #[test]
        fn a_text_without_special_characters_matches_itself_only(a in "[a-z:0-9]{0,20}", b in any::<String>()) {
            assert!(matches(&a, &a));
            assert_eq!(matches(&a, &b), a == b);
        }
    }
}
