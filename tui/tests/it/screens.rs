//! Every screen, letter by letter, on the smallest terminal and on a wide one.
//!
//! `RESCUE_UPDATE_SCREENS=1` writes the files anew; what changed is then seen in the difference.

use std::path::PathBuf;

use disk::extent::Extent;
use engine::event::{Event, Progress, Standing, Step};
use engine::plan::Refusal;
use engine::report::{DamagedFile, Outcome, Verified};
use engine::request::Request;
use rescue_tui::app::{Effect, Message};
use rescue_tui::keys::Key;
use rescue_tui::screen::images::ImageRow;
use rescue_tui::theme::{Glyphs, Palette, Theme};
use rescue_tui::world::Inventory;

use crate::machine::{Driver, boot_stick, plan, report, system_disk, usb_disk};

const SERIAL: Theme = Theme {
    glyphs: Glyphs::Ascii,
    palette: Palette::Mono,
};

/// What is drawn, in every terminal that matters.
#[track_caller]
fn screen(name: &str, reach: impl Fn(&mut Driver)) {
    for (columns, rows) in [(80, 24), (132, 43)] {
        let mut driver = Driver::on(columns, rows, Theme::CONSOLE);
        reach(&mut driver);
        compare(&format!("{name}-{columns}x{rows}"), &driver.text());
    }
}

#[track_caller]
fn compare(name: &str, drawn: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/screens/{name}.txt"));
    if std::env::var_os("RESCUE_UPDATE_SCREENS").is_some() {
        std::fs::write(&path, drawn).unwrap();
        return;
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_else(|e| {
        panic!(
            "{}: {e}; make it with RESCUE_UPDATE_SCREENS=1",
            path.display()
        )
    });
    assert!(wanted == drawn, "{name} was\n{wanted}\nand is now\n{drawn}");
}

pub fn to_clone_plan(driver: &mut Driver) -> Request {
    let keys = [Key::Down, Key::Enter, Key::Enter, Key::Enter, Key::Enter];
    let request = Driver::asked(driver.keys(&keys));
    driver.plan(&request, plan(&request));
    request
}

fn to_running(driver: &mut Driver) {
    to_clone_plan(driver);
    driver.key(Key::Enter);
    driver.type_in("9F2A");
    assert!(matches!(driver.key(Key::Enter), Some(Effect::Start(_))));
    driver.event(Event::Started {
        steps: vec![Step::Copy, Step::Table, Step::Flush, Step::Verify],
    });
    driver.event(Event::Step { step: Step::Copy });
}

fn progress() -> Event {
    Event::Progress(Progress {
        step: Step::Copy,
        done_bytes: 152_000_000_000,
        total_bytes: 361_204_000_000,
        bytes_per_second: 182_400_000.0,
        seconds_left: Some(1147.0),
        position: 152_500_000_000,
        unreadable_bytes: 512,
        written_bytes: 151_900_000_000,
    })
}

#[test]
fn the_first_question() {
    screen("menu", |_| {});
}

#[test]
fn help() {
    screen("help", |d| {
        d.key(Key::Char('?'));
    });
}

#[test]
fn which_disk_to_image() {
    screen("source", |d| {
        d.key(Key::Enter);
    });
}

#[test]
fn before_any_disk_is_known() {
    screen("source-looking", |d| {
        d.tell(Message::Inventory(Inventory::Looking));
        d.key(Key::Enter);
    });
}

#[test]
fn a_disk_that_was_pulled_while_listed() {
    screen("source-pulled", |d| {
        d.keys(&[Key::Enter, Key::Down]);
        d.see(vec![system_disk(), usb_disk(), boot_stick()]);
    });
}

#[test]
fn all_about_a_disk() {
    screen("disk", |d| {
        d.keys(&[Key::Char('8'), Key::Enter]);
    });
}

#[test]
fn onto_which_disk() {
    screen("destination", |d| {
        d.keys(&[Key::Down, Key::Enter, Key::Enter]);
    });
}

#[test]
fn where_to_keep_an_image() {
    screen("store", |d| {
        d.keys(&[Key::Enter, Key::Enter]);
    });
}

#[test]
fn a_place_that_is_typed() {
    screen("store-typed", |d| {
        d.keys(&[Key::Enter, Key::Enter, Key::Tab]);
        d.type_in("images");
    });
}

#[test]
fn files_of_an_image() {
    screen("files", super::journeys::into_an_image);
}

#[test]
fn images_of_a_store() {
    screen("images", |d| {
        let effect = d.keys(&[Key::Down, Key::Down, Key::Enter, Key::Enter]);
        let Some(Effect::List(place)) = effect else {
            panic!("{effect:?}")
        };
        let row = |name: &str, depth, size, about: &str| ImageRow {
            name: name.into(),
            depth,
            size_bytes: Some(size),
            about: about.lines().map(str::to_owned).collect(),
        };
        let images = vec![
            row(
                "windows-11-456K.img.zst",
                0,
                182_000_000_000,
                "Samsung SSD 980 PRO 1TB, serial S5GXNX0T123456K, 1.0 TB\nmade 2026-11-02 18:20 UTC\nbefore the repair",
            ),
            row("friday.img.zst", 1, 3_100_000_000, ""),
            row(
                "old-laptop.img.zst",
                0,
                41_500_000_000,
                "Hitachi HTS545032B9A300, serial 091028PB4200Q7JX, 320 GB",
            ),
        ];
        d.tell(Message::Listed {
            place,
            images: Ok(images),
        });
    });
}

#[test]
fn how_to_make_an_image() {
    screen("options-image", |d| {
        d.keys(&[Key::Enter, Key::Enter, Key::Enter, Key::Down, Key::Right]);
    });
}

#[test]
fn how_to_clone() {
    screen("options-clone", |d| {
        d.keys(&[Key::Down, Key::Enter, Key::Enter, Key::Enter, Key::Down]);
    });
}

#[test]
fn while_the_plan_is_made() {
    screen("waiting", |d| {
        d.keys(&[Key::Down, Key::Enter, Key::Enter, Key::Enter, Key::Enter]);
    });
}

#[test]
fn the_plan() {
    screen("plan", |d| {
        to_clone_plan(d);
    });
}

#[test]
fn every_reason_against_it() {
    screen("refused", |d| {
        let keys = [
            Key::Down,
            Key::Enter,
            Key::Down,
            Key::Enter,
            Key::Enter,
            Key::Enter,
        ];
        let request = Driver::asked(d.keys(&keys));
        let disk = "/dev/nvme0n1 (Samsung SSD 980 PRO 1TB, serial S5GXNX0T123456K)";
        d.refuse(
            &request,
            vec![
                Refusal::TooSmall {
                    disk: disk.into(),
                    has_bytes: 1_000_204_886_016,
                    needs_bytes: 2_000_398_934_016,
                },
                Refusal::Other {
                    text: "/dev/nvme0n1p4 is mounted at /mnt; unmount it or choose another destination".into(),
                },
            ],
        );
    });
}

#[test]
fn the_consent() {
    screen("confirm", |d| {
        to_clone_plan(d);
        d.key(Key::Enter);
        d.type_in("9F");
    });
}

#[test]
fn a_wrong_word() {
    screen("confirm-wrong", |d| {
        to_clone_plan(d);
        d.key(Key::Enter);
        d.type_in("9f2a");
        assert!(d.key(Key::Enter).is_none());
    });
}

#[test]
fn a_job_that_begins() {
    screen("running-start", to_running);
}

#[test]
fn a_job_under_way() {
    screen("running", |d| {
        to_running(d);
        d.event(progress());
        d.event(Event::Unreadable {
            extent: Extent::new(40_000_000_000, 512).unwrap(),
        });
        d.event(Event::Warning {
            text: "Samsung SSD 980 PRO 1TB, serial S5GXNX0T123456K took 31 s to read 4096 bytes at 40000000000"
                .into(),
        });
    });
}

#[test]
fn a_failing_disk_under_way() {
    screen("running-rescue", |d| {
        to_running(d);
        d.event(Event::Step { step: Step::Rescue });
        d.event(Event::Standing(Standing {
            pass: "approaching damage".into(),
            good_bytes: 380_000_000_000,
            bad_bytes: 81_920,
            untried_bytes: 1_200_000_000,
            bad_reads: 57,
            bytes_per_minute: 90_000_000.0,
            next_hour_bytes: 1_100_000_000,
            celsius: Some(51),
            resets: 2,
            paused: false,
            picture: format!(
                "{}-{}*{}",
                "+".repeat(400),
                "+".repeat(300),
                "?".repeat(322)
            ),
        }));
        d.event(Event::Unreadable {
            extent: Extent::new(40_000_000_000, 512).unwrap(),
        });
    });
}

#[test]
fn whether_to_stop() {
    screen("running-stop", |d| {
        to_running(d);
        d.event(progress());
        d.key(Key::Escape);
    });
}

#[test]
fn a_job_that_is_done() {
    screen("report-done", |d| {
        to_running(d);
        let command = "rescue clone serial:S5GXNX0T123456K serial:WD-WCC4M5KX9F2A";
        d.tell(Message::Reported(Box::new(report(command, Outcome::Done))));
    });
}

#[test]
fn a_job_with_damage() {
    screen("report-damage", |d| {
        to_running(d);
        let text = "512 bytes of the source could not be read; they are zeros on the destination";
        let mut damaged = report(
            "rescue clone serial:S5GXNX0T123456K serial:WD-WCC4M5KX9F2A --no-verify",
            Outcome::Damage { text: text.into() },
        );
        damaged
            .unreadable
            .insert(Extent::new(40_000_000_000, 512).unwrap());
        damaged.verified = Verified::NotDone {
            why: "the plan left it out".into(),
        };
        damaged
            .warnings
            .push("/dev/nvme0n1 says of itself that it is failing; replace it".into());
        d.tell(Message::Reported(Box::new(damaged)));
    });
}

#[test]
fn the_report_names_the_damaged_files_and_says_of_the_rest_what_it_is() {
    let mut driver = Driver::on(132, 43, Theme::CONSOLE);
    to_running(&mut driver);
    let text = "4.1 kB in 2 places could not be read and are zeros in the result";
    let mut damaged = report("rescue clone a b", Outcome::Damage { text: text.into() });
    damaged
        .unreadable
        .insert(Extent::new(40_000_000_000, 4096).unwrap());
    damaged.files = vec![DamagedFile {
        partition: Some(3),
        path: "Users/anna/thesis.odt".into(),
        size_bytes: Some(88_000),
        lost_bytes: 3072,
    }];
    damaged.more_files = 7;
    damaged
        .notes
        .push("damage: 1.0 kB are in no partition".into());
    driver.tell(Message::Reported(Box::new(damaged)));
    driver.shows("Files that are not whole");
    driver.shows("partition 3: Users/anna/thesis.odt, 3072 of 88000 bytes");
    driver.shows("and 7 more");
    driver.shows("damage: 1.0 kB are in no partition");
}

#[test]
fn a_job_that_failed() {
    screen("report-failed", |d| {
        to_running(d);
        let text = "/dev/sda (WDC WD20EZRZ-00Z5HB0, serial WD-WCC4M5KX9F2A) is no longer there; connect it again and \
                    repeat the command";
        let failed = report(
            "rescue clone serial:S5GXNX0T123456K serial:WD-WCC4M5KX9F2A",
            Outcome::Failed { text: text.into() },
        );
        d.tell(Message::Reported(Box::new(failed)));
    });
}

#[test]
fn a_defect_of_the_program() {
    screen("trouble", |d| {
        to_running(d);
        d.tell(Message::Broken(
            "a thread of the job panicked: index out of bounds".into(),
        ));
    });
}

#[test]
fn a_serial_line_gets_plain_letters() {
    for (name, keys) in [
        ("serial-menu", &[][..]),
        ("serial-source", &[Key::Enter]),
        ("serial-options", &[Key::Enter, Key::Enter, Key::Enter]),
    ] {
        let mut driver = Driver::on(80, 24, SERIAL);
        driver.keys(keys);
        let text = driver.text();
        assert!(text.is_ascii(), "{text}");
        compare(name, &text);
    }
    let mut driver = Driver::on(80, 24, SERIAL);
    to_running(&mut driver);
    driver.event(progress());
    compare("serial-running", &driver.text());
}

#[test]
fn a_window_that_is_too_small_says_so() {
    let driver = Driver::on(60, 20, Theme::CONSOLE);
    compare("too-small", &driver.text());
}

#[test]
fn the_console_font_has_every_glyph_that_is_drawn() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/screens");
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines() {
            assert_eq!(Theme::CONSOLE.clean(line), line, "{}", path.display());
        }
        seen += 1;
    }
    assert!(seen > 40, "only {seen} screens were looked at");
}
