//! Brokers of others, each set up by what `conformance/brokers` keeps for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use super::{Broker, START_DEADLINE, start_and_listen};
use crate::toolchain;

/// Between two looks whether a port is open.
const LOOK: Duration = Duration::from_millis(20);
/// A port that was free may be taken by somebody else before the broker has it.
const PORTS_TRIED: usize = 5;

/// Debian's Mosquitto. It does not choose a port by itself.
pub(super) async fn mosquitto() -> anyhow::Result<Broker> {
    let (program, configuration) = toolchain::mosquitto_broker().await?;
    for _ in 0..PORTS_TRIED {
        let port = free_port().await?;
        let folder = std::env::temp_dir().join(format!("freshet-mosquitto-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = folder.join("mosquitto.conf");
        std::fs::write(&file, format!("{configuration}\nlistener {port} 127.0.0.1\n"))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let started = start_at_port(Command::new(&program).arg("-c").arg(&file), port).await;
        // It has read its configuration, or will never do so.
        let _ = std::fs::remove_dir_all(&folder);
        if let Some(broker) = started? {
            return Ok(broker);
        }
    }
    bail!("mosquitto ended on {PORTS_TRIED} ports before it listened")
}

/// Mochi, in a program that says where it listens.
pub(super) async fn mochi() -> anyhow::Result<Broker> {
    start_and_listen(toolchain::mochi_broker().await?).await
}

/// HiveMQ CE, in a program that chooses a free port and says so.
pub(super) async fn hivemq() -> anyhow::Result<Broker> {
    start_and_listen(toolchain::hivemq_broker().await?).await
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
        () = listens => Ok(Some(Broker { address, _child: child })),
        _ = child.wait() => Ok(None),
        () = tokio::time::sleep(START_DEADLINE) => bail!("nothing listens at {address}"),
    }
}
