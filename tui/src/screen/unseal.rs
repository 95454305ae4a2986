//! The passphrase of a sealed image, or a new one, before there is a plan.

use disk::layer::Secret;
use engine::plan::{Passphrase, Refusal};
use engine::request::Request;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use zeroize::Zeroizing;

use crate::app::{Effect, Message, Next};
use crate::draft::Task;
use crate::keys::Key;
use crate::screen::Screen;
use crate::screen::waiting::Waiting;
use crate::theme::Theme;
use crate::widget::field::Taken;
use crate::widget::secret::SecretField;
use crate::widget::{chrome, page, text};
use crate::world::World;

#[derive(Debug)]
pub struct Unseal {
    request: Request,
    /// Why it is asked for.
    why: String,
    field: SecretField,
    state: State,
    back: Box<Screen>,
}

enum State {
    Known,
    New,
    /// The new one, to be typed once more.
    Again(Zeroizing<Vec<u8>>),
    /// Both were not the same.
    Different,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            State::Known => "Known",
            State::New => "New",
            State::Again(_) => "Again",
            State::Different => "Different",
        })
    }
}

impl Unseal {
    /// Where nothing but a passphrase stands in the way.
    pub fn of(
        refusals: &[Refusal],
        request: &Request,
        back: Box<Screen>,
    ) -> Result<Screen, Box<Screen>> {
        match refusals {
            [Refusal::Passphrase { text, wanted }] => Ok(Screen::Unseal(Unseal {
                request: request.clone(),
                why: text.clone(),
                field: SecretField::default(),
                state: match wanted {
                    Passphrase::Known => State::Known,
                    Passphrase::New => State::New,
                },
                back,
            })),
            _ => Err(back),
        }
    }

    pub fn update(mut self, world: &World, message: Message) -> Next {
        match message {
            Message::Key(key) => return self.key(key),
            Message::Inventory(inventory) => {
                let (back, _) = self.back.update(world, Message::Inventory(inventory));
                self.back = Box::new(back);
            }
            _ => {}
        }
        (Screen::Unseal(self), None)
    }

    fn key(mut self, key: Key) -> Next {
        if self.field.key(key) == Taken::Yes {
            return (Screen::Unseal(self), None);
        }
        match key {
            Key::Escape => (*self.back, None),
            Key::Enter if !self.field.is_empty() => self.typed(),
            _ => (Screen::Unseal(self), None),
        }
    }

    fn typed(mut self) -> Next {
        let typed = self.field.take();
        let secret = match std::mem::replace(&mut self.state, State::Different) {
            State::Known => typed,
            State::New | State::Different => {
                self.state = State::Again(typed);
                return (Screen::Unseal(self), None);
            }
            State::Again(first) if first == typed => typed,
            State::Again(_) => return (Screen::Unseal(self), None),
        };
        let (screen, _) = Waiting::plan(self.request.clone(), *self.back);
        let effect = Effect::Unseal {
            secret: Secret::Passphrase(secret),
            request: Box::new(self.request),
        };
        (screen, Some(effect))
    }

    pub fn title(&self) -> String {
        format!("{}: passphrase", Task::of(&self.request.action).title())
    }

    pub fn keys(&self) -> Vec<(&'static str, &'static str)> {
        vec![("F1", "help"), ("Enter", "go on"), ("Esc", "back")]
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        let theme = world.terminal.theme;
        let inner = chrome::frame("Sealed", theme, area, buf);
        let lines = self.lines(theme, usize::from(inner.width));
        page::draw(lines, 0, theme, inner, buf);
    }

    fn lines(&self, theme: Theme, columns: usize) -> Vec<Line<'static>> {
        const NEW: &str = "Type a passphrase for the new image. It is not shown and written nowhere: without it nobody can \
                           read the image, nor can this program.";
        let about = match &self.state {
            // The command line's remedy is no remedy here.
            State::Known => self.why.split(';').next().unwrap_or_default(),
            State::New => NEW,
            State::Again(_) => {
                "Type it once more: a slip of the pen would lock the image for ever."
            }
            State::Different => "These two were not the same. Type a passphrase for the new image.",
        };
        let mut lines = vec![Line::raw("")];
        lines.extend(text::paragraph(
            "",
            &theme.clean(about),
            theme.plain(),
            columns,
        ));
        lines.push(Line::raw(""));
        let mut line = self.field.line(theme, columns.saturating_sub(2));
        line.spans.insert(0, "> ".into());
        lines.push(line);
        lines
    }
}
