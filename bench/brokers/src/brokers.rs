//! The brokers that keep everything in memory: each started anew for each measurement and killed behind it.

use std::path::Path;

use crate::freshet::{self, Setup};
use crate::peers;
use crate::processes::{Launch, Role, Running};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Freshet in one process.
    Freshet,
    /// Freshet apart: two proxies and a storage node.
    FreshetApart,
    /// Mosquitto as the distribution has it.
    Mosquitto,
    /// Mochi MQTT, a Go library.
    Mochi,
    /// nats-server with its MQTT gateway.
    Nats,
    /// A broker's system calls, and next to nothing else ([`crate::floor`]).
    Floor,
}

impl Kind {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Freshet => "Freshet",
            Self::FreshetApart => "Freshet apart",
            Self::Mosquitto => "Mosquitto",
            Self::Mochi => "Mochi",
            Self::Nats => "nats-server",
            Self::Floor => "floor",
        }
    }

    /// Whether a measurement that fails ends the run.
    pub(crate) fn is_freshet(self) -> bool {
        matches!(self, Self::Freshet | Self::FreshetApart)
    }

    /// What has to be there before it can be started.
    pub(crate) fn needs(self) -> Option<peers::Need> {
        match self {
            Self::Mosquitto => Some(peers::Need::Mosquitto),
            Self::Mochi | Self::Nats => Some(peers::Need::Go),
            Self::Freshet | Self::FreshetApart | Self::Floor => None,
        }
    }

    /// What it says of itself, or what is pinned.
    ///
    /// # Errors
    /// When it is not installed or not built.
    pub(crate) fn version(self) -> anyhow::Result<String> {
        match self {
            Self::Freshet => freshet::version(),
            Self::FreshetApart => Ok("the same as two proxies and a storage node".to_owned()),
            Self::Mosquitto => peers::mosquitto_version(),
            Self::Floor => Ok("the floor".to_owned()),
            Self::Mochi => peers::pinned("github.com/mochi-mqtt/server/v2"),
            Self::Nats => peers::pinned("github.com/nats-io/nats-server/v2"),
        }
    }

    /// Starts it, with its files in a folder of `base`.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start(self, base: &Path) -> anyhow::Result<Running> {
        match self {
            Self::Freshet | Self::FreshetApart => {
                let setup = Setup {
                    proxies: (self == Self::FreshetApart).then_some(2),
                    is_durable: false,
                    checkpoint_seconds: None,
                };
                freshet::start(setup, base)
            }
            Self::Mosquitto => peers::start_mosquitto(base, "persistence false\n"),
            Self::Mochi => peers::start_go("mochi", base, &[]),
            Self::Nats => peers::start_go("nats", base, &["-sync=never", "-folder=FOLDER"]),
            Self::Floor => {
                let launch = Launch {
                    role: Role::Clients,
                    program: std::env::current_exe()?,
                    arguments: vec!["floor".to_owned()],
                    address: None,
                    log: None,
                };
                Running::start(vec![launch], None, None)
            }
        }
    }
}
