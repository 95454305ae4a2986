//! What a person does, key by key, and what is done for them.

use std::path::PathBuf;

use disk::layer::Secret;
use engine::event::{Event, Step};
use engine::host::{MountMode, Use};
use engine::plan::{Passphrase, Refusal};
use engine::report::Outcome;
use engine::request::{
    Action, Ancestor, AtDamage, Coverage, DiskName, Growth, LeaveOut, Origin, Place, Request,
    Sealing, Verification,
};
use rescue_tui::app::{Effect, Message};
use rescue_tui::keys::Key;
use rescue_tui::screen::Screen;
use rescue_tui::screen::files::{FileKind, FileRow};
use rescue_tui::screen::images::ImageRow;
use rescue_tui::world::Directory;

use crate::machine::{
    Driver, boot_stick, disks, empty_disk, plan, report, store_path, system_disk, usb_disk,
};

fn serial(text: &str) -> DiskName {
    DiskName::Serial(text.into())
}

fn backup(path: &str) -> Place {
    Place::Uuid {
        uuid: "ext4-0001".into(),
        path: path.into(),
    }
}

fn listed(driver: &mut Driver, effect: Option<Effect>, names: &[&str]) {
    let Some(Effect::List(place)) = effect else {
        panic!("no images were looked for, but {effect:?}")
    };
    let row = |name: &&str| ImageRow {
        name: (*name).into(),
        depth: 0,
        size_bytes: Some(1),
        about: Vec::new(),
    };
    let images = Ok(names.iter().map(row).collect());
    assert!(driver.tell(Message::Listed { place, images }).is_none());
}

#[test]
fn a_disk_is_imaged_onto_the_usb_disk() {
    let mut d = Driver::small();
    // What, from where, to where; then the name is typed, and the plan asked for.
    d.keys(&[Key::Enter, Key::Enter, Key::Enter, Key::Clear]);
    d.type_in("before repair");
    d.keys(&[
        Key::Down,
        Key::Right,
        Key::Down,
        Key::Right,
        // What is left out, what is stored already, repair data, what follows.
        Key::Down,
        Key::Right,
        Key::Right,
        Key::Down,
        Key::Right,
        Key::Down,
        Key::Right,
        Key::Down,
        Key::Right,
        Key::Down,
        Key::Down,
    ]);
    d.type_in("anna's laptop");
    let request = Driver::asked(d.key(Key::Enter));
    let action = Action::Image {
        source: serial("S5GXNX0T123456K"),
        store: backup(""),
        name: "before repair".into(),
    };
    assert_eq!(request.action, action);
    assert_eq!(request.options.level, 3);
    assert_eq!(request.options.coverage, Coverage::Exact);
    assert_eq!(request.options.leave_out, [LeaveOut::All]);
    assert_eq!(request.options.parent, Ancestor::Newest);
    assert_eq!(request.options.parity, Some(3));
    assert_eq!(request.options.sealing, Sealing::Sealed);
    assert_eq!(request.options.note.as_deref(), Some("anna's laptop"));

    // Nothing existing is overwritten, so Enter is enough.
    d.plan(&request, plan(&request));
    let Some(Effect::Start(approved)) = d.key(Key::Enter) else {
        panic!("the job did not start")
    };
    assert_eq!(*approved.plan().request(), request);
    d.event(Event::Started {
        steps: vec![Step::Copy],
    });
    d.event(Event::Finished);
    let done = report(&request.to_string(), Outcome::Done);
    d.tell(Message::Reported(Box::new(done)));
    d.shows("Done. The image is complete.");
    assert!(matches!(
        d.key(Key::Char('s')),
        Some(Effect::SaveReport { beside: None, .. })
    ));
    d.tell(Message::Saved(Ok("/run/rescue/report.json".into())));
    d.shows("The report is saved as /run/rescue/report.json");
    d.key(Key::Enter);
    assert!(matches!(d.app.screen, Screen::Menu(_)));
}

#[test]
fn an_image_goes_into_a_directory_that_was_given() {
    let mut d = Driver::small();
    d.tell(Message::Directories(vec![Directory {
        path: store_path(),
        free_bytes: Some(5_000_000),
    }]));
    let request = Driver::asked(d.keys(&[Key::Enter; 4]));
    let Action::Image { store, name, .. } = &request.action else {
        panic!("{request}")
    };
    assert_eq!(*store, Place::Path(store_path()));
    assert_eq!(name, "windows-11-456K");
}

#[test]
fn a_disk_is_cloned_after_its_word_was_typed() {
    let mut d = Driver::small();
    d.keys(&[Key::Char('2'), Key::Enter, Key::Enter]);
    d.keys(&[Key::Down, Key::Right, Key::Down, Key::Right]);
    let request = Driver::asked(d.key(Key::Enter));
    let action = Action::Clone {
        source: serial("S5GXNX0T123456K"),
        destination: serial("WD-WCC4M5KX9F2A"),
    };
    assert_eq!(request.action, action);
    assert_eq!(request.options.growth, Growth::LastPartition);
    assert_eq!(request.options.verification, Verification::Skip);
    d.plan(&request, plan(&request));
    assert!(d.key(Key::Enter).is_none());
    assert!(matches!(d.app.screen, Screen::Confirm(_)));
    d.type_in("9F2A");
    assert!(matches!(d.key(Key::Enter), Some(Effect::Start(_))));
    assert!(matches!(d.app.screen, Screen::Running(_)));
}

#[test]
fn an_image_is_restored() {
    let mut d = Driver::small();
    let effect = d.keys(&[Key::Char('3'), Key::Enter]);
    listed(&mut d, effect, &["a.img.zst", "b.img.zst"]);
    d.keys(&[Key::Down, Key::Enter]);
    // The first disk is the system disk; the second the empty one.
    d.keys(&[Key::Down, Key::Enter]);
    d.shows("b.img.zst in BACKUP, ext4, partition 1");
    let request = Driver::asked(d.key(Key::Enter));
    let action = Action::Restore {
        image: backup("b.img.zst"),
        destination: serial("WD-WCC4M5KX9F2A"),
    };
    assert_eq!(request.action, action);
    // Whoever sits there gets the most, unless asked otherwise.
    assert_eq!(request.options.at_damage, AtDamage::KeepGoing);
    assert!(request.to_string().ends_with(" --keep-going"));
    d.plan(&request, plan(&request));
    d.key(Key::Escape);
    d.shows("keep going: zeros, listed at the end");
    let request = Driver::asked(d.keys(&[Key::Down, Key::Right, Key::Enter]));
    assert_eq!(request.options.at_damage, AtDamage::Stop);
    d.plan(&request, plan(&request));
    d.key(Key::Enter);
    d.type_in("9F2A");
    assert!(matches!(d.key(Key::Enter), Some(Effect::Start(_))));
}

#[test]
fn a_disk_is_verified_against_its_image_or_another_disk() {
    let mut d = Driver::small();
    let effect = d.keys(&[Key::Char('4'), Key::Enter, Key::Enter]);
    listed(&mut d, effect, &["a.img.zst"]);
    let request = Driver::asked(d.key(Key::Enter));
    let disk = serial("S5GXNX0T123456K");
    let action = Action::Verify {
        against: Origin::Image(backup("a.img.zst")),
        disk: disk.clone(),
    };
    assert_eq!(request.action, action);
    d.plan(&request, plan(&request));
    assert!(matches!(d.key(Key::Enter), Some(Effect::Start(_))));

    let mut d = Driver::small();
    let keys = [Key::Char('4'), Key::Enter, Key::Char('d'), Key::Enter];
    let request = Driver::asked(d.keys(&keys));
    let against = Origin::Disk(serial("WD-WCC4M5KX9F2A"));
    assert_eq!(request.action, Action::Verify { against, disk });
}

#[test]
fn an_image_is_checked_by_its_typed_path() {
    let mut d = Driver::small();
    d.keys(&[Key::Char('5'), Key::End]);
    d.type_in("/mnt/x y/old.img.zst");
    let request = Driver::asked(d.key(Key::Enter));
    let image = Place::Path(PathBuf::from("/mnt/x y/old.img.zst"));
    assert_eq!(request.action, Action::Check { image });
}

#[test]
fn a_refusal_leads_back_to_what_can_be_changed() {
    let mut d = Driver::small();
    let request = Driver::asked(d.keys(&[Key::Char('2'), Key::Enter, Key::Enter, Key::Enter]));
    let text = "the moon is in the wrong phase; wait".to_owned();
    d.refuse(&request, vec![Refusal::Other { text }]);
    d.shows("the moon is in the wrong phase; wait");
    assert!(d.key(Key::Escape).is_none());
    assert!(matches!(d.app.screen, Screen::Options(_)));
    assert_eq!(Driver::asked(d.key(Key::Enter)), request);
}

#[test]
fn a_wrong_word_writes_nothing_and_may_be_corrected() {
    let mut d = Driver::small();
    super::screens::to_clone_plan(&mut d);
    d.key(Key::Enter);
    for wrong in ["", "9f2a", "y", "yes", "456K", "9F2A9F2A", "/dev/sda"] {
        d.type_in(wrong);
        assert!(d.key(Key::Enter).is_none(), "{wrong}");
        assert!(matches!(d.app.screen, Screen::Confirm(_)), "{wrong}");
    }
    d.shows("'/dev/sda' is not it; nothing was written");
    d.key(Key::Escape);
    assert!(matches!(d.app.screen, Screen::Plan(_)));
    d.key(Key::Enter);
    d.type_in(" 9F2A ");
    assert!(matches!(d.key(Key::Enter), Some(Effect::Start(_))));
}

#[test]
fn stopping_is_asked_about_and_only_y_stops() {
    let mut d = Driver::small();
    super::screens::to_clone_plan(&mut d);
    d.key(Key::Enter);
    d.type_in("9F2A");
    d.key(Key::Enter);
    for no in [Key::Escape, Key::Char('n'), Key::Interrupt] {
        d.key(Key::Interrupt);
        d.shows("Stop the job?");
        assert!(d.key(Key::Enter).is_none());
        d.shows("Stop the job?");
        assert!(d.key(no).is_none());
        assert!(matches!(d.app.screen, Screen::Running(_)));
    }
    d.key(Key::Escape);
    assert!(matches!(d.key(Key::Char('y')), Some(Effect::Stop)));
    d.shows("Stopping at the next safe place");
    // It is said once; asking again is no use.
    assert!(
        d.keys(&[Key::Escape, Key::Char('y'), Key::Interrupt])
            .is_none()
    );
    let text = "stopped by the user; the same command goes on".to_owned();
    let stopped = report("rescue clone a b", Outcome::Cancelled { text });
    d.tell(Message::Reported(Box::new(stopped)));
    d.shows("Stopped: stopped by the user; the same command goes on");
}

#[test]
fn a_job_that_ends_while_the_question_stands_is_not_stopped() {
    let mut d = Driver::small();
    super::screens::to_clone_plan(&mut d);
    d.key(Key::Enter);
    d.type_in("9F2A");
    d.keys(&[Key::Enter, Key::Escape]);
    d.tell(Message::Reported(Box::new(report(
        "rescue clone a b",
        Outcome::Done,
    ))));
    assert!(matches!(d.app.screen, Screen::Report(_)));
    assert!(d.key(Key::Char('y')).is_none());
}

#[test]
fn a_disk_pulled_while_chosen_never_hands_the_choice_to_its_neighbour() {
    let mut d = Driver::small();
    d.keys(&[Key::Enter, Key::Down]);
    d.see(vec![system_disk(), usb_disk(), boot_stick()]);
    d.shows("was disconnected; choose again");
    assert!(d.key(Key::Enter).is_none());
    assert!(matches!(d.app.screen, Screen::Disks(_)));
    d.see(disks());
    assert!(d.key(Key::Enter).is_none());
    assert!(matches!(d.app.screen, Screen::Disks(_)));
}

#[test]
fn the_choice_stays_with_the_disk_when_others_come_and_go() {
    let mut d = Driver::small();
    d.keys(&[Key::Char('2'), Key::Enter, Key::Down]);
    // The USB disk is chosen as the destination; the empty disk before it goes away.
    d.see(vec![usb_disk(), system_disk()]);
    let request = Driver::asked(d.keys(&[Key::Enter, Key::Enter]));
    let Action::Clone { destination, .. } = request.action else {
        panic!("no clone")
    };
    assert_eq!(destination, serial("575838314139373046344132"));
}

#[test]
fn the_source_is_not_offered_as_destination_nor_as_store() {
    let mut d = Driver::small();
    d.keys(&[Key::Char('2'), Key::Enter]);
    assert!(!d.text().contains("Samsung"), "{}", d.text());
    let mut d = Driver::small();
    d.keys(&[Key::Enter, Key::Down, Key::Down, Key::Enter]);
    assert!(!d.text().contains("BACKUP"), "{}", d.text());
    d.shows("Windows, ntfs, partition 3");
}

#[test]
fn two_disks_with_one_serial_are_named_by_their_paths() {
    let mut twin = empty_disk();
    twin.path = "/dev/sdx".into();
    twin.identity.location = Some("usb2/2-1".into());
    let mut d = Driver::small();
    d.see(vec![empty_disk(), twin, usb_disk()]);
    let request = Driver::asked(d.keys(&[Key::Enter, Key::Enter, Key::Enter, Key::Enter]));
    let Action::Image { source, .. } = request.action else {
        panic!("no image")
    };
    assert_eq!(source, DiskName::Path("/dev/sda".into()));
}

#[test]
fn a_late_answer_to_another_question_changes_nothing() {
    let mut d = Driver::small();
    let first = Driver::asked(d.keys(&[Key::Char('2'), Key::Enter, Key::Enter, Key::Enter]));
    d.keys(&[Key::Escape, Key::Right]);
    let second = Driver::asked(d.key(Key::Enter));
    assert_ne!(first, second);
    d.plan(&first, plan(&first));
    assert!(matches!(d.app.screen, Screen::Waiting(_)));
    d.plan(&second, plan(&second));
    assert!(matches!(d.app.screen, Screen::Plan(_)));
}

/// The answer to the question that was asked.
fn holds(driver: &mut Driver, effect: Option<Effect>, path: &str, rows: &[(&str, FileKind)]) {
    let Some(Effect::Browse { from, path: asked }) = effect else {
        panic!("no directory was looked at, but {effect:?}")
    };
    assert_eq!(asked, path);
    let row = |(name, kind): &(&str, FileKind)| FileRow {
        name: (*name).into(),
        kind: *kind,
        size_bytes: (*kind == FileKind::File).then_some(4096),
        about: "2026-11-02 18:20".into(),
    };
    let result = Ok((rows.iter().map(row).collect(), None));
    let answer = Message::Browsed {
        from,
        path: asked,
        result,
    };
    assert!(driver.tell(answer).is_none());
}

/// To `2/home/anna`, with one file marked there.
pub fn into_an_image(d: &mut Driver) {
    let effect = d.keys(&[Key::Char('6'), Key::Enter]);
    listed(d, effect, &["old-laptop.img.zst"]);
    let effect = d.key(Key::Enter);
    let roots = [("1", FileKind::Filesystem), ("2", FileKind::Filesystem)];
    holds(d, effect, "", &roots);
    let effect = d.keys(&[Key::Down, Key::Enter]);
    holds(d, effect, "2", &[("home", FileKind::Directory)]);
    let effect = d.key(Key::Enter);
    let home = [("anna", FileKind::Directory), ("ben", FileKind::Directory)];
    holds(d, effect, "2/home", &home);
    let effect = d.key(Key::Enter);
    let files = [
        ("letter.txt", FileKind::File),
        ("photos", FileKind::Directory),
        ("way out", FileKind::Link),
    ];
    holds(d, effect, "2/home/anna", &files);
    d.key(Key::Char(' '));
}

#[test]
fn files_are_taken_out_of_an_image() {
    let mut d = Driver::small();
    into_an_image(&mut d);
    d.shows("1 marked");
    // Up, and the neighbour with all that is in it.
    d.keys(&[Key::Escape, Key::Down, Key::Char(' ')]);
    d.shows("2 marked");
    assert!(d.key(Key::Char('c')).is_none());
    d.shows("Where the files are put");
    let request = Driver::asked(d.key(Key::Enter));
    assert_eq!(
        request.to_string(),
        "rescue cp uuid:ext4-0001/old-laptop.img.zst 2/home/anna/letter.txt 2/home/ben uuid:ext4-0001"
    );
    // A directory that is marked has its files with it.
    let mut d = Driver::small();
    into_an_image(&mut d);
    d.keys(&[Key::Escape, Key::Char(' ')]);
    d.shows("1 marked");
    let effect = d.keys(&[Key::Up, Key::Enter]);
    holds(
        &mut d,
        effect,
        "2/home/anna",
        &[("letter.txt", FileKind::File)],
    );
    d.key(Key::Char(' '));
    d.shows("2/home/anna is marked with all that is in it");
    // Back to where it began, directory by directory.
    for _ in 0..3 {
        assert!(d.key(Key::Escape).is_none());
        assert!(matches!(d.app.screen, Screen::Files(_)));
    }
    d.key(Key::Escape);
    assert!(matches!(d.app.screen, Screen::Images(_)));
}

/// While somebody looks into it, a disk is mounted where it will not be when the job runs.
#[test]
fn a_place_that_is_looked_into_is_still_named_as_before() {
    let mut disk = usb_disk();
    disk.uses.push(Use::Mounted {
        device: "/dev/sdb1".into(),
        at: "/run/rescue/places/ext4-0001".into(),
        mode: MountMode::ReadOnly,
    });
    let mut d = Driver::small();
    into_an_image(&mut d);
    d.see(vec![system_disk(), empty_disk(), disk, boot_stick()]);
    d.key(Key::Char('c'));
    let request = Driver::asked(d.key(Key::Enter));
    assert!(
        request.to_string().ends_with(" uuid:ext4-0001"),
        "{request}"
    );
}

/// As the engine refuses it.
fn needs(d: &mut Driver, request: &Request, wanted: Passphrase) {
    let text = "pc.img.zst is sealed; give its passphrase".into();
    let result = Err(vec![Refusal::Passphrase { text, wanted }]);
    let request = Box::new(request.clone());
    d.tell(Message::Planned { request, result });
}

fn unsealed(effect: Option<Effect>) -> (Vec<u8>, Request) {
    match effect {
        Some(Effect::Unseal {
            secret: Secret::Passphrase(typed),
            request,
        }) => (typed.to_vec(), *request),
        other => panic!("no passphrase was taken, but {other:?}"),
    }
}

#[test]
fn the_passphrase_of_a_sealed_image_is_asked_for_and_a_new_one_twice() {
    let mut d = Driver::small();
    let effect = d.keys(&[Key::Char('5'), Key::Enter]);
    listed(&mut d, effect, &["pc.img.zst"]);
    let request = Driver::asked(d.key(Key::Enter));
    needs(&mut d, &request, Passphrase::Known);
    d.shows("pc.img.zst is sealed");
    d.type_in("wrong?");
    assert!(!d.text().contains("wrong"));
    let (typed, again) = unsealed(d.key(Key::Enter));
    assert_eq!((typed.as_slice(), &again), (&b"wrong?"[..], &request));
    needs(&mut d, &request, Passphrase::Known);
    d.type_in("right");
    let (typed, again) = unsealed(d.key(Key::Enter));
    assert_eq!((typed.as_slice(), &again), (&b"right"[..], &request));
    d.plan(&again, plan(&again));
    assert!(matches!(d.app.screen, Screen::Plan(_)));

    let mut d = Driver::small();
    d.keys(&[Key::Enter, Key::Enter, Key::Enter]);
    let request = Driver::asked(d.key(Key::Enter));
    needs(&mut d, &request, Passphrase::New);
    d.type_in("one");
    assert!(d.key(Key::Enter).is_none());
    d.shows("once more");
    d.type_in("two");
    assert!(d.key(Key::Enter).is_none());
    d.shows("not the same");
    d.type_in("three");
    assert!(d.key(Key::Enter).is_none());
    d.type_in("three");
    assert_eq!(unsealed(d.key(Key::Enter)).0, b"three");
}

#[test]
fn a_damaged_image_is_repaired() {
    let mut d = Driver::small();
    let effect = d.keys(&[Key::Char('7'), Key::Enter]);
    listed(&mut d, effect, &["old-laptop.img.zst"]);
    let request = Driver::asked(d.key(Key::Enter));
    assert_eq!(
        request.to_string(),
        "rescue repair uuid:ext4-0001/old-laptop.img.zst"
    );
}

#[test]
fn switching_off_is_asked_about() {
    let mut d = Driver::small();
    assert!(d.keys(&[Key::End, Key::Enter]).is_none());
    assert!(d.key(Key::Enter).is_none());
    assert!(matches!(d.key(Key::Char('y')), Some(Effect::PowerOff)));
    assert!(matches!(
        d.keys(&[Key::Up, Key::Enter, Key::Char('y')]),
        Some(Effect::Reboot)
    ));
    assert!(matches!(d.key(Key::Char('9')), Some(Effect::Shell)));
}

#[test]
fn every_screen_of_a_journey_can_be_left_backwards() {
    let mut d = Driver::small();
    super::screens::to_clone_plan(&mut d);
    d.key(Key::Enter);
    let mut steps = 0;
    while !matches!(d.app.screen, Screen::Menu(_)) {
        assert!(d.key(Key::Escape).is_none());
        steps += 1;
        assert!(steps <= 6, "{}", d.text());
    }
    assert_eq!(steps, 5);
}

#[test]
fn without_any_disk_a_path_can_still_be_typed() {
    let mut d = Driver::small();
    d.see(Vec::new());
    d.keys(&[Key::Enter, Key::Down]);
    d.shows("► another disk or file:");
    d.type_in("/tmp/a.disk");
    d.shows("► another disk or file: /tmp/a.disk");
}
