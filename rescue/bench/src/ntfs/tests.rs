use std::process::Command;

use super::*;

fn run(script: &str) -> String {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{script}: {said}{error}; ntfs-3g is needed"
    );
    said
}

#[test]
fn the_tools_of_ntfs_3g_take_what_is_written_for_a_sound_volume() {
    const FILES: u64 = 4000;
    let path = std::env::temp_dir().join(format!("rescue-bench-ntfs-{}.img", std::process::id()));
    let disk = path.display();
    run(&format!("truncate -s 100M {disk}; mkntfs -q -Q -F {disk}"));
    fill(&path, FILES).unwrap();
    run(&format!("ntfsfix -n {disk}"));
    // Counts the owner of every cluster, and compares with the bitmap.
    let said = run(&format!("ntfsresize --info --force {disk}"));
    assert!(said.contains("Collecting resizing constraints"), "{said}");
    let said = run(&format!("ntfsinfo -m -f {disk}"));
    assert!(said.contains("MFT Record Size: 1024"), "{said}");
    // Every record in use has a name or continues one that has.
    let said = run(&format!(
        "ntfscluster -f -c 0-25599 {disk} | grep -c '^Inode .*file0' || true"
    ));
    let named: u64 = said.trim().parse().unwrap();
    assert!(named >= FILES * 3 / 4, "{named}");
    std::fs::remove_file(path).unwrap();
}
