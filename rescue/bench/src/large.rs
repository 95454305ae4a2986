//! Memory with a disk of 20 TB: a sparse file whose filesystem says that a few GB of it are used.

use crate::measure;
use crate::work::Work;

const SIZE: &str = "20T";
const AT_MOST_MIB: f64 = 256.0;

const MAKE: &str = r#"
truncate -s "$SIZE" "$D"
sgdisk --clear --new=1:0:0 --typecode=1:8300 "$D" >/dev/null
first=$(sgdisk --info=1 "$D" | awk '$1 == "First" { print $3 }')
last=$(sgdisk --info=1 "$D" | awk '$1 == "Last" { print $3 }')
# Bitmaps and tables of 160,000 block groups lie all over the disk.
mke2fs -q -F -t ext4 -b 4096 -O ^flex_bg,^resize_inode -m 0 -N 2000000 -E nodiscard,lazy_itable_init=1,offset=$((first * 512)) "$D" $(((last - first + 1) / 8))
"#;

/// Clones and images it and prints the peaks; false when one was above the limit.
pub fn run(work: &Work, rescue: &std::path::Path) -> Result<bool, String> {
    let (disk, out) = (work.path("large.img"), work.path("large.out"));
    measure::run(&format!("SIZE={SIZE} D={disk}\n{MAKE}"))?;
    let rescue = rescue.display();
    let image = work.path("large.img.zst");
    let jobs = [
        ("clone", format!("{rescue} clone {disk} {out} --no-verify")),
        (
            "image",
            format!("{rescue} image {disk} {} --name large", work.path("")),
        ),
        ("check", format!("{rescue} check {image}")),
        (
            "restore",
            format!("rm {out}; {rescue} restore {image} {out} --no-verify"),
        ),
    ];
    println!("\na disk of 20 TB, sparse");
    let mut met = true;
    for (name, script) in jobs {
        let measure = measure::run(&script)?;
        let peak_mib = measure.peak_kib as f64 / 1024.0;
        let missed = peak_mib > AT_MOST_MIB;
        met &= !missed;
        println!(
            "  {name:<10} {:>7.2} s, peak {peak_mib:.0} MiB, at most {AT_MOST_MIB:.0}{}",
            measure.wall_s,
            if missed { "  MISSED" } else { "" }
        );
    }
    for path in [disk, out, image] {
        std::fs::remove_file(&path).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(met)
}
