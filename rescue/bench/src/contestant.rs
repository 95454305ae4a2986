//! Who does which job by which command.

use std::path::Path;

use crate::work::Work;

#[derive(Clone, Debug)]
pub struct Contestant {
    pub job: &'static str,
    pub name: &'static str,
    /// Run, not measured, before each turn: takes away what the last turn left.
    pub before: Option<String>,
    pub script: String,
    /// Files whose sizes are the size of the result.
    pub output: Vec<String>,
}

/// All of them. The images that restore and check read are made by the image contestants of the same round, which
/// stand before them.
pub fn all(work: &Work, rescue: &Path) -> Vec<Contestant> {
    let here = Here {
        work,
        rescue: rescue.display().to_string(),
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

struct Here<'a> {
    work: &'a Work,
    rescue: String,
}

impl Here<'_> {
    fn clone_whole(&self) -> Vec<Contestant> {
        let (disk, out) = (self.path("disk.img"), self.path("out.img"));
        let one = |name, script| self.contestant("clone", name, script, &["out.img"], &[]);
        vec![
            one(
                "rescue",
                format!("{} clone {disk} {out} --exact --no-verify", self.rescue),
            ),
            one("dd 4M", format!("dd if={disk} of={out} bs=4M status=none")),
            one("cat", format!("cat {disk} > {out}")),
            one("ddrescue", format!("ddrescue -q {disk} {out}")),
            one(
                "qemu-img convert",
                format!("qemu-img convert -f raw -O raw {disk} {out}"),
            ),
        ]
    }

    fn clone_used(&self) -> Vec<Contestant> {
        let (disk, out) = (self.path("disk.img"), self.path("out.img"));
        let parts = self.each(|n, fs| {
            format!(
                "partclone.{fs} -q -L /dev/null -b -s {} -o {}",
                self.part(n),
                self.path(&format!("out{n}.img"))
            )
        });
        let sizes = self.each(|n, _| {
            format!(
                "truncate -r {} {}",
                self.part(n),
                self.path(&format!("out{n}.img"))
            )
        });
        let outs = ["out1.img", "out2.img", "out3.img"];
        vec![
            self.contestant(
                "clone used",
                "rescue",
                format!("{} clone {disk} {out} --no-verify", self.rescue),
                &["out.img"],
                &[],
            ),
            self.contestant(
                "clone used",
                "partclone -b",
                format!("{sizes}; {parts}"),
                &outs,
                &[],
            ),
        ]
    }

    fn image(&self) -> Vec<Contestant> {
        let disk = self.path("disk.img");
        let ours = |level: u32| {
            format!(
                "{} image {disk} {} --name ours{level} --level {level} --no-verify",
                self.rescue,
                self.path("")
            )
        };
        let clonezilla = |level: u32| {
            self.each(|n, fs| {
                format!(
                    "partclone.{fs} -q -L /dev/null -c -s {} -o - | zstd -q -f -T0 -{level} -o {}",
                    self.part(n),
                    self.path(&format!("pc{level}-{n}.zst"))
                )
            })
        };
        let one = |job, name, script, file| self.contestant(job, name, script, &[file], &[file]);
        vec![
            one("image 3", "rescue", ours(3), "ours3.img.zst"),
            self.contestant(
                "image 3",
                "partclone | zstd -T0 -3",
                clonezilla(3),
                &["pc3-1.zst", "pc3-2.zst", "pc3-3.zst"],
                &["pc3-1.zst", "pc3-2.zst", "pc3-3.zst"],
            ),
            one(
                "image 3",
                "zstd -T0 -3 of the raw disk",
                format!("zstd -q -f -T0 -3 {disk} -o {}", self.path("raw.zst")),
                "raw.zst",
            ),
            one(
                "image 3",
                "qemu-img convert -c zstd",
                format!(
                    "qemu-img convert -c -O qcow2 -o compression_type=zstd {disk} {}",
                    self.path("disk.qcow2")
                ),
                "disk.qcow2",
            ),
            one("image 1", "rescue", ours(1), "ours1.img.zst"),
            self.contestant(
                "image 1",
                "partclone | zstd -T0 -1",
                clonezilla(1),
                &["pc1-1.zst", "pc1-2.zst", "pc1-3.zst"],
                &["pc1-1.zst", "pc1-2.zst", "pc1-3.zst"],
            ),
        ]
    }

    fn restore(&self) -> Vec<Contestant> {
        let (out, ours) = (self.path("out.img"), self.path("ours3.img.zst"));
        let parts = self.each(|n, _| {
            let target = self.path(&format!("out{n}.img"));
            format!("truncate -r {} {target}; zstd -qdc {} | partclone.restore -q -L /dev/null -C -s - -o {target}", self.part(n), self.path(&format!("pc3-{n}.zst")))
        });
        vec![
            self.contestant(
                "restore",
                "rescue",
                format!("{} restore {ours} {out} --no-verify", self.rescue),
                &["out.img"],
                &[],
            ),
            self.contestant(
                "restore",
                "zstd -d | partclone.restore",
                parts,
                &["out1.img", "out2.img", "out3.img"],
                &[],
            ),
            self.contestant(
                "restore",
                "zstd -d | dd",
                format!(
                    "zstd -qdc {} | dd of={out} bs=4M iflag=fullblock status=none",
                    self.path("raw.zst")
                ),
                &["out.img"],
                &[],
            ),
            self.contestant(
                "restore",
                "qemu-img convert",
                format!(
                    "qemu-img convert -f qcow2 -O raw {} {out}",
                    self.path("disk.qcow2")
                ),
                &["out.img"],
                &[],
            ),
        ]
    }

    fn check(&self) -> Vec<Contestant> {
        let ours = self.path("ours3.img.zst");
        let parts = self.each(|n, _| {
            format!(
                "zstd -qdc {} | partclone.chkimg -q -L /dev/null -s -",
                self.path(&format!("pc3-{n}.zst"))
            )
        });
        vec![
            self.contestant(
                "check",
                "rescue",
                format!("{} check {ours}", self.rescue),
                &[],
                &[],
            ),
            self.contestant("check", "zstd -t", format!("zstd -q -t {ours}"), &[], &[]),
            self.contestant("check", "zstd -d | partclone.chkimg", parts, &[], &[]),
        ]
    }

    fn contestant(
        &self,
        job: &'static str,
        name: &'static str,
        script: String,
        remove: &[&str],
        output: &[&str],
    ) -> Contestant {
        let all = |names: &[&str]| names.iter().map(|n| self.path(n)).collect::<Vec<_>>();
        let before = (!remove.is_empty()).then(|| format!("rm -f {}", all(remove).join(" ")));
        Contestant {
            job,
            name,
            before,
            script,
            output: all(output),
        }
    }

    fn each(&self, command: impl Fn(u32, &str) -> String) -> String {
        PARTITIONS
            .iter()
            .map(|(n, fs)| command(*n, fs))
            .collect::<Vec<_>>()
            .join(" && ")
    }

    fn path(&self, name: &str) -> String {
        self.work.path(name)
    }

    fn part(&self, n: u32) -> String {
        self.path(&format!("p{n}.img"))
    }
}
