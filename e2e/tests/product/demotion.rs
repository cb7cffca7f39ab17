//! A proxy that has handed over its clients waits again, and serves again, in the pod and the process that it was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::broker::{Broker, DEADLINE, with_broker};
use crate::client::Client;
use crate::device::{Device, Watching};
use crate::moves::{await_clients, ensure_all_arrived};

const PROXIES: &str = "freshet.dev/cluster=mqtt,app.kubernetes.io/component=proxy";
const WARM: &str = "freshet.dev/cluster=mqtt,freshet.dev/role=warm";

/// Clients that are connected all the time; half of them publish with QoS 1, half with QoS 2.
const DEVICES: u16 = 90;
/// Clients that come later, at most: by chance one of them reaches each proxy.
const NEWCOMERS: usize = 200;

/// Each proxy's process, by the name of its pod.
async fn processes(broker: &Broker<'_>) -> Result<BTreeMap<String, String>> {
    let listed = broker.get(&["pods", "--selector", PROXIES]).await?;
    let pods = listed["items"].as_array().cloned().unwrap_or_default();
    let process = |pod: &Value| {
        let name = pod["metadata"]["name"].as_str()?.to_owned();
        let container = pod["status"]["containerStatuses"][0]["containerID"].as_str()?;
        Some((name, container.to_owned()))
    };
    Ok(pods.iter().filter_map(process).collect())
}

async fn patch(broker: &Broker<'_>, proxy: &Value) -> Result<()> {
    let patch = json!({"spec": {"proxy": proxy}}).to_string();
    broker
        .run(&["patch", "mqc/mqtt", "--type=merge", "--patch", &patch])
        .await?;
    Ok(())
}

/// Waits until a pod reserves this, as it asks for and as the kubelet has given it.
async fn await_requests(broker: &Broker<'_>, pod: &str, wanted: &Value) -> Result<()> {
    await_condition(&format!("{pod} reserves {wanted}"), DEADLINE, async || {
        let found = broker.get(&["pod", pod]).await?;
        let asked = &found["spec"]["containers"][0]["resources"]["requests"];
        let given = &found["status"]["containerStatuses"][0]["resources"]["requests"];
        Ok(if asked == wanted && given == wanted {
            Observed::Met(())
        } else {
            Observed::NotYet(format!("{asked}, {given}"))
        })
    })
    .await
}

#[tokio::test]
async fn a_proxy_that_has_handed_over_waits_and_serves_again_as_the_process_that_it_was() -> Result<()> {
    let spec = json!({"proxy": {
        "replicas": 3,
        "warm": {"min": 0, "requests": {"cpu": "5m", "memory": "16Mi"}},
        "drain": {"linger": "2s", "timeout": "60s", "maxMovesPerSecond": 50},
        "rebalance": {"mode": "OnReconnectOnly"},
    }});
    with_broker("demotion", spec, async |broker| {
        let address = broker.address().await?;
        broker.await_all_reached(3).await?;
        let ends = Arc::new(AtomicBool::new(false));
        let watching = Watching::begin(address).await?;
        let mut devices = JoinSet::new();
        for number in 0..DEVICES {
            devices.spawn(Device::new(number).run(address, Arc::clone(&ends)));
        }
        let all = usize::from(DEVICES) + 1;
        await_clients(broker, all).await?;
        let before = processes(broker).await?;
        ensure!(before.len() == 3, "{before:?}");

        // One less is to serve, and one is to wait: the one that leaves.
        patch(broker, &json!({"replicas": 2, "warm": {"min": 1}})).await?;
        let note = broker.await_event("ProxyDemoted").await?;
        let demoted = await_condition("one waits", DEADLINE, async || {
            let waiting = broker.pods(WARM).await?;
            Ok(match &waiting[..] {
                [one] => Observed::Met(one.clone()),
                _ => Observed::NotYet(format!("{waiting:?}")),
            })
        })
        .await?;
        ensure!(note.contains(&demoted), "{note} is not about {demoted}");
        ensure!(broker.await_event("ProxyDrained").await?.contains(&demoted));
        ensure!(processes(broker).await? == before, "no pod has come or gone");
        await_clients(broker, all).await?;
        await_requests(broker, &demoted, &json!({"cpu": "5m", "memory": "16Mi"})).await?;

        patch(broker, &json!({"replicas": 3, "warm": {"min": 0}})).await?;
        await_condition("it serves again", DEADLINE, async || {
            let serving = broker.accepting().await?;
            Ok(if serving.len() == 3 && serving.contains(&demoted) {
                Observed::Met(())
            } else {
                Observed::NotYet(format!("{serving:?}"))
            })
        })
        .await?;
        ensure!(processes(broker).await? == before, "no pod has come or gone");
        await_requests(broker, &demoted, &json!({"cpu": "20m", "memory": "32Mi"})).await?;
        let order = broker.get(&["pod", &demoted]).await?["metadata"]["annotations"]["freshet.dev/moves"].clone();
        ensure!(order.is_null(), "it has an order: {order}");

        // It takes clients, and keeps them.
        let mut newcomers = Vec::new();
        await_condition("it has a client", DEADLINE, async || {
            let number = newcomers.len();
            ensure!(number < NEWCOMERS, "none of {NEWCOMERS} clients came to {demoted}");
            newcomers.push(Client::connect(address, &format!("newcomer-{number}")).await?.0);
            let clients = broker.metric("freshet_proxy_clients").await?;
            Ok(match clients.get(&demoted).context("it is not asked")? {
                0 => Observed::NotYet(format!("{clients:?}")),
                _ => Observed::Met(()),
            })
        })
        .await?;
        await_clients(broker, all + newcomers.len()).await?;
        ends.store(true, Ordering::Relaxed);
        ensure_all_arrived(devices, watching).await?;
        for newcomer in &mut newcomers {
            newcomer.ping().await?;
        }
        Ok(())
    })
    .await
}
