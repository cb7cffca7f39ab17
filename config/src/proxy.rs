//! `proxy.json`: everything a proxy takes up while it runs. Leaves out what needs a new process (workers, memory
//! bounds: command-line arguments) and who the process is (environment).

use serde::{Deserialize, Serialize};

use crate::authorization::AuthorizationConfig;

/// The file `proxy.json`. A running proxy takes up a changed file without dropping clients; each field says how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyConfig {
    /// UID of the `MqttCluster`: storage of another cluster refuses the proxy. New process.
    pub cluster_uid: String,
    /// `host:port` of every storage node, in ordinal order. Live: streams move to the new list.
    pub storage_endpoints: Vec<String>,
    /// Live: new ones are opened, removed ones closed with their connections (0x98 for MQTT 5.0).
    pub listeners: Vec<ListenerConfig>,
    /// New connections.
    pub mqtt: MqttConfig,
    /// New connections.
    pub client_limits: ClientLimits,
    /// Live.
    pub authorization: AuthorizationConfig,
    /// MQTT 5.0 CONNACK names the proxy in the user property `freshet-proxy`. New connections.
    pub proxy_in_connack: bool,
    /// `error | warn | info | debug | trace`. Live.
    pub log_level: String,
    /// How long a proxy that was told to stop goes on accepting, in ms. Live.
    pub drain_linger_ms: u64,
    /// How long it may take to hand over its clients after that, in ms. Live.
    pub drain_timeout_ms: u64,
    /// Clients that it hands over per second while nobody has said anything else. Default 500. Live.
    pub drain_moves_per_second: u32,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            cluster_uid: String::new(),
            storage_endpoints: Vec::new(),
            listeners: vec![ListenerConfig::default()],
            mqtt: MqttConfig::default(),
            client_limits: ClientLimits::default(),
            authorization: AuthorizationConfig::default(),
            proxy_in_connack: false,
            log_level: "info".to_owned(),
            drain_linger_ms: 5_000,
            drain_timeout_ms: 300_000,
            drain_moves_per_second: 500,
        }
    }
}

/// One listener of `spec.listeners`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerConfig {
    /// Unique within the cluster; label `listener` of metrics.
    pub name: String,
    /// What is spoken on it.
    pub protocol: ListenerProtocol,
    /// TCP port, 1 to 65535.
    pub port: u16,
    /// Connections this proxy accepts on it at once; more are closed at once. Default 100,000. Minimum 1.
    pub max_connections: u32,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            name: "mqtt".to_owned(),
            protocol: ListenerProtocol::Mqtt,
            port: 1883,
            max_connections: 100_000,
        }
    }
}

/// Transport of a listener. TLS and WebSocket arrive with the issue that makes them work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ListenerProtocol {
    /// MQTT over TCP.
    Mqtt,
}

/// `spec.mqtt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MqttConfig {
    /// How long an answer is held while storage cannot give it, in ms, before MQTT 5.0 gets DISCONNECT 0x88 and
    /// 3.1.1 a close. Default 30,000.
    pub publish_hold_ms: u64,
    /// Highest QoS of a PUBLISH, a will and a subscription, 0 to 2. Default 2.
    pub max_qos: u8,
    /// QoS 1 and 2 PUBLISH packets that a client may have unacknowledged (MQTT 5.0, 3.2.2.3.3). Default 100. Minimum 1.
    pub receive_maximum: u16,
    /// Topic aliases a client may use (MQTT 5.0, 3.2.2.3.8). Default 16; 0 = none.
    pub topic_alias_maximum: u16,
    /// Levels of a topic name or filter. Default 128.
    pub max_topic_levels: u16,
    /// Bytes of a topic name or filter. Default 4,096.
    pub max_topic_bytes: u16,
    /// Bytes of a client id. Default 1,024.
    pub max_client_id_bytes: u16,
    /// For how long a 3.1.1 session that is not clean outlives its connection, in seconds. Default 86,400.
    pub session_expiry_311_s: u32,
    /// Longest Session Expiry Interval that is granted, in seconds; `u32::MAX`: for ever. Default 604,800.
    pub max_session_expiry_s: u32,
    /// Which member of a shared subscription gets a message. Default: the one with the fewest in flight.
    pub shared_strategy: SharedStrategy,
    /// What happens to a clean session whose outbound buffer is full.
    pub slow_consumer: SlowConsumer,
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            publish_hold_ms: 30_000,
            max_qos: 2,
            receive_maximum: 100,
            topic_alias_maximum: 16,
            max_topic_levels: 128,
            max_topic_bytes: 4_096,
            max_client_id_bytes: 1_024,
            session_expiry_311_s: 86_400,
            max_session_expiry_s: 604_800,
            shared_strategy: SharedStrategy::LeastInflight,
            slow_consumer: SlowConsumer::DropOldest,
        }
    }
}

/// How the receiver of a message of a shared subscription is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SharedStrategy {
    /// Members take turns.
    RoundRobin,
    /// The member with the fewest messages in flight.
    LeastInflight,
}

/// Answer to a clean session that does not read as fast as its subscriptions deliver. QoS 0 is shed in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlowConsumer {
    /// The oldest message that was not sent yet is dropped and counted.
    DropOldest,
    /// The connection ends with 0x97 (MQTT 5.0) or a close (3.1.1).
    Disconnect,
}

/// `spec.limits.client`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientLimits {
    /// QoS 1 and 2 messages in flight towards a 3.1.1 client, and the bound for a 5.0 client's own receive maximum.
    /// Default 32. Minimum 1.
    pub inflight: u16,
    /// Subscriptions of a session; more are refused with 0x97 (3.1.1: 0x80). Default 1,000.
    pub subscriptions: u32,
    /// Largest packet in bytes, fixed header included. Default 1 MiB.
    pub max_packet_bytes: u32,
    /// Longest keep-alive in seconds, announced to MQTT 5.0 clients as Server Keep Alive; 3.1.1 ones keep theirs.
    /// Default 240; 0 = none.
    pub max_keep_alive_s: u16,
    /// Bytes queued towards a client that were not sent yet. Default 1 MiB.
    pub outbound_buffer_bytes: u32,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            inflight: 32,
            subscriptions: 1_000,
            max_packet_bytes: 1 << 20,
            max_keep_alive_s: 240,
            outbound_buffer_bytes: 1 << 20,
        }
    }
}
