//! The clients under test, each behind the same words: commands in, events out.
//!
//! A driver says what the library says and decides nothing. Leaves out what is expected: the scripts.

mod mosquitto;
mod process;
mod rumqttc;

use tokio::sync::mpsc;

use crate::history::History;
use crate::message::{Command, Event};
use crate::toolchain;
use process::DriverProcess;

/// A client library, or a pair of programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub(crate) enum Client {
    Mosquitto,
    Paho,
    Mqttjs,
    Hivemq,
    Rumqttc,
}

impl Client {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Mosquitto, Self::Paho, Self::Mqttjs, Self::Hivemq, Self::Rumqttc];

    /// As the tables name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mosquitto => "mosquitto",
            Self::Paho => "paho",
            Self::Mqttjs => "mqtt.js",
            Self::Hivemq => "HiveMQ",
            Self::Rumqttc => "rumqttc",
        }
    }

    /// What it is and where it comes from.
    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Mosquitto => "`mosquitto_sub` and `mosquitto_pub` of Debian, a process for each connection",
            Self::Paho => "`paho-mqtt` of PyPI, Python",
            Self::Mqttjs => "`mqtt` of npm, JavaScript",
            Self::Hivemq => "`hivemq-mqtt-client` of Maven Central, Java",
            Self::Rumqttc => "`rumqttc` of crates.io, Rust",
        }
    }
}

/// The two ends of one client: commands to it, events from it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) events: History<Event>,
}

/// Starts clients of one kind.
#[derive(Debug)]
pub(crate) enum Driver {
    /// `mosquitto_sub` and `mosquitto_pub`, a process for each connection.
    Mosquitto,
    /// A program in the library's own language that hosts all its clients.
    Process(DriverProcess),
    /// A library in this process.
    Rumqttc,
}

impl Driver {
    /// Installs what the client needs to run, unless it is there, and starts it.
    ///
    /// # Errors
    /// When something cannot be installed or started.
    pub(crate) async fn start(client: Client) -> anyhow::Result<Self> {
        let program = match client {
            Client::Rumqttc => return Ok(Self::Rumqttc),
            Client::Mosquitto => {
                toolchain::mosquitto().await?;
                return Ok(Self::Mosquitto);
            }
            Client::Paho => toolchain::paho().await?,
            Client::Mqttjs => toolchain::mqttjs().await?,
            Client::Hivemq => toolchain::hivemq().await?,
        };
        Ok(Self::Process(DriverProcess::start(program)?))
    }

    /// Makes a client that waits for its first command. It ends when its commands end.
    pub(crate) fn open(&self) -> Link {
        match self {
            Self::Mosquitto => mosquitto::open(),
            Self::Process(process) => process.open(),
            Self::Rumqttc => rumqttc::open(),
        }
    }
}
