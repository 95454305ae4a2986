//! What the user has said so far of the job.

use engine::host::Disk;
use engine::identity::Identity;
use engine::request::{Action, Depth, DiskName, Options, Origin, Place, Remedy, Request};

use crate::screen::files::Whole;
use crate::world::{World, contents, model, serial_end, summary};

/// The jobs, as a person names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    Image,
    Clone,
    Restore,
    Verify,
    Check,
    Mend,
    Extract,
    /// What only the command line begins.
    Words,
}

impl Task {
    pub fn title(self) -> &'static str {
        match self {
            Task::Image => "Image a disk",
            Task::Clone => "Clone a disk",
            Task::Restore => "Restore an image",
            Task::Verify => "Verify a disk",
            Task::Check => "Check an image",
            Task::Mend => "Repair an image",
            Task::Extract => "Copy files out",
            Task::Words => "Job of the command line",
        }
    }

    pub fn of(action: &Action) -> Task {
        match action {
            Action::Image { .. } => Task::Image,
            Action::Clone { .. } => Task::Clone,
            Action::Restore { .. } => Task::Restore,
            Action::Verify { .. } => Task::Verify,
            Action::Check { .. } => Task::Check,
            Action::Mend { .. } => Task::Mend,
            Action::Extract { .. } => Task::Extract,
            Action::Serve { .. }
            | Action::Mount { .. }
            | Action::Export { .. }
            | Action::Merge { .. }
            | Action::Prune { .. } => Task::Words,
        }
    }
}

/// A disk that was chosen: its name in the request, and in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pick {
    pub name: DiskName,
    pub words: String,
    /// A name for its image: `windows-11-5T0A`.
    pub slug: String,
    /// `None` for what was typed: nobody has looked at it yet.
    pub identity: Option<Identity>,
}

impl Pick {
    pub fn disk(disk: &Disk, world: &World) -> Pick {
        let what = match disk.systems.first() {
            Some(system) => system.clone(),
            None => model(disk),
        };
        let mut slug = slug(&what);
        if let Some(end) = serial_end(&disk.identity) {
            slug.push_str(&format!("-{end}"));
        }
        Pick {
            name: world.name_of(disk),
            words: format!("{} ({})", contents(disk), summary(disk)),
            slug,
            identity: Some(disk.identity.clone()),
        }
    }

    pub fn typed(name: DiskName) -> Pick {
        let words = name.to_string();
        let last = words.rsplit('/').next().unwrap_or(&words);
        Pick {
            slug: slug(last),
            words,
            name,
            identity: None,
        }
    }
}

/// Letters and digits, joined by single dashes; what every filesystem takes.
fn slug(text: &str) -> String {
    const LONGEST: usize = 40;
    let mut out = String::new();
    for c in text.chars().take(LONGEST) {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    let out = out.trim_end_matches('-');
    if out.is_empty() {
        "disk".into()
    } else {
        out.into()
    }
}

/// A job without its options yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// An image's name is still empty here.
    pub action: Action,
    pub from: String,
    pub to: String,
}

impl Draft {
    pub fn image(source: &Pick, store: Place, to: String) -> Draft {
        Draft {
            from: source.words.clone(),
            to,
            action: Action::Image {
                source: source.name.clone(),
                store,
                name: String::new(),
            },
        }
    }

    pub fn clone_to(source: &Pick, destination: &Pick) -> Draft {
        Draft {
            from: source.words.clone(),
            to: destination.words.clone(),
            action: Action::Clone {
                source: source.name.clone(),
                destination: destination.name.clone(),
            },
        }
    }

    pub fn restore(image: Place, from: String, destination: &Pick) -> Draft {
        Draft {
            from,
            to: destination.words.clone(),
            action: Action::Restore {
                image,
                destination: destination.name.clone(),
            },
        }
    }

    pub fn verify(against: Origin, disk: &Pick) -> Draft {
        Draft {
            from: match &against {
                Origin::Image(image) => image.to_string(),
                Origin::Disk(other) => other.to_string(),
            },
            to: disk.words.clone(),
            action: Action::Verify {
                against,
                disk: disk.name.clone(),
            },
        }
    }

    pub fn check(image: Place) -> Draft {
        Draft {
            from: image.to_string(),
            to: String::new(),
            action: Action::Check { image },
        }
    }

    pub fn mend(image: Place) -> Draft {
        Draft {
            from: image.to_string(),
            to: String::new(),
            action: Action::Mend {
                image,
                with: Remedy::Parity,
            },
        }
    }

    pub fn extract(whole: &Whole, paths: Vec<String>, to: Place, words: String) -> Draft {
        Draft {
            from: whole.title.clone(),
            to: words,
            action: Action::Extract {
                from: whole.from.clone(),
                paths,
                to,
            },
        }
    }

    pub fn request(&self, name: &str, mut options: Options) -> Request {
        let mut action = self.action.clone();
        if let Action::Check { .. } = action {
            // Whoever asks for it by keys wants to know all.
            options.depth = Depth::Filesystems;
        }
        if let Action::Image { name: empty, .. } = &mut action {
            *empty = name.trim().to_owned();
        }
        Request { action, options }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggested_name_is_good_on_every_filesystem() {
        assert_eq!(
            slug("Debian GNU/Linux 12 (bookworm)"),
            "debian-gnu-linux-12-bookworm"
        );
        assert_eq!(slug("..//.."), "disk");
        assert_eq!(slug("Диск"), "disk");
        assert!(slug(&"x".repeat(500)).len() <= 40);
    }
}
