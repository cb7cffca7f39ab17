//! What `spec.proxy` and `spec.storage` say about their pods: image, resources, scheduling, overlay.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::rules::{duration_between, rule};
use crate::text::DurationText;

/// Which image the pods run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Image {
    /// Registry and name; empty: those of the operator's default, as it was when the cluster was created or upgraded. New
    /// revision.
    #[schemars(length(max = 512), regex(pattern = r"^([a-z0-9][A-Za-z0-9._:/-]*[A-Za-z0-9])?$"))]
    pub repository: String,
    /// Tag; empty: that of the operator's default, as it was when the cluster was created or upgraded. New revision.
    #[schemars(length(max = 128), regex(pattern = r"^([A-Za-z0-9_][A-Za-z0-9._-]*)?$"))]
    pub tag: String,
    /// Digest such as `sha256:…`; wins over the tag. New revision.
    #[schemars(length(max = 128), regex(pattern = r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})?$"))]
    pub digest: String,
    /// `IfNotPresent`, `Always` or `Never`. New revision.
    pub pull_policy: PullPolicy,
}

/// When a node fetches an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum PullPolicy {
    /// Unless the node has it.
    #[default]
    IfNotPresent,
    /// Each time a container starts.
    Always,
    /// Not at all: the node must have it.
    Never,
}

impl PullPolicy {
    /// The word Kubernetes uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IfNotPresent => "IfNotPresent",
            Self::Always => "Always",
            Self::Never => "Never",
        }
    }
}

/// A Secret of the same namespace with registry credentials. The operator never reads it; the kubelet does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct ImagePullSecret {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Compute resources of a container, as in a pod: `requests` are reserved, `limits` are the most it gets. Given as a
/// whole: what is given replaces the default of both.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, extend("x-kubernetes-validations" = resources_rules()))]
pub struct Resources {
    /// What a node must have free, for example `{cpu: 500m, memory: 512Mi}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 7))]
    pub requests: BTreeMap<String, Quantity>,
    /// What the container cannot exceed, for example `{cpu: "2", memory: 1Gi}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 7))]
    pub limits: BTreeMap<String, Quantity>,
}

fn resources_rules() -> Value {
    json!([rule(
        "!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) || \
         quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
        "resources.requests must not be more than resources.limits",
    )])
}

impl Resources {
    /// Requests and limits from pairs of name and quantity.
    pub fn of(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Self {
        let map = |pairs: &[(&str, &str)]| {
            let entry = |&(name, quantity): &(&str, &str)| (name.to_owned(), Quantity(quantity.to_owned()));
            pairs.iter().map(entry).collect()
        };
        Self {
            requests: map(requests),
            limits: map(limits),
        }
    }
}

/// On which nodes the pods run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Scheduling {
    /// Labels a node must have. New revision.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints the pods tolerate. New revision.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
    /// Affinity to nodes and other pods, as in a pod. New revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How the pods spread; empty: over zones and nodes as well as they can (proxies), one per node (storage). New
    /// revision.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Priority class of the pods; empty: the cluster's default. New revision.
    #[schemars(length(max = 253))]
    pub priority_class_name: String,
    /// How long a pod stays on a node that does not answer before it is replaced elsewhere. Default `30s`; from `0s` to
    /// `24h`. New revision.
    #[schemars(extend("x-kubernetes-validations" = duration_between("scheduling.unreachableAfter", "0s", "24h")))]
    pub unreachable_after: DurationText,
}

impl Default for Scheduling {
    fn default() -> Self {
        Self {
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            affinity: None,
            topology_spread_constraints: Vec::new(),
            priority_class_name: String::new(),
            unreachable_after: "30s".into(),
        }
    }
}

/// A part of a pod template that is laid over the operator's own: maps are merged, lists with a key (containers, volumes,
/// environment …) are merged by it, other lists are replaced. It cannot remove anything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct PodTemplateOverlay(#[schemars(schema_with = "any_object")] pub Map<String, Value>);

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
