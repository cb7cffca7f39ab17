//! `spec.storage.volume`, `spec.storage.retention` and `spec.storage.diskFull`.

use freshet_config::{DiskConfig, RetentionConfig, WhenFull};
use freshet_operator_api as api;

use super::{Check, millis};

/// The volume of each storage node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidatedVolume {
    /// Its size as it was written.
    pub size: String,
    /// The same in bytes.
    pub size_bytes: u64,
    /// Its StorageClass; none: the default one.
    pub storage_class: Option<String>,
    /// The operator asks for more when there is less than that.
    pub expand: bool,
}

/// The volume as it is asked for; none where memory has to do.
pub(super) fn volume_of(volume: &api::StorageVolume, check: &mut Check) -> Option<ValidatedVolume> {
    let validated = ValidatedVolume {
        size: volume.size.0.clone(),
        size_bytes: check.size("spec.storage.volume.size", &volume.size),
        // Empty would ask for a volume without a class; none asks for the default.
        storage_class: Some(volume.storage_class_name.clone()).filter(|name| !name.is_empty()),
        expand: volume.expand,
    };
    match volume.medium {
        api::StorageMedium::Disk => Some(validated),
        api::StorageMedium::Memory => None,
    }
}

/// What may wait in all queues of a node.
pub(super) fn retention_of(retention: &api::Retention, check: &mut Check) -> RetentionConfig {
    RetentionConfig {
        max_age_ms: millis(check.duration("spec.storage.retention.maxAge", &retention.max_age)),
        max_bytes_percent: retention.max_bytes_percent,
    }
}

/// What a node does before its disk is full.
pub(super) const fn disk_of(disk_full: api::DiskFull) -> DiskConfig {
    DiskConfig {
        reserve_percent: disk_full.reserve_percent,
        when_full: match disk_full.action {
            api::DiskFullAction::Hold => WhenFull::Hold,
            api::DiskFullAction::Refuse => WhenFull::Refuse,
        },
    }
}
