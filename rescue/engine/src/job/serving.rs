//! Serving an image, or showing it as files, until somebody ends it.

use std::sync::atomic::Ordering;

use disk::extent::Extent;
use disk::source::BlockSource;
use disk::table;

use super::Job;
use super::meter::Meter;
use super::pipeline::Stop;
use crate::event::Step;
use crate::mounted::Mounted;
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
        said_of_reads(count(&tally.failed_reads), meter, report);
        Ok(())
    }
}

impl Job<'_> {
    pub fn mount(&self, meter: &mut Meter<'_>, report: &mut Report) -> Result<(), Stop> {
        let Action::Mount { directory, .. } = &self.plan.request.action else {
            return Err(Stop::Bug("this mounts nothing".into()));
        };
        let reader = self.image_reader()?;
        let exports = exports(&reader);
        let at = directory.display();
        let mounted = Mounted::at(directory, OfImage::new(reader), exports);
        let mounted = mounted.map_err(|error| {
            Stop::Fault(format!(
                "nothing can be mounted at {at}: {error}; it needs root or the package fuse3, and /dev/fuse"
            ))
        })?;
        meter.begin(Step::Serve, 0, 0);
        meter.note(&format!("{at} is ready; Ctrl-C or umount ends it"));
        let tally = mounted.tally.clone();
        let ended = mounted.last(self.cancel);
        meter.read_bytes = tally.read_bytes.load(Ordering::Relaxed);
        said_of_reads(tally.failed_reads.load(Ordering::Relaxed), meter, report);
        ended.map_err(|error| {
            Stop::Fault(format!(
                "{at} cannot be unmounted: {error}; leave it, close what is open there, and run umount {at}"
            ))
        })
    }
}

fn said_of_reads(failed: u64, meter: &mut Meter<'_>, report: &mut Report) {
    report.verified = Verified::NotDone {
        why: "serving compares nothing; every chunk that was read had its own checksum".into(),
    };
    if failed > 0 {
        meter.warn(&format!(
            "{failed} reads met damage of the image; `rescue check` says what is lost"
        ));
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
