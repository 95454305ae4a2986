//! Whatever is pressed and whatever happens: no panic, and nothing is written without the typed word.

use disk::extent::Extent;
use engine::event::{Event, Progress, Step};
use engine::plan::{Passphrase, Refusal};
use engine::report::Outcome;
use engine::request::{Origin, Request};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::sample::select;
use rescue_tui::app::{Effect, Message};
use rescue_tui::keys::Key;
use rescue_tui::screen::files::{FileKind, FileRow};
use rescue_tui::screen::images::ImageRow;
use rescue_tui::theme::Theme;

use crate::machine::{Driver, disks, plan, report};

/// Something that may happen next.
#[derive(Clone, Debug)]
enum Happening {
    Key(Key),
    /// The word of the destination, letter by letter.
    Word,
    /// Whatever was asked of the machine is answered.
    Answer {
        well: bool,
    },
    /// Disks come and go: those of the mask are there.
    Disks(u8),
    Progress {
        position: u64,
    },
    Unreadable {
        start: u64,
        len: u64,
    },
    Finished,
    Resized {
        columns: u16,
        rows: u16,
    },
}

fn key() -> impl Strategy<Value = Key> {
    let often = vec![Key::Enter, Key::Up, Key::Down, Key::Escape, Key::Right];
    let keys = vec![
        Key::Left,
        Key::Tab,
        Key::Home,
        Key::End,
        Key::PageUp,
        Key::PageDown,
        Key::Backspace,
        Key::Delete,
        Key::Help,
        Key::Interrupt,
        Key::Redraw,
        Key::Clear,
    ];
    prop_oneof![
        6 => select(often),
        2 => select(keys),
        2 => select("123456789cdrsuyn? /".chars().map(Key::Char).collect::<Vec<_>>()),
        1 => any::<char>().prop_map(Key::Char),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        24 => key().prop_map(Happening::Key),
        4 => any::<bool>().prop_map(|bad| Happening::Answer { well: !bad }),
        2 => Just(Happening::Word),
        1 => any::<u8>().prop_map(Happening::Disks),
        1 => any::<u64>().prop_map(|position| Happening::Progress { position }),
        1 => any::<(u64, u64)>().prop_map(|(start, len)| Happening::Unreadable { start, len }),
        1 => Just(Happening::Finished),
        1 => (0u16..200, 0u16..60).prop_map(|(columns, rows)| Happening::Resized { columns, rows }),
    ]
}

/// Who watches what is typed and what is done.
struct Watch {
    driver: Driver,
    asked: Option<Request>,
    listed: Option<engine::request::Place>,
    browsed: Option<(Origin, String)>,
    /// Letters since the last plan was shown.
    typed: String,
    started: usize,
}

impl Watch {
    fn press(&mut self, key: Key) {
        let before = self.typed.clone();
        if let Key::Char(c) = key {
            self.typed.push(c);
        }
        let effect = self.driver.key(key);
        self.note(effect, &before);
    }

    fn note(&mut self, effect: Option<Effect>, typed: &str) {
        match effect {
            Some(Effect::Prepare(request) | Effect::Unseal { request, .. }) => {
                self.asked = Some(*request);
            }
            Some(Effect::List(place)) => self.listed = Some(place),
            Some(Effect::Browse { from, path }) => self.browsed = Some((from, path)),
            Some(Effect::Start(approved)) => {
                self.started += 1;
                if let Some(word) = approved.plan().word() {
                    // Keys that move about may stand between them; every letter has to be there.
                    let mut left: Vec<char> = typed.chars().collect();
                    for letter in word.chars() {
                        let at = left.iter().position(|c| *c == letter);
                        left.remove(at.unwrap_or_else(|| panic!("started after '{typed}'")));
                    }
                }
            }
            _ => {}
        }
    }

    fn answer(&mut self, well: bool) {
        if let Some(request) = self.asked.take() {
            self.typed.clear();
            let refusal = Refusal::Other {
                text: "no; do not".into(),
            };
            let result = match well {
                true => Ok(Box::new(plan(&request))),
                false if request.to_string().len().is_multiple_of(2) => {
                    Err(vec![Refusal::Passphrase {
                        text: "it is sealed; open it".into(),
                        wanted: Passphrase::New,
                    }])
                }
                false => Err(vec![refusal; 9]),
            };
            let request = Box::new(request);
            self.tell(Message::Planned { request, result });
        }
        if let Some(place) = self.listed.take() {
            let row = ImageRow {
                name: "a\u{1b}[31m.img.zst".into(),
                depth: 900,
                size_bytes: None,
                about: vec!["x".repeat(500)],
            };
            let images = if well {
                Ok(vec![row; 40])
            } else {
                Err("no; look elsewhere".into())
            };
            self.tell(Message::Listed { place, images });
        }
        if let Some((from, path)) = self.browsed.take() {
            let row = |(name, kind): (&str, FileKind)| FileRow {
                name: name.into(),
                kind,
                size_bytes: Some(u64::MAX),
                about: "\u{1b}[2J".repeat(100),
            };
            let kinds = [
                ("a", FileKind::Directory),
                ("a/../\u{1b}]0;x\u{7}", FileKind::File),
                ("2", FileKind::Filesystem),
                ("", FileKind::Special),
            ];
            let rows = kinds.map(row).to_vec();
            let result = match well {
                true => Ok((rows, path.len().is_multiple_of(3).then(|| "no more".into()))),
                false => Err("no; look elsewhere".into()),
            };
            self.tell(Message::Browsed { from, path, result });
        }
    }

    fn tell(&mut self, message: Message) {
        let effect = self.driver.tell(message);
        assert!(
            !matches!(effect, Some(Effect::Start(_))),
            "only a key may start a job"
        );
        self.note(effect, "");
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Key(key) => self.press(key),
            Happening::Word => "9F2A".chars().for_each(|c| self.press(Key::Char(c))),
            Happening::Answer { well } => self.answer(well),
            Happening::Disks(mask) => {
                let all = disks().into_iter().enumerate();
                let there = all.filter(|(n, _)| mask >> n & 1 == 1).map(|(_, d)| d);
                self.driver.see(there.collect());
            }
            Happening::Progress { position } => {
                self.tell(Message::Job(Event::Progress(Progress {
                    step: Step::Copy,
                    done_bytes: position,
                    total_bytes: position / 2,
                    bytes_per_second: f64::NAN,
                    seconds_left: Some(f64::MAX),
                    position,
                    unreadable_bytes: position,
                    written_bytes: u64::MAX,
                })))
            }
            Happening::Unreadable { start, len } => {
                if let Some(extent) = Extent::new(start, len) {
                    self.tell(Message::Job(Event::Unreadable { extent }));
                }
            }
            Happening::Finished => {
                let report = report("rescue clone a b", Outcome::Done);
                self.tell(Message::Reported(Box::new(report)));
            }
            Happening::Resized { columns, rows } => self.tell(Message::Resized { columns, rows }),
        }
        self.driver.text();
    }
}

fn cases() -> u32 {
    if std::env::var_os("RESCUE_TEST_ALL").is_some() {
        4000
    } else {
        150
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_pressed_at_random_panics_or_writes_without_the_word(
        happenings in proptest::collection::vec(happening(), 1..250)
    ) {
        let mut watch = Watch {
            driver: Driver::on(80, 24, Theme::CONSOLE),
            asked: None,
            listed: None,
            browsed: None,
            typed: String::new(),
            started: 0,
        };
        for happening in happenings {
            watch.happens(happening);
        }
    }
}

/// Or the property would hold because nothing is ever reached.
#[test]
fn keys_in_the_right_order_do_start_a_job() {
    let mut watch = Watch {
        driver: Driver::small(),
        asked: None,
        listed: None,
        browsed: None,
        typed: String::new(),
        started: 0,
    };
    for key in [Key::Char('2'), Key::Enter, Key::Enter, Key::Enter] {
        watch.press(key);
    }
    watch.happens(Happening::Answer { well: true });
    watch.press(Key::Enter);
    watch.happens(Happening::Word);
    assert_eq!(watch.started, 0);
    watch.press(Key::Enter);
    assert_eq!(watch.started, 1);
}
