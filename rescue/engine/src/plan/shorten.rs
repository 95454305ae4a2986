//! Planning to make chains shorter: an image anew without the images between, or a store without old ones.

use std::collections::BTreeSet;

use disk::size::Size;
use image::file_name;
use image::prune::{self, Step};
use image::reader::Reader;
use image::retain::Keep;
use image::shelf::{self, Shelved, lineage_of};

use super::find::Survey;
use super::imaging::directory;
use super::refusal::Refusal;
use super::{Plan, StoreFacts};
use crate::host::OpenPlace;
use crate::permit::Target;
use crate::request::{Place, Request};

/// One image as a full one, or over a farther ancestor.
pub fn merge(
    request: &Request,
    image: &Place,
    onto: Option<&str>,
    survey: &mut Survey<'_>,
) -> Option<Plan> {
    let place = match survey.host.open_place(image, None) {
        Ok(place) => place,
        Err(error) => return refused(survey, error.0),
    };
    let Some(name) = place.name.strip_suffix(".img.zst").map(str::to_owned) else {
        return refused(
            survey,
            format!("{image} is not the name of an image; write STORE/NAME.img.zst"),
        );
    };
    let all = shelved(&place, survey)?;
    if let Err(text) = may_be_merged(&place, &name, onto) {
        return refused(survey, text);
    }
    let steps = vec![Step::Merge {
        name: name.clone(),
        onto: onto.map(str::to_owned),
    }];
    let mut plan = Plan::of(request);
    plan.lines.push(match onto {
        None => format!(
            "make {} a full image, which needs no other",
            file_name(&name)
        ),
        Some(onto) => format!(
            "make {} anew over {}, without the images between",
            file_name(&name),
            file_name(onto)
        ),
    });
    plan.lines
        .push("its name, its content and its children stay; no other image is changed".to_owned());
    carried_out_in(place, &all, steps, plan, survey)
}

fn may_be_merged(place: &OpenPlace, name: &str, onto: Option<&str>) -> Result<(), String> {
    let store = &*place.store;
    let reader = Reader::open(store, &file_name(name)).map_err(|error| error.to_string())?;
    let what = reader.name();
    if reader.index().is_none() {
        return Err(format!("{what} is not whole; see 'rescue check'"));
    }
    let ancestors = reader.ancestors();
    match (ancestors.first(), onto) {
        (None, _) => Err(format!("{what} is a full image already")),
        (Some(parent), Some(onto)) if parent.name == onto => {
            Err(format!("the parent of {what} is {onto} already"))
        }
        (_, Some(onto)) if !ancestors.iter().any(|of| of.name == onto) => Err(format!(
            "{what} does not come from {onto}; 'rescue images' shows its chain"
        )),
        _ => Ok(()),
    }
}

/// A store with what the rules keep.
pub fn prune(
    request: &Request,
    store: &Place,
    keep: Keep,
    survey: &mut Survey<'_>,
) -> Option<Plan> {
    if keep.is_nothing() {
        return refused(
            survey,
            "no rule says what to keep; give --keep-last, --keep-daily, --keep-weekly or --keep-monthly".into(),
        );
    }
    let place = directory(store, survey)?;
    let all = shelved(&place, survey)?;
    let going = keep.going(&all);
    let steps = match prune::steps(&all, &going) {
        Ok(steps) => steps,
        Err(reasons) => {
            for text in reasons {
                survey.refuse(Refusal::Other { text });
            }
            return None;
        }
    };
    let mut plan = Plan::of(request);
    let staying = all.len() - going.len();
    plan.lines.push(match going.len() {
        0 => "nothing goes: the rules keep every image".to_owned(),
        n => format!("remove {n} of {} images", all.len()),
    });
    plan.lines.push(format!("{staying} stay"));
    plan.lines.extend(rows(&all, &going));
    plan.lines
        .extend(steps.iter().map(|step| format!("step: {step}")));
    if !going.is_empty() {
        plan.word = Some(word(&place));
    }
    carried_out_in(place, &all, steps, plan, survey)
}

/// A row for each image, oldest first.
fn rows(all: &[Shelved], going: &BTreeSet<usize>) -> Vec<String> {
    let mut rows: Vec<(String, String)> = Vec::new();
    for (nth, one) in all.iter().enumerate() {
        let made = one.label.as_ref().ok().and_then(image::retain::made);
        let made = made.unwrap_or("no date").to_owned();
        let what = match going.contains(&nth) {
            true => "goes",
            false => "stays",
        };
        let row = format!(
            "  {what:<5}  {made:<20}  {:>9}  {}",
            Size(one.file_bytes).to_string(),
            one.name
        );
        rows.push((made, row));
    }
    rows.sort();
    rows.into_iter().map(|(_, row)| row).collect()
}

/// What consents to removing: the name of the store's directory.
fn word(place: &OpenPlace) -> String {
    let title = place.store.describe();
    let last = title.rsplit(['/', ':']).find(|part| !part.is_empty());
    last.unwrap_or("store").to_owned()
}

fn shelved(place: &OpenPlace, survey: &mut Survey<'_>) -> Option<Vec<Shelved>> {
    match shelf::list(&*place.store) {
        Ok(all) => Some(all),
        Err(error) => refused(survey, error.to_string()),
    }
}

/// An image that is made anew stands beside the old one until it is proven.
fn carried_out_in(
    place: OpenPlace,
    all: &[Shelved],
    steps: Vec<Step>,
    mut plan: Plan,
    survey: &mut Survey<'_>,
) -> Option<Plan> {
    for step in &steps {
        let Step::Merge { name, .. } = step else {
            continue;
        };
        if !place.store.is_replaceable(&file_name(name)).unwrap_or(true) {
            survey.refuse(Refusal::Other {
                text: format!(
                    "{} lies in several volumes, which no store exchanges for others at once; keep it, or make a full image of the disk",
                    file_name(name)
                ),
            });
        }
    }
    let needed = |step: &Step| match step {
        Step::Merge { name, onto } => room(all, name, onto.as_deref()),
        Step::Remove { .. } => 0,
    };
    let needs_bytes = steps.iter().map(needed).max().unwrap_or_default();
    let free = place.free_bytes.or_else(|| place.store.free_bytes());
    if let Some(free_bytes) = free.filter(|free| *free < needs_bytes) {
        survey.refuse(Refusal::NoRoom {
            store: place.store.describe(),
            free_bytes,
            needs_bytes,
        });
    }
    if needs_bytes > 0 {
        plan.lines.push(format!(
            "meanwhile up to {} more are needed in {}",
            Size(needs_bytes),
            place.store.describe()
        ));
    }
    plan.targets = vec![Target::Store {
        disk: place.disk.clone(),
    }];
    plan.store = Some(StoreFacts {
        title: place.store.describe(),
        disk: place.disk,
        free_bytes: free,
        needed_bytes: needs_bytes,
    });
    plan.steps = steps;
    Some(plan)
}

/// No more than the image and all that is folded into it.
fn room(all: &[Shelved], name: &str, onto: Option<&str>) -> u64 {
    let Some(at) = all.iter().position(|one| one.name == name) else {
        return 0;
    };
    let folded = lineage_of(all, at);
    let folded = folded.iter().filter_map(|nth| all.get(*nth));
    let folded = folded.take_while(|one| Some(one.name.as_str()) != onto);
    all[at].file_bytes + folded.map(|one| one.file_bytes).sum::<u64>()
}

fn refused<T>(survey: &mut Survey<'_>, text: String) -> Option<T> {
    survey.refuse(Refusal::Other { text });
    None
}
