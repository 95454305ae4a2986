//! Serving an image until somebody ends it.

use std::sync::atomic::Ordering;

use disk::extent::Extent;
use disk::source::BlockSource;
use disk::table;

use super::Job;
use super::meter::Meter;
use super::pipeline::Stop;
use crate::event::Step;
use crate::report::{Report, Verified};
use crate::request::{Action, Writes};
use crate::serve::{Content, Export, Listener, OfImage, Overlay, Server, Tally};

impl Job<'_> {
    pub fn serve(&self, meter: &mut Meter<'_>, report: &mut Report) -> Result<(), Stop> {
        let Action::Serve { listen, writes, .. } = &self.plan.request.action else {
            return Err(Stop::Bug("this serves nothing".into()));
        };
        let reader = self.image_reader()?;
        let exports = exports(&reader);
        let content: Box<dyn Content> = match writes {
            Writes::Refused => Box::new(OfImage::new(reader)),
            Writes::ThrownAway => {
                let file = self.host.scratch().map_err(|error| Stop::Fault(error.0))?;
                Box::new(Overlay::new(OfImage::new(reader), file))
            }
        };
        let server = Server {
            content: &*content,
            exports,
            tally: Tally::default(),
        };
        let listener = Listener::open(listen).map_err(Stop::Fault)?;
        meter.begin(Step::Serve, 0, 0);
        meter.note(&format!("{} is ready; Ctrl-C ends it", listener.url()));
        server.run(&listener, self.cancel);
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let tally = &server.tally;
        meter.read_bytes = count(&tally.read_bytes);
        meter.written_bytes = count(&tally.written_bytes);
        report.notes.push(format!(
            "{} connections were served",
            count(&tally.connections)
        ));
        report.verified = Verified::NotDone {
            why: "serving compares nothing; every chunk that was read had its own checksum".into(),
        };
        match count(&tally.failed_reads) {
            0 => {}
            n => meter.warn(&format!(
                "{n} reads met damage of the image; `rescue check` says what is lost"
            )),
        }
        Ok(())
    }
}

/// The whole disk without a name, and each partition by its number.
fn exports(source: &dyn BlockSource) -> Vec<Export> {
    let whole = Extent::new(0, source.size_bytes()).map(|extent| Export {
        name: String::new(),
        description: "the whole disk".into(),
        extent,
    });
    let table = table::read(source).ok().flatten();
    let partitions = table.into_iter().flat_map(|table| table.partitions);
    let inside = partitions.filter(|partition| partition.extent.end() <= source.size_bytes());
    let partitions = inside.map(|partition| Export {
        name: partition.number.to_string(),
        description: match partition.name {
            Some(name) => format!("partition {} ({name})", partition.number),
            None => format!("partition {}", partition.number),
        },
        extent: partition.extent,
    });
    whole.into_iter().chain(partitions).collect()
}
