//! What starts before the boot loader.

use std::fs;
use std::path::Path;

use crate::failure::{Doing, Failure, Outcome};

const OVMF: &str = "/usr/share/OVMF";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    Bios,
    Uefi,
    /// Only programs signed with Microsoft's keys start.
    SecureBoot,
}

impl Firmware {
    /// QEMU's words. The firmware's variables are a copy in `folder`: a machine remembers nothing
    /// of another one.
    ///
    /// # Errors
    /// When the package with the firmware is missing.
    pub fn arguments(self, folder: &Path) -> Outcome<Vec<String>> {
        let (machine, code, variables) = match self {
            Self::Bios => return Ok(vec!["-machine".to_owned(), "q35".to_owned()]),
            Self::Uefi => ("q35", "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
            Self::SecureBoot => (
                "q35,smm=on",
                "OVMF_CODE_4M.secboot.fd",
                "OVMF_VARS_4M.ms.fd",
            ),
        };
        let code = Path::new(OVMF).join(code);
        if !code.exists() {
            return Err(Failure::new(format!(
                "{} is missing; install the package ovmf",
                code.display()
            )));
        }
        let own = folder.join("firmware-variables.fd");
        fs::copy(Path::new(OVMF).join(variables), &own).doing("the firmware's variables")?;
        let flash = |unit: u8, file: &Path, access: &str| {
            format!(
                "if=pflash,unit={unit},format=raw{access},file={}",
                file.display()
            )
        };
        let mut words = vec!["-machine".to_owned(), machine.to_owned()];
        if self == Self::SecureBoot {
            words.push("-global".to_owned());
            words.push("driver=cfi.pflash01,property=secure,value=on".to_owned());
        }
        words.push("-drive".to_owned());
        words.push(flash(0, &code, ",readonly=on"));
        words.push("-drive".to_owned());
        words.push(flash(1, &own, ""));
        Ok(words)
    }
}
