//! Proxies that are of no use without Kubernetes noticing: their node says nothing any more, or storage cannot be reached
//! from them alone, and the operator has to find out.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::mosquitto::{Subscriber, publish};
use freshet_e2e::pod_process;
use serde_json::{Value, json};

use crate::broker::{Broker, DEADLINE, MESSAGE_DEADLINE, PROXY, STORAGE_POD, with_broker_alone};

/// How long a dead proxy may stay in the Service.
const LOSS_DEADLINE: Duration = Duration::from_secs(8);
/// How long one may that is cut off from storage: its lease of 6 s runs out, and the operator has heard of it eight times.
/// After 30 s its clients would be closed by the proxy itself.
const CUT_OFF_DEADLINE: Duration = Duration::from_secs(20);

const WARM: &str = "freshet.dev/cluster=mqtt,freshet.dev/role=warm";

fn three_and_one() -> Value {
    json!({"proxy": {"replicas": 3, "warm": {"min": 1, "requests": {"cpu": "5m", "memory": "16Mi"}}}})
}

async fn accepting(broker: &Broker<'_>) -> Result<BTreeSet<String>> {
    Ok(broker.accepting().await?.into_iter().collect())
}

const PROXIES: &str = "freshet.dev/cluster=mqtt,app.kubernetes.io/component=proxy";

async fn is_marked(broker: &Broker<'_>, pod: &str) -> Result<bool> {
    let pod = broker.get(&["pod", pod]).await?;
    Ok(pod["metadata"]["annotations"]["freshet.dev/lost"] == "true")
}

#[tokio::test]
async fn a_dead_proxy_leaves_the_service_before_kubernetes_notices_and_waits_when_it_is_back() -> Result<()> {
    with_broker_alone("proxy-dead", three_and_one(), async |broker| {
        broker.await_pool().await?;
        let before = accepting(broker).await?;
        let dead = before.first().context("nobody serves")?.clone();
        let pod = broker.get(&["pod", &dead]).await?;
        let node = pod["spec"]["nodeName"].as_str().context("it is on no node")?;
        // A kubelet that goes on would see that the proxy is not ready.
        let kubelet = broker.cluster.freeze_server(&format!("kubelet-{node}"))?;
        let proxy = pod_process::freeze_container(broker.cluster, broker.namespace, &dead, PROXY).await?;
        let since = Instant::now();
        let after = await_condition("the dead proxy is out, another serves", DEADLINE, async || {
            let now = accepting(broker).await?;
            Ok(if !now.contains(&dead) && now.len() == 3 {
                Observed::Met(now)
            } else {
                Observed::NotYet(format!("{now:?}"))
            })
        })
        .await?;
        let took = since.elapsed();
        ensure!(took <= LOSS_DEADLINE, "it took {took:?}");
        let pod = broker.get(&["pod", &dead]).await?;
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
        ensure!(
            ready.is_some_and(|ready| ready["status"] == "True"),
            "Kubernetes takes it to be ready: {conditions:?}"
        );
        ensure!(before.intersection(&after).count() == 2, "{before:?}, {after:?}");
        let lost = broker.await_event("ProxyLost").await?;
        ensure!(
            lost.contains(&dead) && lost.contains("lease at storage has run out"),
            "{lost}"
        );
        ensure!(is_marked(broker, &dead).await?);

        drop((proxy, kubelet));
        await_condition("the proxy is back and waits", DEADLINE, async || {
            let waits = broker.pods(WARM).await?.contains(&dead) && !is_marked(broker, &dead).await?;
            Ok(if waits {
                Observed::Met(())
            } else {
                Observed::NotYet(format!("{}", broker.get(&["pod", &dead]).await?["metadata"]))
            })
        })
        .await?;
        ensure!(accepting(broker).await? == after, "nobody was moved by that");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_proxy_that_alone_has_lost_storage_hands_its_clients_over_and_another_takes_its_place() -> Result<()> {
    // Status shows it for so long, though its one client is gone at once.
    let mut settings = three_and_one();
    settings["proxy"]["drain"] = json!({"linger": "3s"});
    with_broker_alone("proxy-cut-off", settings, async |broker| {
        broker.await_pool().await?;
        let before = accepting(broker).await?;
        let address = broker.address().await?;
        // mosquitto_sub connects again by itself and subscribes anew.
        let mut subscriber = Subscriber::start(address, &["-t", "a", "-q", "1"], MESSAGE_DEADLINE).await?;
        let holder = broker.await_holder().await?;
        let storage = broker.get(&["pod", STORAGE_POD]).await?;
        let storage: IpAddr = storage["status"]["podIP"].as_str().context("no address")?.parse()?;
        let cut = pod_process::cut_container(broker.cluster, broker.namespace, &holder, PROXY, storage).await?;
        let since = Instant::now();
        let after = await_condition("the proxy is out, another serves", DEADLINE, async || {
            let now = accepting(broker).await?;
            Ok(if !now.contains(&holder) && now.len() == 3 {
                Observed::Met(now)
            } else {
                Observed::NotYet(format!("{now:?}"))
            })
        })
        .await?;
        let took = since.elapsed();
        ensure!(took <= CUT_OFF_DEADLINE, "it took {took:?}");
        ensure!(before.intersection(&after).count() == 2, "{before:?}, {after:?}");
        await_condition("status says why it leaves", DEADLINE, async || {
            let resource = broker.resource().await?;
            let drains = &resource["status"]["proxy"]["drains"];
            let shown = drains.as_array().into_iter().flatten();
            let mut of_holder = shown.filter(|drain| drain["pod"] == holder.as_str());
            Ok(match of_holder.next() {
                Some(drain) => {
                    ensure!(drain["reason"] == "CutOffFromStorage", "{drain}");
                    Observed::Met(())
                }
                None => Observed::NotYet(drains.to_string()),
            })
        })
        .await?;
        let lost = broker.await_event("ProxyLost").await?;
        ensure!(lost.contains(&holder) && lost.contains("has lost storage"), "{lost}");
        broker.await_event("CutOffFromStorage").await?;

        // Its client is sent to one that has storage, and the proxy goes for good.
        let other = broker.await_holder().await?;
        ensure!(after.contains(&other), "{other} of {after:?}");
        await_condition("a message arrives", DEADLINE, async || {
            publish(address, &["-t", "a", "-q", "1", "-m", "again"]).await?;
            Ok(match subscriber.next(Duration::from_secs(1)).await {
                Ok(message) if message.payload == "again" => Observed::Met(()),
                other => Observed::NotYet(format!("{other:?}")),
            })
        })
        .await?;
        await_condition("the proxy has gone", DEADLINE, async || {
            let left = broker.pods(PROXIES).await?;
            Ok(if left.contains(&holder) {
                Observed::NotYet(format!("{left:?}"))
            } else {
                Observed::Met(())
            })
        })
        .await?;
        drop(cut);
        broker.await_pool().await?;
        broker.await_event("Recovered").await?;
        ensure!(accepting(broker).await? == after, "nobody else was moved by that");
        Ok(())
    })
    .await
}
