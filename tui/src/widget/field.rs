//! One line of text that is being typed.

use ratatui::text::{Line, Span};
use zeroize::Zeroize;

use crate::keys::Key;
use crate::theme::Theme;
use crate::widget::text::{fit, width};

/// Longest text that can be typed: paths have 4096 bytes at most, a line of a form needs less.
const LIMIT: usize = 1024;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Field {
    text: Vec<char>,
    /// Before which character the next one goes; at most the length.
    at: usize,
}

/// Whether a key was the field's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    Yes,
    No,
}

impl Field {
    pub fn new(text: &str) -> Field {
        let text: Vec<char> = text.chars().take(LIMIT).collect();
        Field {
            at: text.len(),
            text,
        }
    }

    /// Empty; it does not move in memory until there are more characters.
    pub fn with_room(characters: usize) -> Field {
        Field {
            text: Vec::with_capacity(characters),
            at: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.text.len()
    }

    pub fn text(&self) -> String {
        self.text.iter().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub fn key(&mut self, key: Key) -> Taken {
        match key {
            Key::Char(c) if !c.is_control() && self.text.len() < LIMIT => {
                self.text.insert(self.at, c);
                self.at += 1;
            }
            Key::Char(_) => {}
            Key::Backspace if self.at > 0 => {
                self.at -= 1;
                self.text.remove(self.at);
            }
            Key::Delete if self.at < self.text.len() => {
                self.text.remove(self.at);
            }
            Key::Backspace | Key::Delete => {}
            Key::Left => self.at = self.at.saturating_sub(1),
            Key::Right => self.at = (self.at + 1).min(self.text.len()),
            Key::Home => self.at = 0,
            Key::End => self.at = self.text.len(),
            Key::Clear => *self = Field::default(),
            _ => return Taken::No,
        }
        Taken::Yes
    }

    /// The same with a star for each letter.
    pub fn hidden(&self) -> Field {
        Field {
            text: vec!['*'; self.text.len()],
            at: self.at,
        }
    }

    pub fn wipe(&mut self) {
        self.text.zeroize();
        self.at = 0;
    }

    /// The field as it is typed in, with its own cursor: the place around it stays in view.
    pub fn line(&self, theme: Theme, columns: usize) -> Line<'static> {
        let columns = columns.max(4);
        let shown: Vec<char> = theme.clean_chars(&self.text);
        let mut from = 0;
        let span = |from: usize| {
            let before: String = shown[from..self.at].iter().collect();
            width(&before)
        };
        while span(from) + 1 > columns {
            from += 1;
        }
        let before: String = shown[from..self.at].iter().collect();
        let under = shown.get(self.at).map_or(" ".into(), char::to_string);
        let room = columns.saturating_sub(width(&before) + width(&under));
        let after: String = shown.iter().skip(self.at + 1).collect();
        Line::from(vec![
            Span::styled(before, theme.strong()),
            Span::styled(under, theme.cursor()),
            Span::styled(fit(&after, room), theme.strong()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_can_be_corrected() {
        let mut field = Field::new("sda");
        for key in [
            Key::Left,
            Key::Backspace,
            Key::Char('x'),
            Key::End,
            Key::Char('1'),
        ] {
            assert_eq!(field.key(key), Taken::Yes);
        }
        assert_eq!(field.text(), "sxa1");
        assert_eq!(field.key(Key::Enter), Taken::No);
        field.key(Key::Home);
        field.key(Key::Delete);
        assert_eq!(field.text(), "xa1");
        field.key(Key::Clear);
        assert!(field.is_empty());
    }

    #[test]
    fn a_long_text_keeps_its_end_in_view() {
        let field = Field::new("/mnt/backup/pictures/2026");
        let line = field.line(Theme::CONSOLE, 10).to_string();
        assert_eq!(line, "ures/2026 ");
    }
}
