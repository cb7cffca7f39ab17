//! The brokers that scripts run against, each in a process of its own on a loopback port.

mod folder;
mod freshet;
mod others;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::message::Version;
use crate::toolchain::Program;
use folder::Folder;

/// How long a broker may take until it listens. Java on a busy machine is the slowest.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// A broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub(crate) enum Kind {
    Freshet,
    Mosquitto,
    Mochi,
    Hivemq,
    Rumqttd,
}

impl Kind {
    /// All of them, the one under test first.
    pub(crate) const ALL: [Self; 5] = [Self::Freshet, Self::Mosquitto, Self::Mochi, Self::Hivemq, Self::Rumqttd];

    /// Accepts no CONNECT whose keep-alive is 0.
    pub(crate) const fn needs_keep_alive(self) -> bool {
        matches!(self, Self::Rumqttd)
    }

    /// As scripts name it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Freshet => "freshet",
            Self::Mosquitto => "mosquitto",
            Self::Mochi => "mochi",
            Self::Hivemq => "hivemq",
            Self::Rumqttd => "rumqttd",
        }
    }

    /// As the documentation names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Freshet => "Freshet",
            Self::Mosquitto => "Mosquitto",
            Self::Mochi => "Mochi",
            Self::Hivemq => "HiveMQ CE",
            Self::Rumqttd => "rumqttd",
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
            Self::Rumqttd => {
                "the crate `rumqttd` 0.20.0, in [a program of a few lines](../conformance/brokers/rumqttd/src/main.rs), \
                 one for each script; every CONNECT has a keep-alive, without which it accepts none"
            }
        }
    }
}

/// What the scripts of a broker run against.
#[derive(Debug)]
pub(crate) enum Server {
    /// All against one.
    One(Broker),
    /// Each against one of its own: what a script does to it, be it its end, is seen by that script alone.
    Each(Program),
}

impl Server {
    /// Starts any of them; `freshet` is the program of the one under test. Installs what it needs to run.
    ///
    /// # Errors
    /// When something cannot be installed, or does not begin to listen.
    pub(crate) async fn start(kind: Kind, freshet: &Path) -> anyhow::Result<Self> {
        Ok(Self::One(match kind {
            Kind::Freshet => Broker::freshet(freshet).await?,
            Kind::Mosquitto => others::mosquitto().await?,
            Kind::Mochi => others::mochi().await?,
            Kind::Hivemq => others::hivemq().await?,
            Kind::Rumqttd => return Ok(Self::Each(others::rumqttd().await?)),
        }))
    }
}

/// A broker in a process of its own; killed with its value.
#[derive(Debug)]
pub(crate) struct Broker {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Where it speaks MQTT 5.0, if that is elsewhere.
    address_v5: Option<SocketAddr>,
    child: Child,
    /// What the process has open goes after it.
    folder: Option<Folder>,
}

impl Broker {
    /// Starts `freshet standalone` with its defaults.
    ///
    /// # Errors
    /// When the program is not there or does not begin to listen.
    pub(crate) async fn freshet(program: &Path) -> anyhow::Result<Self> {
        freshet::start(program).await
    }

    /// Starts a program and waits until a line of its output names `mqtt://` and an address; where it speaks MQTT 5.0
    /// elsewhere, that comes second.
    ///
    /// # Errors
    /// When it does not begin to listen.
    pub(crate) async fn of(program: Program) -> anyhow::Result<Self> {
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
                let addresses = line.split(' ').filter_map(|word| word.strip_prefix("mqtt://"));
                let addresses: Result<Vec<SocketAddr>, _> = addresses.map(str::parse).collect();
                match addresses.with_context(|| line.clone())?[..] {
                    [] => {}
                    [address] => return Ok((address, None)),
                    [address, v5, ..] => return Ok((address, Some(v5))),
                }
            }
            bail!("{shown} ended before it listened")
        };
        let (address, address_v5) = tokio::time::timeout(START_DEADLINE, announced)
            .await
            .with_context(|| format!("{shown} did not say where it listens"))??;
        // What it says later must find a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            address,
            address_v5,
            child,
            folder: None,
        })
    }

    /// Keeps a folder for as long as the process runs.
    fn with_folder(mut self, folder: Folder) -> Self {
        self.folder = Some(folder);
        self
    }

    /// Where it speaks a version.
    pub(crate) fn address_for(&self, version: Version) -> SocketAddr {
        match version {
            Version::V311 => self.address,
            Version::V5 => self.address_v5.unwrap_or(self.address),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let id = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let (Some(_), Some(id)) = (&self.folder, id)
            && self.child.start_kill().is_ok()
        {
            // Until it is gone it may write. Its status is left for whoever reaps it; one that is reaped is gone.
            let _ = waitid(WaitId::Pid(id), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        }
    }
}
