//! Encrypted volumes by the real program: what is used in it comes back as ciphertext, under the same keys, judged
//! by cryptsetup and by a decryptor that is not ours.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::flow::expect;
use crate::made::{full_of_ones, shell};
use tempfile::TempDir;

const SIZE_MIB: u64 = 100;
const SECRET: &str = "correct horse";

/// XTS in sectors of 4096 bytes, by python3-cryptography.
const CIPHER: &str = r#"
import sys
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
way, key, source, into = sys.argv[1:]
key = open(key, "rb").read()
with open(source, "rb") as source, open(into, "wb") as into:
    number = 0
    while data := source.read(4096):
        cipher = Cipher(algorithms.AES(key), modes.XTS(number.to_bytes(16, "little")))
        one = cipher.encryptor() if way == "encrypt" else cipher.decryptor()
        into.write(one.update(data) + one.finalize())
        number += 8
"#;

/// A disk whose partition (from 1 MiB, 92 MiB) is a LUKS2 volume with ext4 that is not half full, on stale bytes.
fn made(at: &Path) {
    fs::write(at.join("cipher.py"), CIPHER).unwrap();
    fs::write(at.join("key"), SECRET).unwrap();
    fs::write(at.join("wrong"), "incorrect horse").unwrap();
    shell(&format!(
        "cd {}; mkdir mnt
        head -c {SIZE_MIB}M /dev/urandom >source.img
        sgdisk --clear -n 1:1M:+92M -t 1:8309 source.img >/dev/null
        truncate -s 88M plain; mkfs.ext4 -q -J size=4 plain; mount -o loop plain mnt; mkdir mnt/d
        for n in $(seq 40); do head -c 1M /dev/urandom >mnt/d/$n; done; rm mnt/d/*[37]
        (cd mnt; find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) >before; umount mnt
        truncate -s 92M luks
        cryptsetup luksFormat -q --type luks2 --pbkdf argon2id --pbkdf-memory 65536 --pbkdf-force-iterations 4 \
            --sector-size 4096 --offset 8192 --luks2-keyslots-size 2m --key-file key luks
        cryptsetup luksDump -q --dump-volume-key --volume-key-file volume.key --key-file key luks >/dev/null
        python3 cipher.py encrypt volume.key plain cipher
        dd if=cipher of=luks bs=1M seek=4 conv=notrunc status=none
        dd if=luks of=source.img bs=1M seek=1 conv=notrunc status=none",
        at.display()
    ));
}

fn image_len(at: &Path, name: &str) -> u64 {
    fs::metadata(at.join(name)).unwrap().len()
}

#[test]
fn what_is_used_in_an_encrypted_volume_comes_back_under_the_same_keys() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    made(at);
    let words = ["image", "source.img", ".", "--name", "pc"];
    let with_key = [&words[..], &["--key-file", "key"]].concat();

    let said = expect(at, &[&words[..], &["--key-file", "wrong"]].concat(), 3);
    assert!(
        said.contains("opens it") && said.contains("give another"),
        "{said}"
    );
    assert!(!at.join("pc.img.zst").exists());
    let said = expect(at, &["image", "source.img", ".", "--name", "locked"], 0);
    assert!(said.contains("only what is used"), "{said}");
    assert!(image_len(at, "locked.img.zst") > (91 << 20));

    let said = expect(at, &with_key, 0);
    assert!(
        said.contains("LUKS2, unlocked") && said.contains("92.3 MB, ext4"),
        "{said}"
    );
    assert!(said.contains("whole, 32 files"), "{said}");
    assert!(image_len(at, "pc.img.zst") < (92 << 20) * 6 / 10);
    let info = expect(at, &["info", "pc.img.zst"], 0);
    assert!(
        info.contains("LUKS2") && info.contains("unlocked") && info.contains("ext4"),
        "{info}"
    );

    full_of_ones(&at.join("back.img"), SIZE_MIB);
    let words = ["restore", "pc.img.zst", "back.img", "--approve", "back.img"];
    let said = expect(at, &[&words[..], &["--key-file", "key"]].concat(), 0);
    assert!(said.contains("whole, 32 files"), "{said}");
    shell(&format!(
        "cd {}; sgdisk -v back.img | grep -q 'No problems'
        dd if=back.img of=luks bs=1M skip=1 count=92 status=none
        cryptsetup open --test-passphrase --key-file key luks
        if cryptsetup open --test-passphrase --key-file wrong luks 2>/dev/null; then exit 1; fi
        rm volume.key; cryptsetup luksDump -q --dump-volume-key --volume-key-file volume.key --key-file key luks >/dev/null
        dd if=luks of=cipher bs=1M skip=4 status=none
        python3 cipher.py decrypt volume.key cipher plain
        e2fsck -fn plain >/dev/null 2>&1
        mount -o loop,ro plain mnt; (cd mnt; sha256sum -c --quiet ../before); umount mnt
        [ $(wc -l <before) = 32 ]",
        at.display()
    ));
    single_files_come_out(at);
    goes_on_with_the_same_key(at);
    // A job's output, its image and what else it made were all written here.
    shell(&format!(
        "cd {}; rm key wrong; ! grep -raqF '{SECRET}' .",
        at.display()
    ));
}

fn single_files_come_out(at: &Path) {
    let listed = shell(&format!(
        "cd {}; {} ls back.img --key-file - <key",
        at.display(),
        env!("CARGO_BIN_EXE_rescue")
    ));
    let path = listed.split_whitespace().next().unwrap();
    fs::create_dir(at.join("out")).unwrap();
    let words = ["cp", "pc.img.zst", &format!("{path}d"), "out"];
    let said = expect(at, &words, 3);
    assert!(said.contains("locked") || said.contains("no "), "{said}");
    expect(at, &[&words[..], &["--key-file", "key"]].concat(), 0);
    shell(&format!(
        "cd {}/out; sha256sum -c --quiet ../before",
        at.display()
    ));
}

fn goes_on_with_the_same_key(at: &Path) {
    let words = ["image", "source.img", ".", "--name", "cut", "--level", "9"];
    let with_key = [&words[..], &["--key-file", "key"]].concat();
    let unfinished = at.join("cut.img.zst.unfinished");
    let mut child = Command::new(env!("CARGO_BIN_EXE_rescue"))
        .args(&with_key)
        .current_dir(at)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while fs::metadata(&unfinished).map_or(0, |it| it.len()) < (8 << 20) {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "it ended before it could be killed");
        sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let said = expect(at, &words, 3);
    assert!(said.contains("with other keys"), "{said}");
    let said = expect(at, &with_key, 0);
    assert!(said.contains("goes on with"), "{said}");
    expect(at, &["check", "cut.img.zst"], 0);
    let words = ["verify", "cut.img.zst", "source.img"];
    expect(at, &words, 0);
}

/// What a restored BitLocker volume holds, by the key that cryptsetup finds: its first 8 KiB stand at `stored`, its own
/// places are zeros.
const UNLOCKED: &str = r#"
import sys
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
key, source, into, places = sys.argv[1:]
key, source = open(key, "rb").read(), open(source, "rb").read()
*areas, stored = [int(place) for place in places.split(",")]
own = [range(area, area + 65536) for area in areas] + [range(stored, stored + 8192)]
with open(into, "wb") as into:
    for at in range(0, len(source), 512):
        place = stored + at if at < 8192 else at
        one = Cipher(algorithms.AES(key), modes.XTS((place // 512).to_bytes(16, "little"))).decryptor()
        zeros = at >= 8192 and any(at in places for places in own)
        into.write(bytes(512) if zeros else one.update(source[place:place + 512]) + one.finalize())
"#;

/// Where BitLocker's own stands, behind the data of a filesystem that is filled from its start.
const PLACES: &str = "41943040,42991616,44040192,45088768";

#[test]
fn what_is_used_in_a_bitlocker_volume_comes_back_under_the_same_password() {
    let dir = TempDir::new().unwrap();
    let at = dir.path();
    fs::write(at.join("unlocked.py"), UNLOCKED).unwrap();
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../disk/tests/bitlocker/volume.py"
    );
    shell(&format!(
        "cd {}; mkdir mnt; printf '{SECRET}' >key; printf 'incorrect' >wrong; truncate -s 46M plain
        mkfs.fat -F 32 plain >/dev/null; mkdir d
        for n in $(seq 16); do head -c 1M /dev/urandom >d/$n; done; mcopy -i plain -s d ::
        sha256sum d/* >before
        python3 {script} plain source.img 8004 512 4 {PLACES} tpm 'password={SECRET}'
        cryptsetup open --type bitlk --test-passphrase --key-file key source.img",
        at.display()
    ));
    let words = ["image", "source.img", ".", "--name", "pc"];
    let said = expect(at, &[&words[..], &["--key-file", "wrong"]].concat(), 3);
    assert!(said.contains("opens it"), "{said}");
    let said = expect(at, &[&words[..], &["--key-file", "key"]].concat(), 0);
    assert!(
        said.contains("BitLocker, unlocked") && said.contains("FAT32"),
        "{said}"
    );
    assert!(said.contains("whole, 16 files"), "{said}");
    assert!(image_len(at, "pc.img.zst") < (46 << 20) * 6 / 10);
    full_of_ones(&at.join("back.img"), 46);
    let words = ["restore", "pc.img.zst", "back.img", "--approve", "back.img"];
    expect(at, &words, 0);
    shell(&format!(
        "cd {}; cryptsetup open --type bitlk --test-passphrase --key-file key back.img
        if cryptsetup open --type bitlk --test-passphrase --key-file wrong back.img 2>/dev/null; then exit 1; fi
        cryptsetup bitlkDump -q --dump-volume-key --volume-key-file volume.key --key-file key back.img >/dev/null
        python3 unlocked.py volume.key back.img plain {PLACES}
        fsck.fat -n plain >/dev/null; rm -r d; mcopy -i plain -s ::d .; sha256sum -c --quiet before",
        at.display()
    ));
    fs::create_dir(at.join("out")).unwrap();
    expect(at, &["cp", "back.img", "d", "out", "--key-file", "key"], 3);
    let listed = expect(at, &["ls", "back.img", "--key-file", "key"], 0);
    let path = format!("{}d", listed.split_whitespace().next().unwrap());
    expect(
        at,
        &["cp", "back.img", &path, "out", "--key-file", "key"],
        0,
    );
    shell(&format!(
        "cd {}/out; sha256sum -c --quiet ../before",
        at.display()
    ));
}

/// Answers each question on a terminal of its own, and prints what was to be seen there.
const TERMINAL: &str = r#"
import os, pty, sys
rescue, *answers = sys.argv[1:]
child, terminal = pty.fork()
if child == 0:
    os.execv(rescue, [rescue, "disks", "luks", "--unlock"])
seen = b""
while True:
    if answers and seen.endswith(b": "):
        os.write(terminal, answers.pop(0).encode() + b"\n")
        seen += b"|"
    try:
        seen += os.read(terminal, 4096)
    except OSError:
        break
print(seen.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

#[test]
fn what_is_typed_on_a_terminal_unlocks_and_is_not_shown() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("terminal.py"), TERMINAL).unwrap();
    let seen = shell(&format!(
        "cd {}; truncate -s 24M luks
        printf '{SECRET}' | cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 \
            --key-file - luks
        timeout 60 python3 terminal.py {} incorrect '{SECRET}' ''",
        dir.path().display(),
        env!("CARGO_BIN_EXE_rescue")
    ));
    assert!(
        seen.contains("it is not shown") && seen.contains("(unlocked)"),
        "{seen}"
    );
    assert!(!seen.contains("correct"), "{seen}");
}

#[test]
fn without_a_terminal_nobody_is_asked_for_a_passphrase() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("a.img"), [0; 4096]).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_rescue"))
        .args(["map", "a.img", "--unlock"])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--key-file"), "{said}");
    let said = expect(dir.path(), &["map", "a.img", "--key-file", "none"], 3);
    assert!(said.contains("the key file none cannot be read"), "{said}");
}
