//! What the condition `VolumeDegraded` says.

use freshet_operator_api::{ConditionType, VolumePhase};

use super::StatusInput;
use super::conditions::{Verdict, as_before};
use crate::volume::VolumeVerdict;

/// Condition `VolumeDegraded`; `found` is nothing when the resource cannot be built.
pub(super) fn degraded(input: &StatusInput<'_>, found: Option<&VolumeVerdict>) -> Verdict {
    let Some(found) = found else {
        return as_before(input, ConditionType::VolumeDegraded)
            .unwrap_or_else(|| Verdict::no("NotBuilt", "the resource cannot be built at the moment"));
    };
    if let Some(trouble) = &found.trouble {
        return Verdict::yes(&trouble.reason, trouble.message.clone());
    }
    match found.status.phase {
        VolumePhase::Memory => Verdict::no("InMemory", "there is no volume: what is stored ends with its process"),
        VolumePhase::Bound => Verdict::no("AsAsked", "volumes are there, and as large as asked for"),
        VolumePhase::TooSmall => Verdict::no("Paused", "volumes grow when spec.paused is not true any more"),
        VolumePhase::FileSystemPending
        | VolumePhase::Expanding
        | VolumePhase::ExpansionRefused
        | VolumePhase::Pending
        | VolumePhase::Deleting
        | VolumePhase::Lost => Verdict::no("InProgress", "volumes are being made, or grow"),
    }
}
