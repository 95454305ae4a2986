//! The words of `rescue boot`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use engine::request::Place;

use crate::virtual_pc::{Firmware, Screen};

#[derive(Args, Debug)]
pub struct BootWords {
    pub image: Place,
    /// How the PC starts [default: UEFI where the disk has an EFI system partition]
    #[arg(long, value_name = "bios|uefi", value_parser = firmware)]
    pub firmware: Option<Firmware>,
    /// Memory of the PC in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(64..))]
    pub memory: u32,
    /// How long it runs before the picture is taken
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 120,
        conflicts_with = "window"
    )]
    after: u64,
    /// The picture; ends in .png or .ppm
    #[arg(
        long,
        value_name = "FILE",
        default_value = "boot.png",
        conflicts_with = "window"
    )]
    screenshot: PathBuf,
    /// Shows the screen in a window and waits until it is closed, instead of a picture
    #[arg(long)]
    window: bool,
    /// Every instruction is translated: slow, where the processor's own help does not work
    #[arg(long)]
    pub no_kvm: bool,
}

impl BootWords {
    pub fn screen(&self) -> Screen {
        match self.window {
            true => Screen::Window,
            false => Screen::Picture {
                file: self.screenshot.clone(),
                after: Duration::from_secs(self.after),
            },
        }
    }
}

fn firmware(word: &str) -> Result<Firmware, String> {
    match word {
        "bios" => Ok(Firmware::Bios),
        "uefi" => Ok(Firmware::Uefi),
        _ => Err("it is bios or uefi".into()),
    }
}
