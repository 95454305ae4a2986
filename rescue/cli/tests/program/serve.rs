//! `rescue serve`: an image as a network block device, judged by the tools of the NBD project and of QEMU.
//! `rescue mount`: as files, judged by the kernel.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::made::{self, EXT4, digest, disk, shell, tool};

/// A running server, of a network or of files; it is ended when it is dropped.
struct Server {
    child: Child,
    err: BufReader<std::process::ChildStderr>,
    url: String,
}

impl Server {
    fn start(directory: &Path, words: &[&str]) -> Server {
        Server::run(directory, "serve", words)
    }

    #[expect(
        clippy::zombie_processes,
        reason = "it is waited for when it is dropped"
    )]
    fn run(directory: &Path, command: &str, words: &[&str]) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rescue"))
            .arg(command)
            .args(words)
            .current_dir(directory)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(err.read_line(&mut line).unwrap(), 0, "it ended: {said}");
            if let Some((url, _)) = line.split_once(" is ready") {
                let url = url.to_owned();
                return Server { child, err, url };
            }
            said += &line;
        }
    }

    /// Of another export than the whole disk.
    fn export(&self, name: &str) -> String {
        match self.url.strip_prefix("nbd+unix:///") {
            Some(rest) => format!("nbd+unix:///{name}{rest}"),
            None => format!("{}/{name}", self.url),
        }
    }

    /// As Ctrl-C does it; what the report said.
    fn end(mut self) -> String {
        shell(&format!("kill -INT {}", self.child.id()));
        let mut said = String::new();
        self.err.read_to_string(&mut said).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{said}");
        said
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The made disk's image, under the name `pc.img.zst`, and what a restore of it gives.
fn imaged(directory: &TempDir) -> &'static Path {
    static MADE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (made, restored) = MADE.get_or_init(|| {
        let made = TempDir::new().unwrap();
        let dir = made.path().display();
        let rescue = env!("CARGO_BIN_EXE_rescue");
        shell(&format!(
            "cd {dir}; {rescue} image {} . --name pc --no-verify 2>/dev/null; zstd -qdc pc.img.zst >restored.img",
            disk().display()
        ));
        let restored = made.path().join("restored.img");
        (made, restored)
    });
    fs::copy(
        made.path().join("pc.img.zst"),
        directory.path().join("pc.img.zst"),
    )
    .unwrap();
    restored
}

#[test]
fn nbdcopy_and_qemu_img_get_what_a_restore_gives() {
    let dir = TempDir::new().unwrap();
    let restored = imaged(&dir);
    let server = Server::start(dir.path(), &["pc.img.zst", "--listen", "127.0.0.1:0"]);
    let at = |name: &str| dir.path().join(name).display().to_string();
    tool("nbdcopy", &[&server.url, &at("copied.img")]);
    assert_eq!(digest(Path::new(&at("copied.img"))), digest(restored));
    tool(
        "qemu-img",
        &[
            "convert",
            "-f",
            "raw",
            &server.url,
            "-O",
            "raw",
            &at("converted.img"),
        ],
    );
    assert_eq!(digest(Path::new(&at("converted.img"))), digest(restored));
    tool("nbdcopy", &[&server.export("2"), &at("root.img")]);
    let (_, start, len) = EXT4;
    shell(&format!(
        "cmp {} <(dd if={} bs=1M skip={start} count={len} status=none)",
        at("root.img"),
        restored.display()
    ));
    tool("e2fsck", &["-fn", &at("root.img")]);
    let list = tool("nbdinfo", &["--list", "--json", &server.url]);
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    let exports = list["exports"].as_array().unwrap();
    let names: Vec<&str> = exports
        .iter()
        .filter_map(|e| e["export-name"].as_str())
        .collect();
    assert_eq!(names, ["", "1", "2", "3", "4"]);
    assert_eq!(exports[0]["is_read_only"], true);
    assert!(
        exports[0]["contexts"]
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c == "base:allocation")
    );
    let said = server.end();
    assert!(said.contains("connections were served"), "{said}");
}

/// Start and length of every run that block status calls a hole.
fn holes(url: &str) -> Vec<(u64, u64)> {
    let map = tool("nbdinfo", &["--map", "--json", url]);
    let map: serde_json::Value = serde_json::from_slice(&map.stdout).unwrap();
    let runs = map.as_array().unwrap().iter();
    let mut holes: Vec<(u64, u64)> = Vec::new();
    for run in runs.filter(|run| run["type"].as_u64().unwrap() & 1 == 1) {
        let (start, len) = (
            run["offset"].as_u64().unwrap(),
            run["length"].as_u64().unwrap(),
        );
        match holes.last_mut() {
            Some(last) if last.0 + last.1 == start => last.1 += len,
            _ => holes.push((start, len)),
        }
    }
    holes
}

#[test]
fn block_status_is_the_used_map() {
    let dir = TempDir::new().unwrap();
    imaged(&dir);
    let map = shell(&format!(
        "{} map {} | grep -v '^#' | tail -n +2",
        env!("CARGO_BIN_EXE_rescue"),
        disk().display()
    ));
    let number = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap();
    let free: Vec<(u64, u64)> = map
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words[2] == "?")
        .map(|words| (number(words[0]), number(words[0]) + number(words[1])))
        // An image keeps whole granules of 4 KiB.
        .map(|(start, end)| (start.next_multiple_of(4096), end / 4096 * 4096))
        .filter(|(start, end)| start < end)
        .map(|(start, end)| (start, end - start))
        .collect();
    assert!(free.len() > 20, "{map}");
    let server = Server::start(dir.path(), &["pc.img.zst", "--socket", "sock"]);
    assert_eq!(holes(&server.url), free);
    server.end();
    assert!(!dir.path().join("sock").exists());
}

#[test]
fn without_an_overlay_nothing_can_be_written_with_one_it_is_thrown_away() {
    let dir = TempDir::new().unwrap();
    let restored = imaged(&dir);
    let before = digest(&dir.path().join("pc.img.zst"));
    let io = |server: &Server, acts: &[&str]| {
        let mut words = vec!["-f", "raw"];
        for act in acts {
            words.extend(["-c", act]);
        }
        words.push(&server.url);
        let output = Command::new("qemu-io").args(words).output().unwrap();
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        said += &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    };
    let server = Server::start(dir.path(), &["pc.img.zst", "--listen", "127.0.0.1:0"]);
    let (done, said) = io(&server, &["write 0 512"]);
    assert!(!done, "{said}");
    server.end();

    let server = Server::start(dir.path(), &["pc.img.zst", "--socket", "sock", "--overlay"]);
    let acts = [
        "write -P 0xa5 70000 300000",
        "write -z 1M 2M",
        "discard 50M 5M",
        "flush",
    ];
    let (done, said) = io(&server, &acts);
    assert!(done, "{said}");
    let expected = dir.path().join("expected.img");
    shell(&format!("cp {} {}", restored.display(), expected.display()));
    let mut words = vec!["-f", "raw"];
    for act in &acts[..2] {
        words.extend(["-c", act]);
    }
    words.push(expected.to_str().unwrap());
    tool("qemu-io", &words);
    // Whole cells that were discarded read as zeros; 50 MiB to 55 MiB are such.
    tool(
        "qemu-io",
        &[
            "-f",
            "raw",
            "-c",
            "write -z 50M 5M",
            expected.to_str().unwrap(),
        ],
    );
    let copied = dir.path().join("copied.img");
    tool("nbdcopy", &[&server.url, copied.to_str().unwrap()]);
    assert_eq!(digest(&copied), digest(&expected));
    server.end();
    assert_eq!(digest(&dir.path().join("pc.img.zst")), before);

    let server = Server::start(dir.path(), &["pc.img.zst", "--socket", "sock", "--overlay"]);
    tool(
        "nbdcopy",
        &[&server.url, dir.path().join("again.img").to_str().unwrap()],
    );
    assert_eq!(digest(&dir.path().join("again.img")), digest(restored));
    server.end();
}

/// Sends bytes to the server and reads until it hangs up or has nothing to say for a moment.
fn rude(url: &str, bytes: &[u8]) -> usize {
    let address = url.strip_prefix("nbd://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let _ = stream.write_all(bytes);
    let mut got = 0;
    let mut buf = [0; 4096];
    while let Ok(len @ 1..) = stream.read(&mut buf) {
        got += len;
    }
    got
}

#[test]
fn clients_that_send_rubbish_or_nothing_do_not_disturb_others() {
    let dir = TempDir::new().unwrap();
    let restored = imaged(&dir);
    let server = Server::start(dir.path(), &["pc.img.zst", "--listen", "127.0.0.1:0"]);
    let address = server.url.strip_prefix("nbd://").unwrap();
    let silent: Vec<TcpStream> = (0..10)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let option = |kind: u32, data: &[u8]| {
        let len = u32::try_from(data.len()).unwrap();
        [
            b"IHAVEOPT",
            &kind.to_be_bytes()[..],
            &len.to_be_bytes(),
            data,
        ]
        .concat()
    };
    let request = |command: u16, offset: u64, len: u32| {
        let mut bytes = Vec::from(0x2560_9513u32.to_be_bytes());
        bytes.extend(0u16.to_be_bytes());
        bytes.extend(command.to_be_bytes());
        bytes.extend(7u64.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
        bytes.extend(len.to_be_bytes());
        bytes
    };
    let hello = 3u32.to_be_bytes();
    let chosen = [&hello[..], &option(1, b"")].concat();
    let mut sent: Vec<Vec<u8>> = vec![
        vec![0xff; 1 << 16],
        [&hello[..], b"IHAVEOPT\0\0\0\x06\xff\xff\xff\xff"].concat(),
        [&hello[..], &option(6, &[0xff; 10])].concat(),
        [&hello[..], &option(7, b"\0\0\0\x04none\0\0")].concat(),
        [&hello[..], &option(10, b"\0\0\0\0\xff\xff\xff\xff")].concat(),
        [&hello[..], &option(1, b"none")].concat(),
    ];
    for command in 0..12 {
        for (offset, len) in [
            (0, 0),
            (u64::MAX, 1),
            (1 << 62, u32::MAX),
            (0, u32::MAX),
            (150 << 20, 1),
        ] {
            sent.push([&chosen[..], &request(command, offset, len), &[0xee; 64]].concat());
        }
    }
    // Bent copies of a whole conversation.
    let mut seed = 12345u64;
    let mut talk = chosen.clone();
    for command in [0u16, 3, 5, 1, 6, 2] {
        talk.extend(request(command, 4096, 4096));
    }
    for _ in 0..200 {
        let mut bent = talk.clone();
        for _ in 0..4 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = usize::try_from(seed >> 33).unwrap() % bent.len();
            bent[at] ^= u8::try_from(seed >> 56).unwrap() | 1;
        }
        sent.push(bent);
    }
    std::thread::scope(|threads| {
        for sent in sent.chunks(sent.len().div_ceil(8)) {
            let url = server.url.as_str();
            threads.spawn(move || {
                sent.iter().for_each(|bytes| {
                    rude(url, bytes);
                })
            });
        }
    });
    let began = Instant::now();
    let copied = dir.path().join("copied.img");
    tool("nbdcopy", &[&server.url, copied.to_str().unwrap()]);
    assert_eq!(digest(&copied), digest(restored));
    assert!(began.elapsed() < Duration::from_secs(60));
    drop(silent);
    let said = server.end();
    assert!(
        !said.contains("panicked") && !said.contains("made a mistake"),
        "{said}"
    );
}

#[test]
fn a_damaged_chunk_is_an_error_where_it_lies_and_nowhere_else() {
    let dir = TempDir::new().unwrap();
    imaged(&dir);
    let image = dir.path().join("pc.img.zst");
    let mut bytes = fs::read(&image).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&image, bytes).unwrap();
    let server = Server::start(dir.path(), &["pc.img.zst", "--listen", "127.0.0.1:0"]);
    let copied = dir.path().join("copied.img");
    let failed = Command::new("nbdcopy")
        .args([server.url.as_str(), copied.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(!failed.status.success());
    let read = |mib: u64| {
        let act = format!("read {mib}M 1M");
        let output = Command::new("qemu-io")
            .args(["-r", "-f", "raw", "-c", &act, &server.url])
            .output()
            .unwrap();
        output.status.success()
    };
    let lost = (0..150).filter(|mib| !read(*mib)).count();
    assert!((1..=4).contains(&lost), "{lost} MiB cannot be read");
    let said = server.end();
    assert!(said.contains("met damage"), "{said}");
}

#[test]
fn a_socket_that_is_there_is_refused() {
    let dir = TempDir::new().unwrap();
    imaged(&dir);
    fs::write(dir.path().join("sock"), "mine").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_rescue"))
        .args(["serve", "pc.img.zst", "--socket", "sock"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(fs::read(dir.path().join("sock")).unwrap(), b"mine");
}

#[test]
fn the_files_of_a_mounted_image_are_what_a_restore_gives() {
    let dir = TempDir::new().unwrap();
    let restored = imaged(&dir);
    fs::create_dir(dir.path().join("m")).unwrap();
    let mounted = Server::run(dir.path(), "mount", &["pc.img.zst", "m"]);
    let (_, start, len) = EXT4;
    shell(&format!(
        "cd {}; cmp m/disk.img {2}
         cmp m/partition-2.img <(dd if={2} bs=1M skip={start} count={len} status=none)
         [ \"$(ls m | tr '\\n' ' ')\" = 'disk.img partition-1.img partition-2.img partition-3.img partition-4.img ' ]
         e2fsck -fn m/partition-2.img >/dev/null 2>&1
         cp --sparse=auto m/disk.img sparse; cmp sparse {2}; [ $(du -k sparse | cut -f1) -lt {1} ]
         ! : 2>/dev/null >>m/disk.img && ! rm -f m/disk.img 2>/dev/null && ! touch m/new 2>/dev/null",
        dir.path().display(),
        made::SIZE_MIB * 1024 / 2,
        restored.display(),
    ));
    let said = mounted.end();
    assert!(said.contains("Done") || said.contains("done"), "{said}");
    assert_eq!(fs::read_dir(dir.path().join("m")).unwrap().count(), 0);
}

#[test]
fn a_mounted_image_ends_when_it_is_unmounted_and_says_where_it_is_damaged() {
    let dir = TempDir::new().unwrap();
    imaged(&dir);
    let image = dir.path().join("pc.img.zst");
    let mut bytes = fs::read(&image).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&image, bytes).unwrap();
    fs::create_dir(dir.path().join("m")).unwrap();
    let mut mounted = Server::run(dir.path(), "mount", &["pc.img.zst", "m"]);
    let disk = dir.path().join("m/disk.img");
    let lost = (0..made::SIZE_MIB)
        .filter(|mib| {
            let file = fs::File::open(&disk).unwrap();
            let mut row = vec![0; 1 << 20];
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut row, mib << 20).is_err()
        })
        .count();
    assert!((1..=4).contains(&lost), "{lost} MiB cannot be read");
    tool("umount", &[dir.path().join("m").to_str().unwrap()]);
    let mut said = String::new();
    mounted.err.read_to_string(&mut said).unwrap();
    assert_eq!(mounted.child.wait().unwrap().code(), Some(0), "{said}");
    assert!(said.contains("met damage"), "{said}");
}

#[test]
fn an_image_is_mounted_only_over_an_empty_directory() {
    let dir = TempDir::new().unwrap();
    imaged(&dir);
    for (place, why) in [
        (".", "is not empty"),
        ("pc.img.zst", "is no directory"),
        ("m", "is not there"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_rescue"))
            .args(["mount", "pc.img.zst", place])
            .current_dir(dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_sealed_image_is_served_and_mounted_with_its_passphrase() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let rescue = env!("CARGO_BIN_EXE_rescue");
    shell(&format!(
        "cd {}; head -c 9M /dev/urandom >disk; echo 'open sesame' >word; mkdir files
         {rescue} image disk . --name shut --seal --passphrase-file word --no-verify 2>/dev/null",
        path.display()
    ));
    let whole = digest(&path.join("disk"));
    let word = ["--passphrase-file", "word"];
    let socket = path.join("socket");
    let socket = socket.to_str().unwrap();

    let server = Server::start(
        path,
        &[&["shut.img.zst", "--socket", socket][..], &word].concat(),
    );
    tool("nbdcopy", &[&server.url, &format!("{socket}.out")]);
    assert_eq!(digest(&path.join("socket.out")), whole);
    server.end();

    let files = Server::run(
        path,
        "mount",
        &[&["shut.img.zst", "files"][..], &word].concat(),
    );
    let mounted = fs::read_dir(path.join("files")).unwrap().next().unwrap();
    assert_eq!(digest(&mounted.unwrap().path()), whole);
    files.end();

    let refused = made::rescue(path, &["serve", "shut.img.zst", "--socket", socket]);
    assert_eq!(refused.status.code(), Some(3));
}
