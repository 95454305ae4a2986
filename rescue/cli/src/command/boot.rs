//! `rescue boot`: whether a system starts from its image, seen and not believed.

use std::path::Path;
use std::time::{Duration, Instant};

use disk::source::BlockSource;
use disk::table;
use engine::event::{Cancel, Silent};
use engine::host::Host;
use engine::job;
use engine::plan::{self, Approved, Consent};
use engine::report::{Outcome, Report};
use engine::request::{Action, Listen, Options, Place, Request, Writes};
use image::reader::Reader;

use crate::virtual_pc::{Firmware, Screen, VirtualPc};
use crate::words::BootWords;
use crate::{Exit, Streams};

const SERVED_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

pub fn run(words: &BootWords, streams: &mut Streams<'_>) -> Exit {
    match boot(words, streams) {
        Ok((report, said)) => {
            if report.outcome != Outcome::Done {
                let _ = write!(streams.err, "{report}");
                return Exit::Fault;
            }
            let _ = writeln!(streams.err, "{said}");
            for warning in &report.warnings {
                let _ = writeln!(streams.err, "warning: {warning}");
            }
            Exit::Done
        }
        Err((exit, sentence)) => super::end(exit, &sentence, streams),
    }
}

fn boot(words: &BootWords, streams: &mut Streams<'_>) -> Result<(Report, String), (Exit, String)> {
    let fault = |text: String| (Exit::Fault, text);
    let pc = pc(words)?;
    let folder =
        tempfile::tempdir().map_err(|error| fault(format!("no temporary folder: {error}")))?;
    let socket = folder.path().join("nbd");
    let approved = served(&words.image, &socket)?;
    told(&approved, &pc, streams);
    let host = super::host();
    let cancel = Cancel::default();
    let (report, said) = super::job::with_signals(&cancel, || {
        std::thread::scope(|threads| {
            let served = threads.spawn(|| job::run(&approved, &host, &Silent, &cancel));
            let begun = Instant::now();
            while !socket.exists() && !served.is_finished() && begun.elapsed() < SERVED_WITHIN {
                std::thread::sleep(POLL);
            }
            let said = match socket.exists() {
                true => pc.run(&socket, folder.path(), &cancel),
                false => Ok("the image cannot be served".into()),
            };
            cancel.cancel();
            (served.join(), said)
        })
    });
    let report = report.map_err(|_| fault("serving the image failed; please report it".into()))?;
    said.map(|said| (report, said)).map_err(fault)
}

fn pc(words: &BootWords) -> Result<VirtualPc, (Exit, String)> {
    let refused = |text: String| (Exit::Refused, text);
    if let Screen::Picture { file, .. } = words.screen()
        && file.symlink_metadata().is_ok()
    {
        let file = file.display();
        return Err(refused(format!(
            "{file} is there already; name another file"
        )));
    }
    let host = super::host();
    let opened = host.open_place(&words.image, None);
    let opened = opened.map_err(|error| refused(error.to_string()))?;
    let reader = Reader::open(&*opened.store, &opened.name);
    let reader = reader.map_err(|error| refused(error.to_string()))?;
    Ok(VirtualPc {
        firmware: words.firmware.unwrap_or_else(|| firmware(&reader)),
        memory_mib: words.memory,
        with_kvm: !words.no_kvm,
        sector_bytes: reader.geometry().logical_sector,
        screen: words.screen(),
    })
}

/// UEFI starts from a partition of its own kind, a BIOS from the first sector.
fn firmware(disk: &dyn BlockSource) -> Firmware {
    let table = table::read(disk).ok().flatten();
    let partitions = table.into_iter().flat_map(|table| table.partitions);
    let kinds = partitions.filter_map(|partition| partition.type_name);
    match kinds.into_iter().any(|kind| kind == "EFI system") {
        true => Firmware::Uefi,
        false => Firmware::Bios,
    }
}

fn served(image: &Place, socket: &Path) -> Result<Approved, (Exit, String)> {
    let request = Request {
        action: Action::Serve {
            image: image.clone(),
            listen: Listen::Unix(socket.to_owned()),
            writes: Writes::ThrownAway,
        },
        options: Options::default(),
    };
    let plan = plan::prepare(&request, &super::host()).map_err(|refusals| {
        let texts: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        (Exit::Refused, texts.join("; "))
    })?;
    plan.approve(&Consent::NothingOverwritten)
        .map_err(|_| (Exit::Refused, "this would overwrite something".into()))
}

/// What the image is, without how it is served.
fn told(approved: &Approved, pc: &VirtualPc, streams: &mut Streams<'_>) {
    let firmware = match pc.firmware {
        Firmware::Bios => "a BIOS",
        Firmware::Uefi => "UEFI",
    };
    let _ = writeln!(
        streams.err,
        "start a PC with {firmware} and {} MiB of memory, without a network",
        pc.memory_mib
    );
    let lines = approved.plan().lines().iter().skip(1);
    for line in lines.filter(|line| !line.starts_with("command:")) {
        let _ = writeln!(streams.err, "{line}");
    }
}
