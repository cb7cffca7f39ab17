//! `freshet standalone`, the broker under test.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::Broker;

const START_DEADLINE: Duration = Duration::from_secs(30);

/// Starts it on a port of the system's choice, and waits until it says where it listens.
pub(super) async fn start(program: &Path) -> anyhow::Result<Broker> {
    let mut child = Command::new(program)
        .args(["standalone", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| {
            format!(
                "cannot start {}: `cargo build --release --bins` makes it",
                program.display()
            )
        })?;
    let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
    let announced = async {
        while let Some(line) = lines.next_line().await? {
            if let Some((_, rest)) = line.split_once("mqtt://") {
                let end = rest.find(' ').unwrap_or(rest.len());
                return rest[..end].parse().with_context(|| line.clone());
            }
        }
        bail!("freshet ended before it listened")
    };
    let address = tokio::time::timeout(START_DEADLINE, announced)
        .await
        .context("freshet did not say where it listens")??;
    // What it says later must find a reader.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(Broker { address, _child: child })
}
