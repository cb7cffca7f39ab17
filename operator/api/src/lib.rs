//! `MqttCluster`, group `freshet.dev`, version `v1alpha1`: the resource as users write it.
//!
//! Types, schema, defaults and the rules that the API server checks (CEL). Used by `operator/core`, the operator, the
//! end-to-end tests and `freshet standalone`. Leaves out what needs the meaning of a text (parsing of durations, sizes
//! and quantities, placement rules): that is `operator/core`, module `validate`.
//!
//! A field stands here only when something works by it. The last sentence of a field's documentation says how a change
//! is taken up: `Live.`, `New connections.`, `New revision.` (new pods), or `Immutable.`.

mod authorization;
mod cluster;
mod crd;
mod limits;
mod listener;
mod moves;
mod mqtt;
mod observability;
mod pod;
mod proxy;
mod rollout;
mod rules;
mod scaling;
mod scaling_status;
mod service;
mod status;
mod storage;
mod text;
mod volume_status;

pub use authorization::{Action, Authorization, AuthorizationRule, Effect};
pub use cluster::{MqttCluster, MqttClusterSpec};
pub use crd::mqtt_cluster_crd;
pub use limits::{ClientLimits, ClusterLimits, Limits, SessionLimits};
pub use listener::{Listener, ListenerProtocol};
pub use moves::{Drain, DrainReason, DrainStatus, Rebalance, RebalanceMode};
pub use mqtt::{Mqtt, SharedStrategy, SlowConsumer};
pub use observability::{LogLevel, Observability};
pub use pod::{Image, ImagePullSecret, PodTemplateOverlay, PullPolicy, Resources, Scheduling};
pub use proxy::{Proxy, Warm, WarmSize};
pub use rollout::{PauseOn, Rollout, RolloutAction};
pub use scaling::{
    Scaling, ScalingBehavior, ScalingMode, ScalingObjective, ScalingPrediction, ScalingTargets, ScalingWindows,
    ScheduledMinimum,
};
pub use scaling_status::{
    CeilingStatus, DecisionStatus, ForecastStatus, LearnedCapacityStatus, NextScheduledStatus, ScalingStatus,
    SignalStatus, WarmStatus,
};
pub use service::{ExternalTrafficPolicy, IpFamilyPolicy, Service, ServiceType};
pub use status::{
    ConditionType, Endpoint, MqttClusterStatus, PendingDisruption, ProxyStatus, RevisionPhase, RevisionStatus,
    StorageNodeStatus, StorageStatus,
};
pub use storage::{
    DeletionPolicy, DiskFull, DiskFullAction, Placement, Retention, Storage, StorageMedium, StorageVolume,
};
pub use text::{DurationText, SizeText};
pub use volume_status::{StorageVolumeStatus, VolumePhase};

/// Longest `metadata.name`: names of children, and of what Kubernetes makes from those, stay within 63 characters.
pub const NAME_MAX_CHARS: usize = 40;

/// Ports of a proxy that no listener can have, because every proxy answers health probes and metrics there.
pub const RESERVED_PORTS: [u16; 2] = [HEALTH_PORT, METRICS_PORT];

/// `/livez` and `/readyz` of every process.
pub const HEALTH_PORT: u16 = 8080;

/// `/metrics` of every process, `/loadz` of a proxy.
pub const METRICS_PORT: u16 = 9090;
