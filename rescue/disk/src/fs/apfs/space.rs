//! The space manager: chunks of blocks with a bitmap each. What waits in its free queues is still set in the bitmaps, so
//! it counts as used.

use std::ops::Range;

use super::container::Container;
use super::object::{Head, Kind};
use super::{Trouble, refused};
use crate::extent::{Extent, ExtentMap};
use crate::fields::Fields;
use crate::fs::bits::Bits;
use crate::fs::gather::Gather;

/// Bits of a chunk's counts that are counts.
const COUNT: u32 = 0xF_FFFF;
/// Where the addresses may begin: behind the fields that every version has.
const FIELDS: u64 = 336;

/// What the object says of the container's device.
struct Space {
    object: Vec<u8>,
    chunks: u64,
    cibs: u64,
    /// Blocks that list chunk-info blocks; 0 where the object lists them itself.
    cabs: u64,
    free: u64,
    addresses: u64,
    /// The internal pool, where all these blocks and the bitmaps are, and the ring of its own bitmaps.
    pool: Range<u64>,
    ring: Range<u64>,
}

/// How far the chunks were read.
struct Reading<'a> {
    container: &'a Container<'a>,
    space: Space,
    gather: Gather,
    /// Block, chunk and chunk-info block that come next.
    block: u64,
    chunk: u64,
    cib: u64,
    free: u64,
}

pub(super) fn map(container: &Container<'_>) -> Result<ExtentMap, Trouble> {
    let space = Space::parse(container)?;
    let mut reading = Reading {
        container,
        gather: Gather::new(container.block_size()),
        block: 0,
        chunk: 0,
        cib: 0,
        free: 0,
        space,
    };
    reading.all()?;
    let (space, used) = (reading.space, reading.gather.finish());
    let superblock = &container.superblock;
    let own = [
        0..1,
        superblock.descriptors.clone(),
        superblock.data.clone(),
        space.pool,
        space.ring,
    ];
    for blocks in own {
        if !container
            .extent(blocks)
            .is_some_and(|extent| used.covers(extent))
        {
            return refused("its space manager calls its own blocks free");
        }
    }
    Ok(with_the_kept(container, used))
}

/// What is kept whatever the bitmaps say, the last block, and what lies behind it.
fn with_the_kept(container: &Container<'_>, mut used: ExtentMap) -> ExtentMap {
    let kept = &container.superblock.kept;
    let kept = kept
        .iter()
        .filter_map(|blocks| container.extent(blocks.clone()));
    let last = container.size_bytes() - container.block_size();
    let tail = Extent::between(last, container.source().size_bytes());
    for extent in kept.chain(tail) {
        used.insert(extent);
    }
    used
}

impl Space {
    fn parse(container: &Container<'_>) -> Result<Space, Trouble> {
        let object = container.space()?;
        match Space::fields(&object, container) {
            Some(space) => Ok(Space { object, ..space }),
            None => refused("its space manager contradicts the container"),
        }
    }

    fn fields(object: &[u8], container: &Container<'_>) -> Option<Space> {
        let fields = Fields(object);
        let (size, blocks) = (container.block_size(), container.superblock.blocks);
        let shape = [
            (fields.u32(32)?, size),
            (fields.u32(36)?, per_chunk(size)),
            (fields.u32(40)?, per_cib(size)),
            (fields.u32(44)?, per_cab(size)),
        ];
        let range = |start: u64, count: u64| -> Option<Range<u64>> {
            Some(start..start.checked_add(count).filter(|end| *end <= blocks)?)
        };
        let space = Space {
            object: Vec::new(),
            chunks: fields.u64(56)?,
            cibs: u64::from(fields.u32(64)?),
            cabs: u64::from(fields.u32(68)?),
            free: fields.u64(72)?,
            addresses: u64::from(fields.u32(80)?),
            pool: range(fields.u64(176)?, fields.u64(152)?)?,
            ring: range(fields.u64(168)?, u64::from(fields.u32(164)?))?,
        };
        let cabs = space.cibs.div_ceil(per_cab(size));
        let right = shape.iter().all(|(says, is)| u64::from(*says) == *is)
            && fields.u64(48)? == blocks
            && space.chunks == blocks.div_ceil(per_chunk(size))
            && space.cibs == space.chunks.div_ceil(per_cib(size))
            && space.cabs == if cabs > 1 { cabs } else { 0 }
            // The second device of a Fusion Drive.
            && fields.u64(96)? == 0
            && fields.u64(104)? == 0;
        right.then_some(space)
    }

    /// The address at a place of its list.
    fn address(&self, nth: u64) -> Option<u64> {
        let at = self.addresses.checked_add(nth.checked_mul(8)?)?;
        let aligned = at.is_multiple_of(8) && self.addresses >= FIELDS;
        Fields(&self.object).u64(usize::try_from(at).ok().filter(|_| aligned)?)
    }
}

fn per_chunk(block_size: u64) -> u64 {
    8 * block_size
}

fn per_cib(block_size: u64) -> u64 {
    (block_size - 40) / 32
}

fn per_cab(block_size: u64) -> u64 {
    (block_size - 40) / 8
}

impl Reading<'_> {
    fn all(&mut self) -> Result<(), Trouble> {
        let listed = match self.space.cabs {
            0 => self.space.cibs,
            cabs => cabs,
        };
        for nth in 0..listed {
            let Some(address) = self.space.address(nth) else {
                return refused("its space manager is cut off");
            };
            match self.space.cabs {
                0 => self.cib(address)?,
                _ => self.cab(address, nth)?,
            }
        }
        let done = self.chunk == self.space.chunks && self.cib == self.space.cibs;
        if !done || self.block != self.container.superblock.blocks {
            return refused("its space manager does not tell of every block");
        }
        if self.free != self.space.free {
            return refused(format!(
                "its space manager counts {} free blocks, its bitmaps {}",
                self.space.free, self.free
            ));
        }
        Ok(())
    }

    /// One of the blocks that the space manager keeps in its pool, and how many entries it has.
    fn pooled(
        &self,
        address: u64,
        kind: Kind,
        index: u64,
        most: u64,
    ) -> Result<(Vec<u8>, u64), Trouble> {
        self.in_the_pool(address)?;
        let bytes = self.container.block(address)?;
        let head = Head::of(&bytes, kind)?;
        let fields = Fields(&bytes);
        let (says, count) = (fields.u32(32), fields.u32(36).map_or(0, u64::from));
        let right = says.map(u64::from) == Some(index) && head.oid == address;
        if !right || count == 0 || count > most || head.xid > self.container.superblock.xid {
            return refused("a block of its space manager contradicts itself");
        }
        Ok((bytes, count))
    }

    fn in_the_pool(&self, address: u64) -> Result<(), Trouble> {
        match self.space.pool.contains(&address) {
            true => Ok(()),
            false => refused("its space manager points out of its pool"),
        }
    }

    fn cab(&mut self, address: u64, index: u64) -> Result<(), Trouble> {
        let most = per_cab(self.container.block_size());
        let (bytes, count) = self.pooled(address, Kind::CibAddresses, index, most)?;
        let addresses = bytes.get(40..).unwrap_or_default().chunks_exact(8);
        for address in addresses.take(usize::try_from(count).unwrap_or(0)) {
            self.cib(Fields(address).u64(0).expect("eight bytes"))?;
        }
        Ok(())
    }

    fn cib(&mut self, address: u64) -> Result<(), Trouble> {
        let most = per_cib(self.container.block_size());
        let (bytes, count) = self.pooled(address, Kind::ChunkInfo, self.cib, most)?;
        self.cib += 1;
        let chunks = bytes.get(40..).unwrap_or_default().chunks_exact(32);
        for chunk in chunks.take(usize::try_from(count).unwrap_or(0)) {
            self.chunk(Fields(chunk))?;
        }
        Ok(())
    }

    fn chunk(&mut self, info: Fields<'_>) -> Result<(), Trouble> {
        let size = self.container.block_size();
        let count = per_chunk(size).min(self.container.superblock.blocks - self.block);
        let (Some(start), Some(blocks), Some(free), Some(bitmap)) =
            (info.u64(8), info.u32(16), info.u32(20), info.u64(24))
        else {
            return refused("a block of its space manager is cut off");
        };
        let (blocks, free) = (u64::from(blocks & COUNT), u64::from(free & COUNT));
        if start != self.block || blocks != count || count == 0 || free > count {
            return refused("a chunk of its space manager contradicts itself");
        }
        let bits = match bitmap {
            0 => Bits::new(count, false),
            address => {
                self.in_the_pool(address)?;
                Bits::from_bytes(&self.container.block(address)?, count)
            }
        };
        if bits.free() != free {
            return refused(format!(
                "chunk {} of its space manager counts {free} free blocks, its bitmap {}",
                self.chunk,
                bits.free()
            ));
        }
        for (from, to) in bits.used_runs() {
            self.gather.push((start + from) * size, (start + to) * size);
        }
        self.block += count;
        self.chunk += 1;
        self.free += free;
        Ok(())
    }
}
