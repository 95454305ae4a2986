//! The kernel's own count of what was written to each disk during a job.

use crate::host::Host;
use crate::identity::Identity;
use crate::plan::Plan;
use crate::report::{DiskReport, DiskRole};

/// Each disk of the machine and its counter before the job.
pub struct Counters(Vec<(DiskRole, Identity, Option<u64>)>);

impl Counters {
    pub fn of(plan: &Plan, host: &dyn Host) -> Counters {
        let part =
            |disk: &Option<crate::host::Disk>| disk.as_ref().map(|disk| disk.identity.clone());
        let source = part(&plan.source).map(|identity| (DiskRole::Source, identity));
        let destination = part(&plan.destination).map(|identity| (DiskRole::Destination, identity));
        let store = plan.store.as_ref().and_then(|store| store.disk.clone());
        let store = store.map(|identity| (DiskRole::Store, identity));
        let others = plan.bystanders.iter().cloned();
        let others = others.map(|identity| (DiskRole::Bystander, identity));
        let all = source
            .into_iter()
            .chain(destination)
            .chain(store)
            .chain(others);
        Counters(
            all.map(|(role, identity)| {
                let written = host.sectors_written(&identity);
                (role, identity, written)
            })
            .collect(),
        )
    }

    /// What was written since. The flags are still those of the job, but for a store, which is protected again as
    /// soon as it is no longer written: its flag is the one it had when it was open.
    pub fn again(self, host: &dyn Host, open_store: Option<bool>) -> Vec<DiskReport> {
        let report = |(role, identity, before): (DiskRole, Identity, Option<u64>)| {
            let after = host.sectors_written(&identity);
            let flag = match role {
                DiskRole::Store => open_store,
                _ => host.kernel_read_only(&identity),
            };
            DiskReport {
                role,
                sectors_written: before
                    .zip(after)
                    .map(|(before, after)| after.saturating_sub(before)),
                kernel_read_only: flag,
                identity,
            }
        };
        self.0.into_iter().map(report).collect()
    }
}
