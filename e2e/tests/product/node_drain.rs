//! A node that is drained in the middle of a case, as a person does it. Whoever drains one gives it back
//! (`kubectl uncordon`).

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Child;

use crate::broker::{Broker, DEADLINE, STORAGE_POD};

/// The node that the storage node is not on.
pub(crate) async fn other_node(broker: &Broker<'_>) -> Result<String> {
    let storage = broker.get(&["pod", STORAGE_POD]).await?;
    let storage = storage["spec"]["nodeName"].as_str().context("storage is on no node")?;
    let nodes = broker.cluster.nodes();
    let other = nodes.into_iter().find(|node| node.name != storage);
    Ok(other.context("there is one node alone")?.name)
}

/// `kubectl drain` of a node, as a process that is waited for later.
pub(crate) fn begin_drain(broker: &Broker<'_>, node: &str) -> Result<Child> {
    let mut drain = broker.kubectl().command();
    drain
        .args([
            "drain",
            node,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--force",
        ])
        .args(["--pod-selector", "freshet.dev/cluster=mqtt"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    drain.spawn().context("cannot start kubectl drain")
}

/// Waits until the drain has ended well.
pub(crate) async fn await_end(drain: &mut Child) -> Result<()> {
    let status = tokio::time::timeout(DEADLINE, drain.wait())
        .await
        .context("the drain does not end")??;
    ensure!(status.success(), "kubectl drain: {status}");
    Ok(())
}
