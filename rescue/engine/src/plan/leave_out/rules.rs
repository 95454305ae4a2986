//! What a system writes for itself and can do without: the sets of `--leave-out`, one rule a line.
//!
//! A path is from the root of its filesystem, as [`Glob`](crate::request::Glob) reads it; on filesystems of Windows
//! and Macs case is ignored. What a program would miss or trust blindly when it reads zeros is in no set.

use crate::request::Set;

#[derive(Debug)]
pub struct Rule {
    pub set: Set,
    pub on: On,
    pub glob: &'static str,
    pub why: &'static str,
    pub content: Content,
}

/// Whose filesystem.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum On {
    Windows,
    Linux,
    Mac,
    Any,
}

/// Whether the content has a say too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    Any,
    /// Its first page is kept.
    PageFile,
    /// It is one only if its first page says so, and that page is kept.
    SwapFile,
    /// The same, and a system that sleeps in it is not left out.
    Hibernation,
}

impl On {
    pub fn has(self, kind: &str) -> bool {
        match self {
            On::Any => true,
            On::Windows => matches!(kind, "ntfs" | "vfat" | "exfat"),
            On::Mac => matches!(kind, "hfsplus" | "apfs"),
            On::Linux => !On::Windows.has(kind) && !On::Mac.has(kind),
        }
    }
}

const fn rule(set: Set, on: On, glob: &'static str, why: &'static str) -> Rule {
    Rule {
        set,
        on,
        glob,
        why,
        content: Content::Any,
    }
}

const fn memory(on: On, glob: &'static str, why: &'static str, content: Content) -> Rule {
    Rule {
        set: Set::Swap,
        on,
        glob,
        why,
        content,
    }
}

const PAGES: &str = "memory that was put aside; it means nothing once the system is off";
const SLEEP: &str = "memory as it was at the last sleep; no system sleeps in it now";
const TEMPORARY: &str = "temporary files of programs that no longer run";
const WEB: &str = "copies of pages that the browser fetches again";
const THUMBNAILS: &str = "small pictures that are drawn again when they are needed";
const PACKAGES: &str = "downloaded packages that are installed already and can be fetched again";
const UPDATES: &str = "downloaded updates, fetched again when they are needed";
const REPORTS: &str = "what was kept of crashes, for those who look into them";
const DELETED: &str = "what the user has deleted";

/// The first that matches a file takes it.
#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    // https://learn.microsoft.com/troubleshoot/windows-client/performance/introduction-to-the-page-file
    memory(On::Windows, "/pagefile.sys", PAGES, Content::PageFile),
    memory(On::Windows, "/swapfile.sys", PAGES, Content::PageFile),
    memory(On::Windows, "/hiberfil.sys", SLEEP, Content::Hibernation),
    // Where distributions put them; swapon(8).
    memory(On::Linux, "**/swapfile", PAGES, Content::SwapFile),
    memory(On::Linux, "**/swap.img", PAGES, Content::SwapFile),
    memory(On::Linux, "**/swap/*", PAGES, Content::SwapFile),
    memory(On::Mac, "**/var/vm/swapfile*", PAGES, Content::PageFile),
    memory(On::Mac, "**/var/vm/sleepimage", SLEEP, Content::Hibernation),

    rule(Set::Temp, On::Windows, "Windows/Temp/**", TEMPORARY),
    rule(Set::Temp, On::Windows, "Users/*/AppData/Local/Temp/**", TEMPORARY),
    rule(Set::Temp, On::Windows, "Windows/ServiceProfiles/*/AppData/Local/Temp/**", TEMPORARY),
    rule(Set::Temp, On::Windows, "Windows/System32/config/systemprofile/AppData/Local/Temp/**", TEMPORARY),
    rule(Set::Temp, On::Windows, "Documents and Settings/*/Local Settings/Temp/**", TEMPORARY),
    rule(Set::Temp, On::Windows, "Windows/MEMORY.DMP", REPORTS),
    rule(Set::Temp, On::Windows, "Windows/Minidump/*.dmp", REPORTS),
    rule(Set::Temp, On::Windows, "Windows/LiveKernelReports/**/*.dmp", REPORTS),
    rule(Set::Temp, On::Windows, "Users/*/AppData/Local/CrashDumps/*.dmp", REPORTS),
    rule(Set::Temp, On::Windows, "ProgramData/Microsoft/Windows/WER/Report*/**", REPORTS),
    // Filesystem Hierarchy Standard 3.0, 3.18 and 5.15; a filesystem of its own has its root there.
    rule(Set::Temp, On::Linux, "tmp/**", TEMPORARY),
    rule(Set::Temp, On::Linux, "var/tmp/**", TEMPORARY),
    rule(Set::Temp, On::Linux, "@/tmp/**", TEMPORARY),
    rule(Set::Temp, On::Linux, "@/var/tmp/**", TEMPORARY),
    rule(Set::Temp, On::Linux, "**/var/lib/systemd/coredump/**", REPORTS),
    rule(Set::Temp, On::Linux, "**/var/crash/**", REPORTS),
    rule(Set::Temp, On::Mac, "**/private/tmp/**", TEMPORARY),
    rule(Set::Temp, On::Mac, "**/private/var/tmp/**", TEMPORARY),
    rule(Set::Temp, On::Mac, "**/private/var/folders/*/*/T/**", TEMPORARY),

    rule(Set::Caches, On::Windows, "Users/*/AppData/Local/Microsoft/Windows/INetCache/**", WEB),
    rule(Set::Caches, On::Windows, "Users/*/AppData/Local/Microsoft/Windows/Temporary Internet Files/**", WEB),
    rule(Set::Caches, On::Windows, "Users/*/AppData/Local/**/User Data/*/Cache/**", WEB),
    rule(Set::Caches, On::Windows, "Users/*/AppData/Local/**/User Data/*/Code Cache/**", WEB),
    rule(Set::Caches, On::Windows, "Users/*/AppData/Local/**/User Data/*/GPUCache/**", WEB),
    rule(Set::Caches, On::Windows, "Users/*/AppData/Local/Mozilla/Firefox/Profiles/*/cache2/**", WEB),
    rule(Set::Caches, On::Windows, "Users/*/AppData/Local/Microsoft/Windows/Explorer/thumbcache_*.db", THUMBNAILS),
    rule(Set::Caches, On::Windows, "Users/*/AppData/Local/Microsoft/Windows/Explorer/iconcache_*.db", THUMBNAILS),
    rule(Set::Caches, On::Windows, "Windows/SoftwareDistribution/Download/**", UPDATES),
    rule(Set::Caches, On::Windows, "Windows/SoftwareDistribution/DeliveryOptimization/**", UPDATES),
    rule(Set::Caches, On::Windows, "Windows/ServiceProfiles/NetworkService/AppData/Local/Microsoft/Windows/DeliveryOptimization/Cache/**", UPDATES),
    rule(Set::Caches, On::Linux, "**/.cache/mozilla/firefox/*/cache2/**", WEB),
    rule(Set::Caches, On::Linux, "**/.cache/google-chrome/**", WEB),
    rule(Set::Caches, On::Linux, "**/.cache/chromium/**", WEB),
    rule(Set::Caches, On::Linux, "**/.cache/microsoft-edge/**", WEB),
    rule(Set::Caches, On::Linux, "**/.cache/BraveSoftware/**", WEB),
    // freedesktop.org, Thumbnail Managing Standard.
    rule(Set::Caches, On::Linux, "**/.cache/thumbnails/**", THUMBNAILS),
    rule(Set::Caches, On::Linux, "**/.thumbnails/**", THUMBNAILS),
    rule(Set::Caches, On::Linux, "**/cache/apt/archives/**/*.deb", PACKAGES),
    rule(Set::Caches, On::Linux, "**/cache/dnf/**/*.rpm", PACKAGES),
    rule(Set::Caches, On::Linux, "**/cache/libdnf5/**/*.rpm", PACKAGES),
    rule(Set::Caches, On::Linux, "**/cache/yum/**/*.rpm", PACKAGES),
    rule(Set::Caches, On::Linux, "**/cache/zypp/packages/**/*.rpm", PACKAGES),
    rule(Set::Caches, On::Linux, "**/cache/pacman/pkg/*.pkg.tar*", PACKAGES),
    rule(Set::Caches, On::Mac, "**/Users/*/Library/Caches/**", "what programs fetch or compute again"),

    // The names of what was deleted stand in the small $I files beside them, which stay.
    rule(Set::Trash, On::Any, "$Recycle.Bin/*/$R*", DELETED),
    rule(Set::Trash, On::Any, "$RECYCLE.BIN/*/$R*", DELETED),
    rule(Set::Trash, On::Any, "RECYCLER/*/D*", DELETED),
    // freedesktop.org, Trash specification 1.0.
    rule(Set::Trash, On::Any, ".Trash-*/files/**", DELETED),
    rule(Set::Trash, On::Any, ".Trash/*/files/**", DELETED),
    rule(Set::Trash, On::Linux, "**/.local/share/Trash/files/**", DELETED),
    rule(Set::Trash, On::Any, ".Trashes/**", DELETED),
    rule(Set::Trash, On::Mac, "**/Users/*/.Trash/**", DELETED),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Glob;

    #[test]
    fn every_rule_can_be_read_and_says_why() {
        for rule in RULES {
            assert!(rule.glob.parse::<Glob>().is_ok(), "{}", rule.glob);
            assert!(
                !rule.why.ends_with('.') && rule.why.len() > 10,
                "{}",
                rule.glob
            );
            let memory = rule.content != Content::Any;
            assert_eq!(memory, rule.set == Set::Swap, "{}", rule.glob);
        }
    }

    #[test]
    fn no_rule_takes_a_whole_filesystem() {
        for rule in RULES {
            let glob: Glob = rule.glob.parse().unwrap();
            for path in [
                "a",
                "home/ada/letter.txt",
                "Users/ada/Documents/a.doc",
                "boot/grub/grub.cfg",
            ] {
                let names: Vec<&str> = path.split('/').collect();
                assert!(!glob.matches(&names), "{} {path}", rule.glob);
            }
        }
    }
}
