//! Opening a disk for writing: claimed, looked at again, and only then.

use std::path::Path;

use crate::host::{HostError, Use};
use crate::identity::Identity;
use crate::linux::claim::Claim;
use crate::linux::fingerprint;
use crate::linux::ioctl;
use crate::linux::node::{Access, Node, open_trouble};
use crate::linux::protect;
use crate::linux::sink::DirectSink;
use crate::linux::source::DirectSource;
use crate::linux::sysfs::SysDisk;

/// Whether the read-only flags of this system are ours to take away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flags {
    Ours,
    Theirs,
}

/// `disk` is where `identity` was found just now.
pub fn open(
    disk: &SysDisk,
    identity: &Identity,
    uses: &[Use],
    flags: Flags,
    sysfs: &Path,
) -> Result<DirectSink, HostError> {
    let failed = |error| open_trouble(&disk.node, &error, &in_use_by(uses));
    let claim = Claim::take_patiently(&disk.node).map_err(failed)?;
    // From here on nobody mounts it; what is read now is what will be overwritten.
    let found = Node::open(&disk.node, Access::Read, sysfs).map_err(failed)?;
    unchanged(disk, &DirectSource::new(found), identity)?;
    make_writable(disk, &claim, flags)?;
    let node = Node::open(&disk.node, Access::Write, sysfs).map_err(failed)?;
    if node.device_number().map_err(failed)? != claim.device_number().map_err(failed)? {
        return Err(changed(identity));
    }
    Ok(DirectSink::claimed(node.of_disk(identity), claim))
}

/// A regular file that exists.
pub fn open_file(path: &Path, identity: &Identity, sysfs: &Path) -> Result<DirectSink, HostError> {
    let node = Node::open(path, Access::Write, sysfs)
        .map_err(|error| open_trouble(path, &error, "another program has it"))?;
    if node.geometry.size_bytes != identity.size_bytes {
        return Err(changed(identity));
    }
    Ok(DirectSink::new(node))
}

fn unchanged(disk: &SysDisk, now: &DirectSource, identity: &Identity) -> Result<(), HostError> {
    let found = Identity {
        size_bytes: disk::source::BlockSource::size_bytes(now),
        ..disk.identity(fingerprint::of(now))
    };
    if found == *identity {
        Ok(())
    } else {
        Err(changed(identity))
    }
}

pub fn changed(identity: &Identity) -> HostError {
    HostError(format!(
        "{identity} has changed since the plan was shown; look at it again and repeat the command"
    ))
}

fn make_writable(disk: &SysDisk, claim: &Claim, flags: Flags) -> Result<(), HostError> {
    // Only block devices have the flag.
    let is_read_only = || ioctl::is_read_only(claim.device()).unwrap_or(false);
    if is_read_only() && flags == Flags::Ours {
        protect::set(disk, false)?;
    }
    if is_read_only() {
        return Err(HostError(format!(
            "{} is read-only; look for its write-protect switch, or try blockdev --setrw",
            disk.node.display()
        )));
    }
    Ok(())
}

/// Who has it, in words.
pub fn in_use_by(uses: &[Use]) -> String {
    if uses.is_empty() {
        return "another program has it open".into();
    }
    let words: Vec<String> = uses.iter().map(Use::to_string).collect();
    words.join(", ")
}
