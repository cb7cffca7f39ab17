//! Brokers of others, each set up by what `conformance/brokers` keeps for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use super::{Broker, Folder, START_DEADLINE};
use crate::toolchain::{self, Program};

/// Between two looks whether a port is open.
const LOOK: Duration = Duration::from_millis(20);
/// A port that was free may be taken by somebody else before the broker has it.
const PORTS_TRIED: usize = 5;

/// Debian's Mosquitto. It does not choose a port by itself.
pub(super) async fn mosquitto() -> anyhow::Result<Broker> {
    let (program, configuration) = toolchain::mosquitto_broker().await?;
    for _ in 0..PORTS_TRIED {
        let port = free_port().await?;
        let folder = Folder::make("mosquitto")?;
        let file = folder.path().join("mosquitto.conf");
        std::fs::write(&file, format!("{configuration}\nlistener {port} 127.0.0.1\n"))
            .with_context(|| format!("cannot write {}", file.display()))?;
        if let Some(broker) = start_at_port(Command::new(&program).arg("-c").arg(&file), port).await? {
            return Ok(broker.with_folder(folder));
        }
    }
    bail!("mosquitto ended on {PORTS_TRIED} ports before it listened")
}

/// Mochi, in a program that says where it listens.
pub(super) async fn mochi() -> anyhow::Result<Broker> {
    Broker::of(toolchain::mochi_broker().await?).await
}

/// HiveMQ CE, in a program that chooses a free port and says so. It keeps what it has to keep in a folder.
pub(super) async fn hivemq() -> anyhow::Result<Broker> {
    let folder = Folder::make("hivemq")?;
    let program = toolchain::hivemq_broker().await?.args([folder.path()]);
    Ok(Broker::of(program).await?.with_folder(folder))
}

/// rumqttd, in a program that has a port for each version and says which.
pub(super) async fn rumqttd() -> anyhow::Result<Program> {
    toolchain::rumqttd_broker().await
}

async fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("no free port")?;
    Ok(listener.local_addr().context("no address")?.port())
}

/// Starts a program that listens at a port; `None` when it ends before it does.
async fn start_at_port(command: &mut Command, port: u16) -> anyhow::Result<Option<Broker>> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start a broker")?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listens = async {
        loop {
            if TcpStream::connect(address).await.is_ok() {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = listens => Ok(Some(Broker { address, address_v5: None, child, folder: None })),
        _ = child.wait() => Ok(None),
        () = tokio::time::sleep(START_DEADLINE) => bail!("nothing listens at {address}"),
    }
}
