//! A locked volume is unlocked from the plan, and what was typed is nowhere to be seen.

use disk::extent::ExtentMap;
use disk::fs::State;
use disk::layer::{Layer, Secret};
use disk::layout::{Content, Owner};
use engine::host::Disk;
use engine::plan::{Plan, Refusal, Shown};
use engine::request::Request;
use rescue_tui::app::Effect;
use rescue_tui::keys::Key;
use rescue_tui::screen::Screen;

use crate::machine::{Driver, system_disk};

const PASSPHRASE: &str = "grün wie Gras?";

/// Its partitions 3 and 4 are encrypted; so many of them are still locked.
fn encrypted(locked: usize) -> Disk {
    let mut disk = system_disk();
    let regions = &mut disk.layout.as_mut().unwrap().regions;
    let partitions = regions
        .iter_mut()
        .filter_map(|region| match &mut region.owner {
            Owner::Partition { partition, content } if [3, 4].contains(&partition.number) => {
                Some((region.extent.len(), content))
            }
            _ => None,
        });
    for (nth, (size_bytes, content)) in partitions.enumerate() {
        let locked = nth < locked;
        *content = Content::Layer(Box::new(Layer {
            kind: "crypto_LUKS".into(),
            variant: Some("LUKS2".into()),
            uuid: None,
            label: None,
            size_bytes,
            state: if locked {
                State::Locked
            } else {
                State::Unlocked
            },
            own: ExtentMap::whole(size_bytes),
            volumes: Vec::new(),
            whole: locked
                .then(|| "locked; with its passphrase only what is used would be imaged".into()),
        }));
    }
    disk
}

fn plan(request: &Request, locked: usize) -> Plan {
    let shown = Shown {
        source: Some(encrypted(locked)),
        lines: vec![format!("command: {request}")],
        ..Shown::default()
    };
    Plan::shown(request, shown)
}

/// An image's plan.
fn planned(locked: usize) -> (Driver, Request) {
    let mut d = Driver::small();
    let request = Driver::asked(d.keys(&[Key::Enter; 4]));
    d.plan(&request, plan(&request, locked));
    (d, request)
}

fn typed(request: &Request) -> Vec<String> {
    let keys = request.options.unlock.keys.iter();
    let text = |secret: &Secret| match secret {
        Secret::Passphrase(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Secret::KeyFile(_) => panic!("nobody gave a file"),
    };
    keys.map(text).collect()
}

fn wrong() -> Vec<Refusal> {
    vec![Refusal::Locked {
        disk: "/dev/nvme0n1".into(),
        why: "no passphrase or key file that was given opens it".into(),
    }]
}

#[track_caller]
fn is_hidden(d: &Driver, secret: &str) {
    let text = d.text();
    assert!(!text.contains(secret), "{text}");
    assert!(!format!("{:?}", d.app.screen).contains(secret));
}

#[test]
fn a_plan_with_a_locked_volume_offers_to_unlock_it_and_another_does_not() {
    let (mut d, _) = planned(0);
    assert!(!d.text().contains("unlock"));
    d.key(Key::Char('u'));
    assert!(matches!(d.app.screen, Screen::Plan(_)));
    let (mut d, _) = planned(1);
    d.shows("u unlock");
    d.key(Key::Char('u'));
    d.shows("An encrypted volume of the source is locked");
    d.key(Key::Escape);
    assert!(matches!(d.app.screen, Screen::Plan(_)));
}

#[test]
fn a_wrong_passphrase_says_so_at_once_and_the_right_one_makes_another_plan() {
    let (mut d, request) = planned(1);
    d.key(Key::Char('u'));
    // Nothing was typed yet.
    assert!(d.key(Key::Enter).is_none());
    d.type_in("falsch");
    d.shows("> ******");
    is_hidden(&d, "falsch");
    let asked = Driver::asked(d.key(Key::Enter));
    assert_eq!(
        (typed(&asked), &asked.action),
        (vec!["falsch".into()], &request.action)
    );
    d.shows("Trying it.");
    d.refuse(&asked, wrong());
    d.shows("what was given unlocks nothing on it");
    is_hidden(&d, "falsch");

    d.type_in(PASSPHRASE);
    let asked = Driver::asked(d.key(Key::Enter));
    // The one that opened nothing is forgotten.
    assert_eq!(typed(&asked), [PASSPHRASE]);
    d.plan(&asked, plan(&asked, 0));
    assert!(matches!(d.app.screen, Screen::Plan(_)));
    d.shows("--unlock");
    is_hidden(&d, PASSPHRASE);
    let Some(Effect::Start(approved)) = d.key(Key::Enter) else {
        panic!("the job did not start")
    };
    assert_eq!(typed(approved.plan().request()), [PASSPHRASE]);
    is_hidden(&d, PASSPHRASE);
}

#[test]
fn a_second_volume_is_unlocked_besides_the_first() {
    let (mut d, _) = planned(2);
    d.key(Key::Char('u'));
    d.shows("2 encrypted volumes of the source are locked");
    d.type_in("eins");
    let asked = Driver::asked(d.key(Key::Enter));
    d.plan(&asked, plan(&asked, 1));
    d.key(Key::Char('u'));
    d.type_in("falsch");
    let asked = Driver::asked(d.key(Key::Enter));
    // It opened nothing more, which is no refusal of the engine.
    d.plan(&asked, plan(&asked, 1));
    d.shows("this opens none of what is still locked");
    d.type_in("zwei");
    let asked = Driver::asked(d.key(Key::Enter));
    assert_eq!(typed(&asked), ["eins", "zwei"]);
    d.plan(&asked, plan(&asked, 0));
    assert!(!d.text().contains("u unlock"));
}

#[test]
fn an_answer_that_comes_too_late_changes_nothing() {
    let (mut d, _) = planned(1);
    d.key(Key::Char('u'));
    d.type_in("eins");
    let asked = Driver::asked(d.key(Key::Enter));
    d.key(Key::Escape);
    d.plan(&asked, plan(&asked, 0));
    d.shows("u unlock");
    d.key(Key::Char('u'));
    d.plan(&asked, plan(&asked, 0));
    d.shows("is locked");
}
