//! What a cluster with a volume promises, shown by clients at work while its storage node is ended in every way that
//! Kubernetes knows: nothing acknowledged is lost, QoS 2 comes once, sessions are there.

use anyhow::{Context, Result, ensure};
use freshet_checker::judge::Thresholds;
use freshet_e2e::node::{UpOptions, up};
use freshet_e2e::pod_process;

use crate::broker::{Broker, STORAGE, STORAGE_POD, with_broker, with_broker_alone};
use crate::trial::{Trial, killed, terminated, with_volume};

/// What has to have happened, for so many ends of the storage process, to show anything.
fn thresholds(kills: usize) -> Thresholds {
    Thresholds {
        kills,
        takeovers: 20,
        resumes: 60,
        interrupted: 20,
        due: 1_000,
        retained: 20,
        ..Thresholds::default()
    }
}

async fn kill_storage(broker: &Broker<'_>) -> Result<()> {
    pod_process::kill_container(broker.cluster, broker.namespace, STORAGE_POD, STORAGE)
        .await
        .map(drop)
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_the_storage_process_was_killed() -> Result<()> {
    with_broker("volume-killed", with_volume(), async |broker| {
        let trial = Trial::begin(broker).await?;
        // The kubelet waits longer each time before it starts a container again.
        for _ in 0..3 {
            trial
                .strike(killed("storage"), async || kill_storage(broker).await)
                .await?;
        }
        trial.judge(thresholds(3)).await?;
        let note = broker.await_event("StorageRestarted").await?;
        ensure!(note.contains("volume"), "says that nothing is gone: {note}");
        broker.await_ready("AllServing").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_the_storage_pod_was_deleted() -> Result<()> {
    with_broker("volume-deleted", with_volume(), async |broker| {
        let trial = Trial::begin(broker).await?;
        let delete = ["delete", "pod", STORAGE_POD];
        for _ in 0..2 {
            trial
                .strike(terminated("storage"), async || {
                    broker
                        .run(&[delete.as_slice(), &["--wait=false"]].concat())
                        .await
                        .map(drop)
                })
                .await?;
        }
        // The next pod is there at once, and its process finds the folder in the hands of one that still runs.
        trial
            .strike(killed("storage"), async || {
                let at_once = ["--grace-period=0", "--force", "--wait=false"];
                broker.run(&[delete.as_slice(), &at_once].concat()).await.map(drop)
            })
            .await?;
        trial.judge(thresholds(1)).await?;
        broker.await_ready("AllServing").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_the_node_of_the_storage_pod_was_restarted() -> Result<()> {
    with_broker_alone("volume-node", with_volume(), async |broker| {
        let trial = Trial::begin(broker).await?;
        let pod = broker.get(&["pod", STORAGE_POD]).await?;
        let name = pod["spec"]["nodeName"].as_str().context("it is on no node")?;
        let nodes = broker.cluster.nodes();
        let node = nodes.iter().find(|node| node.name == name).context("no such node")?;
        trial
            .strike(killed("node"), async || {
                broker.cluster.kill_node(node.number).await?;
                up(broker.cluster.instance(), UpOptions::default()).await.map(drop)
            })
            .await?;
        trial.judge(thresholds(1)).await?;
        broker.await_ready("AllServing").await?;
        Ok(())
    })
    .await
}
