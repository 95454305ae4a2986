//! Writing a disk or an image as a directory of Clonezilla, and reading it back as one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::extent::ExtentMap;
use disk::geometry::Geometry;
use foreign::write::clonezilla::{Directory, OutFolder};

use super::super::Job;
use super::super::digest::Digests;
use super::super::fetch::Fetch;
use super::super::meter::Meter;
use super::super::pipeline::Stop;
use super::{Copied, Put, Written, fault};
use crate::event::Step;
use crate::new_file;
use crate::permit::WritePermit;
use crate::report::{Report, Verified};
use crate::request::Verification;

impl Job<'_> {
    pub(super) fn export_directory(
        &self,
        permit: &WritePermit,
        meter: &mut Meter<'_>,
        report: &mut Report,
    ) -> Result<(), Stop> {
        let path = new_file::create_directory(permit).map_err(fault)?;
        let ended = self
            .reading(|fetch, geometry| self.directory_from(fetch, geometry, &path, meter, report));
        match ended {
            Ok(()) => new_file::publish_directory(permit).map_err(fault),
            Err(stop) => {
                new_file::abandon_directory(permit);
                Err(stop)
            }
        }
    }

    fn directory_from(
        &self,
        fetch: &dyn Fetch,
        geometry: Geometry,
        path: &Path,
        meter: &mut Meter<'_>,
        report: &mut Report,
    ) -> Result<(), Stop> {
        let layout = self.source_layout(&ExtentMap::new())?;
        let folder = Arc::new(Inside(path.to_owned()));
        let options = &self.plan.request.options;
        let writer = Directory::new(
            geometry,
            &layout,
            &self.plan.used,
            options.level,
            folder.clone(),
        );
        let writer = writer.map_err(|error| self.writing(&error))?;
        let mut copied = Copied {
            written: ExtentMap::new(),
            digests: Digests::new(self.tuning.piece_bytes),
        };
        let all = self.fill(fetch, writer, &mut copied, meter, report)?;
        meter.begin(Step::Flush, 0, 0);
        all.finish().map_err(|error| self.writing(&error))?;
        if options.verification == Verification::Skip {
            report.verified = Verified::NotDone {
                why: "it was not asked for".into(),
            };
            return Ok(());
        }
        let opened = foreign::clonezilla::open(&*folder, None);
        let opened = opened.map_err(|error| Stop::Fault(error.to_string()))?;
        let opened = opened.ok_or_else(|| Stop::Bug("what was written is no image".into()))?;
        report.verified = self.compare_export(fetch, &*opened.source, &copied, meter, report)?;
        Ok(())
    }
}

impl Put for Directory {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        Directory::put(self, offset, bytes)
    }
}

/// The directory that is written.
struct Inside(PathBuf);

impl OutFolder for Inside {
    fn create(&self, name: &str) -> io::Result<Box<dyn Write + Send>> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(self.0.join(name))?;
        Ok(Box::new(BufWriter::new(file)))
    }
}

impl foreign::Folder for Inside {
    fn open(&self, name: &str) -> Result<foreign::File, String> {
        let file = File::open(self.0.join(name)).map_err(|error| error.to_string())?;
        Ok(Arc::new(Written(file)))
    }

    fn names(&self) -> Result<Vec<String>, String> {
        let entries = fs::read_dir(&self.0).map_err(|error| error.to_string())?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| error.to_string())?;
            names.extend(entry.file_name().into_string().ok());
        }
        Ok(names)
    }
}
