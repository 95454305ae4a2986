//! The operations in the records, put together to the items of committed transactions.

use std::collections::HashMap;

use super::log::{Log, Span};
use super::{Trouble, refused};
use crate::fields::Fields;

const START: u8 = 0x01;
const COMMIT: u8 = 0x02;
const CONTINUE: u8 = 0x04;
const WAS_CONTINUED: u8 = 0x08;
const END: u8 = 0x10;
const UNMOUNT: u8 = 0x20;
const CLIENT_TRANSACTION: u8 = 0x69;
const CLIENT_LOG: u8 = 0xAA;
/// Length of the head of an operation and of a transaction, and the latter's magic number.
const OPERATION: usize = 12;
const HEAD: usize = 16;
const HEAD_MAGIC: u32 = 0x5452_414E;

/// Most bytes of unfinished items, and most transactions, held at once.
const BYTES_LIMIT: usize = 8 << 20;
const OPEN_LIMIT: usize = 4096;
/// Most transactions in a log: each takes a block at least, and a log has at most 2 GiB.
const LIMIT: usize = 1 << 22;

/// A change to something, in the regions it was logged in. The first tells what it is.
#[derive(Debug, Default)]
pub(super) struct Item {
    pub regions: Vec<Vec<u8>>,
}

/// What stands in a log, in the order of the log.
#[derive(Debug)]
pub(super) enum Step<'a> {
    Item {
        item: &'a Item,
        lsn: u64,
    },
    /// The transaction of the items with this number is complete.
    Commit,
}

/// Which transactions were committed, by the order in which they were started.
#[derive(Debug, Default)]
pub(super) struct Committed(Vec<bool>);

/// Looks for commits only.
pub(super) fn committed(log: &Log<'_>, span: &Span) -> Result<Committed, Trouble> {
    let mut committed = Committed::default();
    let mut open = HashMap::new();
    log.each(span, &mut |record, data| {
        operations(data, record.operations, &mut |operation, _| {
            if operation.flags & START != 0 {
                if committed.0.len() == LIMIT {
                    return refused(TOO_LARGE);
                }
                open.insert(operation.transaction, committed.0.len());
                committed.0.push(false);
            } else if operation.flags & COMMIT != 0
                && let Some(number) = open.remove(&operation.transaction)
            {
                committed.0[number] = true;
            }
            Ok(())
        })
    })?;
    Ok(committed)
}

/// Gives the items of committed transactions to `visit`, with the number of their transaction.
pub(super) fn each(
    log: &Log<'_>,
    span: &Span,
    committed: &Committed,
    visit: &mut dyn FnMut(usize, Step<'_>) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let mut gathering = Gathering {
        committed,
        open: HashMap::new(),
        started: 0,
        bytes: 0,
    };
    log.each(span, &mut |record, data| {
        operations(data, record.operations, &mut |operation, bytes| {
            gathering.take(operation, bytes, record.lsn, visit)
        })
    })
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    transaction: u32,
    flags: u8,
}

const DAMAGED: &str = "a transaction in its log is damaged";
const TOO_LARGE: &str = "its log is too large to be replayed in memory";

type VisitOperation<'a> = &'a mut dyn FnMut(Operation, &[u8]) -> Result<(), Trouble>;

fn operations(data: &[u8], count: u32, visit: VisitOperation<'_>) -> Result<(), Trouble> {
    let fields = Fields(data);
    let mut at = 0;
    for _ in 0..count {
        let head = fields.bytes(at, OPERATION).map(Fields);
        let numbers = head.and_then(|head| {
            let operation = Operation {
                transaction: head.be32(0)?,
                flags: head.u8(9)?,
            };
            Some((operation, usize::try_from(head.be32(4)?).ok()?, head.u8(8)?))
        });
        let Some((operation, len, client)) = numbers else {
            return refused(DAMAGED);
        };
        let Some(bytes) = fields.bytes(at + OPERATION, len) else {
            return refused(DAMAGED);
        };
        if client != CLIENT_TRANSACTION && client != CLIENT_LOG {
            return refused(DAMAGED);
        }
        visit(operation, bytes)?;
        at += OPERATION + len;
    }
    Ok(())
}

/// A transaction whose commit was not met yet.
#[derive(Default)]
struct Open {
    number: usize,
    lsn: u64,
    /// Its first bytes, until there are [`HEAD`] of them.
    head: Vec<u8>,
    item: Item,
}

impl Open {
    fn bytes(&self) -> usize {
        self.item.regions.iter().map(Vec::len).sum()
    }

    /// How many regions the item has, as its first one says.
    fn expected(&self) -> Option<usize> {
        Fields(self.item.regions.first()?).u16(2).map(usize::from)
    }
}

struct Gathering<'a> {
    committed: &'a Committed,
    open: HashMap<u32, Open>,
    started: usize,
    bytes: usize,
}

type Visit<'a> = &'a mut dyn FnMut(usize, Step<'_>) -> Result<(), Trouble>;

impl Gathering<'_> {
    /// As the kernel does it (`xlog_recover_process_ophdr`): what belongs to no transaction that was started is
    /// what is left of one that needs no replay.
    fn take(
        &mut self,
        operation: Operation,
        bytes: &[u8],
        lsn: u64,
        visit: Visit<'_>,
    ) -> Result<(), Trouble> {
        let Operation { transaction, flags } = operation;
        if flags & START != 0 {
            return self.start(transaction, bytes, lsn);
        }
        let Some(open) = self.open.get_mut(&transaction) else {
            return Ok(());
        };
        let wanted = self.committed.0.get(open.number) == Some(&true);
        let flags = flags & !END;
        if flags & (COMMIT | UNMOUNT) != 0 {
            let open = self.open.remove(&transaction).unwrap_or_default();
            self.bytes -= open.bytes();
            if flags & COMMIT == 0 || !wanted {
                return Ok(());
            }
            finish(&open, visit)?;
            return visit(open.number, Step::Commit);
        }
        if !wanted {
            return Ok(());
        }
        match flags & !CONTINUE {
            0 if open.head.len() < HEAD => {
                open.head.extend_from_slice(bytes);
                return open.check_head();
            }
            0 => {
                let full = open.expected();
                if full.is_some_and(|full| open.item.regions.len() >= full) {
                    finish(open, visit)?;
                    self.bytes -= open.bytes();
                    open.item = Item::default();
                }
                open.item.regions.push(bytes.to_vec());
            }
            WAS_CONTINUED if open.item.regions.is_empty() => {
                open.head.extend_from_slice(bytes);
                return open.check_head();
            }
            WAS_CONTINUED => {
                let last = open.item.regions.last_mut().expect("it is not empty");
                last.extend_from_slice(bytes);
            }
            _ => return refused(DAMAGED),
        }
        self.bytes += bytes.len();
        if self.bytes > BYTES_LIMIT {
            return refused(TOO_LARGE);
        }
        Ok(())
    }

    fn start(&mut self, transaction: u32, bytes: &[u8], lsn: u64) -> Result<(), Trouble> {
        if !bytes.is_empty() || self.open.len() == OPEN_LIMIT {
            return refused(DAMAGED);
        }
        let open = Open {
            number: self.started,
            lsn,
            ..Open::default()
        };
        self.started += 1;
        if let Some(old) = self.open.insert(transaction, open) {
            self.bytes -= old.bytes();
        }
        Ok(())
    }
}

impl Open {
    fn check_head(&self) -> Result<(), Trouble> {
        let magic = Fields(&self.head).u32(0);
        match self.head.len() {
            HEAD if magic != Some(HEAD_MAGIC) => refused(DAMAGED),
            0..=HEAD => Ok(()),
            _ => refused(DAMAGED),
        }
    }
}

/// An item is complete when the next one begins or its transaction ends: a region may go on in the next record.
fn finish(open: &Open, visit: Visit<'_>) -> Result<(), Trouble> {
    let Some(expected) = open.expected() else {
        return match open.item.regions.is_empty() {
            true => Ok(()),
            false => refused(DAMAGED),
        };
    };
    if expected != open.item.regions.len() {
        return refused(DAMAGED);
    }
    let (item, lsn) = (&open.item, open.lsn);
    visit(open.number, Step::Item { item, lsn })
}
