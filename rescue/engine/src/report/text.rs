//! A report as a person reads it.

use std::fmt;

use disk::extent::ExtentMap;
use disk::size::Size;

use crate::report::{
    DamagedFile, DiskReport, DiskRole, FilesystemRead, Outcome, Report, Rescued, Verified,
};

/// Most places and files that are listed one by one.
const LISTED: usize = 20;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match &self.outcome {
            Outcome::Done => ("done", &self.command),
            Outcome::Damage { text } => ("finished with damage", text),
            Outcome::Stopped { text } => ("stopped at damage", text),
            Outcome::Cancelled { text } => ("cancelled", text),
            Outcome::Failed { text } => ("failed", text),
        };
        writeln!(f, "{word}: {text}")?;
        let (read, written) = (Size(self.read_bytes), Size(self.written_bytes));
        writeln!(
            f,
            "  {read} read, {written} written in {:.1} s",
            self.seconds
        )?;
        if self.resumed_bytes > 0 {
            writeln!(
                f,
                "  {} had been done by an earlier run",
                Size(self.resumed_bytes)
            )?;
        }
        match &self.verified {
            Verified::Equal { bytes } => {
                writeln!(f, "  verified: {} read back and equal", Size(*bytes))?
            }
            Verified::Different { extents } => places(f, "different", extents)?,
            Verified::NotDone { why } => writeln!(f, "  not verified: {why}")?,
        }
        for filesystem in &self.filesystems {
            writeln!(f, "  read from the copy: {filesystem}")?;
        }
        if let Some(rescued) = &self.rescue {
            writeln!(f, "  {rescued}")?;
        }
        places(f, "unreadable", &self.unreadable)?;
        places(f, "not tried", &self.untried)?;
        files(f, self)?;
        for disk in &self.disks {
            writeln!(f, "  {disk}")?;
        }
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "  warning: {warning}")?;
        }
        if let Some(state) = self
            .state
            .as_ref()
            .filter(|_| self.outcome != Outcome::Done)
        {
            writeln!(f, "  the state of the job is in {}", state.display())?;
        }
        Ok(())
    }
}

fn files(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    for file in report.files.iter().take(LISTED) {
        writeln!(f, "    in {file}")?;
    }
    let more = report.files.len().saturating_sub(LISTED) as u64 + report.more_files;
    match more {
        0 => Ok(()),
        more => writeln!(f, "    and in {more} more files"),
    }
}

fn places(f: &mut fmt::Formatter<'_>, what: &str, extents: &ExtentMap) -> fmt::Result {
    if extents.is_empty() {
        return Ok(());
    }
    writeln!(
        f,
        "  {what}: {} in {} places",
        Size(extents.total_bytes()),
        extents.count()
    )?;
    for extent in extents.iter().take(LISTED) {
        writeln!(f, "    {} bytes at {}", extent.len(), extent.start())?;
    }
    if extents.count() > LISTED {
        writeln!(f, "    and {} more", extents.count() - LISTED)?;
    }
    Ok(())
}

impl fmt::Display for Rescued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the source is failing: {} reads around its bad places, {} of them failed",
            self.reads, self.bad_reads
        )?;
        if self.next_hour_bytes > 0 {
            write!(
                f,
                "; another hour would bring about {}",
                Size(self.next_hour_bytes)
            )?;
        }
        for area in self.left.iter().take(LISTED) {
            write!(f, "\n    left: {area}")?;
        }
        Ok(())
    }
}

impl fmt::Display for DamagedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(partition) = self.partition {
            write!(f, "partition {partition}: ")?;
        }
        f.write_str(&self.path)?;
        match self.size_bytes {
            Some(size) => write!(f, ", {} of {size} bytes", self.lost_bytes.min(size.max(1))),
            None => f.write_str(", whose record cannot be read"),
        }
    }
}

impl fmt::Display for FilesystemRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.title())?;
        match &self.different {
            Some(why) => write!(f, "not as on the source: {why}")?,
            None if self.missing_bytes > 0 => write!(
                f,
                "{} that it needs are not there",
                Size(self.missing_bytes)
            )?,
            None if self.files + self.directories == 0 => f.write_str("whole")?,
            None => write!(
                f,
                "whole, {} files in {} directories",
                self.files,
                self.directories + 1
            )?,
        }
        self.notes.iter().try_for_each(|note| write!(f, "; {note}"))
    }
}

impl fmt::Display for DiskReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.role, self.identity)?;
        if let Some(sectors) = self.sectors_written {
            write!(f, ", {sectors} sectors written by the kernel's count")?;
        }
        match self.kernel_read_only {
            Some(true) => f.write_str(", read-only in the kernel"),
            Some(false) | None => Ok(()),
        }
    }
}

impl fmt::Display for DiskRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DiskRole::Source => "source",
            DiskRole::Destination => "destination",
            DiskRole::Store => "store",
            DiskRole::Bystander => "not part of the job",
        })
    }
}
