//! A disk in the list.

use disk::size::Size;
use engine::host::Disk;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::theme::Theme;
use crate::widget::text;
use crate::world::{contents, model, serial_end};

/// Contents, model, end of the serial, size, connection.
pub fn row(disk: &Disk, theme: Theme, columns: usize) -> Line<'static> {
    const SERIAL: usize = 6;
    const SIZE: usize = 7;
    const TRANSPORT: usize = 6;
    let room = columns.saturating_sub(SERIAL + SIZE + TRANSPORT + 4);
    let what = if disk.boot_medium {
        "this medium (booted from it)".to_owned()
    } else {
        contents(disk)
    };
    let style = match disk.layout {
        Ok(_) => theme.strong(),
        Err(_) => theme.bad(),
    };
    let first = room * 9 / 16;
    let end = serial_end(&disk.identity).map_or(String::new(), |end| format!("..{end}"));
    let cell = |text: &str, columns| text::fit(&theme.clean(text), columns);
    let plain = Style::new();
    Line::from(vec![
        Span::styled(cell(&what, first), style),
        Span::styled(format!(" {} ", cell(&model(disk), room - first)), plain),
        Span::styled(format!("{} ", cell(&end, SERIAL)), plain),
        Span::styled(
            format!(
                "{} ",
                text::fit_right(&Size(disk.identity.size_bytes).to_string(), SIZE)
            ),
            plain,
        ),
        Span::styled(cell(&disk.transport.to_string(), TRANSPORT), plain),
    ])
}
