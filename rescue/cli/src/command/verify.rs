//! `rescue verify`: a disk against the image or the disk it came from.

use std::str::FromStr;

use engine::request::{Action, Against, DiskName, Options, Place, Request};

use crate::words::Output;
use crate::{Exit, Streams};

pub fn run(against: &str, disk: DiskName, output: &Output, streams: &mut Streams<'_>) -> Exit {
    let against = match parse(against) {
        Ok(against) => against,
        Err(sentence) => return super::end(Exit::BadWords, &sentence, streams),
    };
    let request = Request {
        action: Action::Verify { against, disk },
        options: Options::default(),
    };
    super::job::run_without_consent(request, output, streams)
}

/// An image is named by a place on a filesystem that is not mounted, or by a path that ends in `.zst`;
/// everything else is a disk.
fn parse(text: &str) -> Result<Against, String> {
    let is_image =
        text.starts_with("uuid:") || text.starts_with("label:") || text.ends_with(".zst");
    if is_image && !text.starts_with("serial:") && !text.starts_with("wwn:") {
        Place::from_str(text).map(Against::Image)
    } else {
        DiskName::from_str(text).map(Against::Disk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_and_a_disk_are_told_apart_by_their_words() {
        assert!(matches!(
            parse("a/b.img.zst"),
            Ok(Against::Image(Place::Path(_)))
        ));
        assert!(matches!(
            parse("label:B/b.img.zst"),
            Ok(Against::Image(Place::Label { .. }))
        ));
        assert!(matches!(
            parse("serial:X.zst"),
            Ok(Against::Disk(DiskName::Serial(_)))
        ));
        assert!(matches!(
            parse("/dev/sda"),
            Ok(Against::Disk(DiskName::Path(_)))
        ));
        assert!(parse("").is_err());
    }
}
