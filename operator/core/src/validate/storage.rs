//! `spec.storage.volume` and `spec.storage.diskFull`.

use freshet_config::{DiskConfig, WhenFull};
use freshet_operator_api as api;

use super::Check;

/// The volume as it is asked for, whose size is one that can be.
pub(super) fn volume_of(volume: Option<&api::StorageVolume>, check: &mut Check) -> Option<api::StorageVolume> {
    let volume = volume?;
    check.size("spec.storage.volume.size", &volume.size);
    Some(volume.clone())
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
