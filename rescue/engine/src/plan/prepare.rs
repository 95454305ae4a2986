//! From a request to a plan, or to every reason against it.

use disk::extent::ExtentMap;

use super::find::Survey;
use super::refusal::Refusal;
use super::{Absent, Plan, clone, export, extract, imaging, mend, restore, serve, shorten, verify};
use crate::host::{Disk, Host};
use crate::identity::Identity;
use crate::map::Map;
use crate::request::{Action, Request};

/// Looks at everything and writes nothing. Every reason against the request at once.
pub fn prepare(request: &Request, host: &dyn Host) -> Result<Plan, Vec<Refusal>> {
    let mut survey = Survey::new(host, &request.options.unlock.keys);
    let plan = match &request.action {
        Action::Clone {
            source,
            destination,
        } => clone::plan(request, source, destination, &mut survey),
        Action::Image {
            source,
            store,
            name,
        } => imaging::plan(request, source, store, name, &mut survey),
        Action::Restore { image, destination } => {
            restore::plan(request, image, destination, &mut survey)
        }
        Action::Verify { against, disk } => verify::plan(request, against, disk, &mut survey),
        Action::Check { image } => verify::check(request, image, &mut survey),
        Action::Export { from, file, format } => {
            export::plan(request, from, file, *format, &mut survey)
        }
        Action::Serve {
            image,
            listen,
            writes,
        } => serve::plan(request, image, listen, *writes, &mut survey),
        Action::Mount { image, directory } => serve::mount(request, image, directory, &mut survey),
        Action::Merge { image, onto } => {
            shorten::merge(request, image, onto.as_deref(), &mut survey)
        }
        Action::Mend { image, with } => mend::plan(request, image, *with, &mut survey),
        Action::Prune { store, keep } => shorten::prune(request, store, *keep, &mut survey),
        Action::Extract { from, paths, to } => extract::plan(request, from, paths, to, &mut survey),
    };
    match plan {
        Some(mut plan) if survey.refusals.is_empty() => {
            plan.bystanders = bystanders(&plan, host);
            plan.warnings.extend(survey.warnings);
            plan.lines.push(format!("command: {request}"));
            Ok(plan)
        }
        _ => Err(survey.refusals),
    }
}

impl Plan {
    /// Nothing decided yet: neither a source nor anything to be written.
    pub(super) fn of(request: &Request) -> Plan {
        Plan {
            request: request.clone(),
            source: None,
            destination: None,
            new_file: None,
            store: None,
            image: None,
            used: ExtentMap::new(),
            used_bytes: 0,
            left_out: ExtentMap::new(),
            absent: Absent::default(),
            rules_applied: Vec::new(),
            lines: Vec::new(),
            warnings: Vec::new(),
            word: None,
            targets: Vec::new(),
            state: None,
            ends: None,
            parent: None,
            steps: Vec::new(),
            done: Map::default(),
            patches: Vec::new(),
            grows: None,
            bystanders: Vec::new(),
        }
    }

    pub(super) fn wanting(&mut self, used: ExtentMap) {
        self.used_bytes = used.total_bytes();
        self.used = used;
    }
}

/// The disks that have no part in it. A job between regular files has none: the machine's disks are not its
/// business.
fn bystanders(plan: &Plan, host: &dyn Host) -> Vec<Identity> {
    let part: Vec<&Identity> = [&plan.source, &plan.destination]
        .into_iter()
        .flatten()
        .map(|disk: &Disk| &disk.identity)
        .chain(plan.store.iter().filter_map(|store| store.disk.as_ref()))
        .collect();
    if part.iter().all(|identity| identity.file.is_some()) {
        return Vec::new();
    }
    let all = host.disks().unwrap_or_default().into_iter();
    all.map(|disk| disk.identity)
        .filter(|identity| !part.iter().any(|known| known.same_device(identity)))
        .collect()
}
