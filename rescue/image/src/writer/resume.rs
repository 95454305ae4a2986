//! Going on with an unfinished image from its last page.

use disk::extent::Extent;

use crate::error::ImageError;
use crate::frame::{self, FrameKind};
use crate::head::{HEAD_AT, Head, LEAD, Order};
use crate::index::{Page, PageRef};
use crate::kin::Kin;
use crate::scan;
use crate::store::{ReadFile, Store, StoreError};
use crate::writer::Writer;
use crate::writer::any_order::Course;
use crate::writer::child::Family;
use crate::{file_name, unfinished_name};

/// The pages of an unfinished image, all of them whole.
struct Chain {
    pages: Vec<PageRef>,
    frames: u64,
    /// Of the last.
    order: Order,
}

impl<'s> Writer<'s> {
    /// Goes on with `NAME.img.zst.unfinished`: what lies behind its last page is cut off, and [`Writer::at`]
    /// says from where. `head` must describe the same disk in the same state; the image keeps its own id and
    /// chunk size ([`Writer::head`]).
    pub fn resume(store: &'s dyn Store, name: &str, head: &Head) -> Result<Writer<'s>, ImageError> {
        Writer::resume_in(store, name, head, Family::default())
    }

    pub(super) fn resume_in(
        store: &'s dyn Store,
        name: &str,
        head: &Head,
        family: Family<'s>,
    ) -> Result<Writer<'s>, ImageError> {
        let (unfinished, finished) = (unfinished_name(name), file_name(name));
        let place = store.describe();
        if store.exists(&finished)? {
            return Err(StoreError::Taken(format!(
                "{place}/{finished} exists already; choose another name"
            ))
            .into());
        }
        let image = format!("{place}/{unfinished}");
        let file = store.open(&unfinished)?;
        if is_torn_head(&*file, head, &family.kin(), &image)? {
            // It was created, and not even its head became durable.
            drop(file);
            head.check_size()?;
            return Writer::begin(store, name, store.resume(&unfinished, 0)?, *head, family);
        }
        let begun = Begun::of(&*file, head, &image)?;
        drop(file);
        if begun.chain.pages.is_empty() && begun.kin.is_none() && !family.kin().is_empty() {
            let file = store.resume(&unfinished, 0)?;
            return Writer::begin(store, name, file, begun.head, family);
        }
        let none = Kin::default();
        let same = family.fits(begun.kin.as_ref().map_or(&none, |(kin, _)| kin));
        let parent = family.parent.map(|parent| parent.head().chunk_size);
        if !same || parent.is_some_and(|size| size != begun.head.chunk_size) {
            let what = "its parent was another".to_owned();
            return Err(ImageError::OtherSource { image, what });
        }
        begun.go_on(store, name, family)
    }

    /// Goes on with a finished image, to complete what of its disk is not tried or unreadable: it loses its name and
    /// is unfinished again, as after an interruption. Its manifest goes with that; whoever wants to keep it reads
    /// it before. Refused, and nothing is changed, when its index is damaged.
    pub fn reopen(store: &'s dyn Store, name: &str, head: &Head) -> Result<Writer<'s>, ImageError> {
        let (unfinished, finished) = (unfinished_name(name), file_name(name));
        let image = format!("{}/{finished}", store.describe());
        let file = store.open(&finished)?;
        let begun = Begun::of(&*file, head, &image)?;
        let mut manifest = Vec::new();
        let whole = scan::read_frame(&*file, begun.end(), FrameKind::Manifest, &mut manifest)?;
        drop(file);
        if !whole {
            return Err(ImageError::NotWhole { image });
        }
        if begun
            .kin
            .as_ref()
            .is_some_and(|(kin, _)| !kin.stands_for.is_empty())
        {
            return Err(ImageError::Settled { image });
        }
        store.publish(&finished, &unfinished)?;
        begun.go_on(store, name, Family::default())
    }
}

/// What of a file an image is gone on with.
struct Begun {
    head: Head,
    head_len: u32,
    /// What stands behind the head, and the length of that frame.
    kin: Option<(Kin, u32)>,
    chain: Chain,
}

impl Begun {
    fn of(file: &dyn ReadFile, head: &Head, image: &str) -> Result<Begun, ImageError> {
        let (own, head_len) = own_head(file, image)?;
        same_source(&own, head, image)?;
        let kin = Kin::read(file, HEAD_AT + u64::from(head_len))?;
        let behind_heads = head_len + kin.as_ref().map_or(0, |(_, len)| *len);
        let chain = last_chain(file, &own, behind_heads)?;
        Ok(Begun {
            head: own,
            head_len,
            kin,
            chain,
        })
    }

    /// Everything behind this is cut off.
    fn end(&self) -> u64 {
        let kin_len = self.kin.as_ref().map_or(0, |(_, len)| *len);
        let behind_heads = HEAD_AT + u64::from(self.head_len) + u64::from(kin_len);
        self.chain.pages.last().map_or(behind_heads, PageRef::end)
    }

    fn go_on<'s>(
        self,
        store: &'s dyn Store,
        name: &str,
        family: Family<'s>,
    ) -> Result<Writer<'s>, ImageError> {
        let file = store.resume(&unfinished_name(name), self.end())?;
        let mut writer = Writer::on(store, name, file, self.head, family);
        writer.head_len = self.head_len;
        writer.kin_len = self.kin.map(|(_, len)| len);
        writer.written = self.chain.pages.last().map_or(0, |page| page.extent.end());
        writer.frames = 2 + u64::from(writer.kin_len.is_some()) + self.chain.frames;
        writer.pages = self.chain.pages;
        if self.chain.order == Order::Any {
            writer.head.order = Order::Any;
            let newest = writer.newest_of_pages()?;
            writer.written = newest.without_gap(0);
            writer.course = Course::Left(newest);
        }
        Ok(writer)
    }
}

/// Whether a file is no longer than what stands in front of the first chunk, and the beginning of that or zeros in
/// its place; another short file is not ours to cut.
fn is_torn_head(
    file: &dyn ReadFile,
    head: &Head,
    kin: &Kin,
    image: &str,
) -> Result<bool, ImageError> {
    let (mut frame, mut behind) = (Vec::new(), Vec::new());
    head.build(&mut frame);
    if !kin.is_empty() {
        kin.build(head.id, 0, &mut behind);
    }
    let expected = [&LEAD, frame.as_slice()].concat();
    if file.len() > (expected.len() + behind.len()) as u64 || own_head(file, image).is_ok() {
        return Ok(false);
    }
    let mut found = vec![0; usize::try_from(file.len().min(16)).expect("it is at most 16")];
    scan::read_what_is_readable(file, 0, &mut found)?;
    let torn = |(found, expected): (&u8, &u8)| found == expected || *found == 0;
    if found.iter().zip(&expected).all(torn) {
        return Ok(true);
    }
    Err(ImageError::Foreign {
        image: image.to_owned(),
        found: "it is too short and does not begin as one".to_owned(),
    })
}

/// The head and the length of its frame.
fn own_head(file: &dyn ReadFile, image: &str) -> Result<(Head, u32), ImageError> {
    let mut buf = Vec::new();
    if !scan::read_frame(file, HEAD_AT, FrameKind::Head, &mut buf)? {
        return Err(ImageError::Foreign {
            image: image.to_owned(),
            found: "its head is missing or damaged, so it cannot be gone on with".to_owned(),
        });
    }
    let frame = frame::open(&buf, HEAD_AT).expect("it was found whole");
    let len = u32::try_from(buf.len()).expect("a head is below 4 KiB");
    Head::parse(frame.body, frame.id, image).map(|head| (head, len))
}

fn same_source(own: &Head, head: &Head, image: &str) -> Result<(), ImageError> {
    let what = if own.geometry != head.geometry {
        format!("a disk of {} bytes", own.geometry.size_bytes)
    } else if own.fingerprint != head.fingerprint {
        "what is in use on it was different".to_owned()
    } else if own.lineage != head.lineage {
        "whether it has a parent was different".to_owned()
    } else if !own.is_known() {
        let what = format!("optional features {:#x}", own.optional_features);
        let image = image.to_owned();
        return Err(ImageError::Unknown { image, what });
    } else {
        return Ok(());
    };
    let image = image.to_owned();
    Err(ImageError::OtherSource { image, what })
}

/// Where the pages found so far begin: in the file, on the disk, in number.
#[derive(Clone, Copy)]
struct After {
    begin: u64,
    extent: Extent,
    number: u32,
    order: Order,
}

impl After {
    fn follows(&self, page: &Page, place: &PageRef) -> bool {
        let on_disk = match (page.head.order, self.order) {
            (Order::Disk, Order::Disk) => page.extent.end() == self.extent.start(),
            (_, Order::Any) => true,
            (Order::Any, Order::Disk) => false,
        };
        on_disk && place.end() == self.begin && page.number.checked_add(1) == Some(self.number)
    }
}

/// The longest unbroken row of pages: from the last one whose links all hold.
fn last_chain(file: &dyn ReadFile, head: &Head, head_len: u32) -> Result<Chain, ImageError> {
    let mut end = file.len();
    loop {
        let found = scan::find_back(file, end, &[FrameKind::Page], |offset| {
            let page = scan::read_page(file, offset)?;
            Ok(page
                .filter(|(page, _)| page.head.same_image(head))
                .map(|_| offset))
        })?;
        let Some(last) = found else {
            return Ok(Chain {
                pages: Vec::new(),
                frames: 0,
                order: head.order,
            });
        };
        match follow(file, head, head_len, last)? {
            Ok(chain) => return Ok(chain),
            Err(broken) => end = broken,
        }
    }
}

/// From the page at `last` back to the first; the offset of the first that is not as it should be.
fn follow(
    file: &dyn ReadFile,
    head: &Head,
    head_len: u32,
    last: u64,
) -> Result<Result<Chain, u64>, ImageError> {
    let mut pages: Vec<PageRef> = Vec::new();
    let (mut frames, mut order) = (0, None);
    let mut next: Option<After> = None;
    let mut at = Some(last);
    while let Some(offset) = at {
        let Some((page, place)) = scan::read_page(file, offset)? else {
            return Ok(Err(offset));
        };
        let joins = next.is_none_or(|after| after.follows(&page, &place));
        if !page.head.same_image(head) || !joins {
            return Ok(Err(offset));
        }
        next = Some(After {
            begin: page.begin(),
            extent: page.extent,
            number: page.number,
            order: page.head.order,
        });
        frames += page.frames();
        order = order.or(Some(page.head.order));
        pages.push(place);
        at = page.previous;
    }
    let whole = next.is_none_or(|first| {
        first.begin == HEAD_AT + u64::from(head_len)
            && (first.extent.start() == 0 || first.order == Order::Any)
            && first.number == 0
    });
    if !whole {
        return Ok(Err(pages.last().map_or(0, |page| page.offset)));
    }
    pages.reverse();
    let order = order.unwrap_or(head.order);
    Ok(Ok(Chain {
        pages,
        frames,
        order,
    }))
}
