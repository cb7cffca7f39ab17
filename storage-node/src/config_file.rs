//! `storage.json`: read at the start, and again while the node runs.
//!
//! The file is a ConfigMap's: replaced as a whole some time after the resource was changed. It is read every few
//! seconds instead of being watched, which needs no notification from the file system and cannot miss one.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use freshet_config::StorageConfig;

/// How often the file is read again.
const READ_INTERVAL: Duration = Duration::from_secs(5);

/// Reads the file.
///
/// # Errors
/// When it cannot be read or is not a storage configuration.
pub fn read(path: &Path) -> Result<StorageConfig> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not a storage configuration", path.display()))
}

/// Reads the file again and again and returns when it says something else than `current`. A file that cannot be used
/// is reported once and changes nothing.
pub async fn changed(path: PathBuf, current: &StorageConfig) -> StorageConfig {
    let mut reported = false;
    loop {
        tokio::time::sleep(READ_INTERVAL).await;
        match read(&path) {
            Ok(config) if config != *current => return config,
            Ok(_) => reported = false,
            Err(error) if !reported => {
                reported = true;
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the changed configuration is not taken up"
                );
            }
            Err(_) => {}
        }
    }
}

/// Names what a running node cannot take up.
#[must_use]
pub fn needs_restart(current: &StorageConfig, changed: &StorageConfig) -> Vec<&'static str> {
    let mut fields = Vec::new();
    if current.cluster_uid != changed.cluster_uid {
        fields.push("clusterUid");
    }
    if current.shards != changed.shards {
        fields.push("shards");
    }
    if current.placement_rules != changed.placement_rules {
        fields.push("placementRules");
    }
    fields
}
