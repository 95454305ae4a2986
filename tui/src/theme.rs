//! Glyphs and colours that the terminal really has.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;

/// Nothing is told by colour alone, so every combination says the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Theme {
    pub glyphs: Glyphs,
    pub palette: Palette,
}

/// Which characters may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Glyphs {
    /// The kernel's own console font: code page 437 and most of Latin-1.
    Console,
    /// A terminal emulator that shows any script.
    Full,
    /// A serial line to who knows what.
    Ascii,
}

/// The Linux console has 16 foreground and 8 background colours; it shows dim, italic and underlined text as
/// other colours, so they are not used. Nor is bold together with colours there: a colour from the palette
/// also sets the intensity (`rgb_foreground` in the kernel's vt.c), and the default colour keeps the last one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Palette {
    Sixteen,
    Mono,
}

const ASCII_BORDER: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

const ASCII_DOUBLE: border::Set<'static> = border::Set {
    top_left: "#",
    top_right: "#",
    bottom_left: "#",
    bottom_right: "#",
    vertical_left: "#",
    vertical_right: "#",
    horizontal_top: "=",
    horizontal_bottom: "=",
};

/// What the kernel's default 8x16 font shows beside ASCII and Latin-1.
const CONSOLE_EXTRA: &str = "─│┌┐└┘├┤┬┴┼═║╔╗╚╝╠╣╦╩╬░▒▓█▀▄▌▐■►◄•→←↑↓";

impl Theme {
    /// The Linux console, in colour.
    pub const CONSOLE: Theme = Theme {
        glyphs: Glyphs::Console,
        palette: Palette::Sixteen,
    };

    /// By the names in the environment: TERM, the locale and NO_COLOR.
    pub fn of(term: &str, locale: &str, no_color: bool) -> Theme {
        let locale = locale.to_ascii_uppercase();
        let utf8 = locale.contains("UTF-8") || locale.contains("UTF8");
        let glyphs = match term {
            "linux" => Glyphs::Console,
            "" | "dumb" | "unknown" => Glyphs::Ascii,
            t if t.starts_with("vt") || t.starts_with("ansi") => Glyphs::Ascii,
            _ if utf8 => Glyphs::Full,
            _ => Glyphs::Ascii,
        };
        let colourless = no_color || matches!(term, "" | "dumb" | "unknown");
        let palette = if colourless || term.starts_with("vt") {
            Palette::Mono
        } else {
            Palette::Sixteen
        };
        Theme { glyphs, palette }
    }

    fn ascii(self) -> bool {
        self.glyphs == Glyphs::Ascii
    }

    pub fn border(self) -> border::Set<'static> {
        if self.ascii() {
            ASCII_BORDER
        } else {
            border::PLAIN
        }
    }

    /// Around what deserves a second look.
    pub fn double(self) -> border::Set<'static> {
        if self.ascii() {
            ASCII_DOUBLE
        } else {
            border::DOUBLE
        }
    }

    pub fn pick(self, glyph: &'static str, ascii: &'static str) -> &'static str {
        if self.ascii() { ascii } else { glyph }
    }

    pub fn pointer(self) -> &'static str {
        self.pick("►", ">")
    }

    pub fn full(self) -> &'static str {
        self.pick("█", "#")
    }

    pub fn light(self) -> &'static str {
        self.pick("░", ".")
    }

    pub fn bullet(self) -> &'static str {
        self.pick("•", "*")
    }

    fn coloured(self, colour: Color) -> Style {
        match self.palette {
            Palette::Sixteen => Style::new().fg(colour),
            Palette::Mono => Style::new(),
        }
    }

    fn band(self, background: Color, foreground: Color) -> Style {
        match self.palette {
            Palette::Sixteen => Style::new().fg(foreground).bg(background),
            Palette::Mono => Style::new().add_modifier(Modifier::REVERSED),
        }
    }

    /// Below everything that is drawn.
    pub fn base(self) -> Style {
        if self.on_console() {
            Style::new().fg(Color::Gray)
        } else {
            Style::new()
        }
    }

    fn on_console(self) -> bool {
        self.glyphs == Glyphs::Console && self.palette == Palette::Sixteen
    }

    /// Stands out from plain text, whatever the background.
    fn bold(self) -> Style {
        if self.on_console() {
            Style::new().fg(Color::White)
        } else {
            Style::new().add_modifier(Modifier::BOLD)
        }
    }

    pub fn header(self) -> Style {
        self.bold().patch(self.band(Color::Blue, Color::White))
    }

    pub fn footer(self) -> Style {
        self.band(Color::Blue, Color::Gray)
    }

    /// A key's name in the help line.
    pub fn key(self) -> Style {
        self.header()
    }

    /// Never bold: bold black is dark grey on the console.
    pub fn selected(self) -> Style {
        self.band(Color::Cyan, Color::Black)
            .remove_modifier(Modifier::BOLD)
    }

    /// The place where the next character is typed.
    pub fn cursor(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub fn strong(self) -> Style {
        self.bold()
    }

    pub fn plain(self) -> Style {
        Style::new()
    }

    pub fn frame(self) -> Style {
        self.coloured(Color::Cyan)
    }

    pub fn good(self) -> Style {
        self.coloured(Color::LightGreen)
    }

    pub fn warn(self) -> Style {
        self.coloured(Color::LightYellow)
    }

    pub fn bad(self) -> Style {
        self.bold().patch(self.coloured(Color::LightRed))
    }

    /// The colour of the n-th part of something.
    pub fn part(self, n: usize) -> Style {
        const COLOURS: [Color; 6] = [
            Color::LightCyan,
            Color::LightGreen,
            Color::LightYellow,
            Color::LightMagenta,
            Color::LightBlue,
            Color::Gray,
        ];
        self.coloured(COLOURS[n % COLOURS.len()])
    }

    /// A text from a disk as it may be sent to this terminal: no control characters, nothing that turns the
    /// direction of writing, nothing that the font does not have.
    pub fn clean(self, text: &str) -> String {
        text.chars()
            .filter(|&c| !invisible(c))
            .map(|c| if self.shows(c) { c } else { '?' })
            .collect()
    }

    /// The same character by character, for a text that is being typed: its length stays.
    pub fn clean_chars(self, text: &[char]) -> Vec<char> {
        let shown = |&c: &char| !invisible(c) && self.shows(c);
        text.iter()
            .map(|c| if shown(c) { *c } else { '?' })
            .collect()
    }

    fn shows(self, c: char) -> bool {
        match self.glyphs {
            Glyphs::Ascii => c == ' ' || c.is_ascii_graphic(),
            Glyphs::Console => {
                c == ' '
                    || c.is_ascii_graphic()
                    || ('\u{a1}'..='\u{ff}').contains(&c)
                    || CONSOLE_EXTRA.contains(c)
            }
            Glyphs::Full => !c.is_control(),
        }
    }
}

/// Unicode's format characters that move or hide text (UAX #9, "Explicit Directional Embeddings", and the
/// zero-width ones), and the soft hyphen.
fn invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_label_cannot_reach_the_terminal() {
        let label = "a\u{1b}[2Jb\u{202e}c\u{200b}d\te\u{9b}f";
        for (term, locale) in [("linux", ""), ("xterm", "C.UTF-8"), ("vt100", "")] {
            let shown = Theme::of(term, locale, false).clean(label);
            assert_eq!(shown, "a?[2Jbcd?e?f", "{term}");
        }
    }

    #[test]
    fn the_console_gets_only_what_its_font_has() {
        assert_eq!(Theme::CONSOLE.clean("Prüfung ✓ Диск"), "Prüfung ? ????");
        assert_eq!(
            Theme::of("xterm", "en_US.utf8", false).clean("Диск"),
            "Диск"
        );
    }

    #[test]
    fn bold_and_colours_never_meet_on_the_console() {
        let theme = Theme::CONSOLE;
        for style in [
            theme.header(),
            theme.footer(),
            theme.key(),
            theme.strong(),
            theme.bad(),
            theme.warn(),
            theme.base(),
            theme.part(0),
        ] {
            assert!(!style.add_modifier.contains(Modifier::BOLD), "{style:?}");
            assert!(style.fg.is_some(), "{style:?}");
        }
    }

    #[test]
    fn a_serial_terminal_gets_ascii() {
        assert_eq!(Theme::of("vt100", "C.UTF-8", false).glyphs, Glyphs::Ascii);
        assert_eq!(Theme::of("vt220", "", false).palette, Palette::Mono);
        assert_eq!(Theme::of("xterm", "C", false).glyphs, Glyphs::Ascii);
        assert_eq!(Theme::of("xterm", "C.UTF-8", true).palette, Palette::Mono);
        assert_eq!(Theme::of("linux", "", false), Theme::CONSOLE);
    }
}
