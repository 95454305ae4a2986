//! The words of the command line. Completions, manual pages and the parser are all this one definition.

mod boot;
mod chain;
mod exchange;
mod job;
mod key;
mod limits;
mod option;
mod serve;
mod simulate;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use engine::request::{DiskName, Origin, Place};

pub use boot::BootWords;
pub use exchange::{ExportWords, ImportWords};
pub use job::{CloneWords, ImageWords, RestoreWords};
pub use key::KeyCommand;
pub use option::{Approval, Deep, InUse, KeyWords, Output};
pub use simulate::SimulateWords;

/// Get a drive out alive: clone, image and restore whole disks, the source never written
///
/// A DISK is named by serial:…, by wwn:…, or by its path; a regular file is accepted wherever a disk is.
/// An IMAGE or a STORE is a path, or label:NAME/path or uuid:UUID/path on a filesystem that is not mounted.
/// Nothing is written before the plan was shown and consented to.
#[derive(Parser, Debug)]
#[command(name = "rescue", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Words {
    #[command(subcommand)]
    pub command: Command,
    /// Opens sealed images with the passphrase that is in this file, and seals new ones with it; - is standard input.
    /// RESCUE_PASSPHRASE in the environment does so too, and on a terminal it is asked for
    #[arg(long, global = true, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  a fault stopped the job; the same command goes on from there
   2  finished, but some bytes could not be read, or a comparison found differences;
      or a restore stopped where its image is damaged (--keep-going)
   3  refused before anything was written
   4  cancelled; the same command goes on from there
  64  the words of the command line are wrong";

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Lists the disks of this machine and what is on them
    #[command(
        after_help = "Examples:\n  rescue disks\n  rescue disks old-drive.img\n  rescue disks --json"
    )]
    Disks {
        /// Regular files to be listed as disks; without any, the disks of the machine
        #[arg(value_name = "FILE")]
        files: Vec<DiskName>,
        #[command(flatten)]
        keys: KeyWords,
        #[command(flatten)]
        output: Output,
    },

    /// Writes a compressed image of a disk into a store
    #[command(after_help = "Examples:\n  \
        rescue image serial:S3Z9NB0K /mnt/backup --name laptop\n  \
        rescue image /dev/nvme0n1 label:BACKUP/pcs --name office --level 3\n  \
        rescue image old.img . --name old --exact\n  \
        rescue image /dev/sda /mnt/backup --name secret --unlock\n\n\
        The image is STORE/NAME.img.zst; `zstd -dc` turns it back into the raw disk.\n\
        An interrupted job goes on when the same command is given again.")]
    Image(ImageWords),

    /// Writes an image back onto a disk
    #[command(after_help = "Examples:\n  \
        rescue restore /mnt/backup/laptop.img.zst serial:WD-WX41\n  \
        rescue restore label:BACKUP/pcs/office.img.zst /dev/sdb --approve X41A --grow\n  \
        rescue restore old.img.zst new.img\n  \
        rescue restore damaged.img.zst /dev/sdb --approve X41A --keep-going\n\n\
        What is damaged in an image with parity is made good on the way; what cannot be ends the restore, unless\n\
        --keep-going is given.")]
    Restore(RestoreWords),

    /// Copies a disk onto another one
    #[command(after_help = "Examples:\n  \
        rescue clone serial:S3Z9NB0K serial:WD-WX41\n  \
        rescue clone /dev/sda /dev/nvme0n1 --approve 7A21 --grow\n  \
        rescue clone failing.img copy.img --exact --map failing.map")]
    Clone(CloneWords),

    /// Compares a disk with the image or the disk it came from
    #[command(after_help = "Examples:\n  \
        rescue verify /mnt/backup/laptop.img.zst serial:WD-WX41\n  \
        rescue verify /dev/sda /dev/sdb")]
    Verify {
        #[arg(value_name = "IMAGE|DISK")]
        against: Origin,
        disk: DiskName,
        #[command(flatten)]
        keys: KeyWords,
        #[command(flatten)]
        output: Output,
    },

    /// Checks an image against itself: every chunk and its digest
    #[command(after_help = "Examples:\n  \
        rescue check /mnt/backup/laptop.img.zst\n  \
        rescue check /mnt/backup/laptop.img.zst --deep")]
    Check {
        image: Place,
        #[command(flatten)]
        deep: Deep,
        #[command(flatten)]
        keys: KeyWords,
        #[command(flatten)]
        output: Output,
    },

    /// The passphrases of a sealed image
    #[command(after_help = "Examples:\n  \
        rescue key list laptop.img.zst\n  \
        rescue key add laptop.img.zst\n  \
        rescue key recovery laptop.img.zst\n  \
        rescue key remove laptop.img.zst 2 --approve laptop.img.zst\n\n\
        Keys belong to one image; a child has those that its parent had when it was made.")]
    #[command(subcommand)]
    Key(KeyCommand),

    /// Writes an image or a disk as an image of another program, a new file or directory
    #[command(after_help = "Examples:\n  \
        rescue export laptop.img.zst laptop.qcow2 --format qcow2\n  \
        rescue export laptop.img.zst laptop.vhdx --format vhdx\n  \
        rescue export serial:S3Z9NB0K /mnt/usb/pc.vmdk --format vmdk\n  \
        rescue export laptop.img.zst /mnt/partimag/laptop --format clonezilla\n  \
        rescue export laptop.img.zst laptop.img.bmap --format bmap\n\n\
        What is there is never overwritten. What no filesystem uses reads as zeros.")]
    Export(exchange::ExportWords),

    /// Makes an image of ours out of one of another program: qcow2, VHD, VHDX, VMDK, VDI, a directory of
    /// Clonezilla, raw, or raw packed with gzip, xz or zstd
    #[command(after_help = "Examples:\n  \
        rescue import old-pc.vmdk /mnt/backup --name old-pc\n  \
        rescue import /mnt/usb/2024-05-01-pc /mnt/backup --name pc\n  \
        rescue import server.qcow2 label:BACKUP/pcs --name server --level 3\n  \
        rescue import pc.img.gz.aa /mnt/backup --name pc\n  \
        rescue import failing.img /mnt/backup --name failing --map failing.map\n\n\
        A packed raw disk is one of *.gz, *.xz, *.zst, or the first of its parts (*.gz.aa).\n\
        Any other image is accepted wherever a disk is read: `rescue ls old-pc.vmdk` looks into it.")]
    #[command(mut_arg("map", |map| map.help(
        "The map file of GNU ddrescue that belongs to a raw image: what it does not call finished is unreadable or \
         not tried, whatever the image has there")))]
    Import(exchange::ImportWords),

    /// Serves an image as a network block device (NBD), for QEMU, nbdcopy, qemu-img or the kernel
    #[command(after_help = "Examples:\n  \
        rescue serve laptop.img.zst\n  \
        qemu-system-x86_64 -m 2G -drive file=nbd://127.0.0.1,format=raw,snapshot=on\n  \
        rescue serve laptop.img.zst --socket /run/laptop.sock --overlay\n  \
        nbdcopy 'nbd+unix:///2?socket=/run/laptop.sock' partition-2.img\n\n\
        The disk is the export without a name; a partition is the export of its number.")]
    Serve(serve::ServeWords),

    /// Starts a made-up PC (QEMU) from an image and takes a picture of its screen: the proof that it boots
    #[command(after_help = "Examples:\n  \
        rescue boot laptop.img.zst\n  \
        rescue boot laptop.img.zst --after 300 --screenshot laptop.png\n  \
        rescue boot laptop.img.zst --window\n\n\
        The image is not written: what the PC writes is thrown away. It has no network.\n\
        A system that knows only other disk controllers than SATA and NVMe does not find its disk.")]
    Boot(boot::BootWords),

    /// Shows an image as files in a directory: the disk and each partition, read-only, until Ctrl-C or umount
    #[command(after_help = "Examples:\n  \
        rescue mount laptop.img.zst /mnt/laptop\n  \
        mount -o ro,loop /mnt/laptop/partition-2.img /mnt/files\n\n\
        Holes of the files are what no filesystem uses. It needs root or the package fuse3.")]
    Mount(serve::MountWords),

    /// Shows what an image holds, without reading its chunks
    #[command(after_help = "Example:\n  rescue info /mnt/backup/laptop.img.zst --json")]
    Info {
        image: Place,
        #[command(flatten)]
        output: Output,
    },

    /// Lists the images in a store: which is whose child, of which disk, from when, how large, how well
    #[command(
        after_help = "Examples:\n  rescue images /mnt/backup\n  rescue images label:BACKUP/pcs --json"
    )]
    Images {
        store: Place,
        #[command(flatten)]
        output: Output,
    },

    /// Makes an image anew that needs no other, or a nearer ancestor no more; its name and its children stay
    #[command(after_help = "Examples:\n  \
        rescue merge /mnt/backup/laptop-friday.img.zst\n  \
        rescue merge /mnt/backup/laptop-friday.img.zst --onto laptop-monday\n\n\
        The new image is written beside the old one, compared with it, and only then takes its name.\n\
        An interrupted merge goes on when the same command is given again.")]
    Merge(chain::MergeWords),

    /// Makes a lost or damaged index again from the rest of the image; head, manifest and end too
    #[command(after_help = "Example:\n  \
        rescue reindex /mnt/backup/laptop.img.zst\n\n\
        The image is written again beside the old one, byte for byte as it was, checked, and only then takes its\n\
        name. An interrupted one goes on when the same command is given again.")]
    Reindex(chain::MendWords),

    /// Makes a damaged image whole by its parity, and its index as reindex does
    #[command(after_help = "Examples:\n  \
        rescue image serial:S3Z9NB0K /mnt/backup --name laptop --parity 3\n  \
        rescue repair /mnt/backup/laptop.img.zst\n\n\
        It is written again beside the old one, checked, and takes its name only if it gives more.\n\
        An interrupted one goes on when the same command is given again.")]
    Repair(chain::MendWords),

    /// Removes old images from a store; what stays is made independent of them before
    #[command(after_help = "Examples:\n  \
        rescue prune /mnt/backup --keep-last 3 --keep-weekly 4 --keep-monthly 12\n  \
        rescue prune /mnt/backup --keep-last 5 --approve backup\n\n\
        Each disk has its own images; one that any rule keeps is kept. The word is the store's name.")]
    Prune(chain::PruneWords),

    /// Lists files of an image or a disk, nothing mounted
    #[command(after_help = "Examples:\n  \
        rescue ls laptop.img.zst\n  \
        rescue ls laptop.img.zst 3/Users/anna\n  \
        rescue ls serial:S3Z9NB0K 2/etc\n  \
        rescue ls /dev/sda2 etc\n\n\
        A path begins with the number of its partition; on a disk without partitions, and where a\n\
        partition is named, it does not.")]
    Ls {
        #[arg(value_name = "IMAGE|DISK|PARTITION")]
        from: Origin,
        /// A directory or a file; without it, what has files
        #[arg(default_value = "")]
        path: String,
        #[command(flatten)]
        keys: KeyWords,
        #[command(flatten)]
        output: Output,
    },

    /// Copies files and directories out of an image or a disk, nothing mounted
    #[command(after_help = "Examples:\n  \
        rescue cp laptop.img.zst 3/Users/anna/Documents /mnt/usb\n  \
        rescue cp serial:S3Z9NB0K 2/etc/fstab 2/home label:BACKUP/saved\n\n\
        What is there is never overwritten; what an earlier run copied is not copied again.")]
    Cp {
        #[arg(value_name = "IMAGE|DISK|PARTITION")]
        from: Origin,
        /// As `rescue ls` shows it
        #[arg(required = true)]
        paths: Vec<String>,
        /// A directory that is there
        to: Place,
        #[command(flatten)]
        keys: KeyWords,
        #[command(flatten)]
        live: InUse,
        #[command(flatten)]
        output: Output,
    },

    /// Prints the used map of a disk as a GNU ddrescue map file: + used, ? not
    #[command(after_help = "Example:\n  \
        rescue map /dev/sda > used.map && ddrescue -m used.map /dev/sda copy.img rescue.map")]
    Map {
        source: DiskName,
        #[command(flatten)]
        keys: KeyWords,
    },

    /// Tries how a failing disk is read on a drive that is only made up
    #[command(after_help = "Examples:\n  \
        rescue simulate --scenario dead-head --seed 3 --json\n  \
        rescue simulate --map failing.map\n  \
        rescue simulate --acceptance")]
    Simulate(SimulateWords),

    /// Prints completions for a shell
    #[command(after_help = "Example:\n  rescue completions bash > /etc/bash_completion.d/rescue")]
    Completions { shell: Shell },

    /// Writes the manual pages into a directory
    #[command(after_help = "Example:\n  rescue man /usr/local/share/man/man1")]
    Man { directory: PathBuf },
}
