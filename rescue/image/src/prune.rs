//! Which steps leave only some of a store's images: the others go, and who needed them is made anew before.

use std::collections::BTreeSet;
use std::fmt;

use crate::digest::ImageId;
use crate::error::ImageError;
use crate::file_name;
use crate::merge::{Merge, Progress};
use crate::shelf::{self, Shelved, Stage, lineage_of};
use crate::store::{Store, StoreError};

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Over this ancestor, or as a full image.
    Merge { name: String, onto: Option<String> },
    /// Nothing that stays needs it by now.
    Remove { name: String },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Merge { name, onto: None } => write!(f, "make {name} a full image"),
            Step::Merge {
                name,
                onto: Some(onto),
            } => write!(f, "make {name} anew over {onto}"),
            Step::Remove { name } => write!(f, "remove {name}"),
        }
    }
}

/// In an order in which every image that stays can be read at every moment. `going` are places in the list.
///
/// `Err` has a sentence for each reason against it.
pub fn steps(all: &[Shelved], going: &BTreeSet<usize>) -> Result<Vec<Step>, Vec<String>> {
    let mut reasons = Vec::new();
    for (nth, one) in all.iter().enumerate() {
        let needs_one = lineage_of(all, nth).iter().any(|of| going.contains(of));
        if one.stage == Stage::Unfinished && needs_one && !going.contains(&nth) {
            reasons.push(format!(
                "{} is unfinished and needs what would go; finish it with the command that began it, or remove it",
                one.name
            ));
        }
        if let Err(error) = &one.label
            && one.stage != Stage::Interim
            && !going.is_empty()
        {
            reasons.push(format!(
                "nobody knows what {} needs: {error}; move it out of the store first",
                one.name
            ));
        }
    }
    if !reasons.is_empty() {
        return Err(reasons);
    }
    let depth = |nth: &usize| lineage_of(all, *nth).len();
    let mut staying: Vec<usize> = (0..all.len())
        .filter(|nth| !going.contains(nth) && all[*nth].is_whole())
        .collect();
    staying.sort_by_key(depth);
    let mut leaving: Vec<usize> = going.iter().copied().collect();
    leaving.sort_by_key(|nth| std::cmp::Reverse(depth(nth)));
    let merges = staying.iter().filter_map(|nth| merge(all, *nth, going));
    let removals = leaving.iter().filter_map(|nth| all.get(*nth));
    let removals = removals.map(|one| Step::Remove {
        name: one.name.clone(),
    });
    Ok(merges.chain(removals).collect())
}

/// What an image that stays needs done before its parent goes.
fn merge(all: &[Shelved], nth: usize, going: &BTreeSet<usize>) -> Option<Step> {
    let parent = all[nth].parent.filter(|parent| going.contains(parent))?;
    let farther = lineage_of(all, parent);
    let onto = farther.iter().find(|of| !going.contains(of));
    Some(Step::Merge {
        name: all[nth].name.clone(),
        onto: onto.map(|of| all[*of].name.clone()),
    })
}

/// Carries steps out, in their order; `id` gives random ones. When it is interrupted nothing is lost: the steps are made
/// from the store again.
pub fn carry_out(
    store: &dyn Store,
    steps: &[Step],
    mut id: impl FnMut() -> Result<ImageId, ImageError>,
    mut begin: impl FnMut(&Step),
    progress: &mut Progress<'_>,
) -> Result<(), ImageError> {
    for step in steps {
        begin(step);
        match step {
            Step::Merge { name, onto } => Merge {
                store,
                name,
                onto: onto.as_deref(),
                id: id()?,
            }
            .run(progress)?,
            Step::Remove { name } => remove(store, name)?,
        }
    }
    Ok(())
}

/// Looks again whether somebody needs it: the list that the steps were made from may be old.
fn remove(store: &dyn Store, name: &str) -> Result<(), ImageError> {
    let all = shelf::list(store)?;
    let going = all
        .iter()
        .position(|one| one.name == name && one.stage == Stage::Finished);
    let Some(going) = going else {
        return Ok(());
    };
    let child = (0..all.len()).find(|nth| lineage_of(&all, *nth).contains(&going));
    if let Some(child) = child.and_then(|child| all.get(child)) {
        return Err(StoreError::Fault(format!(
            "{name} is needed by {}, which was not there before; nothing of it was removed; give the command again",
            child.name
        ))
        .into());
    }
    store.remove(&file_name(name))?;
    Ok(())
}
