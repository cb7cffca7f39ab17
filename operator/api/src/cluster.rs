//! `MqttCluster` and its `spec`.

// Columns of one type are no duplicates of each other.
#![allow(clippy::duplicated_attributes)]

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::RESERVED_PORTS;
use crate::authorization::Authorization;
use crate::limits::Limits;
use crate::listener::Listener;
use crate::mqtt::Mqtt;
use crate::observability::Observability;
use crate::pod::ImagePullSecret;
use crate::proxy::Proxy;
use crate::rules::{rule, unchanged};
use crate::service::Service;
use crate::status::MqttClusterStatus;
use crate::storage::Storage;

/// What a user asks for. Every field has a default: `spec: {}` is a cluster of two proxies and a storage node that
/// speaks MQTT on port 1883.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "freshet.dev",
    version = "v1alpha1",
    kind = "MqttCluster",
    plural = "mqttclusters",
    shortname = "mqc",
    namespaced,
    status = "MqttClusterStatus",
    derive = "PartialEq",
    doc = "An MQTT system: stateless proxies behind one Service, over storage.",
    crates(kube_core = "::kube_core"),
    scale(
        spec_replicas_path = ".spec.proxy.replicas",
        status_replicas_path = ".status.proxy.active",
        label_selector_path = ".status.proxy.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Active", type_ = "integer", json_path = ".status.proxy.active"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".status.proxy.desired"),
    printcolumn(name = "Warm", type_ = "integer", json_path = ".status.proxy.warm"),
    printcolumn(name = "Draining", type_ = "integer", json_path = ".status.proxy.draining"),
    printcolumn(name = "Storage", type_ = "integer", json_path = ".status.storage.ready"),
    printcolumn(
        name = "Volume",
        type_ = "string",
        json_path = ".status.storage.volume.phase",
        priority = "1"
    ),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.proxy.revision.current"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = "1"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, extend("x-kubernetes-validations" = spec_rules()))]
pub struct MqttClusterSpec {
    /// While true no child is changed and no decision is applied; status goes on. Live.
    pub paused: bool,
    /// Secrets with registry credentials for the images. New revision.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = json!(["name"]))
    )]
    pub image_pull_secrets: Vec<ImagePullSecret>,
    /// What clients connect to; empty: one listener `mqtt` on port 1883. Live.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = json!(["name"]),
            "x-kubernetes-validations" = listeners_rules()
        )
    )]
    pub listeners: Vec<Listener>,
    /// How clients reach the proxies.
    pub service: Service,
    /// The processes that hold the clients' connections.
    pub proxy: Proxy,
    /// The nodes that route messages and keep retained messages and sessions.
    pub storage: Storage,
    /// What the MQTT specifications leave to the server.
    pub mqtt: Mqtt,
    /// Which topics clients may publish and subscribe to.
    pub authorization: Authorization,
    /// Bounds per client and of the whole cluster.
    pub limits: Limits,
    /// What the processes tell.
    pub observability: Observability,
}

fn spec_rules() -> Value {
    json!([
        unchanged(
            "storage.shards",
            "every topic's place depends on it; create another MqttCluster"
        ),
        unchanged(
            "storage.placement",
            "every topic's place depends on it; create another MqttCluster"
        ),
        unchanged(
            "storage.volume.medium",
            "what is stored would stay behind; create another MqttCluster"
        ),
        unchanged("storage.volume.storageClassName", "a volume stays where it was made"),
        rule(
            "quantity(self.storage.volume.size).compareTo(quantity(oldSelf.storage.volume.size)) >= 0",
            "storage.volume.size cannot become less: a volume only grows",
        ),
    ])
}

fn listeners_rules() -> Value {
    let [health, metrics] = RESERVED_PORTS;
    json!([
        rule(
            "self.all(l, self.exists_one(o, o.port == l.port))",
            "listeners.port must be different for every listener",
        ),
        rule(
            &format!("self.all(l, l.port != {health} && l.port != {metrics})"),
            &format!("listeners.port cannot be {health} or {metrics}: proxies answer health probes and metrics there"),
        ),
    ])
}
