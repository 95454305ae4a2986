//! A list to choose from: the chosen row is in view, arrows tell that there is more.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Widget;

use crate::keys::Key;
use crate::theme::Theme;

/// The row after a key; `None` when the key moves nothing.
pub fn moved(key: Key, at: Option<usize>, rows: usize) -> Option<usize> {
    let last = rows.checked_sub(1)?;
    let Some(at) = at else {
        return match key {
            Key::Down | Key::Home | Key::PageDown => Some(0),
            Key::Up | Key::End | Key::PageUp => Some(last),
            _ => None,
        };
    };
    Some(match key {
        Key::Up => at.saturating_sub(1),
        Key::Down => (at + 1).min(last),
        Key::PageUp => at.saturating_sub(5),
        Key::PageDown => (at + 5).min(last),
        Key::Home => 0,
        Key::End => last,
        _ => return None,
    })
}

/// Draws the rows that fit around the chosen one. The pointer says what colour says too.
pub fn draw(
    rows: Vec<Line<'static>>,
    at: Option<usize>,
    theme: Theme,
    area: Rect,
    buf: &mut Buffer,
) {
    let height = usize::from(area.height);
    let count = rows.len();
    let top = first_row(at.unwrap_or(0), count, height);
    for (n, row) in rows.into_iter().enumerate().skip(top).take(height) {
        let y = area.y + u16::try_from(n - top).expect("a row lies inside the area");
        let line = Rect {
            y,
            height: 1,
            ..area
        };
        let inner = Rect {
            x: area.x + 2,
            width: area.width.saturating_sub(2),
            ..line
        };
        row.render(inner, buf);
        if at == Some(n) {
            buf.set_string(area.x, y, theme.pointer(), theme.strong());
            buf.set_style(line, theme.selected());
        }
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

fn first_row(at: usize, count: usize, height: usize) -> usize {
    let centred = at.saturating_sub(height / 2);
    centred.min(count.saturating_sub(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_leaves_the_list() {
        assert_eq!(moved(Key::Down, Some(2), 3), Some(2));
        assert_eq!(moved(Key::Up, Some(0), 3), Some(0));
        assert_eq!(moved(Key::Down, None, 3), Some(0));
        assert_eq!(moved(Key::Down, None, 0), None);
        assert_eq!(moved(Key::Enter, Some(1), 3), None);
    }

    #[test]
    fn the_chosen_row_is_always_in_view() {
        for count in 0..20 {
            for height in 1..8 {
                for at in 0..count {
                    let top = first_row(at, count, height);
                    assert!(
                        (top..top + height).contains(&at),
                        "{at} of {count} in {height}"
                    );
                }
            }
        }
    }
}
