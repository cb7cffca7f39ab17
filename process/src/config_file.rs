//! A process's configuration file: read at the start, watched afterwards.
//!
//! A ConfigMap is a folder whose content changes by one exchange of a symbolic link, which no watch on the file itself
//! sees for sure. So the file is looked at once a second, which costs one system call.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Reads the file.
///
/// # Errors
/// When it cannot be read or is not what it should be; the text names the file and the place in it.
pub fn read_config<C: DeserializeOwned>(path: &Path) -> anyhow::Result<C> {
    let text = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no configuration of this process", path.display()))
}

/// What the watch has counted.
#[derive(Debug, Default)]
pub struct ConfigReloads {
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl ConfigReloads {
    /// Changed files that were taken up.
    #[must_use]
    pub fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// Changed files that could not be used; what was there before stays in force.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// What makes two looks at a file the same.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

fn look(path: &Path) -> Option<Look> {
    // Follows the link, so that an exchanged link is another file.
    let metadata = std::fs::metadata(path).ok()?;
    Some(Look {
        inode: metadata.ino(),
        length: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    })
}

/// Reads the file again whenever it has changed, for as long as somebody wants to know.
pub async fn watch_config<C>(path: PathBuf, current: watch::Sender<Arc<C>>, reloads: Arc<ConfigReloads>)
where
    C: DeserializeOwned + PartialEq + Send + Sync,
{
    watch_every(INTERVAL, path, current, reloads).await;
}

async fn watch_every<C>(interval: Duration, path: PathBuf, current: watch::Sender<Arc<C>>, reloads: Arc<ConfigReloads>)
where
    C: DeserializeOwned + PartialEq + Send + Sync,
{
    let mut last = look(&path);
    // Between reading and the first look the file may have changed.
    let mut is_first = true;
    while !current.is_closed() {
        let now = look(&path);
        if is_first || now != last {
            is_first = false;
            // A file that is missing for a moment is being exchanged.
            if now.is_some() {
                take_up(&path, &current, &reloads);
            }
            last = now;
        }
        tokio::time::sleep(interval).await;
    }
}

fn take_up<C: DeserializeOwned + PartialEq>(path: &Path, current: &watch::Sender<Arc<C>>, reloads: &ConfigReloads) {
    match read_config::<C>(path) {
        Ok(config) => {
            let has_changed = current.send_if_modified(|known| {
                let has_changed = **known != config;
                if has_changed {
                    *known = Arc::new(config);
                }
                has_changed
            });
            if has_changed {
                reloads.succeeded.fetch_add(1, Ordering::Relaxed);
                tracing::info!(file = %path.display(), "the configuration has changed");
            }
        }
        Err(error) => {
            reloads.failed.fetch_add(1, Ordering::Relaxed);
            tracing::error!(error = format!("{error:#}"), "a changed configuration is not taken up");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Settings {
        port: u16,
    }

    const SOON: Duration = Duration::from_millis(5);

    /// A folder like that of a mounted ConfigMap: the file is a link into a folder that is exchanged as a whole.
    struct Mounted(PathBuf);

    impl Mounted {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("freshet-config-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            std::os::unix::fs::symlink("..data/process.json", folder.join("process.json")).unwrap();
            Self(folder)
        }

        fn exchange(&self, version: &str, content: &str) {
            let data = self.0.join(version);
            std::fs::create_dir_all(&data).unwrap();
            std::fs::write(data.join("process.json"), content).unwrap();
            std::os::unix::fs::symlink(version, self.0.join("..data_tmp")).unwrap();
            std::fs::rename(self.0.join("..data_tmp"), self.0.join("..data")).unwrap();
        }

        fn file(&self) -> PathBuf {
            self.0.join("process.json")
        }
    }

    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn an_exchanged_config_map_is_taken_up_and_a_broken_one_is_not() {
        let mounted = Mounted::new("exchange");
        mounted.exchange("1", r#"{"port": 1}"#);
        let config: Settings = read_config(&mounted.file()).unwrap();
        let (sender, mut receiver) = watch::channel(Arc::new(config));
        let reloads = Arc::new(ConfigReloads::default());
        let watching = tokio::spawn(watch_every(SOON, mounted.file(), sender, Arc::clone(&reloads)));

        mounted.exchange("2", r#"{"port": 2}"#);
        receiver.changed().await.unwrap();
        assert_eq!(receiver.borrow_and_update().port, 2);

        mounted.exchange("3", "{");
        while reloads.failed() == 0 {
            tokio::time::sleep(SOON).await;
        }
        assert!(!receiver.has_changed().unwrap());

        mounted.exchange("4", r#"{"port": 4}"#);
        receiver.changed().await.unwrap();
        assert_eq!(receiver.borrow_and_update().port, 4);
        assert_eq!(reloads.succeeded(), 2);
        drop(receiver);
        watching.await.unwrap();
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_with_its_name_and_place() {
        let mounted = Mounted::new("wrong");
        let read = || format!("{:#}", read_config::<Settings>(&mounted.file()).unwrap_err());
        assert!(read().contains("process.json cannot be read"));
        mounted.exchange("1", r#"{"port": 70000}"#);
        let error = read();
        assert!(error.contains("process.json") && error.contains("line 1"), "{error}");
    }
}
