//! Where sysfs is: `/sys`, or a tree that a test made.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

thread_local! {
    static ROOT: RefCell<PathBuf> = RefCell::new(PathBuf::from("/sys"));
}

/// Runs `f` so that every udev context it makes on this thread looks at `root` instead of `/sys`.
pub fn within<R>(root: &Path, f: impl FnOnce() -> R) -> R {
    struct Restore(PathBuf);
    impl Drop for Restore {
        fn drop(&mut self) {
            ROOT.with(|r| r.replace(std::mem::take(&mut self.0)));
        }
    }
    let _restore = Restore(ROOT.with(|r| r.replace(root.to_owned())));
    f()
}

pub fn current() -> PathBuf {
    ROOT.with(|r| r.borrow().clone())
}
