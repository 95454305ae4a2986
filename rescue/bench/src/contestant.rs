//! Who does which job by which command.

use std::path::Path;

use crate::work::Work;

#[derive(Clone, Debug)]
pub struct Contestant {
    pub job: &'static str,
    pub name: String,
    /// Run, not measured, before each turn.
    pub before: Option<String>,
    pub script: String,
    /// Files whose sizes are the size of the result.
    pub output: Vec<String>,
    /// Taken away after each turn: what nobody reads later.
    pub after: Vec<String>,
}

/// Ours, as it is called in every job.
pub const RESCUE: &str = "rescue";

/// The same with an image that is sealed.
pub const SEALED: &str = "rescue, sealed";

/// All of them. The images that restore and check read are made by the image contestants of the same round, which
/// stand before them.
pub fn all(
    work: &Work,
    rescue: &Path,
    older: Option<&Path>,
    partclone: Option<&Path>,
) -> Vec<Contestant> {
    let here = Here {
        work,
        rescue: rescue.display().to_string(),
        older: older.map(|older| older.display().to_string()),
        partclone: partclone.map_or_else(String::new, |d| format!("{}/", d.display())),
    };
    [
        here.clone_whole(),
        here.clone_used(),
        here.image(),
        here.restore(),
        here.check(),
    ]
    .concat()
}

/// partclone's name for each partition of the work.
const PARTITIONS: [(u32, &str); 3] = [(1, "vfat"), (2, "ext4"), (3, "ntfs")];
const PARTS: [&str; 3] = ["out1.img", "out2.img", "out3.img"];

/// partclone's progress thread sleeps a second or two at a time and the program waits for it at the end of each
/// partition. Without that it is faster than most people ever see it; both are measured.
#[derive(Clone, Copy)]
enum Sleeps {
    AsShipped,
    Without,
}

const SLEEPS: [Sleeps; 2] = [Sleeps::AsShipped, Sleeps::Without];

struct Here<'a> {
    work: &'a Work,
    rescue: String,
    /// Another build of it.
    older: Option<String>,
    /// Ends in a slash where it is not empty.
    partclone: String,
}

impl Here<'_> {
    fn clone_whole(&self) -> Vec<Contestant> {
        let (disk, out) = (self.path("disk.img"), self.path("out.img"));
        let one = |name, script| {
            self.contestant("clone", name, script)
                .leaving(&self.all(&["out.img"]))
        };
        let ours = |program: &str| format!("{program} clone {disk} {out} --exact --no-verify");
        let older = self.older.iter();
        let mut all = vec![one(RESCUE, ours(&self.rescue))];
        all.extend(older.map(|older| one("older rescue", ours(older))));
        all.extend([
            one("dd 4M", format!("dd if={disk} of={out} bs=4M status=none")),
            one("cat", format!("cat {disk} > {out}")),
            one("ddrescue", format!("ddrescue -q {disk} {out}")),
            one(
                "qemu-img convert",
                format!("qemu-img convert -f raw -O raw {disk} {out}"),
            ),
        ]);
        all
    }

    fn clone_used(&self) -> Vec<Contestant> {
        let (disk, out) = (self.path("disk.img"), self.path("out.img"));
        let rescue = self.contestant(
            "clone used",
            RESCUE,
            format!("{} clone {disk} {out} --no-verify", self.rescue),
        );
        let peers = SLEEPS.map(|sleeps| {
            let script = self.partclone(sleeps, |n, fs| {
                format!(
                    "truncate -r {} {out}; {fs} -q -L /dev/null -b -s {} -O {out}",
                    self.part(n),
                    self.part(n),
                    out = self.path(&format!("out{n}.img"))
                )
            });
            self.contestant("clone used", sleeps.name("partclone -b"), script)
                .leaving(&self.all(&PARTS))
        });
        [rescue.leaving(&self.all(&["out.img"]))]
            .into_iter()
            .chain(peers)
            .collect()
    }

    fn image(&self) -> Vec<Contestant> {
        let mut all = Vec::new();
        for (job, level) in [("image 3", 3), ("image 1", 1)] {
            all.push(self.ours(job, level));
            all.extend((level == 3).then(|| self.sealed(job)));
            all.extend(SLEEPS.map(|sleeps| self.clonezilla(job, level, sleeps)));
        }
        let disk = self.path("disk.img");
        let one = |name, script, file| {
            self.contestant("image 3", name, script)
                .giving(&self.all(&[file]))
        };
        all.extend([
            one(
                "zstd -T0 -3 of the raw disk",
                format!("zstd -q -f -T0 -3 {disk} -o {}", self.path("raw.zst")),
                "raw.zst",
            ),
            one(
                "qemu-img convert -c zstd",
                format!(
                    "qemu-img convert -c -O qcow2 -o compression_type=zstd {disk} {}",
                    self.path("disk.qcow2")
                ),
                "disk.qcow2",
            ),
        ]);
        all
    }

    fn ours(&self, job: &'static str, level: u32) -> Contestant {
        let image = self.path(&format!("ours{level}.img.zst"));
        let script = format!(
            "{} image {} {} --name ours{level} --level {level} --no-verify",
            self.rescue,
            self.path("disk.img"),
            self.path("")
        );
        let made = self.contestant(job, RESCUE, script);
        Contestant {
            before: Some(format!("rm -f {image}")),
            ..made.giving(&[image])
        }
    }

    /// Ours with the passphrase that seals and opens.
    fn with_passphrase(&self, words: &str) -> String {
        format!("RESCUE_PASSPHRASE='correct horse' {} {words}", self.rescue)
    }

    fn sealed(&self, job: &'static str) -> Contestant {
        let image = self.path("sealed.img.zst");
        let script = format!(
            "image {} {} --name sealed --level 3 --seal --no-verify",
            self.path("disk.img"),
            self.path("")
        );
        let made = self.contestant(job, SEALED, self.with_passphrase(&script));
        Contestant {
            before: Some(format!("rm -f {image}")),
            ..made.giving(&[image])
        }
    }

    /// Its way: each partition through partclone into zstd.
    fn clonezilla(&self, job: &'static str, level: u32, sleeps: Sleeps) -> Contestant {
        let image = |n: u32| self.path(&format!("pc{level}-{n}.zst"));
        let script = self.partclone(sleeps, |n, fs| {
            format!(
                "{fs} -q -L /dev/null -c -s {} -o - | zstd -q -f -T0 -{level} -o {}",
                self.part(n),
                image(n)
            )
        });
        let name = sleeps.name(&format!("partclone | zstd -T0 -{level}"));
        self.contestant(job, name, script)
            .giving(&PARTITIONS.map(|(n, _)| image(n)))
    }

    fn restore(&self) -> Vec<Contestant> {
        let (out, ours) = (self.path("out.img"), self.path("ours3.img.zst"));
        let one = |name: &str, script| {
            self.contestant("restore", name, script)
                .leaving(&self.all(&["out.img"]))
        };
        let mut all = vec![
            one(
                RESCUE,
                format!("{} restore {ours} {out} --no-verify", self.rescue),
            ),
            one(
                SEALED,
                self.with_passphrase(&format!(
                    "restore {} {out} --no-verify",
                    self.path("sealed.img.zst")
                )),
            ),
            one(
                "zstd -d | dd",
                format!(
                    "zstd -qdc {} | dd of={out} bs=4M iflag=fullblock status=none",
                    self.path("raw.zst")
                ),
            ),
            one(
                "qemu-img convert",
                format!(
                    "qemu-img convert -f qcow2 -O raw {} {out}",
                    self.path("disk.qcow2")
                ),
            ),
        ];
        all.extend(SLEEPS.map(|sleeps| {
            let script = self.partclone(sleeps, |n, _| {
                format!(
                    "truncate -r {} {out}; zstd -qdc {} | {}partclone.restore -q -L /dev/null -C -s - -O {out}",
                    self.part(n),
                    self.path(&format!("pc3-{n}.zst")),
                    self.partclone,
                    out = self.path(&format!("out{n}.img"))
                )
            });
            self.contestant("restore", sleeps.name("zstd -d | partclone.restore"), script)
                .leaving(&self.all(&PARTS))
        }));
        all
    }

    fn check(&self) -> Vec<Contestant> {
        let ours = self.path("ours3.img.zst");
        let mut all = vec![
            self.contestant("check", RESCUE, format!("{} check {ours}", self.rescue)),
            self.contestant(
                "check",
                SEALED,
                self.with_passphrase(&format!("check {}", self.path("sealed.img.zst"))),
            ),
            self.contestant("check", "zstd -t", format!("zstd -q -t {ours}")),
        ];
        all.extend(SLEEPS.map(|sleeps| {
            let script = self.partclone(sleeps, |n, _| {
                format!(
                    "zstd -qdc {} | {}partclone.chkimg -L /dev/null -s -",
                    self.path(&format!("pc3-{n}.zst")),
                    self.partclone
                )
            });
            self.contestant("check", sleeps.name("zstd -d | partclone.chkimg"), script)
        }));
        all
    }

    fn contestant(&self, job: &'static str, name: impl Into<String>, script: String) -> Contestant {
        Contestant {
            job,
            name: name.into(),
            before: None,
            script,
            output: Vec::new(),
            after: Vec::new(),
        }
    }

    /// One command for each partition, which is given its number and the program for its filesystem.
    fn partclone(&self, sleeps: Sleeps, command: impl Fn(u32, &str) -> String) -> String {
        let each = PARTITIONS
            .map(|(n, fs)| command(n, &format!("{}partclone.{fs}", self.partclone)))
            .join(" && ");
        match sleeps {
            Sleeps::AsShipped => each,
            Sleeps::Without => {
                format!("export LD_PRELOAD={}; {each}", self.path("nosleep.so"))
            }
        }
    }

    fn all(&self, names: &[&str]) -> Vec<String> {
        names.iter().map(|name| self.path(name)).collect()
    }

    fn path(&self, name: &str) -> String {
        self.work.path(name)
    }

    fn part(&self, n: u32) -> String {
        self.path(&format!("p{n}.img"))
    }
}

impl Sleeps {
    fn name(self, name: &str) -> String {
        match self {
            Sleeps::AsShipped => name.into(),
            Sleeps::Without => format!("{name}, no sleeps"),
        }
    }
}

impl Contestant {
    fn giving(self, output: &[String]) -> Contestant {
        Contestant {
            output: output.to_vec(),
            ..self
        }
    }

    fn leaving(self, after: &[String]) -> Contestant {
        Contestant {
            after: after.to_vec(),
            ..self
        }
    }
}
