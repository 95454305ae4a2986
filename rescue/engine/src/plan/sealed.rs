//! Planning who can read a new image.

use image::reader::Reader;
use image::store::StoreError;
use image::{file_name, unfinished_name};

use super::Plan;
use super::find::Survey;
use super::refusal::{Passphrase, Refusal};
use crate::host::OpenPlace;
use crate::request::Sealing;
use crate::sealing::NO_PASSPHRASE;

/// Settles whether the image is sealed, and says so.
pub fn settle(place: &OpenPlace, name: &str, plan: &mut Plan, survey: &mut Survey<'_>) {
    let asked = plan.request.options.sealing == Sealing::Sealed;
    let unfinished = unfinished_name(name);
    let is_begun = place.store.exists(&unfinished).unwrap_or(false);
    let mut refuse = |text: String| survey.refuse(Refusal::Other { text });
    // One without a head has nothing in it yet and is begun anew.
    let is_open = || Reader::open(&*place.store, &unfinished).is_ok();
    if is_begun && asked && !place.is_sealed(&unfinished) && is_open() {
        return refuse(format!(
            "{unfinished} was begun without --seal; leave that out too, or choose another name"
        ));
    }
    if is_begun && let Err(why) = place.seal_of(&unfinished) {
        return match why {
            StoreError::Locked(text) => survey.refuse(Refusal::Passphrase {
                text,
                wanted: Passphrase::Known,
            }),
            why => refuse(why.to_string()),
        };
    }
    let said = match &plan.parent {
        Some(parent) if place.is_sealed(&file_name(parent)) => {
            "sealed: as its parent is, by the same passphrases"
        }
        Some(parent) if asked => {
            return refuse(format!(
                "{} is not sealed, and what a sealed image leaves to it everybody can read; leave out --parent or --seal",
                file_name(parent)
            ));
        }
        _ if is_begun && place.is_sealed(&unfinished) => "sealed: it was begun so",
        _ if asked && place.keyring().is_empty() => {
            return survey.refuse(Refusal::Passphrase {
                text: NO_PASSPHRASE.into(),
                wanted: Passphrase::New,
            });
        }
        _ if asked => "sealed: without the passphrase nobody can read it, nor can this program",
        _ => return,
    };
    plan.lines.push(said.to_owned());
}
