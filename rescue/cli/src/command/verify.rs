//! `rescue verify`: a disk against the image or the disk it came from.

use engine::request::{Action, DiskName, Options, Origin, Request, Unlock};

use crate::words::Output;
use crate::{Exit, Streams};

pub fn run(
    against: Origin,
    disk: DiskName,
    unlock: Unlock,
    output: &Output,
    streams: &mut Streams<'_>,
) -> Exit {
    let request = Request {
        action: Action::Verify { against, disk },
        options: Options {
            unlock,
            ..Options::default()
        },
    };
    super::job::run_without_consent(request, output, streams)
}
