//! The map of a disk as a strip: what is done, what is to do, what cannot be read.

use disk::extent::{Extent, ExtentMap};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use crate::theme::Theme;

/// The strip knows a disk in this many pieces, however large it is.
const PIECES: usize = 2048;

/// Bounded, whatever the map: one entry for every piece of the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Strip {
    size_bytes: u64,
    pieces: Vec<Piece>,
    /// Up to here the job has come.
    position: u64,
    /// What the passes over a failing disk have, part by part; they do not go from start to end.
    picture: Option<String>,
}

/// In the order in which one wins over the other when a cell shows several.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Piece {
    /// Nothing to read here.
    Free,
    ToDo,
    Unreadable,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cell {
    Free,
    Done,
    ToDo,
    Unreadable,
}

impl Strip {
    pub fn new(size_bytes: u64, used: &ExtentMap) -> Strip {
        let mut strip = Strip {
            size_bytes: size_bytes.max(used.end()),
            pieces: vec![Piece::Free; PIECES],
            position: 0,
            picture: None,
        };
        for extent in used.iter() {
            strip.mark(extent, Piece::ToDo);
        }
        strip
    }

    pub fn reached(&mut self, position: u64) {
        self.position = position;
        self.picture = None;
    }

    /// One letter of a map file for each part of the disk.
    pub fn picture(&mut self, picture: String) {
        self.picture = Some(picture);
    }

    pub fn unreadable(&mut self, extent: Extent) {
        self.mark(extent, Piece::Unreadable);
    }

    fn mark(&mut self, extent: Extent, piece: Piece) {
        if extent.start() >= self.size_bytes {
            return;
        }
        let last = extent.end().min(self.size_bytes) - 1;
        for at in self.piece_of(extent.start())..=self.piece_of(last) {
            self.pieces[at] = self.pieces[at].max(piece);
        }
    }

    fn piece_of(&self, offset: u64) -> usize {
        let scaled = u128::from(offset) * PIECES as u128 / u128::from(self.size_bytes.max(1));
        usize::try_from(scaled).map_or(PIECES - 1, |at| at.min(PIECES - 1))
    }

    fn cell(&self, n: usize, cells: usize) -> Cell {
        if let Some(picture) = self.picture.as_ref().filter(|p| !p.is_empty()) {
            return pictured(picture.as_bytes(), n, cells);
        }
        let from = n * PIECES / cells;
        let to = ((n + 1) * PIECES / cells).clamp(from + 1, PIECES);
        let worst = self.pieces[from..to].iter().max().copied();
        match worst {
            Some(Piece::Unreadable) => Cell::Unreadable,
            Some(Piece::ToDo) if self.piece_of(self.position) >= to => Cell::Done,
            Some(Piece::ToDo) if self.position >= self.size_bytes => Cell::Done,
            Some(Piece::ToDo) => Cell::ToDo,
            Some(Piece::Free) | None => Cell::Free,
        }
    }

    /// As many rows as the area has, read like a book.
    pub fn draw(&self, theme: Theme, area: Rect, buf: &mut Buffer) {
        let columns = usize::from(area.width);
        let cells = (columns * usize::from(area.height)).clamp(1, PIECES);
        for n in 0..cells {
            let (glyph, style) = look(self.cell(n, cells), theme);
            let offset = |v: usize| u16::try_from(v).expect("a cell lies inside the area");
            let (x, y) = (area.x + offset(n % columns), area.y + offset(n / columns));
            buf.set_string(x, y, glyph, style);
        }
    }

    pub fn legend(theme: Theme) -> Line<'static> {
        let mut spans = Vec::new();
        for (cell, word) in [
            (Cell::Done, "done"),
            (Cell::ToDo, "to do"),
            (Cell::Free, "nothing to read"),
            (Cell::Unreadable, "unreadable"),
        ] {
            let (glyph, style) = look(cell, theme);
            spans.push(Span::styled(glyph, style));
            spans.push(Span::raw(format!(" {word}   ")));
        }
        Line::from(spans)
    }
}

/// The worst letter of a cell's share.
fn pictured(letters: &[u8], n: usize, cells: usize) -> Cell {
    let from = n * letters.len() / cells;
    let to = ((n + 1) * letters.len() / cells).clamp(from + 1, letters.len().max(from + 1));
    let rank = |letter: &u8| match letter {
        b'-' => Cell::Unreadable,
        b'+' => Cell::Done,
        b'.' => Cell::Free,
        _ => Cell::ToDo,
    };
    let order = |cell: &Cell| match cell {
        Cell::Free => 0,
        Cell::Done => 1,
        Cell::ToDo => 2,
        Cell::Unreadable => 3,
    };
    let share = letters.get(from..to.min(letters.len())).unwrap_or_default();
    share
        .iter()
        .map(rank)
        .max_by_key(order)
        .unwrap_or(Cell::Free)
}

fn look(cell: Cell, theme: Theme) -> (&'static str, Style) {
    match cell {
        Cell::Free => (theme.pick("·", "_"), theme.plain()),
        Cell::Done => (theme.full(), theme.good()),
        Cell::ToDo => (theme.light(), theme.plain()),
        Cell::Unreadable => ("X", theme.bad()),
    }
}

/// A bar that fills from the left.
pub fn gauge(done: u64, total: u64, theme: Theme, area: Rect, buf: &mut Buffer) {
    let columns = usize::from(area.width);
    let scaled = u128::from(done.min(total)) * columns as u128 / u128::from(total.max(1));
    let full = usize::try_from(scaled).unwrap_or(columns).min(columns);
    Line::from(vec![
        Span::styled(theme.full().repeat(full), theme.good()),
        Span::styled(theme.light().repeat(columns - full), theme.plain()),
    ])
    .render(area, buf);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(strip: &Strip, columns: u16) -> String {
        let area = Rect::new(0, 0, columns, 1);
        let mut buf = Buffer::empty(area);
        strip.draw(Theme::CONSOLE, area, &mut buf);
        buf.content().iter().map(|c| c.symbol()).collect()
    }

    #[test]
    fn a_single_unreadable_sector_shows_on_the_largest_disk() {
        let size = 20_000_000_000_000;
        let mut strip = Strip::new(size, &ExtentMap::whole(size));
        strip.reached(size / 2);
        strip.unreadable(Extent::new(size - 512, 512).unwrap());
        assert_eq!(shown(&strip, 10), "█████░░░░X");
    }

    #[test]
    fn what_nobody_reads_is_neither_done_nor_to_do() {
        let used: ExtentMap = vec![Extent::new(0, 250).unwrap()].into();
        let mut strip = Strip::new(1000, &used);
        assert_eq!(shown(&strip, 8), "░░······");
        strip.reached(1000);
        assert_eq!(shown(&strip, 8), "██······");
    }

    #[test]
    fn absurd_extents_are_harmless() {
        let mut strip = Strip::new(0, &ExtentMap::new());
        strip.unreadable(Extent::new(u64::MAX - 5, 5).unwrap());
        strip.reached(u64::MAX);
        assert_eq!(shown(&strip, 4), "····");
        let mut strip = Strip::new(u64::MAX, &ExtentMap::whole(u64::MAX));
        strip.reached(u64::MAX);
        assert_eq!(shown(&strip, 4), "████");
    }
}
