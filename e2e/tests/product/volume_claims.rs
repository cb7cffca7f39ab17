//! What becomes of a cluster's volume when the resource goes, what a cluster that is made again finds on it, and how a
//! person looks at it.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::mosquitto::{Subscriber, publish};
use freshet_e2e::{command, product};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::broker::{Broker, DEADLINE, MESSAGE_DEADLINE, STORAGE_POD, with_broker};

/// The claim of the only storage node.
const CLAIM: &str = "data-mqtt-storage-0";
/// Where a storage node answers to people, on its pod's loopback address.
const ADMIN_PORT: &str = "9091";
/// How long kubectl may take to forward a port.
const FORWARD_DEADLINE: Duration = Duration::from_secs(30);

fn volume(deletion_policy: &str) -> Value {
    json!({"storage": {"volume": {"size": "1Gi"}, "deletionPolicy": deletion_policy}})
}

/// The arguments of a client whose session outlives its connection.
const SLEEPER: [&str; 11] = [
    "-V", "mqttv5", "-i", "sleeper", "-c", "-x", "3600", "-q", "2", "-t", "dev/+",
];

/// Leaves what a cluster has to keep: a session that is away, messages of QoS 1 and 2 for it, a retained message.
async fn leave_something(broker: &Broker<'_>) -> Result<()> {
    let address = broker.address().await?;
    drop(Subscriber::start(address, &SLEEPER, MESSAGE_DEADLINE).await?);
    broker.await_no_connection().await?;
    publish(address, &["-t", "dev/one", "-q", "1", "-m", "first"]).await?;
    publish(address, &["-t", "dev/two", "-q", "2", "-m", "second"]).await?;
    publish(address, &["-t", "state/door", "-r", "-q", "1", "-m", "open"]).await
}

/// Deletes the resource, and waits until no pod of it is left.
async fn delete(broker: &Broker<'_>) -> Result<()> {
    broker.run(&["delete", "mqc", "mqtt"]).await?;
    await_condition("its pods are gone", DEADLINE, async || {
        let listed = [
            "get",
            "pods,statefulsets",
            "--selector",
            "freshet.dev/cluster=mqtt",
            "--output=name",
        ];
        let left = broker.run(&listed).await?;
        Ok(if left.trim().is_empty() {
            Observed::Met(())
        } else {
            Observed::NotYet(left)
        })
    })
    .await
}

/// The claim, null when there is none.
async fn claim(broker: &Broker<'_>) -> Result<Value> {
    let text = broker
        .run(&["get", "pvc", CLAIM, "--ignore-not-found", "--output=json"])
        .await?;
    Ok(if text.trim().is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text)?
    })
}

#[tokio::test]
async fn a_volume_to_be_deleted_goes_with_the_resource() -> Result<()> {
    with_broker("volume-goes", volume("Delete"), async |broker| {
        ensure!(claim(broker).await?["status"]["phase"] == "Bound");
        delete(broker).await?;
        await_condition("the claim is gone", DEADLINE, async || {
            let claim = claim(broker).await?;
            Ok(if claim.is_null() {
                Observed::Met(())
            } else {
                Observed::NotYet(claim["metadata"].to_string())
            })
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_cluster_that_is_made_again_serves_what_its_retained_volume_has() -> Result<()> {
    with_broker("volume-stays", volume("Retain"), async |broker| {
        leave_something(broker).await?;
        let before = claim(broker).await?;
        delete(broker).await?;
        let left = claim(broker).await?;
        ensure!(
            left["status"]["phase"] == "Bound" && left["metadata"]["uid"] == before["metadata"]["uid"],
            "the claim stays: {left}"
        );
        broker.apply(volume("Retain")).await?;
        broker.await_ready("AllServing").await?;
        let address = broker.address().await?;
        let mut door = await_condition("the cluster is reached again", DEADLINE, async || {
            let door = Subscriber::start(address, &["-t", "state/#"], MESSAGE_DEADLINE).await?;
            Ok(Observed::Met(door))
        })
        .await?;
        let retained = door.next(MESSAGE_DEADLINE).await?;
        ensure!(
            (retained.payload.as_str(), retained.retain) == ("open", 1),
            "{retained:?}"
        );
        let mut sleeper = Subscriber::start(address, &SLEEPER, MESSAGE_DEADLINE).await?;
        let mut received = Vec::new();
        for _ in 0..2 {
            received.push(sleeper.next(MESSAGE_DEADLINE).await?.payload);
        }
        received.sort_unstable();
        ensure!(received == ["first", "second"], "{received:?}");
        publish(address, &["-t", "dev/one", "-q", "2", "-m", "live"]).await?;
        let live = sleeper.next(MESSAGE_DEADLINE).await?;
        ensure!(live.payload == "live", "{live:?}");
        Ok(())
    })
    .await
}

/// `kubectl port-forward`, which ends with this.
struct Forwarded {
    _kubectl: Child,
    /// It says each connection there, and ends when nobody can hear it.
    _said: Lines<BufReader<ChildStdout>>,
    url: String,
}

/// Does what docs/operations.md says, with a local port that is free.
async fn forward(broker: &Broker<'_>) -> Result<Forwarded> {
    let mut kubectl = broker.kubectl().command();
    let (pod, ports) = (format!("pod/{STORAGE_POD}"), format!(":{ADMIN_PORT}"));
    kubectl.args(["--namespace", broker.namespace, "port-forward", &pod, &ports]);
    let mut child = kubectl.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let stdout = child.stdout.take().context("no standard output")?;
    let mut lines = BufReader::new(stdout).lines();
    let said = tokio::time::timeout(FORWARD_DEADLINE, lines.next_line()).await??;
    let said = said.context("kubectl port-forward has ended")?;
    // Forwarding from 127.0.0.1:41234 -> 9091
    let Some(address) = said.split_whitespace().find(|word| word.starts_with("127.0.0.1:")) else {
        bail!("{said}");
    };
    let url = format!("http://{address}");
    Ok(Forwarded {
        _kubectl: child,
        _said: lines,
        url,
    })
}

#[tokio::test]
async fn a_person_looks_at_a_volume_through_a_forwarded_port() -> Result<()> {
    with_broker("volume-admin", volume("Delete"), async |broker| {
        leave_something(broker).await?;
        let freshet = product::program("freshet").await?;
        let forwarded = forward(broker).await?;
        let ask = async |arguments: &[&str]| {
            let mut freshet = Command::new(&freshet);
            freshet.arg("admin").args(arguments).args(["--output", "json"]);
            let said = command::run(freshet.env("FRESHET_ADMIN_URL", &forwarded.url)).await?;
            serde_json::from_str::<Value>(&said).with_context(|| said)
        };
        let session = ask(&["session", "sleeper"]).await?;
        let stored = &session["stored"];
        ensure!(
            session["connection"].is_null()
                && stored["queued"]["messages"] == 2
                && stored["subscriptions"][0]["topicFilter"] == "dev/+",
            "{session}"
        );
        let shards = ask(&["shards"]).await?;
        let sum = |field: &str| {
            let of_shards = shards["shards"].as_array().into_iter().flatten();
            of_shards.filter_map(|shard| shard[field].as_u64()).sum::<u64>()
        };
        ensure!(
            (sum("offline"), sum("retainedMessages")) == (1, 1)
                // Two serve and one waits.
                && shards["proxies"].as_array().map(Vec::len) == Some(3),
            "{shards}"
        );
        let log = ask(&["log"]).await?;
        ensure!(
            log["isFull"] == false && log["flushes"].as_u64() > Some(0) && log["segments"].as_u64() > Some(0),
            "{log}"
        );
        Ok(())
    })
    .await
}
