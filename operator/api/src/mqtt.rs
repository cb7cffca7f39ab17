//! `spec.mqtt`: what the protocol leaves to the server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules::duration_between;
use crate::text::DurationText;

/// What the MQTT specifications leave to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Mqtt {
    /// How long an answer is held while storage cannot give it, before the client is asked to connect again (MQTT 5.0:
    /// CONNACK 0x88 or DISCONNECT 0x89, 3.1.1: a close). Default `30s`; from `1s` to `10m`. New connections.
    #[schemars(extend("x-kubernetes-validations" = duration_between("mqtt.publishHold", "1s", "10m")))]
    pub publish_hold: DurationText,
    /// How long the will of a client waits that the server itself moved; a client that is back by then keeps it unsent.
    /// Default `30s`; from `0s` to `10m`. Live.
    #[schemars(extend("x-kubernetes-validations" = duration_between("mqtt.willGraceOnMove", "0s", "10m")))]
    pub will_grace_on_move: DurationText,
    /// Highest QoS that is offered. A client that publishes with more is disconnected (MQTT 5.0: 0x9B), one that comes with
    /// such a will is refused; a subscription is granted no more. Default 2; 0 to 2. New connections.
    #[schemars(range(min = 0, max = 2))]
    pub max_qos: u8,
    /// QoS 1 and 2 messages that a client may have unacknowledged (MQTT 5.0, 3.2.2.3.3). Default 100; 1 to 65535. New
    /// connections.
    #[schemars(range(min = 1, max = 65535))]
    pub receive_maximum: u16,
    /// Topic aliases a client may use (MQTT 5.0, 3.2.2.3.8). Default 16; 0 to 65535, 0 = none. New connections.
    #[schemars(range(min = 0, max = 65535))]
    pub topic_alias_maximum: u16,
    /// For how long a 3.1.1 session that is not clean outlives its connection: 3.1.1 clients cannot say so themselves.
    /// At most `limits.cluster.sessionExpiry` counts. Whole seconds. Default `24h`; from `0s`, with which such sessions
    /// end with their connection, to `876000h`. New connections.
    #[schemars(extend("x-kubernetes-validations" = duration_between("mqtt.sessionExpiry311", "0s", "876000h")))]
    #[serde(rename = "sessionExpiry311")]
    pub session_expiry_311: DurationText,
    /// Levels of a topic name or filter. Default 128; 1 to 1024. New connections.
    #[schemars(range(min = 1, max = 1024))]
    pub max_topic_levels: u16,
    /// Bytes of a topic name or filter. Default 4096; 1 to 65535. New connections.
    #[schemars(range(min = 1, max = 65535))]
    pub max_topic_bytes: u16,
    /// Bytes of a client id. Default 1024; 23 to 65535, because 23 must be accepted (MQTT 5.0, 3.1.3.1). New connections.
    #[schemars(range(min = 23, max = 65535))]
    pub max_client_id_bytes: u16,
    /// Which member of a shared subscription gets a message: `LeastInflight` or `RoundRobin`, among those with room.
    /// `LeastInflight`: the one with the fewest unacknowledged messages. Default `LeastInflight`. Live.
    pub shared_strategy: SharedStrategy,
    /// What happens to a client of a clean session that does not read as fast as its subscriptions deliver: `DropOldest`
    /// or `Disconnect`. QoS 0 is shed in either case. New connections.
    pub slow_consumer: SlowConsumer,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            publish_hold: "30s".into(),
            will_grace_on_move: "30s".into(),
            max_qos: 2,
            receive_maximum: 100,
            topic_alias_maximum: 16,
            session_expiry_311: "24h".into(),
            max_topic_levels: 128,
            max_topic_bytes: 4096,
            max_client_id_bytes: 1024,
            shared_strategy: SharedStrategy::LeastInflight,
            slow_consumer: SlowConsumer::DropOldest,
        }
    }
}

/// How the receiver of a message of a shared subscription is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum SharedStrategy {
    /// Members take turns.
    RoundRobin,
    /// The member with the fewest messages in flight.
    #[default]
    LeastInflight,
}

/// Answer to a client that does not read as fast as its subscriptions deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum SlowConsumer {
    /// The oldest message that was not sent yet is dropped and counted.
    #[default]
    DropOldest,
    /// The connection ends (MQTT 5.0: 0x97).
    Disconnect,
}
