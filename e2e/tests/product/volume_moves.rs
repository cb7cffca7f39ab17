//! The storage node of a cluster with a volume ends while something else is under way: clients that are moved, a new
//! template of its own pod.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::pod_process;
use freshet_mqtt::{Connect, QoS};
use serde_json::json;
use tokio::task::JoinSet;

use crate::broker::{Broker, DEADLINE, STORAGE, STORAGE_POD, with_broker, with_broker_alone};
use crate::client::{Client, V5};
use crate::life::{await_another_life, life};
use crate::moves::{four_proxies, scale_in};

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
            let there = clients(broker).await?;
            await_condition("clients are being moved", DEADLINE, async || {
                let now = clients(broker).await?;
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
        })
        .await?;
        broker.await_event("StorageRestarted").await.map(drop)
    })
    .await
}

/// Clients on the proxies that accept.
async fn clients(broker: &Broker<'_>) -> Result<u64> {
    Ok(broker.metric("freshet_proxy_clients").await?.values().sum())
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

#[tokio::test]
async fn a_new_template_of_storage_holds_publications_for_seconds_and_ends_no_connection() -> Result<()> {
    let spec = |cpu: &str| json!({"storage": {"volume": {"size": "1Gi"}, "resources": {"limits": {"cpu": cpu}}}});
    with_broker_alone("volume-upgrade", spec("1"), async |broker| {
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
        broker.apply(spec("2")).await?;
        await_another_life(broker, &former).await?;
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
