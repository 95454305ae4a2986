//! Planning an image.

use disk::extent::{Extent, ExtentMap};
use disk::size::Size;
use disk::source::BlockSource;
use image::codec::{Encoded, Encoder};
use image::reader::Reader;
use image::states::{State, States};
use image::store::Store;
use image::{file_name, unfinished_name};

use super::find::{Survey, used};
use super::refusal::Refusal;
use super::unfinished::is_begun;
use super::{Plan, StoreFacts, absent, ancestor, leave_out, sealed, show};
use crate::host::{Disk, OpenPlace};
use crate::mapfile::{Ends, Subject};
use crate::permit::Target;
use crate::request::{Coverage, DiskName, Place, Request};

const SAMPLES: u64 = 32;
const SAMPLE_BYTES: u64 = 256 << 10;
/// Levels above compress better than the sample says; the estimate is to be too large rather than too small.
const SAMPLE_LEVEL_LIMIT: i32 = 3;
/// File names have at most 255 bytes; `.img.zst.unfinished` has 19.
const NAME_LIMIT: usize = 200;

pub fn plan(
    request: &Request,
    source: &DiskName,
    store: &Place,
    name: &str,
    survey: &mut Survey<'_>,
) -> Option<Plan> {
    let is_good_name = has_good_name(name, survey);
    let source = survey.at_rest(source, request.options.liveness);
    let place = directory(store, survey);
    let ((mut disk, opened), place) = (source?, place?);
    let place = place.in_volumes(request.options.volume_bytes);
    let mut plan = Plan::of(request);
    absent::settle(&mut disk, &*opened, &mut plan, survey);
    survey.tell_content(&disk);
    plan.wanting(used(&disk, request.options.coverage));
    leave_out::settle(&disk, &*opened, &mut plan, survey);
    let read = plan.used.difference(&plan.left_out);
    let read = read.difference(&plan.absent.all());
    not_on_source(&place, store, &disk, survey);
    let mut facts = StoreFacts {
        title: place.store.describe(),
        free_bytes: place.free_bytes.or_else(|| place.store.free_bytes()),
        disk: place.disk.clone(),
        needed_bytes: estimate(&*opened, &read, request.options.level),
    };
    if is_good_name {
        there_already(
            &*place.store,
            name,
            (&disk, &*opened),
            &mut plan,
            &mut facts,
            survey,
        );
    }
    room(&facts, place.store.file_limit(), survey);
    plan.lines.insert(0, taken(&plan, &disk));
    plan.lines.extend(show::disk("source", &disk));
    plan.lines.extend(written_to(&facts, name, &*place.store));
    let parent = &request.options.parent;
    ancestor::settle(parent, &*place.store, name, &disk, &mut plan, survey);
    sealed::settle(&place, name, &mut plan, survey);
    // Where it is mounted tells a person nothing.
    let on = facts.disk.as_ref();
    plan.lines.extend(on.map(|disk| format!("  on {disk}")));
    let target = Target::Store {
        disk: facts.disk.clone(),
    };
    let ends = Ends {
        source: Subject::Disk(disk.identity.clone()),
        target: target.clone(),
    };
    plan.state = survey.exported(&request.options, &ends, &disk);
    plan.ends = Some(ends);
    plan.targets = vec![target];
    plan.store = Some(facts);
    plan.source = Some(*disk);
    Some(plan)
}

fn has_good_name(name: &str, survey: &mut Survey<'_>) -> bool {
    let why = bad_name(name);
    let is_good = why.is_none();
    if let Some(why) = why {
        let name = name.into();
        survey.refuse(Refusal::BadName { name, why });
    }
    is_good
}

/// The store is a directory that is there.
pub fn directory(store: &Place, survey: &mut Survey<'_>) -> Option<OpenPlace> {
    let text = match survey.host.open_place(store, None) {
        Ok(place) if place.name.is_empty() => return Some(place),
        Ok(place) => format!(
            "{} has no directory {}; make it first or name another store",
            place.store.describe(),
            place.name
        ),
        Err(error) => error.0,
    };
    survey.refuse(Refusal::Other { text });
    None
}

pub fn not_on_source(place: &OpenPlace, store: &Place, disk: &Disk, survey: &mut Survey<'_>) {
    let on = place.disk.as_ref();
    if let Some(on) = on.filter(|on| on.same_device(&disk.identity)) {
        survey.refuse(Refusal::OnSource {
            disk: disk.title(),
            place: format!("{store} on {on}"),
        });
    }
}

fn taken(plan: &Plan, disk: &Disk) -> String {
    let bytes = Size(plan.used_bytes);
    match plan.request.options.coverage {
        Coverage::Used => format!(
            "image what is in use: {bytes} of {}",
            Size(disk.geometry.size_bytes)
        ),
        Coverage::Exact => format!("image every sector: {bytes}"),
    }
}

fn written_to(facts: &StoreFacts, name: &str, store: &dyn Store) -> Vec<String> {
    let free = facts
        .free_bytes
        .map_or_else(String::new, |free| format!(", {} are free", Size(free)));
    let file = format!(
        "destination: {}/{}, about {}{free}",
        facts.title,
        file_name(name),
        Size(facts.needed_bytes)
    );
    let volumes = store.volume_bytes().map(|bytes| {
        let most = Size(bytes);
        format!("  in volumes of at most {most}, which belong together")
    });
    [file].into_iter().chain(volumes).collect()
}

fn room(facts: &StoreFacts, file_limit: Option<u64>, survey: &mut Survey<'_>) {
    let needs_bytes = facts.needed_bytes;
    if let Some(free_bytes) = facts.free_bytes.filter(|free| *free < needs_bytes) {
        survey.refuse(Refusal::NoRoom {
            store: facts.title.clone(),
            free_bytes,
            needs_bytes,
        });
    }
    if let Some(limit_bytes) = file_limit.filter(|limit| *limit < needs_bytes) {
        survey.refuse(Refusal::FileTooLarge {
            store: facts.title.clone(),
            limit_bytes,
            needs_bytes,
        });
    }
}

/// A finished image of this name is in the way; an unfinished one of this disk is gone on with.
fn there_already(
    store: &dyn Store,
    name: &str,
    (disk, source): (&Disk, &dyn BlockSource),
    plan: &mut Plan,
    facts: &mut StoreFacts,
    survey: &mut Survey<'_>,
) {
    let other = |error: &dyn std::fmt::Display| Refusal::Other {
        text: error.to_string(),
    };
    match store.exists(&file_name(name)) {
        Ok(true) => survey.refuse(Refusal::NameTaken {
            store: store.describe(),
            name: file_name(name),
        }),
        Ok(false) => {}
        Err(error) => survey.refuse(other(&error)),
    }
    let unfinished = unfinished_name(name);
    match store.exists(&unfinished) {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => return survey.refuse(other(&error)),
    }
    match Reader::open(store, &unfinished) {
        Ok(reader) if is_begun(&reader, plan, disk, source).unwrap_or(false) => {
            facts.needed_bytes = facts.needed_bytes.saturating_sub(reader.stored_bytes());
            plan.lines.push(format!(
                "goes on with {}/{unfinished}, which has {}",
                store.describe(),
                Size(reader.stored_bytes())
            ));
        }
        Ok(_) => survey.refuse(Refusal::UnfinishedOther {
            image: format!("{}/{unfinished}", store.describe()),
        }),
        // Not even its head became durable: it is begun anew.
        Err(_) => plan
            .lines
            .push(format!("begins {}/{unfinished} anew", store.describe())),
    }
}

/// What the image will need, from samples that lie evenly over what is used.
pub fn estimate(source: &dyn BlockSource, used: &ExtentMap, level: i32) -> u64 {
    let total = used.total_bytes();
    if let Some(packed) = source.packed_bytes() {
        // Samples would cost unpacking all of it. No other program packs much more tightly than this.
        let content = packed.saturating_add(packed / 2).min(total);
        return content + source.size_bytes() / 16_384 + (256 << 10);
    }
    let (read, stored) = sampled(source, used, level.min(SAMPLE_LEVEL_LIMIT));
    let content = match read {
        0 => total,
        read => u64::try_from(u128::from(total) * u128::from(stored) / u128::from(read))
            .unwrap_or(total),
    };
    // Frames around each chunk and of free space, the index, and a margin.
    content + content / 20 + source.size_bytes() / 16_384 + (256 << 10)
}

/// Bytes that were read, and what they need when compressed.
fn sampled(source: &dyn BlockSource, used: &ExtentMap, level: i32) -> (u64, u64) {
    let Ok(mut encoder) = Encoder::new(level) else {
        return (0, 0);
    };
    let step = (used.total_bytes() / SAMPLES).max(SAMPLE_BYTES);
    let (mut read, mut stored) = (0, 0);
    let (mut passed, mut next) = (0, 0);
    let mut encoded = Encoded::default();
    for extent in used.iter() {
        while next < passed + extent.len() {
            let start = extent.start() + (next - passed);
            let sample = Extent::between(start, extent.end().min(start + SAMPLE_BYTES))
                .expect("it lies in the extent");
            let mut bytes =
                vec![0; usize::try_from(sample.len()).expect("a sample fits in memory")];
            if source.read_at(sample.start(), &mut bytes).is_ok() {
                let states = States::all(bytes.len(), State::Kept);
                if encoder
                    .encode(sample.start(), &bytes, &states, &mut encoded)
                    .is_ok()
                {
                    read += sample.len();
                    stored += encoded.stored_len() as u64;
                }
            }
            next += step;
        }
        passed += extent.len();
    }
    (read, stored)
}

fn bad_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > NAME_LIMIT {
        Some("it is longer than 200 bytes")
    } else if name.contains('/') {
        Some("it contains a /")
    } else if name.starts_with('.') {
        Some("it begins with a dot")
    } else if name.contains(char::is_control) {
        Some("it contains control characters")
    } else {
        None
    }
}
