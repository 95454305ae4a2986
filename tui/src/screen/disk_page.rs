//! All that is known of one disk.

use disk::fs::State;
use disk::layout::{Content, Layout, Owner, Region};
use disk::size::Size;
use engine::host::Disk;
use engine::identity::Identity;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::app::{Message, Next};
use crate::keys::Key;
use crate::screen::Screen;
use crate::theme::Theme;
use crate::widget::{bar, chrome, page, text};
use crate::world::{World, contents, summary, used_bytes};

#[derive(Debug)]
pub struct DiskPage {
    identity: Identity,
    top: usize,
    back: Box<Screen>,
}

impl DiskPage {
    pub fn open(identity: Identity, back: Screen) -> Screen {
        Screen::DiskPage(DiskPage {
            identity,
            top: 0,
            back: Box::new(back),
        })
    }

    pub fn update(mut self, world: &World, message: Message) -> Next {
        match message {
            Message::Key(Key::Escape | Key::Enter | Key::Left) => return (*self.back, None),
            Message::Key(key) => {
                let inner = text_area(chrome::body(world.terminal.area()));
                let count = self.lines(world, usize::from(inner.width)).len();
                if let Some(top) = page::scrolled(key, self.top, count, usize::from(inner.height)) {
                    self.top = top;
                }
            }
            Message::Inventory(inventory) => {
                let (back, effect) = self.back.update(world, Message::Inventory(inventory));
                if world.find(&self.identity).is_none() {
                    return (back, effect);
                }
                self.back = Box::new(back);
            }
            _ => {}
        }
        (Screen::DiskPage(self), None)
    }

    pub fn title(&self, world: &World) -> String {
        let disk = world.find(&self.identity);
        disk.map_or("a disk".into(), |d| {
            world.terminal.theme.clean(&contents(d))
        })
    }

    fn lines(&self, world: &World, columns: usize) -> Vec<Line<'static>> {
        let theme = world.terminal.theme;
        let Some(disk) = world.find(&self.identity) else {
            return vec![Line::raw("It is no longer there.")];
        };
        let mut lines = partitions(disk, theme, columns);
        lines.push(Line::raw(""));
        lines.extend(warnings(disk, theme, columns));
        lines.extend(facts(disk, theme, columns));
        lines
    }

    pub fn draw(&self, world: &World, area: Rect, buf: &mut Buffer) {
        let theme = world.terminal.theme;
        let Some(disk) = world.find(&self.identity) else {
            return;
        };
        let inner = chrome::frame(&theme.clean(&summary(disk)), theme, area, buf);
        if let Ok(layout) = &disk.layout {
            bar::draw(&bar::parts(layout), theme, inner, buf);
        }
        let rest = text_area(area);
        page::draw(
            self.lines(world, usize::from(rest.width)),
            self.top,
            theme,
            rest,
            buf,
        );
    }
}

/// Below the bar.
fn text_area(area: Rect) -> Rect {
    let inner = chrome::inside(area);
    Rect {
        y: inner.y + 3,
        height: inner.height.saturating_sub(3),
        ..inner
    }
}

/// A row for each partition: number, what a person calls it, filesystem, size, used, state.
pub fn partitions(disk: &Disk, theme: Theme, columns: usize) -> Vec<Line<'static>> {
    let layout = match &disk.layout {
        Ok(layout) => layout,
        Err(why) => return text::paragraph("! ", &theme.clean(why), theme.bad(), columns),
    };
    let regions = layout.regions.iter().filter(|r| is_shown(r));
    let mut lines: Vec<Line<'static>> = regions
        .enumerate()
        .flat_map(|(n, region)| partition(n, region, theme, columns))
        .collect();
    if lines.is_empty() {
        lines.push(Line::raw(match &layout.table {
            Some(table) => format!("an empty {} table: no partition", table.scheme),
            None => "no partition table".into(),
        }));
    }
    lines
}

fn is_shown(region: &Region) -> bool {
    match &region.owner {
        Owner::Partition { partition, .. } => partition.role != disk::table::Role::Extended,
        Owner::Disk(Content::Filesystem(_) | Content::Layer(_)) => true,
        Owner::Disk(Content::Unknown(_)) | Owner::Gap | Owner::Table => false,
    }
}

fn partition(n: usize, region: &Region, theme: Theme, columns: usize) -> Vec<Line<'static>> {
    let (partition, content) = match &region.owner {
        Owner::Partition { partition, content } => (Some(partition), content),
        Owner::Disk(content) => (None, content),
        Owner::Gap | Owner::Table => return Vec::new(),
    };
    let number = partition.map_or("-".to_owned(), |p| p.number.to_string());
    let typed = partition.and_then(|p| p.type_name.clone().or_else(|| p.name.clone()));
    let name = label(content).or(typed).unwrap_or_default();
    let row = Row {
        number,
        name,
        size_bytes: region.extent.len(),
        content,
    };
    let mut lines = row.lines(n, theme, columns);
    lines.extend(volumes(n, content, 1, theme, columns));
    lines
}

/// The volumes of a layer below it, each level further in.
fn volumes(
    n: usize,
    content: &Content,
    level: usize,
    theme: Theme,
    columns: usize,
) -> Vec<Line<'static>> {
    let Content::Layer(layer) = content else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for volume in &layer.volumes {
        let label = label(&volume.content).map_or_else(String::new, |label| format!(" {label}"));
        let row = Row {
            number: String::new(),
            name: format!("{}{}{label}", "  ".repeat(level), volume.name),
            size_bytes: volume.size_bytes,
            content: &volume.content,
        };
        lines.extend(row.lines(n, theme, columns));
        lines.extend(volumes(n, &volume.content, level + 1, theme, columns));
    }
    lines
}

fn label(content: &Content) -> Option<String> {
    let label = match content {
        Content::Filesystem(f) => f.label.clone(),
        Content::Layer(l) => l.label.clone(),
        Content::Unknown(_) => None,
    };
    label.filter(|l| !l.is_empty())
}

/// A partition, or a volume below it.
struct Row<'a> {
    number: String,
    name: String,
    size_bytes: u64,
    content: &'a Content,
}

impl Row<'_> {
    fn lines(&self, n: usize, theme: Theme, columns: usize) -> Vec<Line<'static>> {
        const KIND: usize = 7;
        const SIZE: usize = 8;
        let (kind, state) = match self.content {
            Content::Filesystem(f) => (f.variant.as_ref().unwrap_or(&f.kind), Some(&f.state)),
            Content::Layer(l) => (l.variant.as_ref().unwrap_or(&l.kind), Some(&l.state)),
            Content::Unknown(_) => (&String::new(), None),
        };
        let style = match state {
            Some(State::Clean) => theme.plain(),
            _ => theme.warn(),
        };
        let state = match self.content {
            Content::Unknown(why) => why.clone(),
            _ => state.map(State::to_string).unwrap_or_default(),
        };
        let used = used_bytes(self.content).map(|used| format!("{} used", Size(used)));
        let wide = (columns.saturating_sub(3 + KIND + SIZE + 17) / 2).max(8);
        let middle = format!(
            " {} {}  {} ",
            text::fit(&theme.clean(kind), KIND),
            text::fit_right(&Size(self.size_bytes).to_string(), SIZE),
            text::fit(&used.unwrap_or_default(), 14),
        );
        let room = columns
            .saturating_sub(3 + wide + text::width(&middle))
            .max(8);
        let names = text::wrap(&theme.clean(&self.name), wide);
        let states = text::wrap(&theme.clean(&state), room);
        let line = |row: usize| {
            let cell = |of: &[String]| of.get(row).cloned().unwrap_or_default();
            let (number, middle) = match row {
                0 => (self.number.clone(), middle.clone()),
                _ => (String::new(), " ".repeat(text::width(&middle))),
            };
            let name = text::fit(&cell(&names), wide);
            let lead = format!("{} {name}{middle}", text::fit_right(&number, 2));
            Line::from(vec![
                Span::styled(lead, theme.part(n)),
                Span::styled(cell(&states), style),
            ])
        };
        (0..names.len().max(states.len())).map(line).collect()
    }
}

/// What speaks against touching it.
pub fn warnings(disk: &Disk, theme: Theme, columns: usize) -> Vec<Line<'static>> {
    let mut sentences = Vec::new();
    if disk.boot_medium {
        sentences.push("this program was started from it".to_owned());
    }
    if disk.read_only {
        sentences.push("it is write-protected".to_owned());
    }
    if let Some(health) = disk.health.as_ref().filter(|health| health.is_suspect()) {
        sentences.push(format!("it says of its health: {health}"));
    }
    sentences.extend(disk.uses.iter().map(ToString::to_string));
    if let Ok(layout) = &disk.layout {
        sentences.extend(notes(layout).cloned());
    }
    sentences
        .iter()
        .flat_map(|s| text::paragraph("! ", &theme.clean(s), theme.warn(), columns))
        .collect()
}

fn notes(layout: &Layout) -> impl Iterator<Item = &String> {
    let table = layout.table.iter().flat_map(|t| &t.notes);
    table.chain(&layout.notes)
}

/// Enough to hold the right one in one's hand: `WDC WD20EZRZ, serial WD-WCC4M5KX9F2A, 2.0 TB, SATA, /dev/sda`.
pub fn which(disk: &Disk) -> String {
    let size = Size(disk.identity.size_bytes);
    match &disk.identity.file {
        Some(_) => format!("{}, a regular file of {size}", disk.path.display()),
        None => format!(
            "{}, {size}, {}, {}",
            disk.identity,
            disk.transport,
            disk.path.display()
        ),
    }
}

/// Names and numbers, for the label and for who wants to know.
fn facts(disk: &Disk, theme: Theme, columns: usize) -> Vec<Line<'static>> {
    let identity = &disk.identity;
    let unknown = || "not told by the disk".to_owned();
    let table = match &disk.layout {
        Ok(layout) => match &layout.table {
            Some(table) => format!("{} {}", table.scheme, table.id),
            None => "none".into(),
        },
        Err(_) => "cannot be read".into(),
    };
    let rotates = match disk.rotational {
        Some(true) => "rotating",
        Some(false) => "solid state",
        None => "not told by the disk",
    };
    let health = disk.health.as_ref().map(ToString::to_string);
    let health = health.unwrap_or_else(unknown);
    let rows = [
        ("Model", identity.model.clone().unwrap_or_else(unknown)),
        (
            "Serial number",
            identity.serial.clone().unwrap_or_else(unknown),
        ),
        (
            "World wide name",
            identity.wwn.clone().unwrap_or_else(unknown),
        ),
        ("Firmware", disk.firmware.clone().unwrap_or_else(unknown)),
        ("Connection", disk.transport.to_string()),
        (
            "Size",
            format!(
                "{} ({} bytes)",
                Size(identity.size_bytes),
                identity.size_bytes
            ),
        ),
        (
            "Sectors",
            format!(
                "{} bytes logical, {} bytes physical",
                disk.geometry.logical_sector, disk.geometry.physical_sector
            ),
        ),
        ("Kind", rotates.into()),
        ("Health", health),
        ("Partition table", table),
        ("Seen here as", disk.path.display().to_string()),
    ];
    rows.iter()
        .flat_map(|(name, value)| {
            text::paragraph(
                &text::fit(name, 17),
                &theme.clean(value),
                theme.strong(),
                columns,
            )
        })
        .collect()
}
