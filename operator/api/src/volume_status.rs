//! `status.storage.volume`: how the volumes of the storage nodes are.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The volumes of the storage nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct StorageVolumeStatus {
    /// `Bound`, `Memory`, `FileSystemPending`, `Expanding`, `TooSmall`, `ExpansionRefused`, `Pending`, `Deleting` or `Lost`;
    /// of several volumes, that of the worst.
    pub phase: VolumePhase,
    /// Size that the resource asks for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub requested: String,
    /// Size of the smallest volume, as Kubernetes says it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub actual: String,
    /// Since when the phase is what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// How a volume is. In the order in which it needs somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum VolumePhase {
    /// There is none: what is stored is in memory.
    Memory,
    /// It is there, and at least as large as asked for.
    Bound,
    /// It has grown; its file system has not yet, which the kubelet sees to where the volume is mounted.
    FileSystemPending,
    /// Kubernetes has been asked for a larger one, or is about to be.
    Expanding,
    /// It is smaller than asked for, and nobody has asked for more: `expand` is false, or the resource is paused.
    TooSmall,
    /// It is smaller than asked for, and the API server or the driver of the volume refuses more.
    ExpansionRefused,
    /// Its claim is not there yet, or has no volume yet.
    #[default]
    Pending,
    /// Somebody has deleted its claim: it goes with the pod that uses it.
    Deleting,
    /// Its claim has lost it, with what was on it.
    Lost,
}
