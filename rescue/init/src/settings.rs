//! What the machine was told to do: `rescue.*` words of the kernel command line and of a job file.

use std::collections::HashMap;

use crate::index::normalise;
use crate::words;

/// What follows the last unattended command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    PowerOff,
    Reboot,
    Shell,
    Tui,
}

impl Then {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "poweroff" => Some(Self::PowerOff),
            "reboot" => Some(Self::Reboot),
            "shell" => Some(Self::Shell),
            "tui" => Some(Self::Tui),
            _ => None,
        }
    }
}

/// One unattended command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Words for `rescue`.
    Rescue(Vec<String>),
    /// `!` and a line for the shell.
    Shell(String),
}

/// Where a job file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobFile {
    Path(String),
    /// A file the owner of a virtual machine handed over: `fw_cfg:opt/org.rescue/job`.
    FwCfg(String),
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Settings {
    pub commands: Vec<Command>,
    pub job_file: Option<JobFile>,
    pub then: Option<Then>,
    /// Seconds without a new block device before the first command starts.
    pub settle_seconds: Option<u64>,
    /// Consoles the kernel was given, without their options: `ttyS0`.
    pub consoles: Vec<String>,
    /// A terminal line that gets a shell from the beginning.
    pub shell: Option<String>,
    /// By module: `key=value key=value`, for modules that are loaded later.
    pub module_options: HashMap<String, String>,
    pub module_blacklist: Vec<String>,
    /// Sentences about `rescue.*` words that mean nothing.
    pub complaints: Vec<String>,
}

impl Settings {
    pub fn from_kernel_line(line: &str) -> Self {
        let mut settings = Self::default();
        for word in words::kernel_line(line) {
            settings.take(&word);
        }
        settings
    }

    /// A job file holds the same `rescue.NAME=VALUE` words, one a line, and commands as
    /// `rescue.run` would: lines for `rescue`, or `!` and a line for the shell. `#` begins a comment.
    pub fn add_job_file(&mut self, text: &str) {
        for line in text.lines().map(str::trim) {
            if line.starts_with("rescue.") {
                let word = words::kernel_line(line).join(" ");
                self.take(&word);
            } else if !line.starts_with('#') {
                self.add_commands(line);
            }
        }
    }

    fn add_commands(&mut self, text: &str) {
        if let Some(line) = text.trim_start().strip_prefix('!') {
            self.commands.push(Command::Shell(line.trim().to_owned()));
            return;
        }
        for mut words in words::commands(text) {
            if words[0] == "rescue" {
                words.remove(0);
            }
            self.commands.push(Command::Rescue(words));
        }
    }

    fn take(&mut self, word: &str) {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "console" => {
                let name = value.split(',').next().unwrap_or_default();
                self.consoles.push(name.to_owned());
            }
            "modprobe.blacklist" | "module_blacklist" => {
                self.module_blacklist
                    .extend(value.split(',').map(normalise));
            }
            _ => match key.split_once('.') {
                Some(("rescue", name)) => self.take_own(name, value),
                Some((module, option)) => self.add_module_option(module, option, word),
                None => {}
            },
        }
    }

    fn take_own(&mut self, name: &str, value: &str) {
        match name {
            "run" => self.add_commands(value),
            "job" => {
                self.job_file = Some(match value.strip_prefix("fw_cfg:") {
                    Some(name) => JobFile::FwCfg(name.to_owned()),
                    None => JobFile::Path(value.to_owned()),
                });
            }
            "then" => match Then::parse(value) {
                Some(then) => self.then = Some(then),
                None => self.complain(name, value, "poweroff, reboot, shell or tui"),
            },
            "settle" => match value.parse() {
                Ok(seconds) => self.settle_seconds = Some(seconds),
                Err(_) => self.complain(name, value, "a number of seconds"),
            },
            "shell" => self.shell = Some(value.to_owned()),
            // The inventory reads these two: they name the boot medium.
            "media" | "bootfs" => {}
            _ => self.complaints.push(format!(
                "the kernel command line has rescue.{name}, which means nothing; known are run, job, then, settle, shell"
            )),
        }
    }

    fn complain(&mut self, name: &str, value: &str, expected: &str) {
        self.complaints.push(format!(
            "rescue.{name}={value} means nothing; it takes {expected}"
        ));
    }

    fn add_module_option(&mut self, module: &str, option: &str, word: &str) {
        let value = word
            .split_once('=')
            .map_or(String::new(), |(_, v)| format!("={v}"));
        let options = self.module_options.entry(normalise(module)).or_default();
        if !options.is_empty() {
            options.push(' ');
        }
        options.push_str(&format!("{option}{value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    fn rescue(words: &[&str]) -> Command {
        Command::Rescue(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn a_kernel_line_says_what_to_run_and_what_follows() {
        let settings = Settings::from_kernel_line(
            "BOOT_IMAGE=/boot/vmlinuz rescue.media=0123 quiet console=ttyS0,115200 console=tty0 \
             rescue.run=\"image serial:A label:S/d --name n; check x\" rescue.then=reboot rescue.settle=5",
        );
        assert_eq!(
            settings.commands,
            [
                rescue(&["image", "serial:A", "label:S/d", "--name", "n"]),
                rescue(&["check", "x"])
            ]
        );
        assert_eq!(settings.then, Some(Then::Reboot));
        assert_eq!(settings.settle_seconds, Some(5));
        assert_eq!(settings.consoles, ["ttyS0", "tty0"]);
        assert!(settings.complaints.is_empty());
    }

    #[test]
    fn a_job_file_holds_the_same_words_a_line_each() {
        let mut settings = Settings::from_kernel_line("rescue.job=fw_cfg:opt/org.rescue/job");
        assert_eq!(
            settings.job_file,
            Some(JobFile::FwCfg("opt/org.rescue/job".to_owned()))
        );
        settings.add_job_file(
            "# a comment\nrescue disks\n!dmesg | grep 'a; b'\nrescue.then=poweroff\nrescue.shell=ttyS1\n\n",
        );
        assert_eq!(
            settings.commands,
            [
                rescue(&["disks"]),
                Command::Shell("dmesg | grep 'a; b'".to_owned())
            ]
        );
        assert_eq!(settings.then, Some(Then::PowerOff));
        assert_eq!(settings.shell.as_deref(), Some("ttyS1"));
    }

    #[test]
    fn options_for_modules_are_kept_for_when_they_are_loaded() {
        let settings = Settings::from_kernel_line(
            "nvme_core.max_retries=1 usb-storage.quirks=1:2:u usb_storage.delay_use=3 modprobe.blacklist=nouveau,hid-apple",
        );
        assert_eq!(settings.module_options["nvme_core"], "max_retries=1");
        assert_eq!(
            settings.module_options["usb_storage"],
            "quirks=1:2:u delay_use=3"
        );
        assert_eq!(settings.module_blacklist, ["nouveau", "hid_apple"]);
    }

    #[test]
    fn a_word_that_means_nothing_is_told() {
        let settings = Settings::from_kernel_line("rescue.than=reboot rescue.then=sleep");
        assert_eq!(
            settings.complaints,
            [
                "the kernel command line has rescue.than, which means nothing; known are run, job, then, settle, shell",
                "rescue.then=sleep means nothing; it takes poweroff, reboot, shell or tui"
            ]
        );
    }

    proptest! {
        #[test]
        fn no_line_panics(line in any::<String>(), job in "[a-z.=!;#'\"\n ]{0,60}") {
            let mut settings = Settings::from_kernel_line(&line);
            settings.add_job_file(&job);
        }
    }
}
