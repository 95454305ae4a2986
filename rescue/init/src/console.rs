//! Which consoles the machine has, and what a terminal on each of them is called.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Facts about terminal lines, from sysfs: `Lines::at("/")` on the real machine.
#[derive(Debug, Clone)]
pub struct Lines {
    root: PathBuf,
}

impl Lines {
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// A device node is no proof: the kernel makes `ttyS0`–`ttyS3` without any port behind them.
    pub fn exists(&self, name: &str) -> bool {
        let plain = !name.is_empty() && !name.contains('/');
        let port = self.root.join("sys/class/tty").join(name).join("type");
        let unknown_port = fs::read_to_string(port).is_ok_and(|kind| kind.trim() == "0");
        plain && self.root.join("dev").join(name).exists() && !unknown_port
    }

    /// Consoles that get the interface: the screen, and every other line the kernel was told of
    /// or itself uses as a console.
    pub fn consoles(&self, named: &[String]) -> Vec<String> {
        let active = fs::read_to_string(self.root.join("sys/class/tty/console/active"));
        let active = active.unwrap_or_default();
        let named = named.iter().map(String::as_str);
        let lines: BTreeSet<&str> = named
            .chain(active.split_whitespace())
            .filter(|name| !is_virtual(name))
            .filter(|name| self.exists(name))
            .collect();
        let screen = Some("tty1").filter(|name| self.exists(name));
        screen.into_iter().chain(lines).map(str::to_owned).collect()
    }
}

/// `tty`, `tty0`, `tty7`: the screen and its keyboard.
pub fn is_virtual(name: &str) -> bool {
    name.strip_prefix("tty")
        .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What `TERM` is on a line: its other end is most often a terminal emulator.
pub fn terminal_kind(name: &str) -> &'static str {
    if is_virtual(name) { "linux" } else { "xterm" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(active: &str, ports: &[(&str, &str)]) -> (tempfile::TempDir, Lines) {
        let root = tempfile::tempdir().unwrap();
        let class = root.path().join("sys/class/tty");
        fs::create_dir_all(class.join("console")).unwrap();
        fs::write(class.join("console/active"), active).unwrap();
        fs::create_dir(root.path().join("dev")).unwrap();
        for (name, kind) in ports {
            fs::write(root.path().join("dev").join(name), "").unwrap();
            fs::create_dir(class.join(name)).unwrap();
            if !kind.is_empty() {
                fs::write(class.join(name).join("type"), format!("{kind}\n")).unwrap();
            }
        }
        let lines = Lines::at(root.path());
        (root, lines)
    }

    #[test]
    fn the_screen_and_a_real_serial_line_are_consoles() {
        let (_root, lines) = machine(
            "tty0 ttyS0\n",
            &[("tty1", ""), ("ttyS0", "4"), ("ttyS1", "4")],
        );
        let named = ["ttyS0".to_owned(), "tty0".to_owned()];
        assert_eq!(lines.consoles(&named), ["tty1", "ttyS0"]);
    }

    #[test]
    fn a_serial_line_without_a_port_is_none() {
        let (_root, lines) = machine("tty0\n", &[("tty1", ""), ("ttyS0", "0")]);
        assert_eq!(lines.consoles(&["ttyS0".to_owned()]), ["tty1"]);
    }

    #[test]
    fn a_machine_without_a_screen_has_its_other_consoles() {
        let (_root, lines) = machine("hvc0\n", &[("hvc0", "")]);
        assert_eq!(lines.consoles(&[]), ["hvc0"]);
    }

    #[test]
    fn a_name_that_is_a_path_is_none() {
        let (_root, lines) = machine("", &[("tty1", "")]);
        assert_eq!(lines.consoles(&["../dev/tty1".to_owned()]), ["tty1"]);
    }

    #[test]
    fn only_the_screen_speaks_the_linux_terminal() {
        assert_eq!(terminal_kind("tty2"), "linux");
        assert_eq!(terminal_kind("ttyS0"), "xterm");
        assert_eq!(terminal_kind("hvc0"), "xterm");
    }
}
