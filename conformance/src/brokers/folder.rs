//! A folder for what a broker is given, and for what it writes on the way.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;

/// The folder; goes with its value, whatever is in it.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes one among the temporary files, named after a broker.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn make(broker: &str) -> anyhow::Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("freshet-{broker}-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it disturbs nobody; there is nothing to be done about it here.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_what_is_in_it() {
        let (one, other) = (Folder::make("test").unwrap(), Folder::make("test").unwrap());
        assert_ne!(one.path(), other.path());
        let path = one.path().to_owned();
        std::fs::create_dir(path.join("data")).unwrap();
        std::fs::write(path.join("data/log"), "x").unwrap();
        drop(one);
        assert!(!path.exists());
        assert!(other.path().exists());
    }
}
