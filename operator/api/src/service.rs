//! `spec.service`: how clients reach the proxies.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::rules::rule;

/// The Service of the clients. It has the cluster's name and one port per listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, extend("x-kubernetes-validations" = service_rules()))]
pub struct Service {
    /// `ClusterIP` (inside Kubernetes only), `NodePort` or `LoadBalancer`. Live.
    #[serde(rename = "type")]
    pub type_: ServiceType,
    /// Annotations of the Service, for the load balancer's controller. Live.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
    /// Which implementation serves a `LoadBalancer`; empty: the cluster's own. Immutable once set, and as long as the
    /// type stays `LoadBalancer`.
    #[schemars(length(max = 253))]
    pub load_balancer_class: String,
    /// Source addresses that a `LoadBalancer` lets in, such as `10.0.0.0/8`; empty: all. Live.
    #[schemars(length(max = 64), inner(length(max = 64)))]
    pub load_balancer_source_ranges: Vec<String>,
    /// `Cluster` (any node forwards to any proxy) or `Local` (keeps the client's address; only nodes with a proxy
    /// answer). For `NodePort` and `LoadBalancer`. Live.
    pub external_traffic_policy: ExternalTrafficPolicy,
    /// `SingleStack`, `PreferDualStack` or `RequireDualStack`. Live.
    pub ip_family_policy: IpFamilyPolicy,
}

fn service_rules() -> Value {
    json!([
        rule(
            "oldSelf.loadBalancerClass == '' || self.loadBalancerClass == oldSelf.loadBalancerClass",
            "service.loadBalancerClass cannot be changed once it is set",
        ),
        rule(
            "oldSelf.type != 'LoadBalancer' || self.type != 'LoadBalancer' || \
             self.loadBalancerClass == oldSelf.loadBalancerClass",
            "service.loadBalancerClass cannot be set while service.type stays LoadBalancer: set service.type to ClusterIP first",
        ),
        rule(
            "self.loadBalancerSourceRanges.all(r, isCIDR(r))",
            "service.loadBalancerSourceRanges must be address ranges such as 10.0.0.0/8 or fd00::/8",
        ),
    ])
}

/// Type of the clients' Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ServiceType {
    /// Reached inside Kubernetes only.
    #[default]
    ClusterIP,
    /// Also at a port of every node.
    NodePort,
    /// Also at an external load balancer.
    LoadBalancer,
}

impl ServiceType {
    /// The word Kubernetes uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// Which proxies a node forwards to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ExternalTrafficPolicy {
    /// All of them.
    #[default]
    Cluster,
    /// Its own.
    Local,
}

impl ExternalTrafficPolicy {
    /// The word Kubernetes uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Local => "Local",
        }
    }
}

/// IP families of the Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum IpFamilyPolicy {
    /// The first family of the Kubernetes cluster.
    #[default]
    SingleStack,
    /// Both where there are two.
    PreferDualStack,
    /// Both.
    RequireDualStack,
}

impl IpFamilyPolicy {
    /// The word Kubernetes uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SingleStack => "SingleStack",
            Self::PreferDualStack => "PreferDualStack",
            Self::RequireDualStack => "RequireDualStack",
        }
    }
}
