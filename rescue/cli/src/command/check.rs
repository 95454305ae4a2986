//! `rescue check`: an image against itself.

use engine::request::{Action, Options, Place, Request, Unlock};

use crate::words::{Deep, Output};
use crate::{Exit, Streams};

pub fn run(
    image: Place,
    deep: &Deep,
    unlock: Unlock,
    output: &Output,
    streams: &mut Streams<'_>,
) -> Exit {
    let request = Request {
        action: Action::Check { image },
        options: Options {
            depth: deep.depth(),
            unlock,
            ..Options::default()
        },
    };
    super::job::run_without_consent(request, output, streams)
}
