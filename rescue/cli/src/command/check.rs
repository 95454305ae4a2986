//! `rescue check`: an image against itself.

use engine::request::{Action, Options, Place, Request};

use crate::words::Output;
use crate::{Exit, Streams};

pub fn run(image: Place, output: &Output, streams: &mut Streams<'_>) -> Exit {
    super::job::run_without_consent(
        Request {
            action: Action::Check { image },
            options: Options::default(),
        },
        output,
        streams,
    )
}
