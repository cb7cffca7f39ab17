//! `spec.proxy.rebalance` and `.drain`: how clients are moved from proxy to proxy; `status.proxy.drains`: how far that is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::rules::{duration_between, rule};
use crate::text::DurationText;

/// How the clients of proxies that serve are evened out: connections never move by themselves, so that a proxy that is new
/// would stay empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Rebalance {
    /// `Steered`: when some proxy has far fewer clients than the mean, those above it get no new connections and give away
    /// what they have too many. `OnReconnectOnly`: clients stay where they are until they connect again. Default
    /// `Steered`. Live.
    pub mode: RebalanceMode,
    /// How far from even the proxies may be, in percent of the mean. Default 10; 5 to 50. Live.
    #[schemars(range(min = 5, max = 50))]
    pub within_percent: u32,
    /// Clients per second that are moved at most, of all proxies together. Default 500; 1 to 100000. Live.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_moves_per_second: u32,
    /// Where clients of MQTT 5.0 that are moved are told to go (0x9C): host and port, in which `{pod}` is the name of a
    /// proxy that takes connections. Default none: they are told to connect again (0x8B). Live.
    #[schemars(extend("maxLength" = 200, "x-kubernetes-validations" = server_reference_rules()))]
    pub server_reference: String,
}

fn server_reference_rules() -> Value {
    json!([rule(
        r"self == '' || self.matches('^[A-Za-z0-9.:{}\\[\\]-]+$')",
        "proxy.rebalance.serverReference must be a host, with a port or without, in which {pod} may stand",
    )])
}

impl Default for Rebalance {
    fn default() -> Self {
        Self {
            mode: RebalanceMode::Steered,
            within_percent: 10,
            max_moves_per_second: 500,
            server_reference: String::new(),
        }
    }
}

/// Whether clients are moved to even out proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum RebalanceMode {
    /// They are.
    Steered,
    /// They move when they connect again.
    OnReconnectOnly,
}

/// How a proxy that is to go hands over its clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Drain {
    /// The longest a proxy takes to hand over its clients; its pod is told to stop then, and killed at the latest this and
    /// 30 s later. Default `300s`; from `1s` to `1h`. New revision.
    #[schemars(extend("x-kubernetes-validations" = duration_between("proxy.drain.timeout", "1s", "1h")))]
    pub timeout: DurationText,
    /// How long a proxy that is to go still keeps its clients and accepts connections, until no Service sends any. Default
    /// `5s`; from `0s` to `60s`. Live.
    #[schemars(extend("x-kubernetes-validations" = duration_between("proxy.drain.linger", "0s", "60s")))]
    pub linger: DurationText,
    /// Clients per second that are handed over at most, of all proxies together. Default 500; 1 to 100000. Live.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_moves_per_second: u32,
    /// While those that take the clients need longer from CONNECT to CONNACK than this, P99 of 3 s, fewer are moved.
    /// Default `200ms`; from `10ms` to `10s`. Live.
    #[schemars(extend("x-kubernetes-validations" = duration_between("proxy.drain.connackP99Limit", "10ms", "10s")))]
    #[serde(rename = "connackP99Limit")]
    pub connack_p99_limit: DurationText,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            timeout: "300s".into(),
            linger: "5s".into(),
            max_moves_per_second: 500,
            connack_p99_limit: "200ms".into(),
        }
    }
}

/// A proxy that hands over its clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct DrainStatus {
    /// Name of the pod.
    pub pod: String,
    /// `ScaleIn`, `NodeDrain` (its node is cordoned), `CutOffFromStorage`, or `Rollout` of another revision.
    pub reason: DrainReason,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// Clients that are left; missing while it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients_left: Option<u64>,
    /// Of these, clients that were asked to go and finish what they have in flight.
    #[serde(default)]
    pub inflight: u64,
    /// Of these, clients whose session ends with the connection: what they do not finish is lost.
    #[serde(default)]
    pub sessions_at_risk: u64,
    /// Clients that it is to move per second.
    #[serde(default)]
    pub moves_per_second: u32,
}

/// Why a proxy hands over its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum DrainReason {
    /// Fewer proxies are to serve.
    ScaleIn,
    /// Its node is cordoned, as `kubectl drain` does first.
    NodeDrain,
    /// It has lost storage, and others have not.
    CutOffFromStorage,
    /// Another revision serves.
    Rollout,
}
