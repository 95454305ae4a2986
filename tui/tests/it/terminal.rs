//! The whole program by keys alone: real files, a real engine, a real terminal.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::pty::{Answers, Pty, start};

const ENTER: &str = "\r";
const END: &str = "\x1b[F";
const DOWN: &str = "\x1b[B";
const SIZE: usize = 24 << 20;

/// A disk without a table, so that all of it is taken: something, nothing, and something at its very end.
fn write_disk(path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    for (n, byte) in bytes[5 << 20..11 << 20].iter_mut().enumerate() {
        *byte = u8::try_from((n * 7 + n / 251) % 256).unwrap();
    }
    bytes[SIZE - 3..].copy_from_slice(b"end");
    fs::write(path, &bytes).unwrap();
    bytes
}

fn on_files(dir: &Path, term: &str) -> Pty {
    let args = ["--disk", "a.disk", "--store", "store"];
    fs::create_dir(dir.join("store")).unwrap();
    start(dir, term, (80, 24), Answers::Never, &args)
}

/// The file comes first, whatever disks this machine has.
fn choose_source(tui: &mut Pty, task: &str) {
    tui.press(task);
    tui.see("Disk to ");
    tui.see("a.disk");
    tui.press(ENTER);
}

/// The directory comes first, and the image is the only one in it.
fn choose_image(tui: &mut Pty, task: &str) {
    tui.press(task);
    tui.see("Where the image is");
    tui.see("► store");
    tui.press(ENTER);
    tui.see("before repair.img.zst");
    tui.press(ENTER);
}

#[test]
fn a_disk_is_cloned_onto_a_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = write_disk(&dir.path().join("a.disk"));
    let mut tui = on_files(dir.path(), "xterm");
    choose_source(&mut tui, "2");
    tui.see("onto which disk?");
    tui.press(END);
    tui.see("► another disk or file");
    tui.press("b.disk\r");
    tui.see("Settings");
    tui.press(ENTER);
    tui.see("nothing has been written yet");
    assert!(!dir.path().join("b.disk").exists());
    tui.press(ENTER);
    tui.see("Done. The clone is complete.");
    tui.press("s");
    tui.see("The report is saved as");
    tui.press(ENTER);
    tui.see("What do you want to do?");
    tui.press("\x03");
    tui.see("Leave this program?");
    tui.press("y");
    assert!(tui.ended().success());
    assert!(fs::read(dir.path().join("b.disk")).unwrap() == bytes);
    assert!(fs::read(dir.path().join("a.disk")).unwrap() == bytes);
    let report = fs::read_to_string(dir.path().join("rescue-report-1.json")).unwrap();
    assert!(report.contains("\"result\": \"done\""), "{report}");
}

#[test]
fn a_file_is_taken_out_of_a_disk() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("tree/home/anna")).unwrap();
    fs::write(dir.path().join("tree/home/anna/letter.txt"), "dear ben\n").unwrap();
    let made = Command::new("mkfs.ext4")
        .args(["-q", "-d", "tree", "a.disk", "16M"])
        .current_dir(dir.path())
        .status();
    assert!(made.expect("install e2fsprogs").success());
    let before = fs::read(dir.path().join("a.disk")).unwrap();
    let mut tui = on_files(dir.path(), "xterm");
    tui.press("6");
    tui.see("Where the image is");
    tui.press("d");
    tui.see("Disk to look into");
    tui.see("a.disk");
    tui.press(ENTER);
    tui.see("home/");
    tui.press(ENTER);
    tui.see("anna/");
    tui.press(ENTER);
    tui.see("letter.txt");
    tui.press(" c");
    tui.see("Where the files are put");
    tui.see("► store");
    tui.press(ENTER);
    tui.see("nothing has been written yet");
    assert!(!dir.path().join("store/letter.txt").exists());
    tui.press(ENTER);
    tui.see("Done. The files are copied.");
    tui.press(ENTER);
    let taken = fs::read_to_string(dir.path().join("store/letter.txt"));
    assert_eq!(taken.unwrap(), "dear ben\n");
    assert!(fs::read(dir.path().join("a.disk")).unwrap() == before);
    tui.press("\x03y");
    assert!(tui.ended().success());
}

#[test]
fn a_disk_is_imaged_restored_verified_and_its_image_checked() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = write_disk(&dir.path().join("a.disk"));
    let mut tui = on_files(dir.path(), "xterm-256color");
    tui.see("there.");

    choose_source(&mut tui, "1");
    tui.see("Where the image is put");
    tui.see("► store");
    tui.press(ENTER);
    tui.see("Settings");
    // Ctrl-U empties the name that is suggested.
    tui.press("\x15before repair\r");
    tui.see("nothing has been written yet");
    tui.press(ENTER);
    tui.see("Done. The image is complete.");
    tui.press(ENTER);
    assert!(dir.path().join("store/before repair.img.zst").exists());

    choose_image(&mut tui, "3");
    tui.see("Disk to write to");
    tui.press(END);
    tui.see("► another disk or file");
    tui.press("b.disk\r");
    tui.see("Settings");
    tui.press(ENTER);
    tui.see("nothing has been written yet");
    assert!(!dir.path().join("b.disk").exists());
    tui.press(ENTER);
    tui.see("Done. The disk is restored.");
    tui.press(ENTER);
    assert!(fs::read(dir.path().join("b.disk")).unwrap() == bytes);

    choose_source(&mut tui, "4");
    choose_image(&mut tui, "");
    tui.see("nothing has been written yet");
    tui.press(ENTER);
    tui.see("Done. Both are equal.");
    tui.press(ENTER);

    choose_image(&mut tui, "5");
    tui.see("nothing has been written yet");
    tui.press(ENTER);
    tui.see("Done. The image is sound.");
    assert!(fs::read(dir.path().join("a.disk")).unwrap() == bytes);
}

#[test]
fn an_existing_file_is_overwritten_only_after_its_name_was_typed() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = write_disk(&dir.path().join("a.disk"));
    let before = vec![0x55; SIZE];
    fs::write(dir.path().join("old.disk"), &before).unwrap();
    let mut tui = on_files(dir.path(), "linux");
    choose_source(&mut tui, "2");
    tui.see("onto which disk?");
    tui.press(END);
    tui.see("► another disk or file");
    tui.press("old.disk\r");
    tui.see("Settings");
    tui.press(ENTER);
    tui.see("nothing has been written yet");
    tui.press(ENTER);
    tui.see("type the name of the file");
    tui.press("yes\r");
    tui.see("'yes' is not it; nothing was written");
    assert!(fs::read(dir.path().join("old.disk")).unwrap() == before);
    tui.press("old.disk\r");
    tui.see("Done. The clone is complete.");
    assert!(fs::read(dir.path().join("old.disk")).unwrap() == bytes);
}

#[test]
fn what_is_refused_is_told_and_leads_back() {
    let dir = tempfile::tempdir().unwrap();
    write_disk(&dir.path().join("a.disk"));
    fs::write(dir.path().join("small.disk"), [0; 4096]).unwrap();
    let mut tui = on_files(dir.path(), "xterm");
    choose_source(&mut tui, "2");
    tui.see("onto which disk?");
    tui.press(END);
    tui.see("► another disk or file");
    tui.press("small.disk\r");
    tui.see("Settings");
    tui.press(ENTER);
    tui.see("This cannot be done");
    // Where the lines break depends on the folder.
    tui.see("25.2");
    tui.see("needed;");
    tui.press("\x1b");
    tui.see("Settings");
    assert!(fs::read(dir.path().join("small.disk")).unwrap() == [0; 4096]);
}

#[test]
fn a_signal_ends_it_and_the_terminal_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    write_disk(&dir.path().join("a.disk"));
    let mut tui = on_files(dir.path(), "xterm");
    tui.see("there.");
    kill(tui.id(), Signal::SIGTERM).unwrap();
    assert!(tui.ended().success());
    let sent = String::from_utf8_lossy(&tui.sent()).into_owned();
    assert!(
        sent.contains("\x1b[?1049l"),
        "the second screen was not left"
    );
    assert!(sent.contains("\x1b[?25h"), "the cursor stays hidden");
}

#[test]
fn a_serial_line_is_asked_for_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let answers = Answers::With {
        columns: 132,
        rows: 43,
    };
    let mut tui = start(dir.path(), "xterm", (0, 0), answers, &["--ascii"]);
    tui.see(" there.");
    let text = tui.text();
    let widest = text.lines().map(str::len).max().unwrap();
    assert_eq!((widest, text.lines().count()), (132, 43), "{text}");
    assert!(text.is_ascii(), "{text}");
}

#[test]
fn a_line_that_does_not_answer_has_80_columns_and_24_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut tui = start(dir.path(), "vt100", (0, 0), Answers::Never, &[]);
    tui.see(" there.");
    let text = tui.text();
    let widest = text.lines().map(str::len).max().unwrap();
    assert_eq!((widest, text.lines().count()), (80, 24), "{text}");
}

#[test]
fn a_disk_that_is_not_there_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut tui = start(
        dir.path(),
        "xterm",
        (80, 24),
        Answers::Never,
        &["--disk", "/dev/null"],
    );
    tui.see("neither a disk nor a regular file");
    tui.press(DOWN);
    tui.press("9");
    // The shell is /bin/true: it ends at once, and the screen is back.
    tui.see("What do you want to do?");
}

#[test]
fn a_terminal_that_goes_away_ends_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let pty = nix::pty::openpty(None, None).unwrap();
    // The copy is not handed on to the program, which would keep its own terminal alive with it.
    let mut master = fs::File::from(pty.master.try_clone().unwrap());
    drop(pty.master);
    let slave = || Stdio::from(pty.slave.try_clone().unwrap());
    let mut program = Command::new(env!("CARGO_BIN_EXE_rescue-tui"))
        .env("TERM", "xterm")
        .current_dir(dir.path())
        .stdin(slave())
        .stdout(slave())
        .stderr(slave())
        .spawn()
        .unwrap();
    drop(pty.slave);
    let (mut shown, mut piece) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&shown).contains("Leave") {
        let len = master.read(&mut piece).unwrap();
        shown.extend_from_slice(&piece[..len]);
    }
    drop(master);
    let end = Instant::now() + Duration::from_secs(20);
    while program.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            program.kill().unwrap();
            panic!("the program goes on without a terminal");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
