//! `spec.limits`: bounds per client and of the whole cluster.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules::{duration_between, size_between};
use crate::text::{DurationText, SizeText};

/// Bounds per client and of the whole cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Limits {
    /// Per client.
    pub client: ClientLimits,
    /// Of the whole cluster.
    pub cluster: ClusterLimits,
}

/// Bounds per client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct ClientLimits {
    /// QoS 1 and 2 messages in flight towards a 3.1.1 client, and the most of what a 5.0 client's receive maximum asks
    /// for. Default 32; 1 to 65535. New connections.
    #[schemars(range(min = 1, max = 65535))]
    pub inflight: u16,
    /// Subscriptions of a session; more are refused (MQTT 5.0: 0x97, 3.1.1: 0x80). Default 1000; 1 to 1000000. New
    /// connections.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub subscriptions: u32,
    /// Largest packet, fixed header included. Default `1Mi`; from `1Ki` to `4M`, which with its overhead is what travels
    /// between proxies and storage in one piece. New connections.
    #[schemars(extend("x-kubernetes-validations" = size_between("limits.client.maxPacket", "1Ki", "4M")))]
    pub max_packet: SizeText,
    /// Longest keep-alive, announced to 5.0 clients; 3.1.1 ones keep theirs. Whole seconds. Default `240s`; from `0s`,
    /// which is none, to `18h`. New connections.
    #[schemars(extend("x-kubernetes-validations" = duration_between("limits.client.maxKeepAlive", "0s", "18h")))]
    pub max_keep_alive: DurationText,
    /// Bytes that wait to be sent to a client. Default `1Mi`; from `4Ki` to `1Gi`. New connections.
    #[schemars(extend("x-kubernetes-validations" = size_between("limits.client.outboundBuffer", "4Ki", "1Gi")))]
    pub outbound_buffer: SizeText,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            inflight: 32,
            subscriptions: 1000,
            max_packet: "1Mi".into(),
            max_keep_alive: "240s".into(),
            outbound_buffer: "1Mi".into(),
        }
    }
}

/// Bounds of the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct ClusterLimits {
    /// Retained messages; more are refused. 0 = no bound, the default. Live.
    #[schemars(range(min = 0, max = 1_000_000_000_000_u64))]
    pub retained_messages: u64,
    /// Bytes of topics and payloads of retained messages; more are refused. Default `1Gi`; `0` = no bound, at most
    /// `100Ti`. Live.
    #[schemars(extend("x-kubernetes-validations" = size_between("limits.cluster.retainedBytes", "0", "100Ti")))]
    pub retained_bytes: SizeText,
}

impl Default for ClusterLimits {
    fn default() -> Self {
        Self {
            retained_messages: 0,
            retained_bytes: "1Gi".into(),
        }
    }
}
