//! A text longer than the screen, read page by page.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Widget;

use crate::keys::Key;
use crate::theme::Theme;

/// The first line after a key; `None` when the key moves nothing.
pub fn scrolled(key: Key, top: usize, lines: usize, height: usize) -> Option<usize> {
    let last = lines.saturating_sub(height);
    let page = height.saturating_sub(1).max(1);
    Some(match key {
        Key::Up => top.saturating_sub(1),
        Key::Down => (top + 1).min(last),
        Key::PageUp => top.saturating_sub(page),
        Key::PageDown | Key::Char(' ') => (top + page).min(last),
        Key::Home => 0,
        Key::End => last,
        _ => return None,
    })
}

/// Draws from line `top` on; where there is more, the last row says how much.
pub fn draw(lines: Vec<Line<'static>>, top: usize, theme: Theme, area: Rect, buf: &mut Buffer) {
    let height = usize::from(area.height);
    let count = lines.len();
    let top = top.min(count.saturating_sub(height));
    for (n, line) in lines.into_iter().skip(top).take(height).enumerate() {
        let y = area.y + u16::try_from(n).expect("a row lies inside the area");
        line.render(
            Rect {
                y,
                height: 1,
                ..area
            },
            buf,
        );
    }
    let edge = area.right().saturating_sub(1);
    if top > 0 && height > 1 {
        buf.set_string(edge, area.y, theme.pick("↑", "^"), theme.strong());
    }
    if top + height < count && height > 1 {
        buf.set_string(
            edge,
            area.bottom() - 1,
            theme.pick("↓", "v"),
            theme.strong(),
        );
    }
}
