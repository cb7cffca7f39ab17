//! `spec.listeners`: what clients connect to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A port of every proxy, and of the client Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Listener {
    /// Name of the listener and of its port in Services, at most 15 characters as every port name. A renamed listener
    /// is another one: its connections are closed. Live.
    #[schemars(length(min = 1, max = 15), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// What is spoken on it: `mqtt` is MQTT 3.1.1 and 5.0 over TCP, in clear text. Live.
    #[serde(default)]
    pub protocol: ListenerProtocol,
    /// TCP port of the proxies and of the Service, 1 to 65535; unique, and neither 8080 (health) nor 9090 (metrics).
    /// Live: connections of a removed port are closed.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Connections one proxy accepts on this listener at once. A proxy lowers it to what its process may open. Default
    /// 100000. Minimum 1. New connections.
    #[serde(default = "default_max_connections")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_connections: u32,
}

impl Listener {
    /// The listener of a cluster that names none.
    pub fn plain_mqtt() -> Self {
        Self {
            name: "mqtt".to_owned(),
            protocol: ListenerProtocol::Mqtt,
            port: 1883,
            max_connections: default_max_connections(),
        }
    }
}

const fn default_max_connections() -> u32 {
    100_000
}

/// Transport of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ListenerProtocol {
    /// MQTT over TCP, in clear text.
    #[default]
    Mqtt,
}

impl ListenerProtocol {
    /// The scheme of an address at which such a listener is reached.
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
        }
    }
}
