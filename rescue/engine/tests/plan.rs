//! Every reason against a request has a test of its own, in which nothing is written and nothing is opened for
//! writing.

#![allow(clippy::unwrap_used, reason = "a test that stops has failed")]

mod scene;

use std::path::{Path, PathBuf};

use std::sync::Arc;

use disk::layer::{Keys, Secret};
use engine::event::{Cancel, Silent};
use engine::fake::{Call, FakeDisk, FakeHost, FakeStore};
use engine::host::{Host, MountMode, Use};
use engine::job::run_tuned;
use engine::plan::{Passphrase, Refusal, prepare};
use engine::report::Outcome;
use engine::request::{Action, DiskName, Growth, Liveness, Options, Place, Request, Sealing};
use image::memory::MemoryStore;
use image::seal::{Keyring, Sealed};
use image::store::Store;

use scene::{
    Bench, CancelAt, MIB, clone, consented, disk_bytes, image, map, request, restore, run,
    run_watched, tuning, verify,
};

/// A variant without a test does not compile.
macro_rules! each_has_a_test {
    ($($variant:ident: $test:ident),* $(,)?) => {
        fn test_of(refusal: &Refusal) -> fn() {
            match refusal {
                $(Refusal::$variant { .. } => $test,)*
            }
        }
    };
}

each_has_a_test! {
    NotFound: a_disk_that_is_not_there,
    Ambiguous: two_disks_of_one_serial,
    SourceUnreadable: a_source_that_gives_nothing,
    Locked: keys_that_open_nothing,
    SourceInUse: a_source_that_is_mounted_for_writing,
    DestinationIsSource: the_source_as_its_own_destination,
    TooSmall: a_destination_that_is_too_small,
    BootMedium: the_boot_medium_as_destination,
    HoldsImage: the_disk_that_holds_the_image,
    OnSource: a_store_on_the_source,
    InUse: a_destination_that_is_mounted,
    ReadOnly: a_destination_that_is_write_protected,
    SectorSizes: sectors_of_another_size,
    NoRoom: a_store_without_room_for_the_estimate,
    FileTooLarge: a_store_whose_files_are_limited,
    NameTaken: a_name_that_is_taken,
    BadName: names_that_no_image_can_have,
    ImageMissing: an_image_that_is_not_there,
    ImageUnfinished: an_image_that_is_unfinished,
    UnfinishedOther: an_unfinished_image_of_another_state_of_the_disk,
    ImageForeign: a_file_that_is_no_image,
    ImageNewer: an_image_from_the_future,
    MapForeign: the_map_of_another_job,
    CannotGrow: a_partition_that_cannot_grow,
    Passphrase: a_passphrase_that_nobody_gave,
    Other: a_store_that_is_no_directory,
}

/// Every reason against a request; each is a sentence, and nothing on the machine changed or was opened for writing.
#[track_caller]
fn reasons(request: &Request, host: &FakeHost, disks: &[&FakeDisk]) -> Vec<Refusal> {
    let before: Vec<Vec<u8>> = disks.iter().map(|disk| disk.bytes()).collect();
    let written: Vec<u64> = disks.iter().map(|disk| disk.sectors_written()).collect();
    let (states, calls) = (host.states(), host.calls().len());
    let refusals = match prepare(request, host) {
        Ok(plan) => panic!("it was planned: {:?}", plan.lines()),
        Err(refusals) => refusals,
    };
    for refusal in &refusals {
        let _: fn() = test_of(refusal);
        let text = refusal.to_string();
        assert!(!text.is_empty() && !text.ends_with('.'), "{text}");
    }
    let after: Vec<u64> = disks.iter().map(|disk| disk.sectors_written()).collect();
    assert_eq!(after, written);
    for (disk, before) in disks.iter().zip(before) {
        assert!(disk.bytes() == before, "{disk:?} was changed");
    }
    assert_eq!(host.states(), states);
    let opened = host.calls().split_off(calls);
    let only_read = |call: &Call| matches!(call, Call::OpenSource(_));
    assert!(opened.iter().all(only_read), "{opened:?}");
    refusals
}

/// The one reason against it.
#[track_caller]
fn reason(request: &Request, bench: &Bench) -> Refusal {
    let mut refusals = reasons(request, &bench.host, &[&bench.source, &bench.destination]);
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    refusals.remove(0)
}

#[track_caller]
fn says(refusal: &Refusal, words: &[&str]) {
    let text = refusal.to_string();
    for word in words {
        assert!(text.contains(word), "'{word}' is missing: {text}");
    }
}

fn options(request: Request, change: impl FnOnce(&mut Options)) -> Request {
    let mut request = request;
    change(&mut request.options);
    request
}

/// A LUKS1 header by its specification, whose one slot no passphrase opens.
fn locked_bytes(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for (at, word) in [
        (0, &b"LUKS\xba\xbe\0\x01"[..]),
        (8, b"aes"),
        (40, b"xts-plain64"),
        (72, b"sha256"),
    ] {
        bytes[at..at + word.len()].copy_from_slice(word);
    }
    // Payload, key length, iterations of the digest; state, iterations, place and stripes of the slot.
    for (at, number) in [
        (104, 4096u32),
        (108, 64),
        (164, 1000),
        (208, 0x00AC_71F3),
        (212, 1000),
        (248, 8),
        (252, 4000),
    ] {
        bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
    }
    bytes
}

/// A store at `/mnt` with an image `pc` of the source.
fn imaged(bench: &Bench) -> FakeStore {
    let store = FakeStore::new("/mnt", 1 << 30);
    bench.host.add_store("/mnt", &store);
    let report = run(&request(image("/dev/sda", "/mnt", "pc")), &bench.host);
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    store
}

/// The same store with the image begun only.
fn begun(bench: &Bench) -> FakeStore {
    let store = FakeStore::new("/mnt", 1 << 30);
    bench.host.add_store("/mnt", &store);
    let cancel = Cancel::default();
    let monitor = CancelAt {
        cancel: &cancel,
        left: 30.into(),
    };
    let wanted = request(image("/dev/sda", "/mnt", "pc"));
    let report = run_watched(&wanted, &bench.host, &monitor, &cancel);
    assert_eq!(report.outcome.exit_code(), 4, "{report:?}");
    store
}

/// Both jobs that write to a disk.
fn onto_sdb(bench: &Bench) -> [Request; 2] {
    imaged(bench);
    [
        request(clone("/dev/sda", "/dev/sdb")),
        request(restore("/mnt/pc.img.zst", "/dev/sdb")),
    ]
}

fn mounted(device: &str, mode: MountMode) -> Use {
    Use::Mounted {
        device: device.into(),
        at: "/media/x".into(),
        mode,
    }
}

#[test]
fn a_disk_that_is_not_there() {
    let bench = Bench::new(8, 1);
    let absent = DiskName::Serial("ABSENT".into());
    let source = Action::Clone {
        source: absent.clone(),
        destination: DiskName::Path("/dev/sdb".into()),
    };
    let destination = Action::Clone {
        source: DiskName::Path("/dev/sda".into()),
        destination: absent,
    };
    for action in [source, destination] {
        let refusal = reason(&request(action), &bench);
        assert!(matches!(refusal, Refusal::NotFound { .. }), "{refusal:?}");
        says(&refusal, &["serial:ABSENT", "rescue disks"]);
    }
}

#[test]
fn two_disks_of_one_serial() {
    let bench = Bench::new(8, 2);
    let twin = FakeDisk::new("/dev/sdc", "DEST0002", bench.destination.bytes());
    bench.host.add(&twin);
    let action = Action::Clone {
        source: DiskName::Path("/dev/sda".into()),
        destination: DiskName::Serial("DEST0002".into()),
    };
    let refusal = reason(&request(action), &bench);
    assert!(matches!(refusal, Refusal::Ambiguous { .. }), "{refusal:?}");
    says(&refusal, &["serial:DEST0002", "/dev/sdb", "/dev/sdc"]);
    assert_eq!(twin.sectors_written(), 0);
}

#[test]
fn keys_that_open_nothing() {
    let bench = Bench::new(8, 2);
    let locked = FakeDisk::new("/dev/sdl", "LOCKED", locked_bytes(8 << 20));
    bench.host.add(&locked);
    let wanted = request(clone("/dev/sdl", "/dev/sdb"));
    let keyless = prepare(&wanted, &bench.host).unwrap();
    let whole = |text: &String| text.contains("up to 8.4 MB less") && text.contains("--unlock");
    assert!(
        keyless.warnings().iter().any(whole),
        "{:?}",
        keyless.warnings()
    );
    let keys = Keys::new(vec![Secret::Passphrase(b"wrong".to_vec().into())]);
    let with_key = |wanted: Request| options(wanted, |options| options.unlock.keys = keys.clone());
    let mut refusals = reasons(
        &with_key(wanted),
        &bench.host,
        &[&locked, &bench.destination],
    );
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    says(
        &refusals.remove(0),
        &["LOCKED", "no passphrase", "give another"],
    );
    let wanted = with_key(request(clone("/dev/sda", "/dev/sdb")));
    assert!(wanted.to_string().ends_with(" --unlock"), "{wanted}");
    let plan = prepare(&wanted, &bench.host).unwrap();
    let needless = |text: &String| text.contains("no key was needed");
    assert!(
        plan.warnings().iter().any(needless),
        "{:?}",
        plan.warnings()
    );
}

#[test]
fn a_source_that_gives_nothing() {
    let bench = Bench::new(8, 3);
    bench.source.set_bad(map(&[(0, 8 << 20)]));
    let refusal = reason(&request(clone("/dev/sda", "/dev/sdb")), &bench);
    assert!(
        matches!(refusal, Refusal::SourceUnreadable { .. }),
        "{refusal:?}"
    );
    says(&refusal, &["/dev/sda", "cable"]);
}

#[test]
fn a_source_that_is_mounted_for_writing() {
    let bench = Bench::new(8, 4);
    bench
        .host
        .add_store("/mnt", &FakeStore::new("/mnt", 1 << 30));
    bench
        .source
        .use_by(mounted("/dev/sda1", MountMode::ReadWrite));
    for action in [
        clone("/dev/sda", "/dev/sdb"),
        image("/dev/sda", "/mnt", "pc"),
    ] {
        let refusal = reason(&request(action.clone()), &bench);
        assert!(
            matches!(refusal, Refusal::SourceInUse { .. }),
            "{refusal:?}"
        );
        says(
            &refusal,
            &["/dev/sda", "mounted at /media/x", "unmount it", "--live"],
        );
        // Whoever wants it all the same gets it, with a warning.
        let live = options(request(action), |o| o.liveness = Liveness::Live);
        let plan = prepare(&live, &bench.host).unwrap();
        assert!(plan.warnings().iter().any(|w| w.contains("torn")));
        assert!(live.to_string().contains(" --live"), "{live}");
    }
}

#[test]
fn a_source_that_is_mounted_read_only_is_copied_with_a_warning() {
    let bench = Bench::new(8, 5);
    bench
        .source
        .use_by(mounted("/dev/sda1", MountMode::ReadOnly));
    let plan = prepare(&request(clone("/dev/sda", "/dev/sdb")), &bench.host).unwrap();
    let said = plan.warnings().join("\n");
    assert!(said.contains("mounted read-only at /media/x"), "{said}");
}

#[test]
fn the_source_as_its_own_destination() {
    let bench = Bench::new(8, 6);
    let refusal = reason(&request(clone("/dev/sda", "/dev/sda")), &bench);
    assert!(
        matches!(refusal, Refusal::DestinationIsSource { .. }),
        "{refusal:?}"
    );
    // By another name too.
    let other = Action::Clone {
        source: DiskName::Path("/dev/sda".into()),
        destination: DiskName::Serial("SOURCE01".into()),
    };
    let refusal = reason(&request(other), &bench);
    says(&refusal, &["/dev/sda", "both source and destination"]);
}

#[test]
fn a_destination_that_is_too_small() {
    let bench = Bench::new(8, 7);
    imaged(&bench);
    let small = FakeDisk::new("/dev/sdc", "SMALL003", vec![7; 8 * MIB - 512]);
    bench.host.add(&small);
    for action in [
        clone("/dev/sda", "/dev/sdc"),
        restore("/mnt/pc.img.zst", "/dev/sdc"),
        verify("/mnt/pc.img.zst", "/dev/sdc"),
    ] {
        let refusal = reason(&request(action), &bench);
        assert!(matches!(refusal, Refusal::TooSmall { .. }), "{refusal:?}");
        says(&refusal, &["/dev/sdc", "8388096 bytes", "8388608 bytes"]);
    }
    assert!(small.bytes() == vec![7; 8 * MIB - 512]);
}

#[test]
fn the_boot_medium_as_destination() {
    let bench = Bench::new(8, 8);
    let wanted = onto_sdb(&bench);
    bench.destination.show(|disk| disk.boot_medium = true);
    for request in wanted {
        let refusal = reason(&request, &bench);
        assert!(matches!(refusal, Refusal::BootMedium { .. }), "{refusal:?}");
        says(&refusal, &["/dev/sdb", "was started from"]);
    }
}

#[test]
fn the_disk_that_holds_the_image() {
    let bench = Bench::new(8, 9);
    imaged(&bench).on(&bench.destination);
    let refusal = reason(&request(restore("/mnt/pc.img.zst", "/dev/sdb")), &bench);
    assert!(matches!(refusal, Refusal::HoldsImage { .. }), "{refusal:?}");
    says(&refusal, &["/dev/sdb", "/mnt/pc.img.zst"]);
    // The file of the image itself is no destination either.
    let file = FakeDisk::file(Path::new("/mnt/pc.img.zst"), vec![0; 16 * MIB]);
    bench.host.add(&file);
    let onto_itself = request(restore("/mnt/pc.img.zst", "/mnt/pc.img.zst"));
    let refusal = reason(&onto_itself, &bench);
    assert!(matches!(refusal, Refusal::HoldsImage { .. }), "{refusal:?}");
}

#[test]
fn a_store_on_the_source() {
    let bench = Bench::new(8, 10);
    let store = FakeStore::new("/mnt", 1 << 30);
    store.on(&bench.source);
    bench.host.add_store("/mnt", &store);
    let file = FakeDisk::file(Path::new("/mnt/old.img"), vec![0; 9 * MIB]);
    bench.host.add(&file);
    let sda_to = |to: &str| request(clone("/dev/sda", to));
    let with_map = |request| options(request, |o| o.map = Some("/mnt/job.map".into()));
    for (request, reasons) in [
        (request(image("/dev/sda", "/mnt", "pc")), 1),
        // The file and the map beside it.
        (sda_to("/mnt/new.img"), 2),
        (sda_to("/mnt/old.img"), 2),
        (with_map(sda_to("/dev/sdb")), 1),
    ] {
        let refusals = self::reasons(&request, &bench.host, &[&bench.source, &file]);
        assert_eq!(refusals.len(), reasons, "{refusals:?}");
        for refusal in refusals {
            assert!(matches!(refusal, Refusal::OnSource { .. }), "{refusal:?}");
            says(&refusal, &["/dev/sda", "/mnt", "never written"]);
        }
    }
    assert!(store.get("pc.img.zst.unfinished").is_none());
}

fn used_by(used: Use, words: &[&str]) {
    let bench = Bench::new(8, 11);
    let wanted = onto_sdb(&bench);
    bench.destination.use_by(used);
    for request in wanted {
        let refusal = reason(&request, &bench);
        assert!(matches!(refusal, Refusal::InUse { .. }), "{refusal:?}");
        says(&refusal, &["/dev/sdb"]);
        says(&refusal, words);
    }
}

#[test]
fn a_destination_that_is_mounted() {
    used_by(
        mounted("/dev/sdb1", MountMode::ReadWrite),
        &["/dev/sdb1 is mounted at /media/x", "unmount"],
    );
    used_by(
        mounted("/dev/sdb1", MountMode::ReadOnly),
        &["mounted read-only at /media/x"],
    );
}

#[test]
fn a_destination_that_is_swapped_to() {
    let device = "/dev/sdb2".into();
    used_by(Use::Swap { device }, &["/dev/sdb2 is in use as swap"]);
}

#[test]
fn a_destination_that_is_part_of_a_volume() {
    let used = Use::Held {
        device: "/dev/sdb3".into(),
        by: "dm-0 (vg-root)".into(),
    };
    used_by(used, &["/dev/sdb3 is held by dm-0 (vg-root)"]);
}

#[test]
fn a_destination_that_is_write_protected() {
    let bench = Bench::new(8, 12);
    let wanted = onto_sdb(&bench);
    bench.destination.show(|disk| disk.read_only = true);
    for request in wanted {
        let refusal = reason(&request, &bench);
        assert!(matches!(refusal, Refusal::ReadOnly { .. }), "{refusal:?}");
        says(&refusal, &["/dev/sdb", "write-protected"]);
    }
}

#[test]
fn sectors_of_another_size() {
    let bench = Bench::new(8, 13);
    let wanted = onto_sdb(&bench);
    bench.destination.with_sectors(4096, 4096);
    for request in wanted {
        let refusal = reason(&request, &bench);
        assert!(
            matches!(
                refusal,
                Refusal::SectorSizes {
                    source_bytes: 512,
                    destination_bytes: 4096,
                    ..
                }
            ),
            "{refusal:?}"
        );
        says(&refusal, &["/dev/sdb", "4096", "512"]);
    }
    // The other way round.
    let bench = Bench::new(8, 14);
    let noise = scene::Dice::new(5).bytes(8 * MIB);
    let coarse = FakeDisk::new("/dev/sdc", "COARSE04", noise);
    coarse.with_sectors(4096, 4096);
    bench.host.add(&coarse);
    let refusal = reason(&request(clone("/dev/sdc", "/dev/sdb")), &bench);
    assert!(
        matches!(
            refusal,
            Refusal::SectorSizes {
                source_bytes: 4096,
                destination_bytes: 512,
                ..
            }
        ),
        "{refusal:?}"
    );
}

#[test]
fn a_store_without_room_for_the_estimate() {
    let bench = Bench::new(8, 15);
    let store = FakeStore::new("/mnt", 100_000);
    bench.host.add_store("/mnt", &store);
    for action in [
        image("/dev/sda", "/mnt", "pc"),
        clone("/dev/sda", "/mnt/copy.img"),
    ] {
        let refusal = reason(&request(action), &bench);
        assert!(matches!(refusal, Refusal::NoRoom { .. }), "{refusal:?}");
        says(&refusal, &["/mnt", "100 kB free"]);
    }
    assert!(store.get("pc.img.zst.unfinished").is_none());
    assert!(bench.host.disk("/mnt/copy.img").is_none());
}

#[test]
fn a_store_whose_files_are_limited() {
    let bench = Bench::new(8, 16);
    let store = FakeStore::new("/mnt", 1 << 30);
    store.set_file_limit(200_000);
    bench.host.add_store("/mnt", &store);
    let refusal = reason(&request(image("/dev/sda", "/mnt", "pc")), &bench);
    assert!(
        matches!(refusal, Refusal::FileTooLarge { .. }),
        "{refusal:?}"
    );
    says(&refusal, &["/mnt", "200 kB"]);
}

#[test]
fn a_name_that_is_taken() {
    let bench = Bench::new(8, 17);
    let store = imaged(&bench);
    let before = store.get("pc.img.zst");
    let refusal = reason(&request(image("/dev/sda", "/mnt", "pc")), &bench);
    assert!(matches!(refusal, Refusal::NameTaken { .. }), "{refusal:?}");
    says(&refusal, &["/mnt", "pc.img.zst", "another name"]);
    assert!(store.get("pc.img.zst") == before);
}

#[test]
fn names_that_no_image_can_have() {
    let bench = Bench::new(8, 18);
    bench
        .host
        .add_store("/mnt", &FakeStore::new("/mnt", 1 << 30));
    let long = "x".repeat(201);
    for name in ["", "a/b", "..", ".hidden", "a\nb", long.as_str()] {
        let refusal = reason(&request(image("/dev/sda", "/mnt", name)), &bench);
        assert!(matches!(refusal, Refusal::BadName { .. }), "{refusal:?}");
        says(&refusal, &["another name"]);
    }
}

/// By every job that reads an image.
#[track_caller]
fn of_image(place: &str, bench: &Bench) -> Vec<Refusal> {
    let check = Action::Check {
        image: Place::Path(place.into()),
    };
    let jobs = [restore(place, "/dev/sdb"), verify(place, "/dev/sdb"), check];
    jobs.map(|job| reason(&request(job), bench)).to_vec()
}

#[test]
fn an_image_that_is_not_there() {
    let bench = Bench::new(8, 19);
    imaged(&bench);
    for refusal in of_image("/mnt/absent.img.zst", &bench) {
        assert!(
            matches!(refusal, Refusal::ImageMissing { .. }),
            "{refusal:?}"
        );
        says(&refusal, &["/mnt/absent.img.zst"]);
    }
}

#[test]
fn an_image_that_is_unfinished() {
    let bench = Bench::new(8, 20);
    begun(&bench);
    for refusal in of_image("/mnt/pc.img.zst.unfinished", &bench) {
        assert!(
            matches!(refusal, Refusal::ImageUnfinished { .. }),
            "{refusal:?}"
        );
        says(&refusal, &["pc.img.zst.unfinished", "again to finish it"]);
    }
}

#[test]
fn an_unfinished_image_of_another_state_of_the_disk() {
    let bench = Bench::new(8, 21);
    let store = begun(&bench);
    let before = store.get("pc.img.zst.unfinished");
    bench.host.remove("/dev/sda");
    let changed = FakeDisk::new("/dev/sda", "SOURCE01", disk_bytes(8, 2121));
    bench.host.add(&changed);
    let refusal = reason(&request(image("/dev/sda", "/mnt", "pc")), &bench);
    assert!(
        matches!(refusal, Refusal::UnfinishedOther { .. }),
        "{refusal:?}"
    );
    says(&refusal, &["pc.img.zst.unfinished", "another name"]);
    assert!(store.get("pc.img.zst.unfinished") == before);
}

#[test]
fn a_file_that_is_no_image() {
    let bench = Bench::new(8, 22);
    let store = imaged(&bench);
    store.put("foreign.zst", b"this is not an image at all".to_vec());
    for refusal in of_image("/mnt/foreign.zst", &bench) {
        assert!(
            matches!(refusal, Refusal::ImageForeign { .. }),
            "{refusal:?}"
        );
        says(&refusal, &["/mnt/foreign.zst", "rescue image"]);
    }
}

#[test]
fn a_passphrase_that_nobody_gave() {
    let bench = Bench::new(8, 22);
    let store = imaged(&bench);
    let keyring = Arc::new(Keyring::new(engine::random::fill));
    keyring.add(b"open sesame");
    let memory = MemoryStore::new();
    let seal = engine::sealing::new_seal(&keyring).unwrap();
    let sealed = Sealed::new(Arc::new(memory.clone()), keyring, Some(seal));
    drop(sealed.create("sealed.img.zst").unwrap());
    store.put("sealed.img.zst", memory.get("sealed.img.zst").unwrap());
    let wants = |refusal: &Refusal, which: Passphrase| matches!(refusal, Refusal::Passphrase { wanted, .. } if *wanted == which);
    for refusal in of_image("/mnt/sealed.img.zst", &bench) {
        assert!(wants(&refusal, Passphrase::Known), "{refusal:?}");
        says(&refusal, &["/mnt/sealed.img.zst", "give its passphrase"]);
    }
    let new = request(image("/dev/sda", "/mnt", "another"));
    let new = options(new, |options| options.sealing = Sealing::Sealed);
    let refusal = reason(&new, &bench);
    assert!(wants(&refusal, Passphrase::New), "{refusal:?}");
    says(&refusal, &["no passphrase to seal with"]);
}

#[test]
fn an_image_from_the_future() {
    let bench = Bench::new(8, 23);
    let store = imaged(&bench);
    let mut bytes = store.get("pc.img.zst").unwrap();
    // FORMAT.md: a frame of ours begins 8 bytes before its name, its version stands at 40 in the frame, and its
    // last 32 bytes are the digest of the others.
    let name = bytes.windows(8).position(|w| w == b"rescHEAD").unwrap();
    let size = u32::from_le_bytes(bytes[name - 4..name].try_into().unwrap());
    let frame = &mut bytes[name - 8..name + usize::try_from(size).unwrap()];
    frame[40..44].copy_from_slice(&77u32.to_le_bytes());
    let (content, digest) = frame.split_at_mut(frame.len() - 32);
    digest.copy_from_slice(blake3::hash(content).as_bytes());
    store.put("future.img.zst", bytes);
    for refusal in of_image("/mnt/future.img.zst", &bench) {
        assert!(
            matches!(refusal, Refusal::ImageNewer { version: 77, .. }),
            "{refusal:?}"
        );
        says(&refusal, &["/mnt/future.img.zst", "77", "newer rescue"]);
    }
}

#[test]
fn the_map_of_another_job() {
    let bench = Bench::new(8, 24);
    let third = FakeDisk::new("/dev/sdc", "THIRD003", vec![0; 9 * MIB]);
    bench.host.add(&third);
    bench
        .host
        .add_store("/mnt", &FakeStore::new("/mnt", 1 << 30));
    let map: PathBuf = "/state/job.map".into();
    let with_map = |action| options(request(action), |o| o.map = Some(map.clone()));
    let report = run(&with_map(clone("/dev/sda", "/dev/sdb")), &bench.host);
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    for action in [
        clone("/dev/sda", "/dev/sdc"),
        clone("/dev/sdc", "/dev/sdb"),
        image("/dev/sda", "/mnt", "pc"),
    ] {
        let refusals = reasons(&with_map(action), &bench.host, &[&third, &bench.source]);
        // The third disk may be too large for the second beside that.
        let foreign = |r: &&Refusal| matches!(r, Refusal::MapForeign { .. });
        let refusal = refusals.iter().find(foreign).unwrap();
        says(refusal, &["/state/job.map", "--map"]);
    }
    // A file that is no map is never replaced by one.
    let mine = b"my letters".to_vec();
    bench.host.write_state(&map, &mine).unwrap();
    for action in [
        clone("/dev/sda", "/dev/sdb"),
        image("/dev/sda", "/mnt", "pc"),
    ] {
        let refusal = reason(&with_map(action), &bench);
        assert!(matches!(refusal, Refusal::MapForeign { .. }), "{refusal:?}");
    }
    assert_eq!(bench.host.read_state(&map).unwrap(), Some(mine));
}

#[test]
fn a_partition_that_cannot_grow() {
    let bench = Bench::new(8, 25);
    let same = FakeDisk::new("/dev/sdc", "SAME0003", vec![0; 8 * MIB]);
    let bare = FakeDisk::new("/dev/sdd", "BARE0004", vec![0; 8 * MIB]);
    bench.host.add(&same);
    bench.host.add(&bare);
    bench
        .host
        .add_store("/mnt", &FakeStore::new("/mnt", 1 << 30));
    for (from, to) in [
        ("/dev/sda", "/dev/sdc"),
        ("/dev/sdd", "/dev/sdb"),
        ("/dev/sda", "/mnt/new.img"),
    ] {
        let wanted = options(request(clone(from, to)), |o| {
            o.growth = Growth::LastPartition;
        });
        let refusal = reason(&wanted, &bench);
        assert!(matches!(refusal, Refusal::CannotGrow { .. }), "{refusal:?}");
        says(&refusal, &["--grow"]);
    }
}

#[test]
fn a_store_that_is_no_directory() {
    let bench = Bench::new(8, 26);
    bench
        .host
        .add_store("/mnt", &FakeStore::new("/mnt", 1 << 30));
    for store in ["/absent", "/mnt/absent"] {
        let refusal = reason(&request(image("/dev/sda", store, "pc")), &bench);
        assert!(matches!(refusal, Refusal::Other { .. }), "{refusal:?}");
        says(&refusal, &["no directory", "absent"]);
    }
}

#[test]
fn every_reason_is_given_at_once() {
    let bench = Bench::new(8, 27);
    let small = FakeDisk::new("/dev/sdc", "SMALL003", vec![7; MIB]);
    small
        .show(|disk| (disk.boot_medium, disk.read_only) = (true, true))
        .use_by(mounted("/dev/sdc1", MountMode::ReadWrite));
    bench.host.add(&small);
    bench
        .source
        .use_by(mounted("/dev/sda1", MountMode::ReadWrite));
    let refusals = reasons(
        &request(clone("/dev/sda", "/dev/sdc")),
        &bench.host,
        &[&bench.source, &small],
    );
    let names: Vec<&str> = refusals
        .iter()
        .map(|refusal| match refusal {
            Refusal::SourceInUse { .. } => "source in use",
            Refusal::BootMedium { .. } => "boot medium",
            Refusal::InUse { .. } => "in use",
            Refusal::ReadOnly { .. } => "read-only",
            Refusal::TooSmall { .. } => "too small",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        names,
        [
            "source in use",
            "boot medium",
            "in use",
            "read-only",
            "too small"
        ]
    );
}

#[test]
fn what_changed_since_the_plan_is_not_written_to() {
    for changed in ["/dev/sda", "/dev/sdb"] {
        let bench = Bench::new(8, 28);
        let wanted = request(clone("/dev/sda", "/dev/sdb"));
        let approved = consented(prepare(&wanted, &bench.host).unwrap());
        let disk = bench.host.disk(changed).unwrap();
        let serial = disk.identity().serial.unwrap();
        let mut bytes = disk.bytes();
        bytes[1000] ^= 1;
        bench.host.remove(changed);
        let other = FakeDisk::new(changed, &serial, bytes.clone());
        bench.host.add(&other);
        let report = run_tuned(
            &approved,
            &bench.host,
            &Silent,
            &Cancel::default(),
            tuning(),
        );
        assert_eq!(report.outcome.exit_code(), 1);
        let said = report.to_string();
        assert!(
            said.contains(changed) && said.contains("has changed since the plan"),
            "{said}"
        );
        assert!(other.bytes() == bytes && other.sectors_written() == 0);
        let opened = |call: &Call| matches!(call, Call::OpenDestination(_) | Call::OpenStore(_));
        assert!(!bench.host.calls().iter().any(opened));
    }
}

#[test]
fn the_approval_of_a_plan_for_looking_lets_nothing_be_written() {
    let bench = Bench::new(8, 29);
    let store = FakeStore::new("/mnt", 1 << 30);
    bench.host.add_store("/mnt", &store);
    for action in [
        clone("/dev/sda", "/dev/sdb"),
        image("/dev/sda", "/mnt", "pc"),
    ] {
        let shown = engine::plan::Shown {
            source: bench
                .host
                .find(&DiskName::Path("/dev/sda".into()))
                .unwrap()
                .pop(),
            destination: bench
                .host
                .find(&DiskName::Path("/dev/sdb".into()))
                .unwrap()
                .pop(),
            ..Default::default()
        };
        let plan = engine::plan::Plan::shown(&request(action), shown);
        let report = run_tuned(
            &consented(plan),
            &bench.host,
            &Silent,
            &Cancel::default(),
            tuning(),
        );
        assert_eq!(report.outcome.exit_code(), 1);
        assert!(
            report.to_string().contains("nothing was written"),
            "{report}"
        );
    }
    assert_eq!(bench.destination.sectors_written(), 0);
    assert!(store.get("pc.img.zst.unfinished").is_none());
}
