//! `spec.proxy`: the stateless processes that hold the clients' connections.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::moves::{Drain, Rebalance};
use crate::pod::{Image, PodTemplateOverlay, Resources, Scheduling};
use crate::rollout::Rollout;
use crate::rules::rule;
use crate::scaling::Scaling;

/// The proxies of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, extend("x-kubernetes-validations" = proxy_rules()))]
pub struct Proxy {
    /// Proxies that serve clients. The operator writes it with `scaling.mode: Scale`: leave it out of manifests then. With the
    /// other modes `kubectl scale` and a HorizontalPodAutoscaler do. Default 2; 0 to 1000. Live.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: u32,
    /// Image of the proxies.
    pub image: Image,
    /// Resources of an active proxy; the limits are those of a warm one as well. Its number of workers is the CPU limit
    /// rounded up, or 2 without one. What is given replaces requests and limits of the default, `{cpu: 500m, memory: 512Mi}` and
    /// `{cpu: "2", memory: 1Gi}`. Higher requests that are not reserved from birth are raised in place. New revision.
    pub resources: Resources,
    /// Proxies that are started and wait, so that capacity is there in a second.
    pub warm: Warm,
    /// How many proxies serve.
    pub scaling: Scaling,
    /// How the clients of proxies that serve are evened out.
    pub rebalance: Rebalance,
    /// How a proxy that is to go hands over its clients.
    pub drain: Drain,
    /// How a new revision takes over.
    pub rollout: Rollout,
    /// On which nodes the proxies run.
    pub scheduling: Scheduling,
    /// Laid over the pod template of the proxies, whose container is `proxy`: `{metadata, spec}`, without labels of the
    /// operator's own. New revision.
    pub pod_template: PodTemplateOverlay,
}

fn proxy_rules() -> Value {
    json!([rule(
        "self.scaling.mode == 'Off' || self.warm.min <= self.scaling.max",
        "proxy.warm.min must be at most proxy.scaling.max",
    )])
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            replicas: 2,
            image: Image::default(),
            resources: Resources::of(
                &[("cpu", "500m"), ("memory", "512Mi")],
                &[("cpu", "2"), ("memory", "1Gi")],
            ),
            warm: Warm::default(),
            scaling: Scaling::default(),
            rebalance: Rebalance::default(),
            drain: Drain::default(),
            rollout: Rollout::default(),
            scheduling: Scheduling::default(),
            pod_template: PodTemplateOverlay::default(),
        }
    }
}

/// Proxies that are started, connected to storage, and wait without clients. One takes the place of an active proxy that is
/// lost, and is the next when more are asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, extend("x-kubernetes-validations" = warm_rules()))]
pub struct Warm {
    /// How many wait beside those that serve; with `size: Auto` at least. Default 1; 0 to 100. Live.
    #[schemars(range(min = 0, max = 100))]
    pub min: u32,
    /// `Fixed`: `min` wait. `Auto`: from `min` to `max`, enough for the steepest rise of load that was seen or is foreseen while
    /// a cold proxy starts, in every `scaling.mode`. Default `Fixed`. Live.
    pub size: WarmSize,
    /// Most that wait with `size: Auto`; `min` or more. Default 5; 0 to 100. Live.
    #[schemars(range(min = 0, max = 100))]
    pub max: u32,
    /// Pods reserve from birth what an active proxy does. Otherwise that is reserved in place when one becomes active, if its
    /// node has room, which needs Kubernetes 1.33. Default false. New revision.
    pub reserve: bool,
    /// CPU and memory that a pod reserves while it waits, at most what an active one does; what is not named is reserved as
    /// for an active one. Without effect where active proxies reserve all that they may use. Default
    /// `{cpu: 50m, memory: 96Mi}`. New revision.
    #[schemars(extend("maxProperties" = 2, "x-kubernetes-validations" = warm_requests_rules()))]
    pub requests: BTreeMap<String, Quantity>,
}

/// What decides how many proxies wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum WarmSize {
    /// `min`.
    #[default]
    Fixed,
    /// The load.
    Auto,
}

fn warm_rules() -> Value {
    json!([rule(
        "self.min <= self.max",
        "proxy.warm.max must be proxy.warm.min or more"
    )])
}

fn warm_requests_rules() -> Value {
    json!([rule(
        "self.all(name, name in ['cpu', 'memory'])",
        "proxy.warm.requests can name cpu and memory: nothing else can be changed while a proxy runs",
    )])
}

impl Default for Warm {
    fn default() -> Self {
        Self {
            min: 1,
            size: WarmSize::Fixed,
            max: 5,
            reserve: false,
            requests: Resources::of(&[("cpu", "50m"), ("memory", "96Mi")], &[]).requests,
        }
    }
}
