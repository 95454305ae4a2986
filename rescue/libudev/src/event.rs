//! What the kernel says on its netlink group when a device comes, changes or goes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::device::{Properties, split_once};

/// `add@/devices/…` and then `NAME=value`, each ended by NUL (lib/kobject_uevent.c). `None` for anything else.
pub fn parse(message: &[u8]) -> Option<Properties> {
    let mut parts = message.split(|b| *b == 0);
    let head = parts.next()?;
    // Messages of a udevd on the same family start with `libudev`.
    head.contains(&b'@').then_some(())?;
    let properties: Properties = parts
        .filter_map(|part| split_once(OsStr::from_bytes(part), b'='))
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let told = ["ACTION", "DEVPATH", "SUBSYSTEM", "SEQNUM"];
    told.iter()
        .all(|name| properties.contains_key(OsStr::new(name)))
        .then_some(properties)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_the_kernel_is_read_and_anything_else_is_not() {
        let event =
            b"add@/devices/x\0ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=block\0SEQNUM=7\0A=b=c\0";
        let read = parse(event).unwrap();
        assert_eq!(read[OsStr::new("A")], "b=c");
        assert_eq!(read[OsStr::new("SEQNUM")], "7");
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"libudev\0\xfe\xed\xca\xfeACTION=add\0"), None);
        assert_eq!(parse(b"add@/devices/x\0ACTION=add\0"), None);
    }
}
