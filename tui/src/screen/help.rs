//! What every key does, and what one may rely on.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::app::{Message, Next};
use crate::keys::Key;
use crate::screen::Screen;
use crate::theme::Theme;
use crate::widget::{chrome, page, text};
use crate::world::World;

#[derive(Debug)]
pub struct Help {
    top: usize,
    under: Box<Screen>,
}

const KEYS: &[(&str, &str)] = &[
    (
        "Up, Down",
        "choose a row; Home, End, PgUp and PgDn go further",
    ),
    ("Enter", "go on with what is chosen"),
    ("Esc", "one screen back; nothing is lost"),
    (
        "Left, Right",
        "change a setting; move in a line that is typed",
    ),
    ("? or F1", "this page (F1 where text is typed)"),
    ("Ctrl-L", "draw the screen again, after disturbed lines"),
    ("Ctrl-U", "empty the line that is typed"),
    ("Ctrl-C", "stop; it asks first"),
    (
        "p, s",
        "on a failing disk: pause and go on; leave the area the job is in, it comes back last",
    ),
];

const PROMISES: &[&str] = &[
    "Nothing is written to a disk before you have seen the plan and typed the last four characters of that \
     disk's serial number. They are printed on its label.",
    "The disk you copy from is never written. The report shows how many sectors the kernel counted as written \
     to each disk: for the source it says 0.",
    "A job can be stopped at any time, by you or by a power cut. The same job, started again, goes on from \
     where it was.",
    "Places that cannot be read do not stop a job. They are counted and listed in the report.",
    "Sizes are those of the label: 1 GB is 1,000,000,000 bytes.",
];

impl Help {
    pub fn over(screen: Screen) -> Screen {
        match screen {
            Screen::Help(help) => *help.under,
            // A question is answered first.
            Screen::Ask(ask) => Screen::Ask(ask),
            under => Screen::Help(Help {
                top: 0,
                under: Box::new(under),
            }),
        }
    }

    pub fn covers_job(&self) -> bool {
        matches!(&*self.under, Screen::Running(running) if !running.is_stopping())
    }

    pub fn under(&self) -> &Screen {
        &self.under
    }

    pub fn closed(self) -> Screen {
        *self.under
    }

    pub fn update(mut self, world: &World, message: Message) -> Next {
        match message {
            Message::Key(Key::Escape | Key::Enter) => return (*self.under, None),
            Message::Key(key) => {
                let area = chrome::inside(chrome::body(world.terminal.area()));
                let lines = lines(world.terminal.theme, usize::from(area.width)).len();
                if let Some(top) = page::scrolled(key, self.top, lines, usize::from(area.height)) {
                    self.top = top;
                }
            }
            // What happens meanwhile belongs to the screen that is covered.
            message => {
                let (under, effect) = self.under.update(world, message);
                self.under = Box::new(under);
                return (Screen::Help(self), effect);
            }
        }
        (Screen::Help(self), None)
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        let theme = world.terminal.theme;
        let inner = chrome::frame("Help", theme, area, buf);
        page::draw(
            lines(theme, usize::from(inner.width)),
            self.top,
            theme,
            inner,
            buf,
        );
    }
}

fn lines(theme: Theme, columns: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled("Keys", theme.strong())];
    for (key, what) in KEYS {
        lines.push(Line::from(vec![
            Span::styled(text::fit(key, 14), theme.strong()),
            Span::raw(*what),
        ]));
    }
    lines.push(Line::raw(""));
    lines.push(Line::styled("What you may rely on", theme.strong()));
    for promise in PROMISES {
        let lead = format!("{} ", theme.bullet());
        lines.extend(text::paragraph(&lead, promise, theme.plain(), columns));
    }
    lines
}
