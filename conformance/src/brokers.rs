//! The brokers that scripts run against, each in a process of its own on a loopback port.

mod freshet;
mod others;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::toolchain::Program;

/// How long a broker may take until it listens. Java on a busy machine is the slowest.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// A broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub(crate) enum Kind {
    Freshet,
    Mosquitto,
    Mochi,
    Hivemq,
}

impl Kind {
    /// All of them, the one under test first.
    pub(crate) const ALL: [Self; 4] = [Self::Freshet, Self::Mosquitto, Self::Mochi, Self::Hivemq];

    /// As scripts name it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Freshet => "freshet",
            Self::Mosquitto => "mosquitto",
            Self::Mochi => "mochi",
            Self::Hivemq => "hivemq",
        }
    }

    /// As the documentation names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Freshet => "Freshet",
            Self::Mosquitto => "Mosquitto",
            Self::Mochi => "Mochi",
            Self::Hivemq => "HiveMQ CE",
        }
    }

    /// What it is, where it comes from and how it is set up.
    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Freshet => "`freshet standalone` with its defaults",
            Self::Mosquitto => {
                "Debian's `mosquitto` 2.0.11, set up by \
                 [mosquitto.conf](../conformance/brokers/mosquitto/mosquitto.conf)"
            }
            Self::Mochi => {
                "the Go module `github.com/mochi-mqtt/server/v2` 2.7.9, in \
                 [a program of a few lines](../conformance/brokers/mochi/main.go)"
            }
            Self::Hivemq => {
                "`hivemq-community-edition-embedded` 2025.5 of Maven Central, in \
                 [a program of a few lines](../conformance/brokers/hivemq/Broker.java), set up by \
                 [config.xml](../conformance/brokers/hivemq/config.xml)"
            }
        }
    }
}

/// A broker in a process of its own; killed with its value.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    _child: Child,
}

impl Broker {
    /// Starts `freshet standalone` with its defaults.
    ///
    /// # Errors
    /// When the program is not there or does not begin to listen.
    pub(crate) async fn freshet(program: &Path) -> anyhow::Result<Self> {
        freshet::start(program).await
    }

    /// Starts any of them; `freshet` is the program of the one under test. Installs what it needs to run.
    ///
    /// # Errors
    /// When something cannot be installed, or does not begin to listen.
    pub(crate) async fn start(kind: Kind, freshet: &Path) -> anyhow::Result<Self> {
        match kind {
            Kind::Freshet => Self::freshet(freshet).await,
            Kind::Mosquitto => others::mosquitto().await,
            Kind::Mochi => others::mochi().await,
            Kind::Hivemq => others::hivemq().await,
        }
    }
}

/// Starts a program and waits until a line of its output names `mqtt://` and an address.
async fn start_and_listen(program: Program) -> anyhow::Result<Broker> {
    let shown = program.to_string();
    let mut child = Command::from(program)
        // Some end with their input: so they do not outlive this process, however it ends.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {shown}"))?;
    let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
    let announced = async {
        while let Some(line) = lines.next_line().await? {
            if let Some((_, rest)) = line.split_once("mqtt://") {
                let end = rest.find(' ').unwrap_or(rest.len());
                return rest[..end].parse().with_context(|| line.clone());
            }
        }
        bail!("{shown} ended before it listened")
    };
    let address = tokio::time::timeout(START_DEADLINE, announced)
        .await
        .with_context(|| format!("{shown} did not say where it listens"))??;
    // What it says later must find a reader.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(Broker { address, _child: child })
}
