//! Words broken into lines and fitted into columns.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Columns that a text takes on the screen.
pub fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Breaks at spaces; a word longer than a line is broken where the line ends. Nothing is lost.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        for piece in pieces(word, columns) {
            let joint = usize::from(!line.is_empty());
            if width(&line) + joint + width(&piece) > columns && !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&piece);
        }
    }
    lines.push(line);
    lines
}

/// A word in pieces that fit: whole where it does.
fn pieces(word: &str, columns: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut taken = 0;
    for c in word.chars() {
        let wide = width(c.encode_utf8(&mut [0; 4]));
        if taken + wide > columns && taken > 0 {
            pieces.push(String::new());
            taken = 0;
        }
        taken += wide;
        pieces
            .last_mut()
            .expect("there is always one piece")
            .push(c);
    }
    pieces
}

/// A paragraph in one style; lines after the first stand under the text of the first, behind the `lead`.
pub fn paragraph(lead: &str, text: &str, style: Style, columns: usize) -> Vec<Line<'static>> {
    let indent = width(lead);
    let lines = wrap(text, columns.saturating_sub(indent));
    let mut out = Vec::with_capacity(lines.len());
    for (n, line) in lines.into_iter().enumerate() {
        let before = if n == 0 {
            lead.to_owned()
        } else {
            " ".repeat(indent)
        };
        out.push(Line::from(vec![
            Span::raw(before),
            Span::styled(line, style),
        ]));
    }
    out
}

/// Exactly `columns` wide: padded, or cut with two dots where a longer text had to give way.
pub fn fit(text: &str, columns: usize) -> String {
    let have = width(text);
    if have <= columns {
        return format!("{text}{}", " ".repeat(columns - have));
    }
    let mut out = String::new();
    let room = columns.saturating_sub(2);
    for c in text.chars() {
        out.push(c);
        if width(&out) > room {
            out.pop();
            break;
        }
    }
    while width(&out) < columns {
        out.push('.');
    }
    out
}

/// The same at the right edge of its column.
pub fn fit_right(text: &str, columns: usize) -> String {
    let have = width(text);
    if have <= columns {
        format!("{}{text}", " ".repeat(columns - have))
    } else {
        fit(text, columns)
    }
}

/// A span of time as a person says it: `5 s`, `3 min 20 s`, `2 h 14 min`.
pub fn span_of(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "unknown".into();
    }
    let whole =
        std::time::Duration::try_from_secs_f64(seconds.ceil()).map_or(u64::MAX, |d| d.as_secs());
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..172_800 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} days", whole / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_loses_no_word() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("a 漢字漢字", 4), ["a", "漢字", "漢字"]);
    }

    #[test]
    fn a_column_is_as_wide_as_it_says() {
        assert_eq!(fit("abc", 5), "abc  ");
        assert_eq!(fit("abcdef", 5), "abc..");
        assert_eq!(fit("漢字漢", 5), "漢...");
        assert_eq!(fit("abc", 1), ".");
        assert_eq!(fit_right("9", 3), "  9");
    }

    #[test]
    fn times_are_said_in_two_units() {
        assert_eq!(span_of(0.0), "0 s");
        assert_eq!(span_of(59.2), "1 min 0 s");
        assert_eq!(span_of(8040.0), "2 h 14 min");
        assert_eq!(span_of(1e9), "11574 days");
        assert_eq!(span_of(f64::INFINITY), "unknown");
        assert_eq!(span_of(1e300), "213503982334601 days");
    }
}
