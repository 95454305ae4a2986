//! `rescue cp`: single files out of an image or a disk.

use engine::request::{Action, Options, Origin, Place, Request, Unlock};

use crate::words::{InUse, Output};
use crate::{Exit, Streams};

/// From where, which, into which directory.
type What = (Origin, Vec<String>, Place);

pub fn run(
    (from, paths, to): What,
    unlock: Unlock,
    live: &InUse,
    output: &Output,
    streams: &mut Streams<'_>,
) -> Exit {
    let request = Request {
        action: Action::Extract { from, paths, to },
        options: Options {
            unlock,
            liveness: live.liveness(),
            ..Options::default()
        },
    };
    super::job::run_without_consent(request, output, streams)
}
