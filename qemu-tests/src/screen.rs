//! A screenshot, and whether there is something on it.

use std::fs;
use std::path::Path;

use crate::failure::{Doing, Failure, Outcome, ensure};

#[derive(Debug, PartialEq, Eq)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

/// The size a PNG's header says.
///
/// # Errors
/// When the file is no PNG.
pub fn size(png: &Path) -> Outcome<Size> {
    let bytes = fs::read(png).doing(png.display())?;
    let number = |at: usize| -> Option<u32> {
        let field = bytes.get(at..at + 4)?;
        Some(u32::from_be_bytes(field.try_into().ok()?))
    };
    ensure(bytes.starts_with(b"\x89PNG\r\n\x1a\n"), || {
        format!("{} is no PNG", png.display())
    })?;
    match (number(16), number(20)) {
        (Some(width), Some(height)) => Ok(Size { width, height }),
        _ => Err(Failure::new(format!("{} is cut off", png.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_read_from_the_header() {
        let folder = tempfile::tempdir().unwrap();
        let png = folder.path().join("a.png");
        fs::write(
            &png,
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\xd0\0\0\x01\x90",
        )
        .unwrap();
        let expected = Size {
            width: 720,
            height: 400,
        };
        assert_eq!(size(&png).unwrap(), expected);
        fs::write(&png, b"\x89PNG\r\n\x1a\n\0\0").unwrap();
        assert!(size(&png).is_err());
        fs::write(&png, b"P6").unwrap();
        assert!(size(&png).is_err());
    }
}
