//! Something is being looked at; nothing is written meanwhile.

use engine::request::{Place, Request};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::app::{Effect, Message, Next};
use crate::draft::Task;
use crate::keys::Key;
use crate::screen::Screen;
use crate::screen::images::Images;
use crate::screen::plan::PlanPage;
use crate::screen::refused::Refused;
use crate::screen::stores::Search;
use crate::screen::unseal::Unseal;
use crate::widget::{chrome, page, text};
use crate::world::World;

#[derive(Debug)]
pub struct Waiting {
    what: Awaited,
    back: Box<Screen>,
}

#[derive(Debug)]
enum Awaited {
    Plan(Box<Request>),
    Images { place: Place, search: Search },
}

impl Waiting {
    pub fn plan(request: Request, back: Screen) -> Next {
        let effect = Effect::Prepare(Box::new(request.clone()));
        let what = Awaited::Plan(Box::new(request));
        let back = Box::new(back);
        (Screen::Waiting(Waiting { what, back }), Some(effect))
    }

    pub fn images(place: Place, search: Search, back: Screen) -> Next {
        let effect = Effect::List(place.clone());
        let what = Awaited::Images { place, search };
        let back = Box::new(back);
        (Screen::Waiting(Waiting { what, back }), Some(effect))
    }

    /// An answer counts only when it answers this question: an older one may still be under way.
    pub fn update(self, world: &World, message: Message) -> Next {
        let screen = match (self.what, message) {
            (_, Message::Key(Key::Escape)) => *self.back,
            (Awaited::Plan(wanted), Message::Planned { request, result }) if wanted == request => {
                match result {
                    Ok(plan) => PlanPage::open(plan, self.back),
                    Err(refusals) => match Unseal::of(&refusals, &request, self.back) {
                        Ok(screen) => screen,
                        Err(back) => Refused::open(*request, refusals, back),
                    },
                }
            }
            (Awaited::Images { place, search }, Message::Listed { place: of, images })
                if place == of =>
            {
                Images::open(search, place, images, self.back)
            }
            (what, Message::Inventory(_)) => {
                // The disks behind may have changed; the screen to go back to must know.
                let inventory = world.inventory.clone();
                let (back, _) = self.back.update(world, Message::Inventory(inventory));
                let back = Box::new(back);
                Screen::Waiting(Waiting { what, back })
            }
            (what, _) => Screen::Waiting(Waiting { what, ..self }),
        };
        (screen, None)
    }

    pub fn title(&self) -> String {
        match &self.what {
            Awaited::Plan(request) => format!("{}: the plan", Task::of(&request.action).title()),
            Awaited::Images { search, .. } => format!("{}: which image?", search.task().title()),
        }
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        let theme = world.terminal.theme;
        let inner = chrome::frame("", theme, area, buf);
        let words = match &self.what {
            Awaited::Plan(request) => {
                format!("Looking at everything this job touches. Nothing is written.\n{request}")
            }
            Awaited::Images { place, .. } => {
                format!("Looking for images in {} ...", world.words_of(place))
            }
        };
        let mut lines = vec![Line::raw("")];
        for line in words.lines() {
            let columns = usize::from(inner.width);
            lines.extend(text::paragraph(
                "",
                &theme.clean(line),
                theme.plain(),
                columns,
            ));
            lines.push(Line::raw(""));
        }
        page::draw(lines, 0, theme, inner, buf);
    }
}
