//! An image that is damaged: what parity made good of it on the way, and what is said where it could not.

use std::sync::Arc;

use disk::extent::ExtentMap;
use image::reader::{Met, Reader};

use super::Job;
use super::meter::Meter;
use super::pipeline::Stop;
use crate::report::Report;
use crate::request::Action;

/// An image that the job has opened, and what it met in it.
pub struct ImageRead {
    met: Arc<Met>,
    /// Bytes of the disk in a chunk.
    cell: u64,
}

impl ImageRead {
    pub fn of(reader: &Reader) -> ImageRead {
        ImageRead {
            met: reader.met(),
            cell: reader.head().chunk_size.into(),
        }
    }
}

impl Job<'_> {
    /// Of an image that was read: what the damage of its file means, and what to do about it.
    pub fn tell_image(&self, meter: &mut Meter<'_>, report: &mut Report, ended: &Result<(), Stop>) {
        // A check tells it of the whole file.
        if let Action::Check { .. } = self.plan.request.action {
            return;
        }
        let image = self.image_title();
        let (good, lost) = self.met();
        if good > 0 {
            let chunks = match good {
                1 => "1 chunk was".to_owned(),
                n => format!("{n} chunks were"),
            };
            let text = format!(
                "{image} is damaged: {chunks} made good by its parity on the way; 'rescue repair {image}' makes the \
                 file itself whole"
            );
            tell(text, meter, report);
        }
        // Where it stopped there, that is what its outcome says.
        if lost && ended.is_ok() && self.has_parity() {
            let text = format!("{image} is damaged: {}", repair(&image));
            tell(text, meter, report);
        }
    }

    /// How many chunks were made good, and whether anything was lost.
    fn met(&self) -> (u64, bool) {
        let read = self.read.borrow();
        let all = |map: ExtentMap, of: &ImageRead| map.union(&of.met.made_good());
        let good = read.iter().fold(ExtentMap::new(), all);
        // Each is one cell: no other chunk has content.
        let cell = read.first().map_or(1, |of| of.cell);
        let chunks = good.iter().map(|run| run.len().div_ceil(cell)).sum();
        (chunks, read.iter().any(|of| of.met.is_lost()))
    }

    /// Why a restore went no further, and the ways on.
    pub fn stopped(&self, lost: &ExtentMap, report: &Report) -> String {
        let image = self.image_title();
        let place = lost.iter().next().map_or_else(String::new, |first| {
            format!(
                "{} bytes at {} of its disk are lost",
                first.len(),
                first.start()
            )
        });
        let owners = match report.files.split_first() {
            None => String::new(),
            Some((first, rest)) => match rest.len() as u64 + report.more_files {
                0 => format!(" (in {first})"),
                more => format!(" (in {first}, and in {more} more files)"),
            },
        };
        let parity = match self.has_parity() {
            true => repair(&image),
            false => "it has no parity; another copy of it may be whole".to_owned(),
        };
        format!(
            "{image} is damaged: {place}{owners}; {} is not whole and nothing starts from it; {parity}; the same \
             command with --keep-going goes on from here, with zeros there",
            self.destination_title()
        )
    }

    fn has_parity(&self) -> bool {
        let reader = self.image_reader();
        reader.is_ok_and(|reader| reader.has_parity())
    }

    fn image_title(&self) -> String {
        let image = self.plan.image.as_ref();
        image.map_or_else(|| "the image".into(), |image| image.title.clone())
    }
}

fn repair(image: &str) -> String {
    format!("'rescue repair {image}' makes good what its parity can")
}

fn tell(text: String, meter: &mut Meter<'_>, report: &mut Report) {
    meter.note(&text);
    report.notes.push(text);
}
