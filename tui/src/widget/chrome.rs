//! What every screen has: the line that says where one is, the frame, and the keys that work here.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::symbols::border;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Widget};

use crate::theme::Theme;
use crate::widget::text::{fit, width};

/// The smallest terminal on which nothing is cut.
pub const LEAST: (u16, u16) = (80, 24);

/// Between header and help line.
pub fn body(area: Rect) -> Rect {
    Rect {
        y: area.y + 1,
        height: area.height.saturating_sub(2),
        ..area
    }
}

/// Inside a frame.
pub fn inside(area: Rect) -> Rect {
    Rect {
        x: area.x + 2,
        y: area.y + 1,
        width: area.width.saturating_sub(4),
        height: area.height.saturating_sub(2),
    }
}

/// Where one is, and at the right what has happened to the disks so far.
pub fn header(title: &str, state: &str, theme: Theme, area: Rect, buf: &mut Buffer) {
    let row = Rect { height: 1, ..area };
    let words = format!(" Rescue {} {title}", theme.pointer());
    let room = usize::from(area.width).saturating_sub(width(state) + 1);
    buf.set_style(row, theme.header());
    let text = format!("{}{state} ", fit(&words, room));
    Line::styled(text, theme.header()).render(row, buf);
}

/// The keys that work here, always in view. What does not fit gives way from the end; help is first.
pub fn footer(keys: &[(&str, &str)], theme: Theme, area: Rect, buf: &mut Buffer) {
    let row = Rect {
        y: area.bottom().saturating_sub(1),
        height: 1,
        ..area
    };
    buf.set_style(row, theme.footer());
    let mut spans = Vec::new();
    let mut room = usize::from(area.width);
    for (key, word) in keys {
        let wide = width(key) + width(word) + 3;
        if wide > room {
            break;
        }
        room -= wide;
        spans.push(Span::styled(format!(" {key}"), theme.key()));
        spans.push(Span::styled(format!(" {word} "), theme.footer()));
    }
    Line::from(spans).render(row, buf);
}

pub fn frame(title: &str, theme: Theme, area: Rect, buf: &mut Buffer) -> Rect {
    boxed(title, theme.border(), theme.frame(), theme, area, buf)
}

/// For what must not be overlooked.
pub fn alarm(title: &str, theme: Theme, area: Rect, buf: &mut Buffer) -> Rect {
    boxed(title, theme.double(), theme.bad(), theme, area, buf)
}

fn boxed(
    title: &str,
    set: border::Set<'static>,
    style: Style,
    theme: Theme,
    area: Rect,
    buf: &mut Buffer,
) -> Rect {
    let title = match title {
        "" => String::new(),
        title => format!(" {title} "),
    };
    Block::bordered()
        .border_set(set)
        .border_style(style)
        .title(Span::styled(title, theme.strong()))
        .render(area, buf);
    inside(area)
}

/// A box of this size in the middle.
pub fn middle(area: Rect, columns: u16, rows: u16) -> Rect {
    let columns = columns.min(area.width);
    let rows = rows.min(area.height);
    Rect {
        x: area.x + (area.width - columns) / 2,
        y: area.y + (area.height - rows) / 2,
        width: columns,
        height: rows,
    }
}
