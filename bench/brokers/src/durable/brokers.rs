//! The brokers that keep what they acknowledge: each started anew for each measurement, on an empty folder.

use std::path::Path;

use crate::freshet::{self, Setup};
use crate::peers::{self, Need};
use crate::processes::Running;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Keeper {
    /// Freshet in one process: flushes before it acknowledges.
    Freshet,
    /// Freshet apart: a proxy and a storage node, which flushes before it acknowledges.
    FreshetApart,
    /// Mosquitto as the distribution has it: writes its database every half an hour.
    Mosquitto,
    /// nats-server as it is: flushes every two minutes.
    Nats,
    /// nats-server with `sync_interval: always`.
    NatsAlways,
}

impl Keeper {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Freshet => "Freshet",
            Self::FreshetApart => "Freshet apart",
            Self::Mosquitto => "Mosquitto",
            Self::Nats => "nats-server",
            Self::NatsAlways => "nats-server, sync always",
        }
    }

    /// Whether a measurement that fails ends the run.
    pub(crate) fn is_freshet(self) -> bool {
        matches!(self, Self::Freshet | Self::FreshetApart)
    }

    /// What has to be there before it can be started.
    pub(crate) fn needs(self) -> Option<Need> {
        match self {
            Self::Freshet | Self::FreshetApart => None,
            Self::Mosquitto => Some(Need::Mosquitto),
            Self::Nats | Self::NatsAlways => Some(Need::Go),
        }
    }

    /// What it says of itself, or what is pinned, and when it flushes.
    ///
    /// # Errors
    /// When it is not installed or not built.
    pub(crate) fn version(self) -> anyhow::Result<String> {
        Ok(match self {
            Self::Freshet => format!("{} (flushes before it acknowledges)", freshet::version()?),
            Self::FreshetApart => "the same as a proxy and a storage node".to_owned(),
            Self::Mosquitto => format!("{} (persistence, autosave by default)", peers::mosquitto_version()?),
            Self::Nats => {
                let version = peers::pinned("github.com/nats-io/nats-server/v2")?;
                format!("{version} (sync_interval by default, two minutes)")
            }
            Self::NatsAlways => "the same with sync_interval: always".to_owned(),
        })
    }

    /// Starts it, with its files in a folder of `base`.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start(self, base: &Path, checkpoint_seconds: Option<u32>) -> anyhow::Result<Running> {
        match self {
            Self::Freshet | Self::FreshetApart => {
                let setup = Setup {
                    proxies: (self == Self::FreshetApart).then_some(1),
                    is_durable: true,
                    checkpoint_seconds,
                };
                freshet::start(setup, base)
            }
            Self::Mosquitto => peers::start_mosquitto(base, "persistence true\npersistence_location FOLDER\n"),
            Self::Nats => peers::start_go("nats", base, &["-sync=default", "-folder=FOLDER"]),
            Self::NatsAlways => peers::start_go("nats", base, &["-sync=always", "-folder=FOLDER"]),
        }
    }
}
