//! Encrypted volumes by cryptsetup, qemu-img and python3-cryptography.

use std::{fs, iter};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::ext;
use crate::made::{all_of, blank, read_at, run, run_any, write_at};

pub const PASSPHRASE: &str = "correct horse";
const PACKAGE: &str = "cryptsetup-bin";
const SIZE: u64 = 14 << 20;

/// A volume with a filesystem that is not half full.
pub struct Volume {
    pub name: String,
    pub file: NamedTempFile,
    /// What was encrypted.
    pub plain: NamedTempFile,
    pub payload: u64,
    pub key: Vec<u8>,
}

impl Volume {
    pub fn new(options: &str) -> Volume {
        let small = match options.contains("luks2") {
            true => "--luks2-keyslots-size 512k --offset 2048",
            false => "--align-payload 2048",
        };
        let file = formatted(SIZE, &format!("{options} {small}"));
        let text = dump(&file);
        let payload = payload(&text);
        let plain = filled(SIZE - payload);
        let key = volume_key(&file);
        let cipher = option(options, "--cipher").unwrap_or("aes-xts-plain64");
        let sector = option(options, "--sector-size").unwrap_or("512");
        encrypt(&plain, &file, payload, &key, cipher, sector);
        Volume {
            name: options.into(),
            file,
            plain,
            payload,
            key,
        }
    }

    pub fn by_qemu() -> Volume {
        let plain = filled(12 << 20);
        let file = NamedTempFile::new().unwrap();
        let secret = format!("secret,id=key,data={PASSPHRASE}");
        let [from, to] = [&plain, &file].map(|file| file.path().to_str().unwrap());
        let options = "key-secret=key,iter-time=10";
        let convert = [
            "convert", "--object", &secret, "-f", "raw", "-O", "luks", "-o", options, from, to,
        ];
        // It gives up when its trial of the derivation took less than one
        // tick of the processor's clock: that is luck, and says nothing of
        // the volume.
        let (code, text) = iter::repeat_with(|| run_any("qemu-img", "qemu-utils", &convert, ""))
            .take(50)
            .find(|(_, text)| !text.contains("Unable to get accurate CPU usage"))
            .expect("the processor's time is never measured");
        assert_eq!(code, 0, "qemu-img {convert:?}: {text}");
        let payload = payload(&dump(&file));
        let size = fs::metadata(to).unwrap().len();
        assert_eq!(size, payload + (12 << 20));
        Volume {
            name: "qemu-img".into(),
            key: volume_key(&file),
            file,
            plain,
            payload,
        }
    }
}

fn option<'a>(options: &'a str, name: &str) -> Option<&'a str> {
    let mut words = options.split(' ');
    words.find(|word| *word == name)?;
    words.next()
}

/// About a third of it is in use.
fn filled(size: u64) -> NamedTempFile {
    let file = blank(size);
    let files = tempfile::tempdir().unwrap();
    for n in 0..60 {
        let bytes = ext::bytes(n, 9000 + 997 * usize::try_from(n).unwrap());
        fs::write(files.path().join(format!("file {n}")), bytes).unwrap();
    }
    let root = files.path().to_str().unwrap();
    ext::mke2fs(&file, &["-t", "ext4", "-b", "1024", "-d", root]);
    file
}

pub fn formatted(size: u64, options: &str) -> NamedTempFile {
    let file = blank(size);
    let path = file.path().to_str().unwrap();
    let derivation = option(options, "--pbkdf").unwrap_or("pbkdf2");
    let iterations = if derivation == "pbkdf2" { "1000" } else { "4" };
    let mut words = vec!["luksFormat", "-q", "--pbkdf-force-iterations", iterations];
    words.extend(options.split(' '));
    // Without it, it depends on the disk below the temporary file.
    if options.contains("luks2") && option(options, "--sector-size").is_none() {
        words.extend(["--sector-size", "512"]);
    }
    words.extend(["--key-file", "-", path]);
    run("cryptsetup", PACKAGE, &words, PASSPHRASE);
    file
}

pub fn add_key(file: &NamedTempFile, secret: &str) {
    let path = file.path().to_str().unwrap();
    let old = NamedTempFile::new().unwrap();
    let new = NamedTempFile::new().unwrap();
    fs::write(old.path(), PASSPHRASE).unwrap();
    fs::write(new.path(), secret).unwrap();
    let [old, new] = [&old, &new].map(|file| file.path().to_str().unwrap());
    let fast = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    let words = ["luksAddKey", "-q", "--key-file", old, path, new];
    run("cryptsetup", PACKAGE, &[&words[..], &fast].concat(), "");
}

pub fn kill_slot(file: &NamedTempFile, slot: u32) {
    let path = file.path().to_str().unwrap();
    run(
        "cryptsetup",
        PACKAGE,
        &["luksKillSlot", "-q", path, &slot.to_string()],
        "",
    );
}

pub fn uuid(file: &NamedTempFile) -> String {
    let path = file.path().to_str().unwrap();
    run("cryptsetup", PACKAGE, &["luksUUID", path], "")
        .trim()
        .into()
}

fn dump(file: &NamedTempFile) -> String {
    run(
        "cryptsetup",
        PACKAGE,
        &["luksDump", file.path().to_str().unwrap()],
        "",
    )
}

/// From `Payload offset: 4096` in sectors or `offset: 16777216 [bytes]`.
fn payload(dump: &str) -> u64 {
    for line in dump.lines().map(str::trim) {
        if let Some(sectors) = line.strip_prefix("Payload offset:") {
            return sectors.trim().parse::<u64>().unwrap() * 512;
        }
        if let Some(bytes) = line.strip_prefix("offset:") {
            return bytes.replace("[bytes]", "").trim().parse().unwrap();
        }
    }
    panic!("no offset in {dump}")
}

fn volume_key(file: &NamedTempFile) -> Vec<u8> {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("key");
    let [to, path] = [key.as_path(), file.path()].map(|path| path.to_str().unwrap());
    let words = [
        "luksDump",
        "-q",
        "--dump-volume-key",
        "--volume-key-file",
        to,
        "--key-file",
        "-",
        path,
    ];
    run("cryptsetup", PACKAGE, &words, PASSPHRASE);
    fs::read(key).unwrap()
}

const ENCRYPT: &str = r#"
import hashlib, sys
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
plain, into, at, key, cipher, size = sys.argv[1:]
at, key, size = int(at), bytes.fromhex(key), int(size)
chain, vector = cipher.split("-", 2)[1:]
def run(algorithm, mode, data):
    one = Cipher(algorithm, mode).encryptor()
    return one.update(data) + one.finalize()
with open(plain, "rb") as source, open(into, "r+b") as out:
    out.seek(at)
    number = 0
    while data := source.read(size):
        counted = number & 0xFFFFFFFF if vector == "plain" else number
        iv = counted.to_bytes(16, "little")
        if vector.startswith("essiv"):
            iv = run(algorithms.AES(hashlib.sha256(key).digest()), modes.ECB(), iv)
        mode = modes.XTS(iv) if chain == "xts" else modes.CBC(iv)
        out.write(run(algorithms.AES(key), mode, data))
        number += size // 512
"#;

/// Of a whole number of sectors.
fn encrypt(
    plain: &NamedTempFile,
    into: &NamedTempFile,
    at: u64,
    key: &[u8],
    cipher: &str,
    sector: &str,
) {
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let [plain, into] = [plain, into].map(|file| file.path().to_str().unwrap());
    let words = [
        "-c",
        ENCRYPT,
        plain,
        into,
        &at.to_string(),
        &hex,
        cipher,
        sector,
    ];
    run("python3", "python3-cryptography", &words, "");
}

/// Changes the text of both LUKS2 headers and puts their checksums right.
pub fn edit(file: &NamedTempFile, change: impl Fn(String) -> String) {
    for at in [0, 16384] {
        let mut header = read_at(file, at, 16384);
        let end = header[4096..].iter().position(|byte| *byte == 0).unwrap();
        let text = String::from_utf8(header[4096..4096 + end].to_vec()).unwrap();
        let text = change(text);
        header[4096..].fill(0);
        header[4096..4096 + text.len()].copy_from_slice(text.as_bytes());
        seal(&mut header);
        write_at(file, at, &header);
    }
}

/// Puts the checksum of a LUKS2 header right.
pub fn seal(header: &mut [u8]) {
    header[448..512].fill(0);
    let digest = Sha256::digest(&*header);
    header[448..480].copy_from_slice(&digest);
}

/// The bytes of a small volume that was just formatted, for changing.
pub fn small(options: &str) -> Vec<u8> {
    let file = formatted(2 << 20, options);
    all_of(&file)
}
