//! The job at work.

mod standing;

use std::path::PathBuf;

use disk::size::Size;
use engine::event::{Event, Paused, Progress, Standing, Step};
use engine::plan::{Approved, Plan};
use engine::request::{Action, Place};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::app::{Effect, Message, Next};
use crate::draft::Task;
use crate::keys::Key;
use crate::screen::Screen;
use crate::screen::ask::{Ask, Question};
use crate::screen::report::ReportPage;
use crate::screen::trouble::Trouble;
use crate::theme::Theme;
use crate::widget::strip::{Strip, gauge};
use crate::widget::{chrome, page, text};
use crate::world::{World, counted};

/// The newest are kept on the screen; the report has all.
const WARNINGS: usize = 50;

#[derive(Debug)]
pub struct Running {
    task: Task,
    command: String,
    from: String,
    to: String,
    steps: Vec<Step>,
    step: Option<Step>,
    progress: Option<Progress>,
    strip: Strip,
    unreadable: Unreadable,
    /// Only of a failing disk.
    standing: Option<Standing>,
    warnings: Vec<String>,
    stop: Stop,
    /// The directory of the image that is made, for its report.
    beside: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Unreadable {
    places: u64,
    bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    Not,
    /// The job was told and ends at its next chunk.
    Asked,
}

impl Running {
    /// The one place where a job begins: only with what the engine approved.
    pub fn start(approved: Approved) -> Next {
        let plan = approved.plan();
        let size = plan
            .source()
            .map_or(plan.used().end(), |d| d.identity.size_bytes);
        let running = Running {
            task: Task::of(&plan.request().action),
            command: plan.request().to_string(),
            from: from(plan),
            to: to(plan),
            steps: Vec::new(),
            step: None,
            progress: None,
            strip: Strip::new(size, plan.used()),
            unreadable: Unreadable::default(),
            standing: None,
            warnings: Vec::new(),
            stop: Stop::Not,
            beside: match &plan.request().action {
                Action::Image {
                    store: Place::Path(dir),
                    ..
                } => Some(dir.clone()),
                _ => None,
            },
        };
        let effect = Effect::Start(Box::new(approved));
        (Screen::Running(running), Some(effect))
    }

    pub fn is_stopping(&self) -> bool {
        self.stop == Stop::Asked
    }

    pub fn stopping(self) -> Running {
        Running {
            stop: Stop::Asked,
            ..self
        }
    }

    pub fn update(mut self, _world: &World, message: Message) -> Next {
        match message {
            Message::Key(Key::Escape | Key::Char('q')) if !self.is_stopping() => {
                return (Ask::over(Question::StopJob, Screen::Running(self)), None);
            }
            Message::Key(Key::Char('p')) if self.rescues() => return self.pause(),
            Message::Key(Key::Char('s')) if self.rescues() => {
                return (Screen::Running(self), Some(Effect::Skip));
            }
            Message::Job(event) => self.event(event),
            Message::Reported(report) => {
                return (ReportPage::open(report, self.task, self.beside), None);
            }
            Message::Broken(text) => {
                let command = self.command;
                return (Screen::Trouble(Trouble { text, command }), None);
            }
            _ => {}
        }
        (Screen::Running(self), None)
    }

    /// Only there can an area be left, and the disk be given a rest.
    fn rescues(&self) -> bool {
        self.step == Some(Step::Rescue) && !self.is_stopping()
    }

    fn pause(mut self) -> Next {
        let paused = match &mut self.standing {
            Some(standing) if standing.paused => Paused::No,
            _ => Paused::Yes,
        };
        // Shown at once: a read that hangs may take minutes to end.
        if let Some(standing) = &mut self.standing {
            standing.paused = paused == Paused::Yes;
        }
        (Screen::Running(self), Some(Effect::Pause(paused)))
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Started { steps } => self.steps = steps,
            Event::Step { step } => {
                self.step = Some(step);
                self.progress = None;
                // Only these go over the disk from its start; the others come when all of it was gone over.
                self.strip.reached(match step {
                    Step::Copy | Step::Verify | Step::Check => 0,
                    // Its picture comes with the first standing.
                    Step::Rescue => return,
                    Step::Table
                    | Step::Flush
                    | Step::Filesystems
                    | Step::Grow
                    | Step::Names
                    | Step::Serve => u64::MAX,
                });
            }
            Event::Progress(progress) => {
                self.step = Some(progress.step);
                self.strip.reached(progress.position);
                self.progress = Some(progress);
            }
            Event::Standing(mut standing) => {
                self.strip.picture(std::mem::take(&mut standing.picture));
                self.standing = Some(standing);
            }
            Event::Unreadable { extent } => {
                self.unreadable.places += 1;
                self.unreadable.bytes = self.unreadable.bytes.saturating_add(extent.len());
                self.strip.unreadable(extent);
            }
            Event::Warning { text } => {
                if self.warnings.len() == WARNINGS {
                    self.warnings.remove(0);
                }
                self.warnings.push(text);
            }
            // Told on the command line; here a job that waits for clients is not begun.
            Event::Note { .. } => {}
            Event::Finished => self.progress = None,
        }
    }

    pub fn title(&self) -> String {
        self.task.title().to_owned()
    }

    pub fn keys(&self) -> Vec<(&'static str, &'static str)> {
        match self.stop {
            Stop::Not if self.rescues() => {
                let paused = self.standing.as_ref().is_some_and(|s| s.paused);
                vec![
                    ("?", "help"),
                    ("p", if paused { "go on" } else { "pause" }),
                    ("s", "skip this area"),
                    ("Esc", "stop (asks first)"),
                ]
            }
            Stop::Not => vec![("?", "help"), ("Esc", "stop (asks first)")],
            Stop::Asked => vec![("?", "help"), ("", "stopping ...")],
        }
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        let theme = world.terminal.theme;
        // A failing disk has a line more to say.
        let height = if self.rescues() { 11 } else { 10 };
        let top = Rect { height, ..area };
        self.draw_progress(theme, top, buf);
        let rest = area.height - top.height;
        let strip_rows = (rest / 3).clamp(2, 12);
        let map = Rect {
            y: top.bottom(),
            height: strip_rows + 3,
            ..area
        };
        let inner = chrome::frame(
            "The disk, from its first to its last sector",
            theme,
            map,
            buf,
        );
        let cells = Rect {
            height: strip_rows,
            ..inner
        };
        self.strip.draw(theme, cells, buf);
        let legend = Rect {
            y: cells.bottom(),
            height: 1,
            ..inner
        };
        page::draw(vec![Strip::legend(theme)], 0, theme, legend, buf);
        let last = Rect {
            y: map.bottom(),
            height: rest - map.height,
            ..area
        };
        self.draw_warnings(theme, last, buf);
    }

    fn draw_progress(&self, theme: Theme, area: Rect, buf: &mut Buffer) {
        let title = match self.stop {
            Stop::Not => self.step_words(),
            Stop::Asked => "Stopping at the next safe place ...".into(),
        };
        let inner = chrome::frame(&title, theme, area, buf);
        let (done, total) = self.done();
        let columns = usize::from(inner.width);
        let ends = [("from  ", &self.from), ("to    ", &self.to)];
        let ends = ends.map(|(word, end)| {
            Line::raw(text::fit(&format!("{word}{}", theme.clean(end)), columns))
        });
        page::draw(ends.into(), 0, theme, Rect { height: 2, ..inner }, buf);
        let bar = Rect {
            y: inner.y + 3,
            width: inner.width.saturating_sub(6),
            height: 1,
            ..inner
        };
        gauge(done, total, theme, bar, buf);
        // A step that does not count has no percentage.
        if total > 0 {
            let percent = percent(done, total);
            buf.set_string(
                bar.right(),
                bar.y,
                format!("{percent:>4} %"),
                theme.strong(),
            );
        }
        let below = Rect {
            y: inner.y + 5,
            height: inner.height.saturating_sub(5),
            ..inner
        };
        let lines = match &self.standing {
            Some(standing) if self.step == Some(Step::Rescue) => standing::lines(standing, theme),
            _ => self.numbers(theme),
        };
        page::draw(lines, 0, theme, below, buf);
    }

    fn done(&self) -> (u64, u64) {
        match (&self.standing, &self.progress) {
            (Some(s), _) if self.step == Some(Step::Rescue) => {
                (s.good_bytes, s.good_bytes + s.bad_bytes + s.untried_bytes)
            }
            (_, Some(p)) => (p.done_bytes, p.total_bytes),
            _ => (0, 0),
        }
    }

    /// `copying (1 of 4)`
    fn step_words(&self) -> String {
        let Some(step) = self.step else {
            return "Starting ...".into();
        };
        match self.steps.iter().position(|s| *s == step) {
            Some(n) => format!("{} ({} of {})", step.words(), n + 1, self.steps.len()),
            None => step.words().into(),
        }
    }

    fn numbers(&self, theme: Theme) -> Vec<Line<'static>> {
        let cell = |name: &str, value: String| {
            [
                Span::raw(text::fit(name, 13)),
                Span::styled(text::fit(&value, 23), theme.strong()),
            ]
        };
        let progress = self.progress;
        let shown = |f: fn(Progress) -> String| progress.map_or("-".to_owned(), f);
        let done = shown(|p| format!("{} of {}", Size(p.done_bytes), Size(p.total_bytes)));
        let rate = shown(|p| rate(p.bytes_per_second));
        let left = shown(|p| p.seconds_left.map_or("not known yet".into(), text::span_of));
        let written = shown(|p| Size(p.written_bytes).to_string());
        let bad = self.unreadable;
        let lost = match bad.places {
            0 => Span::styled("none", theme.strong()),
            _ => Span::styled(
                format!("{} in {}", Size(bad.bytes), counted(bad.places, "place")),
                theme.bad(),
            ),
        };
        let two = |a: [Span<'static>; 2], b: [Span<'static>; 2]| Line::from([a, b].concat());
        vec![
            two(cell("Done", done), cell("Time left", left)),
            two(cell("Rate", rate), cell("Written", written)),
            Line::from(vec![Span::raw(text::fit("Unreadable", 13)), lost]),
        ]
    }

    fn draw_warnings(&self, theme: Theme, area: Rect, buf: &mut Buffer) {
        if area.height < 3 {
            return;
        }
        let inner = chrome::frame("Messages", theme, area, buf);
        let columns = usize::from(inner.width);
        let lines: Vec<Line<'static>> = self
            .warnings
            .iter()
            .flat_map(|w| text::paragraph("! ", &theme.clean(w), theme.warn(), columns))
            .collect();
        let lines = match lines.is_empty() {
            true => vec![Line::raw("none")],
            false => lines,
        };
        // The newest are at the end.
        let top = lines.len().saturating_sub(usize::from(inner.height));
        page::draw(lines, top, theme, inner, buf);
    }
}

fn from(plan: &Plan) -> String {
    match (plan.source(), plan.image()) {
        (Some(disk), _) => disk.identity.to_string(),
        (None, Some(image)) => image.title.clone(),
        (None, None) => "-".into(),
    }
}

fn to(plan: &Plan) -> String {
    match (&plan.request().action, plan.destination(), plan.new_file()) {
        (Action::Image { store, name, .. }, ..) => {
            let store = plan.store().map_or(store.to_string(), |s| s.title.clone());
            format!("{name} in {store}")
        }
        (_, Some(disk), _) => disk.identity.to_string(),
        (_, None, Some(file)) => file.path.display().to_string(),
        (_, None, None) => "-".into(),
    }
}

fn percent(done: u64, total: u64) -> u64 {
    let scaled = u128::from(done.min(total)) * 100 / u128::from(total.max(1));
    u64::try_from(scaled).unwrap_or(100)
}

fn rate(bytes_per_second: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(bytes_per_second).map_or(0, |d| d.as_secs());
    format!("{}/s", Size(whole))
}
