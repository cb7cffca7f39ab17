//! `status`: what the operator sees and has decided.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::moves::DrainStatus;
use crate::scaling_status::ScalingStatus;
use crate::volume_status::StorageVolumeStatus;

/// What the operator sees and has decided. Conditions and decisions are written at once, numbers at most every 15 s.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct MqttClusterStatus {
    /// `metadata.generation` of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Version of the operator that wrote this status.
    pub version: String,
    /// Where clients connect.
    pub endpoints: Vec<Endpoint>,
    /// Ready, ProxiesAvailable, StorageAvailable, Progressing, Degraded, Reconciling, Stalled, UpgradeAvailable,
    /// ConnectionsLimited, ResizeDeferred, RolloutPaused, ScalingActive, VolumeDegraded.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = json!(["type"])))]
    pub conditions: Vec<Condition>,
    /// The proxies.
    pub proxy: ProxyStatus,
    /// What the change that is being applied, or waits to be, has still to move; nothing while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_disruption: Option<PendingDisruption>,
    /// What decides how many proxies serve, and what was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingStatus>,
    /// The storage nodes.
    pub storage: StorageStatus,
}

/// The condition types of an `MqttCluster`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// Everything asked for is there and serves.
    Ready,
    /// At least one proxy takes new connections.
    ProxiesAvailable,
    /// Every storage node is ready.
    StorageAvailable,
    /// A change of the resource is being carried out.
    Progressing,
    /// Less is there than was asked for, and no change explains it; or a pod cannot run.
    Degraded,
    /// As Progressing, for tools that follow kstatus.
    Reconciling,
    /// Nothing goes on until somebody acts; the message says what to do.
    Stalled,
    /// The operator has newer images or pod templates, which the cluster takes when somebody asks for them.
    UpgradeAvailable,
    /// Proxies may have fewer connections than `maxConnections` of a listener says.
    ConnectionsLimited,
    /// An active proxy serves without having reserved on its node what it should.
    ResizeDeferred,
    /// A new revision of the proxies goes no further, because it does worse or because a person wants it so.
    RolloutPaused,
    /// The operator knows the load and decides by it how many proxies are to serve, or says what it would decide.
    ScalingActive,
    /// A volume of a storage node is not what was asked for, and somebody should look at it.
    VolumeDegraded,
}

impl ConditionType {
    /// Every type, in the order in which they are written.
    pub const ALL: [Self; 13] = [
        Self::Ready,
        Self::ProxiesAvailable,
        Self::StorageAvailable,
        Self::Progressing,
        Self::Degraded,
        Self::Reconciling,
        Self::Stalled,
        Self::UpgradeAvailable,
        Self::ConnectionsLimited,
        Self::ResizeDeferred,
        Self::RolloutPaused,
        Self::ScalingActive,
        Self::VolumeDegraded,
    ];

    /// The `type` of the condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::ProxiesAvailable => "ProxiesAvailable",
            Self::StorageAvailable => "StorageAvailable",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::UpgradeAvailable => "UpgradeAvailable",
            Self::ConnectionsLimited => "ConnectionsLimited",
            Self::ResizeDeferred => "ResizeDeferred",
            Self::RolloutPaused => "RolloutPaused",
            Self::ScalingActive => "ScalingActive",
            Self::VolumeDegraded => "VolumeDegraded",
        }
    }
}

/// An address at which clients connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Endpoint {
    /// Name of the listener.
    pub listener: String,
    /// Such as `mqtt://prod.iot.svc:1883`.
    pub address: String,
}

/// The proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct ProxyStatus {
    /// Proxies that serve clients (`freshet.dev/role=active`).
    pub active: u32,
    /// Proxies that should.
    pub desired: u32,
    /// Proxies that are ready, whatever their role.
    pub ready: u32,
    /// Proxies that are ready and wait (`freshet.dev/role=warm`).
    pub warm: u32,
    /// Of these, proxies that reserve what an active one does, or whose node is known to have room for it.
    pub promotable: u32,
    /// Proxies that hand over their clients.
    pub draining: u32,
    /// Of these, up to ten of those that have not been told to stop, and how far they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drains: Vec<DrainStatus>,
    /// How many there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub drains_total: u32,
    /// Label selector of the active proxies.
    pub selector: String,
    /// Image that the resource asks for, filled in from the defaults that the cluster keeps.
    pub image: String,
    /// Revisions of the proxies.
    pub revision: RevisionStatus,
}

// As serde asks for it.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// Clients that a change makes connect again, once each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct PendingDisruption {
    /// Clients of the proxies that will hand over or do so, as far as these say how many they have.
    pub clients: u64,
    /// From the moment at which they begin until the last one has, at `spec.proxy.drain.maxMovesPerSecond`; longer while those
    /// that take them are slow.
    pub estimated_seconds: u64,
    /// `Rollout`, `Rollback`, `ScaleIn`, or `NodeDrain`: a node is cordoned.
    pub cause: String,
}

/// Revisions of the proxies. A revision is everything that needs a new pod: image, resources, scheduling, pod template.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct RevisionStatus {
    /// The revision that serves.
    pub current: String,
    /// The revision that the resource asks for.
    pub target: String,
    /// `Stable`, `Warming` (pods of the target start), `Canary` (some of them serve and are watched), `Draining` (pods of the
    /// other revisions hand over), `Paused`, or `RollingBack` (pods of the target that the resource asks for hand over).
    pub phase: RevisionPhase,
    /// Active proxies of the target.
    pub active_new: u32,
    /// Active proxies of other revisions.
    pub active_old: u32,
    /// Why it is paused, with the figure.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Since when the first proxies of the target are watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_since: Option<Time>,
    /// The settings by which it was paused: with others it is judged anew.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub judged_with: String,
}

/// Where a change of revision stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum RevisionPhase {
    /// One revision.
    #[default]
    Stable,
    /// Pods of the target start; the others serve.
    Warming,
    /// Some pods of the target serve beside the others, and are watched.
    Canary,
    /// Pods of the target serve; the others hand over their clients.
    Draining,
    /// Nobody more of the target serves, and nobody hands over.
    Paused,
    /// Pods of the target hand over their clients to those that served before.
    RollingBack,
}

/// The storage nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct StorageStatus {
    /// Storage nodes that are ready.
    pub ready: u32,
    /// Storage nodes that should be.
    pub replicas: u32,
    /// Image that the resource asks for, filled in from the defaults that the cluster keeps.
    pub image: String,
    /// Their volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<StorageVolumeStatus>,
    /// Which lives of the storage nodes were seen: a new one has lost what was kept in memory.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = json!(["pod"])))]
    pub nodes: Vec<StorageNodeStatus>,
}

/// One storage node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct StorageNodeStatus {
    /// Name of the pod.
    pub pod: String,
    /// UID of the pod.
    #[serde(default)]
    pub uid: String,
    /// How often its container was started again.
    #[serde(default)]
    pub restarts: u32,
    /// UID of the PersistentVolumeClaim of its volume: another one holds nothing of what it has acknowledged before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub claim: String,
}
