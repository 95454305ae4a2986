//! One line that is typed and never shown, kept or printed.

use std::fmt;

use ratatui::text::Line;
use zeroize::Zeroizing;

use crate::keys::Key;
use crate::theme::Theme;
use crate::widget::field::{Field, Taken};

/// Its memory is wiped when it goes; it never grows, which would leave a copy behind.
pub struct SecretField(Field);

/// Longer than any passphrase that one types.
const LIMIT: usize = 512;

impl Default for SecretField {
    fn default() -> SecretField {
        SecretField(Field::with_room(LIMIT))
    }
}

/// Never shows what was typed, nor how long it is.
impl fmt::Debug for SecretField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretField")
    }
}

impl Drop for SecretField {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

impl SecretField {
    pub fn key(&mut self, key: Key) -> Taken {
        match key {
            Key::Clear => {
                self.0.wipe();
                Taken::Yes
            }
            Key::Char(_) if self.0.len() >= LIMIT => Taken::Yes,
            key => self.0.key(key),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was typed; the field is empty then.
    pub fn take(&mut self) -> Zeroizing<Vec<u8>> {
        let text = Zeroizing::new(self.0.text());
        self.0.wipe();
        Zeroizing::new(text.as_bytes().to_vec())
    }

    pub fn line(&self, theme: Theme, columns: usize) -> Line<'static> {
        self.0.hidden().line(theme, columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_given_once_and_never_shown() {
        let mut field = SecretField::default();
        for c in "grün 17".chars() {
            assert_eq!(field.key(Key::Char(c)), Taken::Yes);
        }
        field.key(Key::Backspace);
        assert_eq!(
            field.line(Theme::CONSOLE, 20).to_string().trim_end(),
            "******"
        );
        assert_eq!(format!("{field:?}"), "SecretField");
        assert_eq!(*field.take(), "grün 1".as_bytes());
        assert!(field.is_empty());
        assert_eq!(field.key(Key::Enter), Taken::No);
        for _ in 0..2 * LIMIT {
            field.key(Key::Char('x'));
        }
        assert_eq!(field.take().len(), LIMIT);
    }
}
