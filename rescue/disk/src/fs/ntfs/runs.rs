//! Run lists: where the clusters of an attribute lie.

use super::record::Mapping;

/// Clusters `first..first + len` of an attribute lie at cluster `place` of the volume, or are a hole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub first: u64,
    pub len: u64,
    pub place: Option<u64>,
}

impl Run {
    pub fn next(&self) -> u64 {
        self.first + self.len
    }
}

/// Decodes the runs of one part; they cover exactly the part, inside a volume of `clusters`. An error is the
/// last item.
pub(super) fn runs(
    mapping: Mapping<'_>,
    clusters: u64,
) -> impl Iterator<Item = Result<Run, &'static str>> {
    let mut decoder = Decoder {
        pairs: mapping.pairs,
        at: mapping.first,
        end: mapping.next,
        place: 0,
        clusters,
        done: false,
    };
    std::iter::from_fn(move || {
        let run = decoder.step();
        decoder.done |= !matches!(run, Some(Ok(_)));
        run
    })
}

struct Decoder<'a> {
    pairs: &'a [u8],
    at: u64,
    end: u64,
    place: i64,
    clusters: u64,
    done: bool,
}

impl Decoder<'_> {
    fn step(&mut self) -> Option<Result<Run, &'static str>> {
        if self.done {
            return None;
        }
        let Some(head) = self.pairs.first().copied() else {
            return Some(Err("a run list has no end"));
        };
        if head == 0 {
            let whole = self.at == self.end;
            return (!whole).then_some(Err("a run list is shorter than its attribute"));
        }
        Some(self.run(head))
    }

    fn run(&mut self, head: u8) -> Result<Run, &'static str> {
        let bad = "a run list is damaged";
        let (len_bytes, place_bytes) = (usize::from(head & 15), usize::from(head >> 4));
        let len = number(self.pairs.get(1..1 + len_bytes).ok_or(bad)?).ok_or(bad)?;
        let after = 1 + len_bytes + place_bytes;
        let delta = self.pairs.get(1 + len_bytes..after).ok_or(bad)?;
        let len = u64::try_from(len).ok().filter(|len| *len > 0).ok_or(bad)?;
        let place = if place_bytes == 0 {
            None
        } else {
            self.place = number(delta)
                .and_then(|delta| self.place.checked_add(delta))
                .ok_or(bad)?;
            let place = u64::try_from(self.place).ok();
            let inside = place.filter(|place| {
                place
                    .checked_add(len)
                    .is_some_and(|end| end <= self.clusters)
            });
            Some(inside.ok_or("a run lies outside the volume")?)
        };
        let run = Run {
            first: self.at,
            len,
            place,
        };
        self.at = self
            .at
            .checked_add(len)
            .filter(|next| *next <= self.end)
            .ok_or("a run list is longer than its attribute")?;
        self.pairs = &self.pairs[after..];
        Ok(run)
    }
}

/// A signed little-endian number of 1 to 8 bytes.
fn number(bytes: &[u8]) -> Option<i64> {
    let fill = if *bytes.last()? & 0x80 == 0 { 0 } else { 0xFF };
    let mut eight = [fill; 8];
    eight.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(eight))
}
