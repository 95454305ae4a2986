//! Journals of NTFS as an open volume leaves them, written page by page.
#![allow(
    clippy::allow_attributes,
    dead_code,
    reason = "each test binary uses its own share"
)]

const PAGE: usize = 4096;
const DATA: usize = 64;
const HEAD: usize = 48;

/// A journal that records are added to.
pub struct Log {
    pub bytes: Vec<u8>,
    second: bool,
    place_bits: u32,
    /// Where the next record begins.
    at: usize,
    round: u64,
    first: Option<u64>,
    last: u64,
    /// LSNs of pages: the last one with bytes in it, the last that ends in it; and the offset behind it.
    marks: std::collections::BTreeMap<usize, (u64, u64, u16)>,
}

/// What a record does, and how it is taken back.
#[derive(Clone, Default)]
pub struct Change<'a> {
    pub redo: (u16, &'a [u8]),
    pub undo: (u16, &'a [u8]),
    pub vcn: u64,
    pub sectors: u16,
    pub clusters: &'a [u64],
}

impl Change<'_> {
    pub fn bytes(&self) -> Vec<u8> {
        let lists = 32 + 8 * self.clusters.len().max(1);
        let undo_at = lists + self.redo.1.len().next_multiple_of(8);
        let number = |n: usize| u16::try_from(n).unwrap();
        let head = [
            self.redo.0,
            self.undo.0,
            number(lists),
            number(self.redo.1.len()),
            number(undo_at),
            number(self.undo.1.len()),
            0x18,
            number(self.clusters.len()),
            0,
            0,
            self.sectors,
            0,
        ];
        let mut bytes: Vec<u8> = head.into_iter().flat_map(u16::to_le_bytes).collect();
        bytes.extend(self.vcn.to_le_bytes());
        bytes.extend(self.clusters.iter().flat_map(|c| c.to_le_bytes()));
        bytes.resize(lists, 0);
        bytes.extend(self.redo.1);
        bytes.resize(undo_at, 0);
        bytes.extend(self.undo.1);
        bytes
    }
}

impl Log {
    /// The first record is written to `page` of the ring, in round 3.
    pub fn new(len: usize, second: bool, page: usize) -> Log {
        let bits = 67 - (usize::BITS - len.leading_zeros());
        Log {
            bytes: vec![0xFF; len],
            second,
            place_bits: 64 - bits,
            at: page * PAGE + DATA,
            round: 3,
            first: None,
            last: 0,
            marks: std::collections::BTreeMap::new(),
        }
    }

    /// From an earlier round through the ring.
    pub fn before(mut self) -> Log {
        self.round -= 1;
        self
    }

    fn ring(&self) -> usize {
        if self.second { 34 } else { 4 }
    }

    fn turn(&mut self, page: usize) -> usize {
        let next = (page + 1) * PAGE;
        if next + PAGE <= self.bytes.len() {
            return next;
        }
        self.round += 1;
        self.ring() * PAGE
    }

    /// Its log sequence number.
    pub fn record(&mut self, kind: u32, body: &[u8]) -> u64 {
        if self.at % PAGE + HEAD > PAGE || self.at.is_multiple_of(PAGE) {
            let page = (self.at - 1) / PAGE;
            self.at = self.turn(page) + DATA;
        }
        let lsn = (self.round << self.place_bits) + (self.at as u64 >> 3);
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(&lsn.to_le_bytes());
        head[8..16].copy_from_slice(&self.last.to_le_bytes());
        head[24..28].copy_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
        head[32..36].copy_from_slice(&kind.to_le_bytes());
        // Only changes belong to a transaction.
        head[36] = if kind == 1 { 0x18 } else { 0 };
        let spans = self.at % PAGE + HEAD + body.len() > PAGE;
        head[40] = u8::from(spans);
        let mut page = self.at / PAGE;
        self.mark(page).0 = lsn;
        self.put(&head);
        let mut rest = body;
        while !rest.is_empty() {
            let room = PAGE - self.at % PAGE;
            if self.at.is_multiple_of(PAGE) {
                self.at = self.turn(page) + DATA;
                page = self.at / PAGE;
                self.mark(page).0 = lsn;
                continue;
            }
            let (part, more) = rest.split_at(room.min(rest.len()));
            self.put(part);
            rest = more;
        }
        let end = self.at - page * PAGE;
        let mark = self.mark(page);
        (mark.1, mark.2) = (lsn, u16::try_from(end.next_multiple_of(8)).unwrap());
        self.at = self.at.next_multiple_of(8);
        self.first.get_or_insert(lsn);
        self.last = lsn;
        lsn
    }

    pub fn change(&mut self, change: &Change<'_>) -> u64 {
        self.record(1, &change.bytes())
    }

    fn mark(&mut self, page: usize) -> &mut (u64, u64, u16) {
        let last = self.last;
        self.marks.entry(page).or_insert((last, last, 64))
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    /// A page of the ring as it stands on disk.
    pub fn page(&self, number: usize) -> Vec<u8> {
        let (begun, ended, behind) = self.marks[&number];
        let mut page = self.bytes[number * PAGE..(number + 1) * PAGE].to_vec();
        page[..DATA].fill(0);
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"RCRD");
        put(4, &40u16.to_le_bytes());
        put(6, &9u16.to_le_bytes());
        put(8, &begun.to_le_bytes());
        put(16, &1u32.to_le_bytes());
        put(20, &[1, 0, 1, 0]);
        put(24, &behind.to_le_bytes());
        put(32, &ended.to_le_bytes());
        sealed(page, 40)
    }

    /// The same as a copy that is kept elsewhere.
    pub fn copy(&self, number: usize) -> Vec<u8> {
        let mut page = unsealed(self.page(number), 40);
        let home = (number * PAGE) as u64;
        if self.second {
            page[60..64].copy_from_slice(&u32::try_from(home).unwrap().to_le_bytes());
        } else {
            page[8..16].copy_from_slice(&home.to_le_bytes());
        }
        sealed(page, 40)
    }

    pub fn written(&self) -> Vec<usize> {
        self.marks.keys().copied().collect()
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    /// Both restart pages say that it is open; `oldest` is the first record when it is not given.
    pub fn finish(&self, restart: u64, oldest: Option<u64>, current: u64) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for number in self.written() {
            bytes[number * PAGE..(number + 1) * PAGE].copy_from_slice(&self.page(number));
        }
        let oldest = oldest.or(self.first).unwrap();
        for number in [0, 1] {
            let page = self.restart(restart, oldest, current);
            bytes[number * PAGE..(number + 1) * PAGE].copy_from_slice(&page);
        }
        bytes
    }

    fn restart(&self, restart: u64, oldest: u64, current: u64) -> Vec<u8> {
        let mut page = vec![0u8; PAGE];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"RSTR");
        put(4, &30u16.to_le_bytes());
        put(6, &9u16.to_le_bytes());
        put(16, &4096u32.to_le_bytes());
        put(20, &4096u32.to_le_bytes());
        put(24, &48u16.to_le_bytes());
        put(26, &u16::from(!self.second).to_le_bytes());
        put(28, &(1 + u16::from(self.second)).to_le_bytes());
        // The restart area.
        put(48, &current.to_le_bytes());
        put(56, &1u16.to_le_bytes());
        put(58, &u16::MAX.to_le_bytes());
        put(64, &(64 - self.place_bits).to_le_bytes());
        put(68, &224u16.to_le_bytes());
        put(70, &64u16.to_le_bytes());
        put(72, &(self.bytes.len() as u64).to_le_bytes());
        put(84, &48u16.to_le_bytes());
        put(86, &64u16.to_le_bytes());
        // Its client.
        put(112, &oldest.to_le_bytes());
        put(120, &restart.to_le_bytes());
        put(128, &u32::MAX.to_le_bytes());
        put(140, &8u32.to_le_bytes());
        put(144, b"N\0T\0F\0S\0");
        sealed(page, 30)
    }
}

/// With its update sequence, which stands at `place`.
pub fn sealed(mut page: Vec<u8>, place: usize) -> Vec<u8> {
    page[place..place + 2].copy_from_slice(&[7, 0]);
    for nth in 1..=page.len() / 512 {
        let end = nth * 512 - 2;
        page.copy_within(end..end + 2, place + 2 * nth);
        page[end..end + 2].copy_from_slice(&[7, 0]);
    }
    page
}

fn unsealed(mut page: Vec<u8>, place: usize) -> Vec<u8> {
    for nth in 1..=page.len() / 512 {
        page.copy_within(place + 2 * nth..place + 2 * nth + 2, nth * 512 - 2);
    }
    page
}
