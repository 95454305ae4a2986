//! A read that failed without saying where: its sectors one by one, from its ends to the first that is bad.

use disk::extent::Extent;

use super::TOUCH;
use super::ground::{End, Ground};
use super::walk::From;

#[derive(Debug)]
pub struct Trim {
    class: usize,
    block: Option<(Extent, From)>,
}

impl Trim {
    pub fn new(class: usize) -> Trim {
        Trim { class, block: None }
    }

    pub fn ask(&mut self, ground: &mut Ground) -> Option<Extent> {
        let (block, from) = match self.block {
            Some(block) => block,
            None => (self.find(ground)?, From::Start),
        };
        self.block = Some((block, from));
        let sector = ground.sector();
        let at = match from {
            From::Start => block.start(),
            From::End => (block.end() - 1) / sector * sector,
        };
        Extent::between(at.max(block.start()), (at + sector).min(block.end()))
    }

    pub fn tell(&mut self, asked: Extent, end: &End, ground: &mut Ground) {
        let Some((block, from)) = self.block.take() else {
            return;
        };
        let rest = match from {
            From::Start => Extent::between(asked.end(), block.end()),
            From::End => Extent::between(block.start(), asked.start()),
        };
        self.block = match (rest, from, end.error) {
            (Some(rest), _, None) => Some((rest, from)),
            (Some(rest), From::Start, Some(_)) => Some((rest, From::End)),
            (Some(rest), From::End, Some(_)) => {
                ground.trimmed(rest);
                None
            }
            (None, ..) => None,
        };
    }

    fn find(&self, ground: &Ground) -> Option<Extent> {
        let mut at = 0;
        loop {
            let window = Extent::between(at, ground.size())?;
            let failed = ground.failed().within(window).next()?;
            match ground.class(self.class).within(failed).next() {
                Some(piece) if !ground.is_skipped(piece.start()) => {
                    let touch = Extent::new(piece.start(), TOUCH.max(ground.sector()))?;
                    return piece.intersect(touch);
                }
                Some(piece) => at = piece.start() + ground.sector(),
                None => at = failed.end(),
            }
        }
    }
}
