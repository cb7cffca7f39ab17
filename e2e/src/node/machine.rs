//! What the instances of this machine share: the choice of addresses, and folders that had to be made for them.
//!
//! Whoever changes any of it holds [`Machine`], which one process at a time does.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::instance::{Instance, write_atomically};
use super::lock::Lock;
use super::network;

const LOCK: &str = "/run/lock/freshet.lock";

/// The right to change what instances share, until it is dropped.
#[derive(Debug)]
pub struct Machine {
    _lock: Lock,
    /// Where is written down which folders were made.
    record: PathBuf,
}

impl Machine {
    /// Waits until nobody else changes it.
    ///
    /// # Errors
    /// When the lock's file cannot be made.
    pub async fn lock(instance: &Instance) -> anyhow::Result<Self> {
        let lock = Lock::acquire(Path::new(LOCK), "what instances share").await?;
        let record = instance.root().join("made-folders.json");
        Ok(Self { _lock: lock, record })
    }

    /// Makes the folders that the machine does not have, and remembers that they were not its own.
    ///
    /// # Errors
    /// When one cannot be made.
    pub fn make_folders(&self, folders: &[&Path]) -> anyhow::Result<()> {
        let missing: Vec<&Path> = folders.iter().copied().filter(|folder| !folder.exists()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut made = self.made_folders();
        made.extend(missing.iter().map(|folder| folder.to_path_buf()));
        made.sort_unstable();
        made.dedup();
        // First the note: a run that is interrupted between the two leaves a note of a folder that is not there.
        write_atomically(&self.record, &serde_json::to_vec(&made)?)?;
        for folder in missing {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(())
    }

    /// Removes what was made, when no instance is left that might use it.
    ///
    /// A folder that is a mount point in the namespace of a node must stay: the kernel would unmount it there.
    ///
    /// # Errors
    /// When the note of it cannot be removed.
    pub fn remove_if_last(&self) -> anyhow::Result<()> {
        if network::has_any_instance() {
            return Ok(());
        }
        for folder in self.made_folders() {
            // One that is not empty is somebody else's by now.
            let _ = std::fs::remove_dir(folder);
        }
        network::remove_namespaces_folder_if_empty();
        match std::fs::remove_file(&self.record) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.record.display()))
            }
            _ => Ok(()),
        }
    }

    fn made_folders(&self) -> Vec<PathBuf> {
        let read = std::fs::read(&self.record).ok();
        read.and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default()
    }
}
