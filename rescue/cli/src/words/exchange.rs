//! The words of `rescue export` and `rescue import`.

use std::path::PathBuf;

use clap::Args;
use engine::request::{Action, Format, Options, Origin, Request, Unlock};

use super::job::ImageWords;
use super::option::{Check, Extent, InUse, KeyWords, Output};

/// Of another program's image those of a disk, but for the map: it is read.
#[derive(Args, Debug)]
pub struct ImportWords {
    #[command(flatten)]
    pub words: ImageWords,
}

impl ImportWords {
    pub fn request(&self, unlock: Unlock) -> Request {
        let mut request = self.words.request(unlock);
        request.options.rescued = request.options.map.take();
        request
    }
}

#[derive(Args, Debug)]
pub struct ExportWords {
    #[arg(value_name = "IMAGE|DISK")]
    from: Origin,
    /// Must not exist
    file: PathBuf,
    /// raw, qcow2, vhdx, vmdk; clonezilla, which is a directory; or bmap, which bmaptool wants beside an image
    #[arg(long)]
    format: Format,
    #[command(flatten)]
    pub keys: KeyWords,
    #[command(flatten)]
    coverage: Extent,
    #[command(flatten)]
    live: InUse,
    #[command(flatten)]
    verification: Check,
    #[command(flatten)]
    pub output: Output,
}

impl ExportWords {
    pub fn request(&self, unlock: Unlock) -> Request {
        Request {
            action: Action::Export {
                from: self.from.clone(),
                file: self.file.clone(),
                format: self.format,
            },
            options: Options {
                unlock,
                coverage: self.coverage.coverage(),
                liveness: self.live.liveness(),
                verification: self.verification.verification(),
                ..Options::default()
            },
        }
    }
}
