//! What others say of an image: libblkid, the filesystem's own tools, and the reference mapper.

use disk::extent::{Extent, ExtentMap};

/// One line of the manifest.
#[derive(Debug, Default)]
pub struct Facts {
    pub path: String,
    /// As blkid names it, `pt:` and a table, or something else.
    pub kind: String,
    facts: Vec<(String, String)>,
    /// The reference mapper's used map.
    pub map: Option<ExtentMap>,
}

impl Facts {
    /// `facts` is a row of `key=value`, separated by `;`.
    pub fn new(path: &str, kind: &str, facts: &str) -> Facts {
        Facts {
            path: path.into(),
            kind: kind.into(),
            facts: facts
                .split(';')
                .filter_map(|fact| fact.split_once('='))
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
            map: None,
        }
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.facts.iter().find(|(k, _)| k == key);
        found.map(|(_, value)| value.as_str())
    }

    pub fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }

    /// The reference map, when its count and the filesystem's own agree: else one of them is wrong.
    pub fn trusted_map(&self) -> Option<&ExtentMap> {
        let map = self.map.as_ref()?;
        let block = self.number("pc_bs")?;
        let theirs = self.number("pc_used")? * block;
        let (own, slack) = match self.kind.as_str() {
            "ext2" | "ext3" | "ext4" => {
                let used = self.number("blocks")?.checked_sub(self.number("free")?)?;
                (used * self.number("bs")?, 0)
            }
            "ntfs" => {
                let used = self.number("clusters")?.checked_sub(self.number("free")?)?;
                (used * self.number("cluster")?, 0)
            }
            "xfs" => {
                let used = self
                    .number("dblocks")?
                    .checked_sub(self.number("fdblocks")?)?;
                (used * self.number("blocksize")?, 0)
            }
            // The mapper counts by the volume header, and marks by the bitmap.
            "hfsplus" => (map.total_bytes(), 0),
            // fsck counts clusters only; what is before them is used in any case.
            "vfat" if self.get("VERSION") != Some("FAT12") => {
                let cluster = self.number("cluster")?;
                let data = self.number("clusters")? * cluster;
                let before = (self.number("pc_total")? * block).checked_sub(data)?;
                (before + self.number("used_clusters")? * cluster, cluster)
            }
            // The largest cluster that fits is its size; the mapper counts two clusters that it does not mark.
            "exfat" => {
                let clusters = self.number("clusters")?;
                let total = self.number("pc_total")? * block;
                let cluster = 1 << (total / clusters.max(1)).checked_ilog2()?;
                let before = total - clusters * cluster;
                let used = clusters.checked_sub(self.number("free")?)?;
                (before + (used + 2) * cluster, cluster)
            }
            _ => return None,
        };
        (own.abs_diff(theirs) <= slack).then_some(map)
    }
}

/// Text as `blkid -o export` prints it: `\` before special characters, `M-` and `^` for unprintable ones.
pub fn unescaped(printed: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = printed.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let mut high = 0;
        (rest, high) = match rest.strip_prefix(b"M-") {
            Some(tail) => (tail, 0x80),
            None => (rest, high),
        };
        let (byte, tail) = match rest {
            [b'\\', byte, tail @ ..] => (*byte, tail),
            [b'^', byte, tail @ ..] => (byte ^ 0x40, tail),
            [byte, tail @ ..] => (*byte, tail),
            [] => (*first, tail),
        };
        bytes.push(byte | high);
        rest = tail;
    }
    bytes
}

/// The extents marked `+` in a ddrescue map file.
pub fn used_of_map(text: &str) -> ExtentMap {
    text.lines()
        .filter(|line| line.ends_with('+'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let mut number = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
            Extent::new(number()?, number()?)
        })
        .collect()
}
