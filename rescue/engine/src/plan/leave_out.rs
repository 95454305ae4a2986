//! What a new image does not get of its disk: content of files that the user named or that a set knows.
//!
//! Only what one file alone owns, in whole blocks, on filesystems of which everything is known. It becomes zeros
//! that the image keeps; names, sizes and every record of the filesystem stay.

mod rules;
mod search;

use std::time::{Duration, Instant};

use disk::extent::{Extent, ExtentMap};
use disk::fs::{self, Basis, Filesystem, State, Used};
use disk::layer::Keys;
use disk::layout::{Layout, Owner, Region, Visited};
use disk::size::Size;
use disk::source::BlockSource;
use image::manifest::LeftOut;

use super::Plan;
use super::find::Survey;
use super::refusal::Refusal;
use crate::host::{Disk, Use};
use crate::request::{Coverage, Glob, LeaveOut, Options};
use rules::{On, RULES};
use search::{Search, Taken};

/// A plan is not kept waiting longer.
const PATIENCE: Duration = Duration::from_secs(300);

/// What was asked for and what came of it.
#[derive(Debug)]
struct Choice {
    what: String,
    why: &'static str,
    on: On,
    glob: Glob,
    files: u64,
    bytes: u64,
}

/// Takes what is to be left out into the plan, and says what it is and why nothing is left out elsewhere.
pub fn settle(disk: &Disk, source: &dyn BlockSource, plan: &mut Plan, survey: &mut Survey<'_>) {
    let options = &plan.request.options;
    if options.leave_out.is_empty() {
        return;
    }
    if let Some(text) = conflict(disk, options) {
        return survey.refuse(Refusal::Other { text });
    }
    let Ok(layout) = &disk.layout else {
        return plan.lines.push(format!(
            "left out: nothing; what is on {} cannot be told",
            disk.title()
        ));
    };
    let mut selection = Selection::of(&options.leave_out);
    selection.search(layout, source, &options.unlock.keys);
    let left_out = selection.left_out.intersection(&plan.used);
    plan.used_bytes -= left_out.total_bytes();
    plan.lines.extend(selection.lines(left_out.total_bytes()));
    plan.rules_applied = selection.told();
    plan.left_out = left_out;
}

/// Why nothing can be left out of this disk in this way.
fn conflict(disk: &Disk, options: &Options) -> Option<String> {
    if options.coverage == Coverage::Exact {
        return Some(
            "--exact keeps every sector and --leave-out does not; give one of the two".into(),
        );
    }
    let changing = disk.uses.iter().find(|used| Use::changes_it(used))?;
    Some(format!(
        "{changing}: while it is written nobody knows which places are those of a file; unmount it, or give no --leave-out"
    ))
}

struct Selection {
    choices: Vec<Choice>,
    /// As offsets of the disk.
    left_out: ExtentMap,
    /// Of which filesystem nothing is left out, or less than was asked for, in sentences.
    notes: Vec<String>,
    until: Instant,
}

impl Selection {
    fn of(asked: &[LeaveOut]) -> Selection {
        let chosen = |rule: &&rules::Rule| {
            asked.iter().any(|word| match word {
                LeaveOut::All => true,
                LeaveOut::Set(set) => *set == rule.set,
                LeaveOut::Glob(_) => false,
            })
        };
        let of_sets = RULES.iter().filter(chosen).filter_map(|rule| {
            Some(Choice {
                what: format!("{}: {}", rule.set.name(), rule.glob),
                why: rule.why,
                on: rule.on,
                glob: rule.glob.parse().ok()?,
                files: 0,
                bytes: 0,
            })
        });
        let own = asked.iter().filter_map(|word| match word {
            LeaveOut::Glob(glob) => Some(Choice {
                what: glob.to_string(),
                why: "asked for by the user",
                on: On::Any,
                glob: glob.clone(),
                files: 0,
                bytes: 0,
            }),
            _ => None,
        });
        Selection {
            choices: of_sets.chain(own).collect(),
            left_out: ExtentMap::new(),
            notes: Vec::new(),
            until: Instant::now() + PATIENCE,
        }
    }

    fn search(&mut self, layout: &Layout, source: &dyn BlockSource, keys: &Keys) {
        for region in &layout.regions {
            let place = match &region.owner {
                Owner::Partition { partition, .. } => format!("partition {}", partition.number),
                _ => "the disk".into(),
            };
            region.visit(source, keys, &mut |visited| {
                let kind = &visited.filesystem.kind;
                if fs::reader_of(kind).is_none_or(|reader| reader.tree.is_none()) {
                    return;
                }
                let place = format!("{place} ({kind})");
                if let Err(why) = self.filesystem(region, &visited, &place) {
                    self.notes
                        .push(format!("nothing is left out of {place}: {why}"));
                }
            });
        }
    }

    /// What can be left out of one filesystem, or why nothing can.
    fn filesystem(
        &mut self,
        region: &Region,
        visited: &Visited<'_>,
        place: &str,
    ) -> Result<(), String> {
        let filesystem = visited.filesystem;
        if !visited.volumes.is_empty() {
            return Err("zeros on the disk would not be zeros in its volume".into());
        }
        let used = exact(filesystem)?;
        let search = Search::new(visited.source, filesystem, &self.choices, self.until);
        let taken = search.run()?;
        let notes = taken.notes.iter().map(|note| format!("{place}: {note}"));
        self.notes.extend(notes);
        self.take(region, filesystem, used, &taken);
        Ok(())
    }

    fn take(&mut self, region: &Region, filesystem: &Filesystem, used: &ExtentMap, taken: &Taken) {
        let metadata = &filesystem.parts.metadata;
        let free = taken.extents().intersection(used).difference(metadata);
        let start = region.extent.start();
        let on_disk = free
            .iter()
            .filter_map(|extent| extent.shifted(start)?.intersect(region.extent));
        let left_out: ExtentMap = on_disk.collect();
        for (choice, files) in taken.files() {
            let mut saved = 0;
            for extent in files.iter().filter_map(|extent| extent.shifted(start)) {
                saved += left_out.within(extent).map(Extent::len).sum::<u64>();
            }
            if let Some(choice) = self.choices.get_mut(choice).filter(|_| saved > 0) {
                choice.files += 1;
                choice.bytes += saved;
            }
        }
        self.left_out = self.left_out.union(&left_out);
    }

    fn lines(&self, bytes: u64) -> Vec<String> {
        let files: u64 = self.choices.iter().map(|choice| choice.files).sum();
        let mut lines = vec![match files {
            0 => "left out: nothing".to_owned(),
            _ => format!(
                "left out: {} of {files} files, which keep their names and sizes and will read as zeros; these bytes are not even read",
                Size(bytes)
            ),
        }];
        for choice in &self.choices {
            let Choice { what, why, .. } = choice;
            if choice.files > 0 {
                let (files, bytes) = (choice.files, Size(choice.bytes));
                lines.push(format!("  {what}: {bytes} of {files} files: {why}"));
            } else if !what.contains(": ") {
                lines.push(format!("  {what}: no file with content of its own"));
            }
        }
        lines.extend(self.notes.iter().map(|note| format!("  {note}")));
        lines
    }

    /// For the manifest.
    fn told(&self) -> Vec<LeftOut> {
        let some = self.choices.iter().filter(|choice| choice.files > 0);
        some.map(|choice| LeftOut {
            what: choice.what.clone(),
            why: choice.why.to_owned(),
            files: choice.files,
            bytes: choice.bytes,
        })
        .collect()
    }
}

/// The used map of a filesystem of which everything is known.
fn exact(filesystem: &Filesystem) -> Result<&ExtentMap, String> {
    match &filesystem.state {
        State::Clean => {}
        State::Hibernated => {
            return Err("a system sleeps in it (Windows does so with its fast startup too), and would be lost; wake it and shut it down for good".into());
        }
        state => return Err(format!("it is {state}")),
    }
    match filesystem.kind.as_str() {
        "apfs" => return Err("snapshots may have a part in its files".into()),
        "btrfs" => {
            return Err(
                "it has checksums of the content of its files, and zeros would not have them"
                    .into(),
            );
        }
        _ => {}
    }
    if let Some(note) = filesystem.parts.notes.first() {
        return Err(note.clone());
    }
    match &filesystem.used {
        Used::Map {
            basis: Basis::Records,
            extents,
        } if filesystem.parts.unknown.is_empty() => Ok(extents),
        Used::Map { .. } => Err("its records do not agree about what is in use".into()),
        Used::Whole(why) => Err(why.clone()),
    }
}
