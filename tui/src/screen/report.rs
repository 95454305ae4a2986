//! What came of it: the one page that is read with a beating heart.

use std::path::PathBuf;

use disk::size::Size;
use engine::report::{DiskReport, DiskRole, Outcome, Report, Verified};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::app::{Effect, Message, Next};
use crate::draft::Task;
use crate::keys::Key;
use crate::screen::Screen;
use crate::screen::menu::Menu;
use crate::theme::Theme;
use crate::widget::{chrome, page, text};
use crate::world::{World, counted};

/// Unreadable places shown; the saved report has all.
const PLACES: usize = 20;

#[derive(Debug)]
pub struct ReportPage {
    report: Box<Report>,
    task: Task,
    top: usize,
    saved: Saved,
    /// Where the image is, when it is in a directory.
    beside: Option<PathBuf>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Saved {
    NotYet,
    At(String),
    Failed(String),
}

impl ReportPage {
    pub fn open(report: Box<Report>, task: Task, beside: Option<PathBuf>) -> Screen {
        Screen::Report(ReportPage {
            report,
            task,
            top: 0,
            saved: Saved::NotYet,
            beside,
        })
    }

    pub fn update(mut self, world: &World, message: Message) -> Next {
        match message {
            Message::Key(Key::Enter | Key::Escape) => return (Screen::Menu(Menu::default()), None),
            Message::Key(Key::Char('s')) => {
                let save = Effect::SaveReport {
                    report: self.report.clone(),
                    beside: self.beside.clone(),
                };
                return (Screen::Report(self), Some(save));
            }
            Message::Key(key) => {
                let inner = chrome::inside(chrome::body(world.terminal.area()));
                let count = self
                    .lines(world.terminal.theme, usize::from(inner.width))
                    .len();
                if let Some(top) = page::scrolled(key, self.top, count, usize::from(inner.height)) {
                    self.top = top;
                }
            }
            Message::Saved(Ok(path)) => self.saved = Saved::At(path.display().to_string()),
            Message::Saved(Err(why)) => self.saved = Saved::Failed(why),
            _ => {}
        }
        (Screen::Report(self), None)
    }

    pub fn title(&self) -> String {
        format!("{}: the report", self.task.title())
    }

    pub fn keys(&self) -> Vec<(&'static str, &'static str)> {
        vec![
            ("?", "help"),
            ("Enter", "to the start"),
            ("s", "save the report"),
            ("Up/Down", "scroll"),
        ]
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        let theme = world.terminal.theme;
        let inner = match &self.report.outcome {
            Outcome::Done => chrome::frame("Report", theme, area, buf),
            _ => chrome::alarm("Report", theme, area, buf),
        };
        page::draw(
            self.lines(theme, usize::from(inner.width)),
            self.top,
            theme,
            inner,
            buf,
        );
    }

    fn lines(&self, theme: Theme, columns: usize) -> Vec<Line<'static>> {
        let report = &self.report;
        let mut lines = outcome(report, self.task, theme, columns);
        lines.extend(self.saved.lines(theme, columns));
        lines.push(Line::raw(""));
        lines.extend(facts(report, theme, columns));
        lines.push(Line::raw(""));
        lines.push(Line::styled(
            "Sectors written to each disk, as the kernel counted",
            theme.strong(),
        ));
        for disk in &report.disks {
            lines.extend(disk_lines(disk, theme, columns));
        }
        lines.extend(unreadable(report, theme, columns));
        lines.extend(damaged(report, theme, columns));
        for read in report.filesystems.iter().filter(|r| !r.notes.is_empty()) {
            let words = theme.clean(&read.to_string());
            lines.extend(text::paragraph("  ", &words, theme.plain(), columns));
        }
        for note in &report.notes {
            lines.extend(text::paragraph(
                "  ",
                &theme.clean(note),
                theme.plain(),
                columns,
            ));
        }
        for warning in &report.warnings {
            lines.extend(text::paragraph(
                "! ",
                &theme.clean(warning),
                theme.warn(),
                columns,
            ));
        }
        lines.push(Line::raw(""));
        lines.extend(text::paragraph(
            "",
            &theme.clean(&report.command),
            theme.plain(),
            columns,
        ));
        lines
    }
}

impl Saved {
    fn lines(&self, theme: Theme, columns: usize) -> Vec<Line<'static>> {
        let (mark, words, style) = match self {
            Saved::NotYet => return Vec::new(),
            Saved::At(path) => ("", format!("The report is saved as {path}"), theme.good()),
            Saved::Failed(why) => ("! ", why.clone(), theme.bad()),
        };
        text::paragraph(mark, &theme.clean(&words), style, columns)
    }
}

fn outcome(report: &Report, task: Task, theme: Theme, columns: usize) -> Vec<Line<'static>> {
    let (words, style): (String, Style) = match &report.outcome {
        Outcome::Done => (done(task).into(), theme.good()),
        Outcome::Damage { text } => (format!("Done, with damage: {text}"), theme.bad()),
        Outcome::Stopped { text } => (format!("Stopped at damage: {text}"), theme.bad()),
        Outcome::Cancelled { text } => (format!("Stopped: {text}"), theme.warn()),
        Outcome::Failed { text } => (format!("Not done: {text}"), theme.bad()),
    };
    text::paragraph("", &theme.clean(&words), style, columns)
}

fn done(task: Task) -> &'static str {
    match task {
        Task::Image => "Done. The image is complete.",
        Task::Clone => "Done. The clone is complete.",
        Task::Restore => "Done. The disk is restored.",
        Task::Verify => "Done. Both are equal.",
        Task::Check => "Done. The image is sound.",
        Task::Mend => "Done. The image is whole again.",
        Task::Extract => "Done. The files are copied.",
        Task::Words => "Done.",
    }
}

fn facts(report: &Report, theme: Theme, columns: usize) -> Vec<Line<'static>> {
    let verified = match &report.verified {
        Verified::Equal { bytes } => (
            format!("yes: {} were read back and are equal", Size(*bytes)),
            theme.good(),
        ),
        Verified::Different { extents } => (
            format!(
                "NO: {} in {} differ",
                Size(extents.total_bytes()),
                places(extents.count())
            ),
            theme.bad(),
        ),
        Verified::NotDone { why } => (format!("not done: {why}"), theme.warn()),
    };
    let lost = match report.unreadable.count() {
        0 => ("nothing".to_owned(), theme.plain()),
        n => (
            format!("{} in {}", Size(report.unreadable.total_bytes()), places(n)),
            theme.bad(),
        ),
    };
    let plain = |value: String| (value, theme.plain());
    let mut rows = vec![("Verified", verified)];
    rows.extend(read_again(report, theme));
    rows.push(("Unreadable", lost));
    rows.push(("Read", plain(Size(report.read_bytes).to_string())));
    rows.push(("Written", plain(Size(report.written_bytes).to_string())));
    if report.resumed_bytes > 0 {
        let words = format!(
            "{} were already done by an earlier run",
            Size(report.resumed_bytes)
        );
        rows.push(("Gone on", plain(words)));
    }
    rows.push(("Time", plain(text::span_of(report.seconds))));
    if let Some(image) = &report.image {
        rows.push(("Image", plain(image.clone())));
    }
    if let Some(state) = &report.state {
        rows.push(("Goes on by", plain(state.display().to_string())));
    }
    rows.into_iter()
        .flat_map(|(name, (value, style))| {
            text::paragraph(&text::fit(name, 12), &theme.clean(&value), style, columns)
        })
        .collect()
}

/// One row where all is well; otherwise each filesystem that is not.
fn read_again(report: &Report, theme: Theme) -> Vec<(&'static str, (String, Style))> {
    let all = &report.filesystems;
    let bad: Vec<_> = all.iter().filter(|read| !read.is_good()).collect();
    if all.is_empty() {
        return Vec::new();
    }
    if bad.is_empty() {
        let files = all.iter().map(|read| read.files).sum();
        let words = format!(
            "{}, {}: all is there",
            counted(all.len() as u64, "filesystem"),
            counted(files, "file")
        );
        return vec![("Read again", (words, theme.good()))];
    }
    bad.into_iter()
        .map(|read| ("Read again", (read.to_string(), theme.bad())))
        .collect()
}

fn places(count: usize) -> String {
    counted(count as u64, "place")
}

fn disk_lines(disk: &DiskReport, theme: Theme, columns: usize) -> Vec<Line<'static>> {
    let role = match disk.role {
        DiskRole::Source => "source",
        DiskRole::Destination => "destination",
        DiskRole::Store => "store",
        DiskRole::Bystander => "not part",
    };
    let count = disk
        .sectors_written
        .map_or("not counted".into(), |n| n.to_string());
    let guarded = match disk.kernel_read_only {
        Some(true) => ", write-protected by the kernel",
        Some(false) | None => "",
    };
    // A source that was written is the one thing that must never be.
    let style = match (disk.role, disk.sectors_written) {
        (DiskRole::Source, Some(0)) => theme.good(),
        (DiskRole::Source | DiskRole::Bystander, Some(n)) if n > 0 => theme.bad(),
        _ => theme.plain(),
    };
    let lead = format!("  {}{} ", text::fit(role, 12), text::fit_right(&count, 12));
    let words = theme.clean(&format!("{}{guarded}", disk.identity));
    let rows = text::wrap(&words, columns.saturating_sub(text::width(&lead)));
    let line = |(n, row): (usize, String)| {
        let before = if n == 0 {
            lead.clone()
        } else {
            " ".repeat(text::width(&lead))
        };
        Line::from(vec![
            Span::styled(before, style),
            Span::styled(row, theme.plain()),
        ])
    };
    rows.into_iter().enumerate().map(line).collect()
}

fn unreadable(report: &Report, theme: Theme, columns: usize) -> Vec<Line<'static>> {
    let count = report.unreadable.count();
    if count == 0 {
        return Vec::new();
    }
    let mut lines = vec![
        Line::raw(""),
        Line::styled("Could not be read", theme.strong()),
    ];
    for extent in report.unreadable.iter().take(PLACES) {
        let words = format!("{} at byte {}", Size(extent.len()), extent.start());
        lines.extend(text::paragraph("  ", &words, theme.bad(), columns));
    }
    if count > PLACES {
        lines.push(Line::raw(format!(
            "  and {} more; the saved report has all",
            count - PLACES
        )));
    }
    lines
}

fn damaged(report: &Report, theme: Theme, columns: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if !report.files.is_empty() {
        lines.push(Line::raw(""));
        lines.push(Line::styled("Files that are not whole", theme.strong()));
    }
    for file in &report.files {
        lines.extend(text::paragraph(
            "  ",
            &theme.clean(&file.to_string()),
            theme.bad(),
            columns,
        ));
    }
    if report.more_files > 0 {
        lines.push(Line::raw(format!("  and {} more", report.more_files)));
    }
    lines
}
