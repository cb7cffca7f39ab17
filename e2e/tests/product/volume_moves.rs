//! The storage node of a cluster with a volume ends while something else is under way: a scale-in, a new revision of the
//! proxies, a drain of a node, or a new image of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::node::binaries::cache_folder;
use freshet_e2e::{oci, pod_process, product};
use freshet_mqtt::{Connect, QoS};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::broker::{Broker, DEADLINE, STORAGE, STORAGE_POD, with_broker, with_broker_alone};
use crate::client::{Client, V5};
use crate::life::{await_another_life, life};
use crate::moves::{four_proxies, scale_in, while_devices_publish};
use crate::node_drain::{await_end, begin_drain, other_node};

/// How many clients give away a second: slow enough to be struck in the middle of it.
const MOVES_PER_SECOND: u32 = 10;
/// Clients that have come to the proxies that stay when storage is struck.
const MOVED: u64 = 20;
/// Clients that publish one message after the other.
const PUBLISHERS: usize = 8;
/// Between two messages of one of them.
const EVERY: Duration = Duration::from_millis(20);
/// How long a publication may wait while the storage pod is replaced.
const LONGEST_HOLD: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_scale_in_whose_storage_is_killed_midway_loses_nothing_and_fires_no_will() -> Result<()> {
    let mut spec = four_proxies(MOVES_PER_SECOND);
    spec["storage"] = json!({"volume": {"size": "1Gi"}});
    with_broker("volume-scale-in", spec, async |broker| {
        scale_in(broker, async || {
            // Those that leave accept no more.
            let there = clients(broker, &[]).await?;
            kill_midway(broker, &[], there).await
        })
        .await?;
        broker.await_event("StorageRestarted").await.map(drop)
    })
    .await
}

/// Kills storage when some clients have come to proxies that are none of `leaving`, which had `there` before.
async fn kill_midway(broker: &Broker<'_>, leaving: &[String], there: u64) -> Result<()> {
    await_condition("clients are being moved", DEADLINE, async || {
        let now = clients(broker, leaving).await?;
        Ok(if now >= there + MOVED {
            Observed::Met(())
        } else {
            Observed::NotYet(format!("{there} before, {now} now"))
        })
    })
    .await?;
    pod_process::kill_container(broker.cluster, broker.namespace, STORAGE_POD, STORAGE)
        .await
        .map(drop)
}

/// Clients on the proxies that accept, but for those that leave.
async fn clients(broker: &Broker<'_>, leaving: &[String]) -> Result<u64> {
    let clients = broker.metric("freshet_proxy_clients").await?;
    let stays = |(pod, _): &(String, u64)| !leaving.contains(pod);
    Ok(clients.into_iter().filter(stays).map(|(_, count)| count).sum())
}

/// Four proxies, two on each node, and two that wait for those of a node; `cpu` of these makes the revision.
fn of_revision(cpu: &str) -> Value {
    let mut spec = four_proxies(MOVES_PER_SECOND);
    spec["storage"] = json!({"volume": {"size": "1Gi"}});
    spec["proxy"]["warm"] = json!({"min": 2, "requests": {"cpu": cpu, "memory": "16Mi"}});
    spec["proxy"]["scheduling"] = json!({"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "nodeTaintsPolicy": "Honor",
        "labelSelector": {"matchLabels": {
            "freshet.dev/cluster": "mqtt", "app.kubernetes.io/component": "proxy",
        }},
    }]});
    spec
}

#[tokio::test]
async fn a_rollout_whose_storage_is_killed_midway_loses_nothing_and_fires_no_will() -> Result<()> {
    with_broker_alone("volume-rollout", of_revision("5m"), async |broker| {
        broker.await_all_reached(4).await?;
        let since = Instant::now();
        while_devices_publish(broker, 0, async || {
            let leaving = broker.accepting().await?;
            broker.apply(of_revision("6m")).await?;
            kill_midway(broker, &leaving, 0).await?;
            broker.await_event("RevisionRollFinished").await.map(drop)
        })
        .await?;
        println!("the rollout took {:.1} s", since.elapsed().as_secs_f64());
        broker.await_ready("AllServing").await.map(drop)
    })
    .await
}

#[tokio::test]
async fn a_node_drain_whose_storage_is_killed_midway_loses_nothing_and_fires_no_will() -> Result<()> {
    with_broker_alone("volume-drain", of_revision("5m"), async |broker| {
        broker.await_pool().await?;
        broker.await_all_reached(4).await?;
        let since = Instant::now();
        let node = other_node(broker).await?;
        let drained = while_devices_publish(broker, 1_000, async || {
            let leaving = on_node(broker, &node).await?;
            let there = clients(broker, &leaving).await?;
            let mut drain = begin_drain(broker, &node)?;
            kill_midway(broker, &leaving, there).await?;
            await_end(&mut drain).await
        })
        .await;
        // Whatever came of it, the next case needs the node.
        broker.kubectl().run(&["uncordon", &node]).await?;
        println!("the drain took {:.1} s", since.elapsed().as_secs_f64());
        drained
    })
    .await
}

/// The proxies of a node that accept.
async fn on_node(broker: &Broker<'_>, node: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for pod in broker.accepting().await? {
        let shown = broker.get(&["pod", &pod]).await?;
        if shown["spec"]["nodeName"] == node {
            found.push(pod);
        }
    }
    ensure!(!found.is_empty(), "no proxy serves on {node}");
    Ok(found)
}

/// A client that is away most of the time, and whose session keeps what the publishers publish.
async fn keeper(broker: &Broker<'_>) -> Result<Client> {
    let mut connect = Connect::new(V5, "keeper");
    connect.clean_start = false;
    connect.properties.session_expiry_interval = Some(600);
    let (client, _) = Client::connect_with(broker.address().await?, &connect).await?;
    Ok(client)
}

/// Publishes one message after the other until it is told to end; returns how many were acknowledged and how long the
/// longest wait was.
async fn publish_on(mut client: Client, topic: String, ends: Arc<AtomicBool>) -> Result<(usize, Duration)> {
    let (mut count, mut longest) = (0, Duration::ZERO);
    while !ends.load(Ordering::Relaxed) {
        let since = Instant::now();
        let code = client
            .publish(&topic, (count + 1).to_string().as_bytes(), false)
            .await?;
        ensure!(!code.is_error(), "{topic} {}: {code:?}", count + 1);
        longest = longest.max(since.elapsed());
        count += 1;
        tokio::time::sleep(EVERY).await;
    }
    Ok((count, longest))
}

/// Puts another image of the storage node on all nodes, and returns its tag. The program in it is the same.
async fn next_image(broker: &Broker<'_>) -> Result<String> {
    let path_in_image = "/usr/bin/freshet-storage-node";
    let program = product::program("freshet-storage-node").await?;
    let image = oci::Image {
        name: "docker.io/freshet/storage:next".to_owned(),
        entrypoint: vec![path_in_image.to_owned()],
        user: oci::NON_ROOT.to_owned(),
        labels: vec![("org.opencontainers.image.version".to_owned(), "next".to_owned())],
        entries: oci::files_of_program(&program, path_in_image).await?,
    };
    let archive = image.write(&cache_folder()?.join("images").join("freshet-storage-next.tar"))?;
    broker.cluster.load_image(&archive).await?;
    let (_, tag) = archive.pinned_name().rsplit_once(':').context("no tag")?;
    Ok(tag.to_owned())
}

#[tokio::test]
async fn a_new_image_of_storage_holds_publications_for_seconds_and_ends_no_connection() -> Result<()> {
    let volume = json!({"storage": {"volume": {"size": "1Gi"}}});
    with_broker_alone("volume-upgrade", volume.clone(), async |broker| {
        let tag = next_image(broker).await?;
        let address = broker.address().await?;
        keeper(broker).await?.subscribe_with("load/+", QoS::AtLeastOnce).await?;
        broker.await_no_connection().await?;
        let ends = Arc::new(AtomicBool::new(false));
        let mut publishers = JoinSet::new();
        for number in 0..PUBLISHERS {
            let (client, _) = Client::connect(address, &format!("publisher-{number}")).await?;
            publishers.spawn(publish_on(client, format!("load/{number}"), Arc::clone(&ends)));
        }
        let connects = broker.metric("freshet_proxy_connects_total").await?;
        let (proxies, former) = (broker.accepting().await?, life(broker).await?);
        let mut upgraded = volume;
        upgraded["storage"]["image"] = json!({"repository": "freshet/storage", "tag": tag});
        broker.apply(upgraded).await?;
        await_another_life(broker, &former).await?;
        let pod = broker.get(&["pod", STORAGE_POD]).await?;
        let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        ensure!(image.ends_with(&tag), "it runs {image}");
        broker.await_ready("AllServing").await?;
        ends.store(true, Ordering::Relaxed);
        let (mut acknowledged, mut longest) = (0, Duration::ZERO);
        // A publisher that was refused or cut off is an error.
        while let Some(publisher) = publishers.join_next().await {
            let (count, held) = publisher??;
            acknowledged += count;
            longest = longest.max(held);
        }
        println!(
            "{acknowledged} publications, the longest was held {:.2} s",
            longest.as_secs_f64()
        );
        ensure!(broker.accepting().await? == proxies, "no proxy was replaced");
        ensure!(
            broker.metric("freshet_proxy_connects_total").await? == connects,
            "nobody has connected since"
        );
        ensure!(longest <= LONGEST_HOLD, "held for {longest:?}");
        // QoS 1 may come again.
        let (mut keeper, mut arrived) = (keeper(broker).await?, BTreeSet::new());
        while arrived.len() < acknowledged {
            let received = keeper.receive().await;
            let message = received.with_context(|| format!("{} of {acknowledged} arrived", arrived.len()))?;
            arrived.insert((message.topic_name, message.payload));
        }
        Ok(())
    })
    .await
}
