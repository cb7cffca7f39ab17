//! Advisory locks between processes: two runs neither build the same binaries nor change the same instance at once.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

/// How long to wait between two tries for a lock that somebody holds.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// A lock that is held until it is dropped; its file goes with it.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Waits for the lock, and says so when somebody else holds it.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub async fn acquire(path: &Path, what: &str) -> anyhow::Result<Self> {
        let mut told = false;
        loop {
            if let Some(lock) = Self::try_acquire(path)? {
                return Ok(lock);
            }
            if !told {
                told = true;
                let holder = std::fs::read_to_string(path).unwrap_or_default();
                eprintln!(
                    "      … waiting for another run that changes {what} (process {})",
                    holder.trim()
                );
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    fn try_acquire(path: &Path) -> anyhow::Result<Option<Self>> {
        let context = || format!("cannot lock {}", path.display());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(context)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(path)
            .with_context(context)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
            Err(std::fs::TryLockError::Error(error)) => return Err(error).with_context(context),
        }
        // The last holder may have removed the file after this one was opened: then somebody else may lock a new one.
        let locked = file.metadata().with_context(context)?;
        match std::fs::metadata(path) {
            Ok(present) if present.ino() == locked.ino() && present.dev() == locked.dev() => {}
            _ => return Ok(None),
        }
        file.set_len(0).with_context(context)?;
        write!(&file, "{}", std::process::id()).with_context(context)?;
        Ok(Some(Self {
            path: path.to_path_buf(),
            _file: file,
        }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while still held, so that whoever waits sees that its file is no longer the one at the path.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_held_lock_is_not_had_and_a_dropped_one_leaves_no_file() {
        let path = std::env::temp_dir().join(format!("freshet-lock-test-{}", std::process::id()));
        let held = Lock::acquire(&path, "a test").await.unwrap();
        assert!(Lock::try_acquire(&path).unwrap().is_none());
        drop(held);
        assert!(!path.exists());
        drop(Lock::try_acquire(&path).unwrap().expect("free again"));
        assert!(!path.exists());
    }
}
