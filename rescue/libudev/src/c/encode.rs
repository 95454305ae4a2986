//! Text as udev writes it into properties: what a device name must not hold becomes `\xNN`.

use libc::{EINVAL, c_char, c_int, size_t};

use crate::c::text;

#[unsafe(no_mangle)]
unsafe extern "C" fn udev_util_encode_string(
    text: *const c_char,
    to: *mut c_char,
    len: size_t,
) -> c_int {
    // SAFETY: C callers pass NULL or NUL-terminated text.
    let Some(text) = (unsafe { text::borrowed(text) }) else {
        return -EINVAL;
    };
    if to.is_null() || len == 0 {
        return -EINVAL;
    }
    let encoded = encode(text.as_encoded_bytes());
    if encoded.len() >= len {
        return -EINVAL;
    }
    // SAFETY: `to` has room for `len` bytes, of which the text and its NUL are not more.
    unsafe {
        std::ptr::copy_nonoverlapping(encoded.as_ptr(), to.cast(), encoded.len());
        *to.add(encoded.len()) = 0;
    }
    0
}

fn encode(text: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            if !c.is_ascii() || c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) {
                encoded.extend(c.to_string().into_bytes());
            } else {
                encoded.extend(c.to_string().bytes().flat_map(escaped));
            }
        }
        encoded.extend(chunk.invalid().iter().copied().flat_map(escaped));
    }
    encoded
}

fn escaped(byte: u8) -> Vec<u8> {
    format!("\\x{byte:02x}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_name_must_not_hold_is_escaped() {
        assert_eq!(
            encode("My disk/1 ä".as_bytes()),
            "My\\x20disk\\x2f1\\x20ä".as_bytes()
        );
        assert_eq!(encode(b"\\\xff"), b"\\x5c\\xff");
    }
}
