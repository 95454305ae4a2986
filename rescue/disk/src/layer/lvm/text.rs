//! The text that LVM2 keeps its metadata in: sections in braces, numbers, quoted strings, lists in brackets.
//!
//! The grammar: lvm.conf(5), and what `vgcfgbackup` writes.

/// Sections and lists within each other.
const DEPTH: u32 = 8;
/// Values of one text; each takes about 64 bytes of memory. A group of 4000 volumes has 60,000.
const VALUES: usize = 1 << 18;

#[derive(Clone, PartialEq, Debug)]
pub enum Value<'a> {
    Section(Section<'a>),
    List(Vec<Value<'a>>),
    /// Without the quotes, its escapes as they stand.
    Text(&'a str),
    Number(u64),
    /// A number that is negative, broken or too large.
    Odd,
}

/// Keys and values in their order; no key is there twice.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Section<'a>(Vec<(&'a str, Value<'a>)>);

impl<'a> Section<'a> {
    /// `None` when the text is not what LVM writes.
    pub fn parse(text: &'a str) -> Option<Section<'a>> {
        let mut parser = Parser {
            rest: text,
            values: VALUES,
        };
        let section = parser.section(DEPTH)?;
        parser.skip();
        parser.rest.is_empty().then_some(section)
    }

    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        let found = self.0.iter().find(|(name, _)| *name == key);
        found.map(|(_, value)| value)
    }

    pub fn number(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub fn text(&self, key: &str) -> Option<&'a str> {
        match self.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn list(&self, key: &str) -> Option<&[Value<'a>]> {
        match self.get(key)? {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    pub fn section(&self, key: &str) -> Option<&Section<'a>> {
        match self.get(key)? {
            Value::Section(section) => Some(section),
            _ => None,
        }
    }

    pub fn sections(&self) -> impl Iterator<Item = (&'a str, &Section<'a>)> {
        self.0.iter().filter_map(|(key, value)| match value {
            Value::Section(section) => Some((*key, section)),
            _ => None,
        })
    }

    /// The words of a list of flags; an absent list has none. `None` when there is anything else in it.
    pub fn words(&self, key: &str) -> Option<Vec<&'a str>> {
        let Some(value) = self.get(key) else {
            return Some(Vec::new());
        };
        let Value::List(list) = value else {
            return None;
        };
        list.iter()
            .map(|value| match value {
                Value::Text(text) => Some(*text),
                _ => None,
            })
            .collect()
    }

    /// Every quoted string that stands in it, at whatever key.
    pub fn strings(&self, each: &mut dyn FnMut(&'a str)) {
        for (_, value) in &self.0 {
            value.strings(each);
        }
    }
}

impl<'a> Value<'a> {
    fn strings(&self, each: &mut dyn FnMut(&'a str)) {
        match self {
            Value::Section(section) => section.strings(each),
            Value::List(list) => list.iter().for_each(|value| value.strings(each)),
            Value::Text(text) => each(text),
            Value::Number(_) | Value::Odd => {}
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    values: usize,
}

impl<'a> Parser<'a> {
    /// Up to the closing brace or the end of the text.
    fn section(&mut self, depth: u32) -> Option<Section<'a>> {
        let depth = depth.checked_sub(1)?;
        let mut entries = Vec::new();
        loop {
            self.skip();
            if self.rest.is_empty() || self.rest.starts_with('}') {
                break;
            }
            let key = match self.rest.starts_with('"') {
                true => self.quoted()?,
                false => self.word(|c| c.is_ascii_alphanumeric() || "_.+-/".contains(c))?,
            };
            self.skip();
            self.values = self.values.checked_sub(1)?;
            let value = if self.take('{') {
                let inner = self.section(depth)?;
                self.expect('}')?;
                Value::Section(inner)
            } else {
                self.expect('=')?;
                self.value(depth)?
            };
            entries.push((key, value));
        }
        let mut keys: Vec<&str> = entries.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        let twice = keys.windows(2).any(|pair| pair[0] == pair[1]);
        (!twice).then_some(Section(entries))
    }

    fn value(&mut self, depth: u32) -> Option<Value<'a>> {
        self.skip();
        if self.rest.starts_with('"') {
            return self.quoted().map(Value::Text);
        }
        if self.take('[') {
            return self.list(depth.checked_sub(1)?);
        }
        let word = self.word(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))?;
        Some(word.parse().map_or(Value::Odd, Value::Number))
    }

    fn list(&mut self, depth: u32) -> Option<Value<'a>> {
        let mut list = Vec::new();
        loop {
            self.skip();
            if self.take(']') {
                return Some(Value::List(list));
            }
            if !list.is_empty() {
                self.expect(',')?;
            }
            self.values = self.values.checked_sub(1)?;
            list.push(self.value(depth)?);
        }
    }

    fn quoted(&mut self) -> Option<&'a str> {
        let inner = self.rest.strip_prefix('"')?;
        let mut escaped = false;
        let end = inner.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        self.rest = inner.get(end + 1..)?;
        inner.get(..end)
    }

    fn word(&mut self, belongs: impl Fn(char) -> bool) -> Option<&'a str> {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    /// White space and comments.
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return;
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.rest = &self.rest[end..];
        }
    }

    fn take(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, c: char) -> Option<()> {
        self.skip();
        self.take(c).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    const TEXT: &str = "# made by hand\nvg {\n\tid = \"a-b\" # no comment\n\tstatus = [\"READ\", \"WRITE\"]\n\
        flags = []\n\textent_size = 8192\t# 4 Megabytes\n\tpv { s = [\"pv0\", 12, \"p\\\"v\", -3] }\n}\n\nversion = 1\n";

    #[test]
    fn a_text_as_lvm_writes_it_is_read() {
        let text = Section::parse(TEXT).unwrap();
        assert_eq!(text.number("version"), Some(1));
        let vg = text.section("vg").unwrap();
        assert_eq!(vg.text("id"), Some("a-b"));
        assert_eq!(vg.words("status"), Some(vec!["READ", "WRITE"]));
        assert_eq!(vg.words("flags"), Some(vec![]));
        assert_eq!(vg.number("extent_size"), Some(8192));
        let list = vg.section("pv").unwrap().list("s").unwrap();
        assert_eq!(list[..2], [Value::Text("pv0"), Value::Number(12)]);
        assert_eq!(list[2..], [Value::Text("p\\\"v"), Value::Odd]);
        let mut strings = 0;
        text.strings(&mut |_| strings += 1);
        assert_eq!(strings, 5);
    }

    #[test]
    fn what_lvm_would_not_write_is_refused() {
        for text in [
            "a = 1\na = 2\n",
            "a {\n",
            "a = \"b\n",
            "a = [1, 2\n",
            "a = [1 2]\n",
            "a }\n",
            "= 1",
            "a = 1 }",
            "a { b { c { d { e { f { g { h { } } } } } } } }",
            "a = [[[[[[[[[[1]]]]]]]]]]",
        ] {
            assert_eq!(Section::parse(text), None, "{text}");
        }
        let many = "a = [".to_owned() + &"1,".repeat(VALUES) + "1]";
        assert_eq!(Section::parse(&many), None);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[a-c={}\\[\\]\", 0-9#\\\\\n]{0,200}") {
            let _ = Section::parse(&text);
        }

        #[test]
        fn damaged_text_is_survived(hits in proptest::collection::vec((0usize..TEXT.len(), 32u8..127), 1..6)) {
            let mut bytes = TEXT.as_bytes().to_vec();
            for (at, byte) in hits {
                bytes[at] = byte;
            }
            let _ = Section::parse(std::str::from_utf8(&bytes).unwrap());
        }
    }
}
