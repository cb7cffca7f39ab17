//! `spec.storage`: the nodes that route messages and keep retained messages and sessions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::pod::{Image, PodTemplateOverlay, Resources, Scheduling};
use crate::rules::{duration_between, rule, size_between};
use crate::text::{DurationText, SizeText};

/// The storage of a cluster. What is acknowledged is on the volumes of its nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Storage {
    /// Storage nodes; only 1, until replication is built. Default 1. Immutable.
    #[schemars(
        range(min = 1),
        extend("x-kubernetes-validations" = [rule(
            "self <= 1",
            "storage.replicas must be 1: replication is not built yet",
        )])
    )]
    pub replicas: u32,
    /// Parts of the key space. Default 8; 1 to 1024. Immutable.
    #[schemars(range(min = 1, max = 1024))]
    pub shards: u32,
    /// How topics are placed on shards. Immutable.
    pub placement: Placement,
    /// The volume of each storage node, which keeps what was acknowledged through a restart.
    pub volume: StorageVolume,
    /// What becomes of the volumes when the resource is deleted. Default Retain. Live.
    pub deletion_policy: DeletionPolicy,
    /// Bounds of what waits in the queues of sessions and shared subscriptions, whatever `limits.session` leaves there.
    /// Live.
    pub retention: Retention,
    /// What a storage node does before its disk is full. Live.
    pub disk_full: DiskFull,
    /// Image of the storage nodes.
    pub image: Image,
    /// Resources of a storage node; what is given replaces requests and limits of the default, `{cpu: 500m, memory: 1Gi}` and
    /// `{memory: 2Gi}`. New revision.
    pub resources: Resources,
    /// On which nodes the storage nodes run.
    pub scheduling: Scheduling,
    /// Laid over the pod template of the storage nodes, whose container is `storage`: `{metadata, spec}`, without labels of the
    /// operator's own. New revision.
    pub pod_template: PodTemplateOverlay,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            replicas: 1,
            shards: 8,
            placement: Placement::default(),
            volume: StorageVolume::default(),
            deletion_policy: DeletionPolicy::Retain,
            retention: Retention::default(),
            disk_full: DiskFull::default(),
            image: Image::default(),
            resources: Resources::of(&[("cpu", "500m"), ("memory", "1Gi")], &[("memory", "2Gi")]),
            scheduling: Scheduling::default(),
            pod_template: PodTemplateOverlay::default(),
        }
    }
}

/// The volume of a storage node: a PersistentVolumeClaim `data-<cluster>-storage-<ordinal>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct StorageVolume {
    /// Where a node keeps what it stores: `Disk` or `Memory`. With `Memory` it has no volume, loses everything with its
    /// process, and size and StorageClass have no effect: for tests and development. Default `Disk`. Immutable.
    pub medium: StorageMedium,
    /// Its size. Default `10Gi`; from `1Gi` to `64Ti`. It only grows. Live.
    #[schemars(extend("x-kubernetes-validations" = size_between("storage.volume.size", "1Gi", "64Ti")))]
    pub size: SizeText,
    /// StorageClass of the volume; empty: the default one of the Kubernetes. Immutable.
    #[schemars(length(max = 253))]
    pub storage_class_name: String,
    /// Whether the operator asks for larger volumes when `size` grows, which the StorageClass has to allow. Where it does
    /// not, the condition `VolumeDegraded` says which claims somebody has to grow. Default true. Live.
    pub expand: bool,
}

impl Default for StorageVolume {
    fn default() -> Self {
        Self {
            medium: StorageMedium::Disk,
            size: "10Gi".into(),
            storage_class_name: String::new(),
            expand: true,
        }
    }
}

/// Where a storage node keeps what it stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum StorageMedium {
    /// On a volume, which outlives process and pod.
    #[default]
    Disk,
    /// In the process: what it stores ends with it.
    Memory,
}

/// What becomes of the volumes of a cluster that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum DeletionPolicy {
    /// They stay, with what is on them, until somebody deletes their claims. A cluster of the same name that is made later
    /// goes on with them.
    #[default]
    Retain,
    /// They go with the resource.
    Delete,
}

/// Bounds of what waits in all queues of a storage node together: over one of them the oldest messages go and are counted.
/// Retained messages and the state of sessions stay. So does what a client has been sent and has not acknowledged; when its
/// connection breaks, it is not sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Retention {
    /// How long a message waits, counted while its storage node runs; with `limits.session.queuedAge` the shorter one acts.
    /// Default `0s`, which is no bound; at most `876000h`. Live.
    #[schemars(extend("x-kubernetes-validations" = duration_between("storage.retention.maxAge", "0s", "876000h")))]
    pub max_age: DurationText,
    /// Part of the file system that messages may come to, in percent. Their own bytes count; on disk they may take twice as
    /// much for a while, so that more than 37 acts like 37 on volumes above 1.3Gi. With `medium: Memory` it says
    /// nothing. Default 0, which is no bound; at most 100. Live.
    #[schemars(range(min = 0, max = 100))]
    pub max_bytes_percent: u8,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            max_age: "0s".into(),
            max_bytes_percent: 0,
        }
    }
}

/// What a storage node does before its disk is full. It needs room to make room: what is acknowledged by clients, expires
/// or is unsubscribed is written, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct DiskFull {
    /// Part of the file system that messages leave free, in percent; never less than 64Mi. Default 5; 1 to 50. Live.
    #[schemars(range(min = 1, max = 50))]
    pub reserve_percent: u8,
    /// What a message meets that would have to be stored and finds only the reserve left. Default Hold. Live.
    pub action: DiskFullAction,
}

impl Default for DiskFull {
    fn default() -> Self {
        Self {
            reserve_percent: 5,
            action: DiskFullAction::Hold,
        }
    }
}

/// Answer to a message that cannot be stored. Others go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum DiskFullAction {
    /// Its acknowledgement waits until there is room, at most `mqtt.publishHold`; then the client is told to come again.
    #[default]
    Hold,
    /// It is refused at once (MQTT 5.0: 0x97; 3.1.1: the connection ends).
    Refuse,
}

/// How topics are placed on shards: by a hash of their key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Placement {
    /// Each rule has one level `{key}` among levels in full, and may end in `#`: `devices/{key}/#` makes the second
    /// level the key of all topics below `devices/`, so that a filter such as `devices/42/#` is served by one shard. No
    /// topic may match two rules. A topic that matches none is its own key. Immutable.
    #[schemars(
        length(max = 16),
        inner(length(min = 5, max = 256)),
        extend("x-kubernetes-validations" = placement_rules())
    )]
    pub rules: Vec<String>,
}

fn placement_rules() -> Value {
    json!([
        rule(
            r"self.all(r, r.matches('^([^+#{}/]*/)*[{]key[}](/[^+#{}/]*)*(/#)?$'))",
            "storage.placement.rules must have exactly one level {key}, no wildcard but # as the last level, and other levels in full, such as devices/{key}/#",
        ),
        rule(
            "self.all(r, !r.startsWith('$'))",
            "storage.placement.rules must not begin with $: such topics are the server's own",
        ),
        rule(
            "self.all(r, r != '{key}')",
            "storage.placement.rules must have more than {key}, which every topic without a rule has anyway",
        ),
        rule(
            "self.all(r, self.exists_one(o, o == r))",
            "storage.placement.rules must not name a rule twice",
        ),
        rule(
            "self.all(r, r.split('/').size() <= 10)",
            "storage.placement.rules must have at most 10 levels",
        ),
        rule(
            &disjoint_rule(),
            "storage.placement.rules must be disjoint: no topic may match two of them",
        ),
    ])
}

/// Two rules are disjoint when a level differs that both name, or when one ends before the other.
fn disjoint_rule() -> String {
    let named = |of: &str| format!("!({of}.split('/')[i] in ['{{key}}', '#'])");
    let ends_before = |short: &str, long: &str| {
        format!(
            "!{short}.endsWith('#') && {short}.split('/').size() < \
             ({long}.endsWith('#') ? {long}.split('/').size() - 1 : {long}.split('/').size())"
        )
    };
    format!(
        "self.all(a, self.all(b, a == b || {} || {} || [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].exists(i, \
         i < a.split('/').size() && i < b.split('/').size() && {} && {} && a.split('/')[i] != b.split('/')[i])))",
        ends_before("a", "b"),
        ends_before("b", "a"),
        named("a"),
        named("b"),
    )
}
