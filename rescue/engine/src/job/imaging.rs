//! Carrying out an image: begin or go on, write, finish, check.

use disk::extent::{Extent, ExtentMap};
use disk::source::BlockSource;
use image::digest::Digest;
use image::error::ImageError;
use image::head::{Head, Order};
use image::manifest::Manifest;
use image::reader::Reader;
use image::seal::Seal;
use image::store::Store;
use image::writer::Writer;
use image::{file_name, unfinished_name};

use super::Job;
use super::check::Check;
use super::fetch::FromDisk;
use super::into_image::IntoImage;
use super::known::Known;
use super::lacking::Lacking;
use super::meter::Meter;
use super::passing_over::PassingOver;
use super::pipeline::Stop;
use super::record::Record;
use super::story::keep_table;
use super::to_store::ToStore;
use super::trouble::Trouble;
use crate::clock;
use crate::event::Step;
use crate::health::Health;
use crate::host::{Disk, OpenPlace};
use crate::map::Status;
use crate::plan::unfinished;
use crate::random;
use crate::report::{Report, Verified};
use crate::request::{Action, Coverage, Place, Sealing, Verification};
use crate::sealing;

impl Job<'_> {
    /// A disk into a store.
    pub fn image(&self, meter: &mut Meter<'_>, report: &mut Report) -> Result<(), Stop> {
        let Action::Image { store, name, .. } = &self.plan.request.action else {
            return Err(Stop::Bug("this is no image".into()));
        };
        let disk = self.plan.source.as_ref().expect("an image has a source");
        let source = self
            .host
            .open_source(&disk.identity)
            .map_err(|error| Stop::Fault(error.0))?;
        let place = self
            .host
            .open_place(store, self.permits.first())
            .map_err(|error| Stop::Fault(error.0))?
            .in_volumes(self.plan.request.options.volume_bytes);
        let seal = self.seal(&place)?;
        let place = place.sealing(seal);
        self.see_store();
        let started = clock::now();
        let parent = self.parent(&*place.store)?;
        let (mut writer, mut known) =
            self.begin(&*place.store, name, disk, &*source, parent.as_ref())?;
        report.resumed_bytes = known.map.finished.total_bytes();
        let resumed = u32::from(!known.stored.is_empty());
        report.state = self.unfinished(store, name);
        let brought = self.bring_into(&mut writer, &*source, &mut known, meter, report);
        let map = known.map;
        report.unreadable = map.bad.intersection(&self.plan.used);
        brought?;
        report.untried = map.open().intersection(&self.plan.used);
        meter.begin(Step::Flush, 0, 0);
        let manifest = Manifest {
            id: writer.head().id,
            chunk_size: writer.head().chunk_size,
            started: Some(started),
            ended: Some(clock::now()),
            bytes_read: meter.read_bytes,
            resumed,
            in_disk_order: writer.order() == Order::Disk,
            ..self.manifest(disk, &*source, &report.unreadable)
        };
        if let Some(percent) = self.plan.request.options.parity {
            writer.protect(percent);
        }
        let finished = writer.finish(&manifest).map_err(fault)?;
        report.state = None;
        report.image = Some(format!("{}/{}", place.store.describe(), finished.name));
        report.verified = self.check_written(&*place.store, name, meter)?;
        let open = || Reader::open(&*place.store, &file_name(name)).map_err(fault);
        self.read_filesystems(&open, meter, report);
        Ok(())
    }

    /// At full speed as long as the source is well, then by passes and in any order.
    fn bring_into(
        &self,
        writer: &mut Writer<'_>,
        source: &dyn BlockSource,
        known: &mut Known,
        meter: &mut Meter<'_>,
        report: &mut Report,
    ) -> Result<(), Stop> {
        let trouble = Trouble::default();
        let absent = &self.plan.absent;
        let has_holes = absent.is_empty() && known.has_holes(&self.plan.used);
        if has_holes || writer.order() == Order::Any {
            trouble.raise();
        }
        let options = &self.plan.request.options;
        let left_out = &self.plan.left_out;
        let source = PassingOver { source, left_out };
        // An image of another program is no drive to be spared: what of it is damaged is found at once.
        let disk = self.plan.source.as_ref();
        let is_drive =
            disk.is_none_or(|disk| disk.identity.format().is_none()) && absent.is_empty();
        let fetch = match is_drive {
            true => FromDisk::until(&trouble, &source, self.cancel),
            false => FromDisk::new(&source, self.cancel),
        };
        let fetch = Lacking {
            fetch: &fetch,
            absent,
        };
        let to_store = ToStore {
            fetch: &fetch,
            wanted: &self.plan.used,
            left_out,
            level: options.level,
            trouble: &trouble,
            tuning: self.tuning,
            cancel: self.cancel,
        };
        to_store.write(writer, &mut known.map, meter)?;
        for lost in absent.unreadable.iter() {
            known.map.set(lost, Status::Bad);
        }
        if !trouble.is_raised() {
            return Ok(());
        }
        if let Some(done) = Extent::between(0, writer.at()) {
            known.stored.insert(done);
        }
        let mut taker = IntoImage::new(writer, options.level, (&self.plan.used, left_out), known)?;
        let mut map = std::mem::take(&mut known.map);
        for left in taker.left_out().iter() {
            map.set(left, Status::Finished);
        }
        let mut record = Record::in_memory(self.plan, self.host, self.tuning, map);
        let rescued = self.rescue(&mut taker, &mut record, meter, report);
        known.map = std::mem::take(&mut record.map);
        rescued?;
        taker.finish()
    }

    /// A new image, or the unfinished one of this name with what it has.
    fn begin<'s>(
        &self,
        store: &'s dyn Store,
        name: &str,
        disk: &Disk,
        source: &dyn BlockSource,
        parent: Option<&'s Reader>,
    ) -> Result<(Writer<'s>, Known), Stop> {
        let id = random::id().map_err(Stop::Fault)?;
        let geometry = source.geometry();
        let unfinished = unfinished_name(name);
        let begun = self.fingerprint_of_begun(store, &unfinished, disk, source);
        let fingerprint = begun.unwrap_or_else(|| unfinished::fingerprint(disk, self.plan));
        let head = Head::new(id, geometry, fingerprint).with_chunk_size(self.tuning.chunk_bytes);
        let head = match self.plan.request.options.parity {
            Some(_) => head.with_parity(),
            None => head,
        };
        let mut known = Known::of(geometry.size_bytes);
        if !store
            .exists(&unfinished)
            .map_err(|error| Stop::Fault(error.to_string()))?
        {
            let writer = match parent {
                Some(parent) => Writer::create_child(store, name, head, parent),
                None => Writer::create(store, name, head),
            };
            return Ok((writer.map_err(fault)?, known));
        }
        let writer = match parent {
            Some(parent) => Writer::resume_child(store, name, &head, parent),
            None => Writer::resume(store, name, &head),
        };
        let writer = writer.map_err(fault)?;
        if writer.at() > 0 || writer.order() == Order::Any {
            let reader = Reader::open(store, &unfinished).map_err(fault)?;
            let end = match writer.order() {
                Order::Disk => writer.at(),
                Order::Any => geometry.size_bytes,
            };
            known.read(&reader, end, &self.plan.used).map_err(fault)?;
        }
        Ok((writer, known))
    }

    /// Of an unfinished image that is one of this disk, however much better its map was known then.
    fn fingerprint_of_begun(
        &self,
        store: &dyn Store,
        unfinished: &str,
        disk: &Disk,
        source: &dyn BlockSource,
    ) -> Option<Digest> {
        let reader = Reader::open(store, unfinished).ok()?;
        let is_begun = unfinished::is_begun(&reader, self.plan, disk, source);
        is_begun
            .is_ok_and(|is| is)
            .then(|| reader.head().fingerprint)
    }

    /// As the parent is, or with the passphrase that was given.
    fn seal(&self, place: &OpenPlace) -> Result<Option<Seal>, Stop> {
        if let Some(parent) = &self.plan.parent {
            let seal = place.seal_of(&file_name(parent));
            return seal.map_err(|error| Stop::Fault(error.to_string()));
        }
        match self.plan.request.options.sealing {
            Sealing::Open => Ok(None),
            Sealing::Sealed => sealing::new_seal(place.keyring())
                .map(Some)
                .map_err(Stop::Fault),
        }
    }

    fn parent(&self, store: &dyn Store) -> Result<Option<Reader>, Stop> {
        let name = self.plan.parent.as_ref();
        name.map(|name| Reader::open(store, &file_name(name)).map_err(fault))
            .transpose()
    }

    fn manifest(&self, disk: &Disk, source: &dyn BlockSource, unreadable: &ExtentMap) -> Manifest {
        let options = &self.plan.request.options;
        let described = disk.layout.as_ref().map(Manifest::describe);
        let mut manifest = described.unwrap_or_default();
        keep_table(&mut manifest, disk, source);
        let identity = &disk.identity;
        let story = &mut manifest.disk;
        story.size_bytes = disk.geometry.size_bytes;
        story.logical_sector = disk.geometry.logical_sector;
        story.physical_sector = disk.geometry.physical_sector;
        story.path = Some(disk.path.display().to_string());
        story.model.clone_from(&identity.model);
        story.vendor.clone_from(&disk.vendor);
        story.serial.clone_from(&identity.serial);
        story.wwn.clone_from(&identity.wwn);
        story.firmware.clone_from(&disk.firmware);
        story.transport = Some(disk.transport.to_string());
        story.fingerprint = Some(identity.fingerprint.to_string());
        story.systems.clone_from(&disk.systems);
        Manifest {
            program: format!("rescue {}", env!("CARGO_PKG_VERSION")),
            exact: options.coverage == Coverage::Exact,
            level: options.level,
            used_bytes: self.plan.used_bytes,
            left_out: self.plan.rules_applied.clone(),
            unreadable: unreadable.into(),
            smart_before: told(disk.health.clone()),
            smart_after: told(self.host.health(identity)),
            note: options.note.clone(),
            warnings: self.plan.warnings.clone(),
            ..manifest
        }
    }

    fn check_written(
        &self,
        store: &dyn Store,
        name: &str,
        meter: &mut Meter<'_>,
    ) -> Result<Verified, Stop> {
        if self.plan.request.options.verification == Verification::Skip {
            return Ok(Verified::NotDone {
                why: "it was not asked for".into(),
            });
        }
        let reader = Reader::open(store, &file_name(name)).map_err(fault)?;
        let check = Check {
            reader: &reader,
            tuning: self.tuning,
            cancel: self.cancel,
        };
        let read = meter.read_bytes;
        let found = match check.run(Step::Verify, meter) {
            // The image has its name by now; nothing is left that the same command could go on with.
            Err(Stop::Cancelled) => {
                return Ok(Verified::NotDone {
                    why: "it was cancelled; the image is finished, and 'rescue check' compares it"
                        .into(),
                });
            }
            found => found?,
        };
        meter.read_bytes = read;
        Ok(if found.findings.is_clean() {
            Verified::Equal {
                bytes: found.good_bytes,
            }
        } else {
            Verified::Different {
                extents: found.findings.damage,
            }
        })
    }

    fn unfinished(&self, store: &Place, name: &str) -> Option<std::path::PathBuf> {
        match store {
            Place::Path(directory) => Some(directory.join(unfinished_name(name))),
            _ => Some(format!("{store}/{}", unfinished_name(name)).into()),
        }
    }
}

fn told(health: Option<Health>) -> Option<serde_json::Value> {
    health.and_then(|health| serde_json::to_value(health).ok())
}

fn fault(error: ImageError) -> Stop {
    Stop::Fault(error.to_string())
}
