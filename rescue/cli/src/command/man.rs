//! `rescue man`: manual pages generated from the words.

use std::path::Path;

use clap::CommandFactory;

use crate::words::Words;
use crate::{Exit, Streams};

pub fn run(directory: &Path, streams: &mut Streams<'_>) -> Exit {
    match clap_mangen::generate_to(Words::command(), directory) {
        Ok(()) => Exit::Done,
        Err(error) => {
            let place = directory.display();
            let sentence = format!(
                "the manual pages could not be written to {place}: {error}; name a directory that exists"
            );
            super::end(Exit::Fault, &sentence, streams)
        }
    }
}
