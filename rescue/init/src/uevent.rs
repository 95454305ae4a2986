//! One message of the kernel's uevent socket: `add@/devices/…` and `KEY=value` fields, each ended by a NUL.

/// The fields init uses; the others are for the inventory, which has a socket of its own.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Uevent<'a> {
    pub action: &'a str,
    pub subsystem: &'a str,
    pub modalias: Option<&'a str>,
}

impl<'a> Uevent<'a> {
    /// Fields that are not text are left out; a message without `ACTION=` is not from the kernel.
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let mut event = Uevent::default();
        let fields = message.split(|byte| *byte == 0);
        for (key, value) in fields
            .filter_map(|field| std::str::from_utf8(field).ok())
            .filter_map(|field| field.split_once('='))
        {
            match key {
                "ACTION" => event.action = value,
                "SUBSYSTEM" => event.subsystem = value,
                "MODALIAS" => event.modalias = Some(value),
                _ => {}
            }
        }
        (!event.action.is_empty()).then_some(event)
    }

    /// The alias of a device that has just come.
    pub fn wanted_alias(&self) -> Option<&'a str> {
        (self.action == "add").then_some(self.modalias).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    #[test]
    fn a_device_that_comes_names_its_alias() {
        let message = b"add@/devices/pci0000:00/0000:00:04.0\0ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=pci\0MODALIAS=pci:v00001AF4\0SEQNUM=1234\0";
        let event = Uevent::parse(message).unwrap();
        assert_eq!(event.subsystem, "pci");
        assert_eq!(event.wanted_alias(), Some("pci:v00001AF4"));
    }

    #[test]
    fn a_device_that_goes_wants_no_module() {
        let event = Uevent::parse(b"remove@/x\0ACTION=remove\0MODALIAS=usb:v1\0").unwrap();
        assert_eq!(event.wanted_alias(), None);
    }

    #[test]
    fn a_message_of_another_program_is_nothing() {
        assert_eq!(Uevent::parse(b"libudev\0\xfe\xed\xca\xfe"), None);
        assert_eq!(Uevent::parse(b""), None);
    }

    proptest! {
        #[test]
        fn no_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            Uevent::parse(&bytes);
        }
    }
}
