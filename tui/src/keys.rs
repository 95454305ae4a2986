//! The keys that mean something, whatever terminal sends them.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    Char(char),
    Enter,
    Escape,
    Backspace,
    Delete,
    Tab,
    Up,
    Down,
    Left,
    Right,
    Home,
    End,
    PageUp,
    PageDown,
    Help,
    /// Ctrl-C: never kills, always asks.
    Interrupt,
    /// Ctrl-L: draws everything anew.
    Redraw,
    /// Ctrl-U: empties the field.
    Clear,
}

impl Key {
    pub fn from_event(event: KeyEvent) -> Option<Key> {
        if event.kind == KeyEventKind::Release {
            return None;
        }
        if event.modifiers.contains(KeyModifiers::CONTROL) {
            return match event.code {
                KeyCode::Char('c') => Some(Key::Interrupt),
                KeyCode::Char('l') => Some(Key::Redraw),
                KeyCode::Char('u') => Some(Key::Clear),
                KeyCode::Char('h') => Some(Key::Backspace),
                KeyCode::Char('j' | 'm') => Some(Key::Enter),
                _ => None,
            };
        }
        if event
            .modifiers
            .intersects(KeyModifiers::ALT | KeyModifiers::META)
        {
            return None;
        }
        Some(match event.code {
            KeyCode::Char(c) => Key::Char(c),
            KeyCode::Enter => Key::Enter,
            KeyCode::Esc => Key::Escape,
            KeyCode::Backspace => Key::Backspace,
            KeyCode::Delete => Key::Delete,
            KeyCode::Tab => Key::Tab,
            KeyCode::Up => Key::Up,
            KeyCode::Down => Key::Down,
            KeyCode::Left => Key::Left,
            KeyCode::Right => Key::Right,
            KeyCode::Home => Key::Home,
            KeyCode::End => Key::End,
            KeyCode::PageUp => Key::PageUp,
            KeyCode::PageDown => Key::PageDown,
            KeyCode::F(1) => Key::Help,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_was_pressed_and_only_then() {
        let plain = |code| KeyEvent::new(code, KeyModifiers::NONE);
        let ctrl = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        assert_eq!(Key::from_event(plain(KeyCode::F(1))), Some(Key::Help));
        assert_eq!(Key::from_event(ctrl('c')), Some(Key::Interrupt));
        assert_eq!(Key::from_event(ctrl('j')), Some(Key::Enter));
        assert_eq!(Key::from_event(ctrl('x')), None);
        let alt = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::ALT);
        assert_eq!(Key::from_event(alt), None);
        let mut released = plain(KeyCode::Enter);
        released.kind = KeyEventKind::Release;
        assert_eq!(Key::from_event(released), None);
    }
}
