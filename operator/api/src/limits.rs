//! `spec.limits`: bounds per client, per session and of the whole cluster.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules::{duration_between, size_between};
use crate::text::{DurationText, SizeText};

/// Bounds per client, per session and of the whole cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Limits {
    /// Per client.
    pub client: ClientLimits,
    /// Of what waits for sessions that outlive their connection.
    pub session: SessionLimits,
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

/// Bounds of what waits for sessions that outlive their connection, for each topic filter. Over one of them the oldest
/// messages go and are counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct SessionLimits {
    /// Messages that wait. Default 0, which is no bound; at most 1000000000000. Live.
    #[schemars(range(min = 0, max = 1_000_000_000_000_u64))]
    pub queued_messages: u64,
    /// Bytes of messages that wait. Default `0`, which is no bound; at most `100Ti`. Live.
    #[schemars(extend("x-kubernetes-validations" = size_between("limits.session.queuedBytes", "0", "100Ti")))]
    pub queued_bytes: SizeText,
    /// How long a message waits. Default `0s`, which is no bound; at most `876000h`. Live.
    #[schemars(extend("x-kubernetes-validations" = duration_between("limits.session.queuedAge", "0s", "876000h")))]
    pub queued_age: DurationText,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            queued_messages: 0,
            queued_bytes: "0".into(),
            queued_age: "0s".into(),
        }
    }
}

/// Bounds of the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct ClusterLimits {
    /// Sessions, connected or not; further clients are refused (MQTT 5.0: 0x97, 3.1.1: return code 3). Default 1000000; 0
    /// = no bound. Live.
    #[schemars(range(min = 0, max = 1_000_000_000_000_u64))]
    pub sessions: u64,
    /// The longest that a session outlives its connection; announced to a 5.0 client that asked for longer. Whole
    /// seconds. Default `168h`; from `0s`, with which every session ends with its connection, to `876000h`. New
    /// connections.
    #[schemars(extend("x-kubernetes-validations" = duration_between("limits.cluster.sessionExpiry", "0s", "876000h")))]
    pub session_expiry: DurationText,
    /// Retained messages; more are refused. 0 = no bound, the default. Live.
    #[schemars(range(min = 0, max = 1_000_000_000_000_u64))]
    pub retained_messages: u64,
    /// Bytes of retained messages: topic, payload, properties, and 128 bytes for each; more are refused. Default `1Gi`;
    /// `0` = no bound, at most `100Ti`. Live.
    #[schemars(extend("x-kubernetes-validations" = size_between("limits.cluster.retainedBytes", "0", "100Ti")))]
    pub retained_bytes: SizeText,
}

impl Default for ClusterLimits {
    fn default() -> Self {
        Self {
            sessions: 1_000_000,
            session_expiry: "168h".into(),
            retained_messages: 0,
            retained_bytes: "1Gi".into(),
        }
    }
}
