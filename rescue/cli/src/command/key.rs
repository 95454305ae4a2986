//! `rescue key`: the passphrases of a sealed image.

use std::path::PathBuf;

use engine::host::{Host, OpenPlace};
use engine::request::Place;
use engine::sealing;
use image::seal::{Keys, Slot, SlotKind};
use qrcode::{Color, QrCode};
use serde::Serialize;
use zeroize::Zeroizing;

use super::seals;
use crate::words::{KeyCommand, Output};
use crate::{Exit, Streams};

type Refused = (Exit, String);

pub fn run(words: KeyCommand, streams: &mut Streams<'_>) -> Exit {
    let ended = match words {
        KeyCommand::List { of, output } => list(&of.image, &output, streams),
        KeyCommand::Add {
            of,
            new_passphrase_file,
            consent,
        } => add(
            &of.image,
            new_passphrase_file,
            consent.approve.as_deref(),
            streams,
        ),
        KeyCommand::Recovery { of, consent } => {
            recovery(&of.image, consent.approve.as_deref(), streams)
        }
        KeyCommand::Remove {
            of,
            number,
            consent,
        } => remove(&of.image, number, consent.approve.as_deref(), streams),
    };
    match ended {
        Ok(()) => Exit::Done,
        Err((exit, sentence)) => super::end(exit, &sentence, streams),
    }
}

fn refused(error: impl ToString) -> Refused {
    (Exit::Refused, error.to_string())
}

/// A sealed image, and its keys.
fn opened(image: &Place) -> Result<(OpenPlace, Keys), Refused> {
    let place = super::host().open_place(image, None).map_err(refused)?;
    let keys = place.keys_of(&place.name).map_err(refused)?;
    match keys {
        Some(keys) => Ok((place, keys)),
        None => Err(refused(format!(
            "{image} is not sealed; make a new image with --seal"
        ))),
    }
}

fn kind(slot: &Slot) -> &'static str {
    match slot.kind {
        SlotKind::Passphrase => "passphrase",
        SlotKind::Recovery => "recovery key",
    }
}

#[derive(Serialize)]
struct Row {
    number: usize,
    kind: &'static str,
    memory_kib: u32,
    passes: u32,
}

fn list(image: &Place, output: &Output, streams: &mut Streams<'_>) -> Result<(), Refused> {
    let (_, keys) = opened(image)?;
    let row = |(nth, slot): (usize, &Slot)| Row {
        number: nth + 1,
        kind: kind(slot),
        memory_kib: slot.cost.memory_kib,
        passes: slot.cost.passes,
    };
    let rows: Vec<Row> = keys.slots.iter().enumerate().map(row).collect();
    if output.json {
        super::json(&rows, Exit::Done, streams);
        return Ok(());
    }
    for row in rows {
        let told = writeln!(
            streams.out,
            "{}  {:<13} Argon2id, {} MiB, {} passes",
            row.number,
            row.kind,
            row.memory_kib >> 10,
            row.passes
        );
        told.map_err(unwritten)?;
    }
    Ok(())
}

fn add(
    image: &Place,
    file: Option<PathBuf>,
    approve: Option<&str>,
    streams: &mut Streams<'_>,
) -> Result<(), Refused> {
    let (place, _) = opened(image)?;
    // Before anything is asked: whoever cannot open it adds nothing.
    let seal = place.seal_of(&place.name).map_err(refused)?;
    let seal = seal.ok_or_else(|| refused("it is no longer sealed"))?;
    let secret = match file {
        Some(file) => seals::read(&file)?,
        None => seals::ask_twice(streams)?,
    };
    let what = format!("a passphrase is added to the first 8 KiB of {image}");
    agreed(&what, &place.name, approve, streams)?;
    let slot = sealing::slot(SlotKind::Passphrase, &secret, &seal.key).map_err(refused)?;
    place.seals().add_slot(&place.name, slot).map_err(refused)?;
    tell(streams, &format!("{image} has one more passphrase"))
}

fn recovery(
    image: &Place,
    approve: Option<&str>,
    streams: &mut Streams<'_>,
) -> Result<(), Refused> {
    let (place, _) = opened(image)?;
    let seal = place.seal_of(&place.name).map_err(refused)?;
    let seal = seal.ok_or_else(|| refused("it is no longer sealed"))?;
    let what = format!("a recovery key is added to the first 8 KiB of {image}");
    agreed(&what, &place.name, approve, streams)?;
    let words = words()?;
    let slot = sealing::slot(SlotKind::Recovery, words.as_bytes(), &seal.key).map_err(refused)?;
    let picture = picture(&words)?;
    place.seals().add_slot(&place.name, slot).map_err(refused)?;
    let text = Zeroizing::new(format!(
        "{picture}\n{}\n\nThese words open {image}, wherever a passphrase is asked for. They are shown this once: \
         write them down or photograph them.\n",
        *words
    ));
    write!(streams.out, "{}", *text).map_err(unwritten)
}

/// Of 128 random bits.
fn words() -> Result<Zeroizing<String>, Refused> {
    let mut chance = Zeroizing::new([0; 16]);
    engine::random::fill(&mut *chance).map_err(refused)?;
    let words = bip39::Mnemonic::from_entropy(&*chance).map_err(refused)?;
    Ok(Zeroizing::new(words.to_string()))
}

/// Two dots of the code in each letter; dark on light whatever the terminal's colours are.
fn picture(words: &str) -> Result<String, Refused> {
    const QUIET: usize = 2;
    let code = QrCode::new(words.as_bytes()).map_err(refused)?;
    let width = code.width();
    let is_dark = |x: usize, y: usize| {
        let inside = (QUIET..width + QUIET).contains(&x) && (QUIET..width + QUIET).contains(&y);
        inside && code[(x - QUIET, y - QUIET)] == Color::Dark
    };
    let all = width + 2 * QUIET;
    let mut text = String::new();
    for y in (0..all).step_by(2) {
        text.push_str("\u{1b}[30;47m");
        for x in 0..all {
            text.push(match (is_dark(x, y), y + 1 < all && is_dark(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        text.push_str("\u{1b}[0m\n");
    }
    Ok(text)
}

fn remove(
    image: &Place,
    number: usize,
    approve: Option<&str>,
    streams: &mut Streams<'_>,
) -> Result<(), Refused> {
    let (place, keys) = opened(image)?;
    let nth = number
        .checked_sub(1)
        .filter(|nth| *nth < keys.slots.len())
        .ok_or_else(|| {
            refused(format!(
                "{image} has no key {number}; `rescue key list {image}` shows them"
            ))
        })?;
    place.seal_of(&place.name).map_err(refused)?;
    let what = format!(
        "key {number} of {image}, a {}, is removed for good",
        kind(&keys.slots[nth])
    );
    agreed(&what, &place.name, approve, streams)?;
    place
        .seals()
        .remove_slot(&place.name, nth)
        .map_err(refused)?;
    tell(streams, &format!("{image} has one key less"))
}

/// Nothing is written before a person has seen what, and agreed.
fn agreed(
    what: &str,
    name: &str,
    approve: Option<&str>,
    streams: &mut Streams<'_>,
) -> Result<(), Refused> {
    let typed = match (approve, streams.ask.as_mut()) {
        (Some(word), _) => word.to_owned(),
        (None, Some(ask)) => {
            let question = format!("{what}. Type {name} to agree: ");
            ask(&question).map_err(refused)?.trim().to_owned()
        }
        (None, None) => String::new(),
    };
    match typed == name {
        true => Ok(()),
        false => Err(refused(format!(
            "nothing was written: {what} only with --approve {name}"
        ))),
    }
}

fn tell(streams: &mut Streams<'_>, text: &str) -> Result<(), Refused> {
    writeln!(streams.out, "{text}").map_err(unwritten)
}

fn unwritten(error: std::io::Error) -> Refused {
    let sentence = format!("standard output could not be written: {error}");
    (Exit::Fault, sentence)
}
