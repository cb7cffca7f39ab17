//! How many proxies serve, by what they carry: one who observes changes nothing, one who scales follows the clients.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use serde_json::{Value, json};

use crate::broker::{Broker, DEADLINE, with_broker};
use crate::client::Client;

/// Clients that need three proxies of ten each, beyond the tolerance of two.
const CLIENTS: usize = 27;

/// One proxy for ten clients, by nothing but their number, and windows as short as they may be.
fn scaled(mode: &str) -> Value {
    json!({"proxy": {
        "replicas": 1,
        "warm": {"min": 2, "requests": {"cpu": "5m", "memory": "16Mi"}},
        // The clients of these tests do not come back.
        "rebalance": {"mode": "OnReconnectOnly"},
        "scaling": {
            "mode": mode, "min": 1, "max": 3,
            "targets": {
                "connections": 10, "connectsPerSecond": 0, "publishesInPerSecond": 0, "deliveriesOutPerSecond": 0,
                "cpuPercent": 0, "memoryPercent": 0,
            },
            "objective": {"publishRoundTripP99": "0s"},
            "windows": {"stable": "10s", "panic": "2s"},
            "behavior": {"scaleInDelay": "20s"},
            "predict": {"enabled": false},
        },
    }})
}

async fn connect(address: SocketAddr) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for index in 0..CLIENTS {
        clients.push(Client::connect(address, &format!("client-{index}")).await?.0);
    }
    Ok(clients)
}

/// Waits until status says that so many proxies are asked for, or would be.
async fn await_desired(broker: &Broker<'_>, desired: u32) -> Result<Value> {
    await_condition(&format!("{desired} proxies are asked for"), DEADLINE, async || {
        let resource = broker.resource().await?;
        let scaling = &resource["status"]["scaling"];
        Ok(if scaling["desired"] == desired {
            Observed::Met(resource.clone())
        } else {
            Observed::NotYet(format!("{scaling}"))
        })
    })
    .await
}

async fn await_serving(broker: &Broker<'_>, count: usize) -> Result<Vec<String>> {
    await_condition(&format!("{count} proxies serve"), DEADLINE, async || {
        let serving = broker.accepting().await?;
        Ok(if serving.len() == count {
            Observed::Met(serving)
        } else {
            Observed::NotYet(format!("{serving:?}"))
        })
    })
    .await
}

#[tokio::test]
async fn observe_says_what_it_would_do_and_changes_nothing() -> Result<()> {
    with_broker("scaling-observe", scaled("Observe"), async |broker| {
        let before = broker.accepting().await?;
        let clients = connect(broker.address().await?).await?;
        let resource = await_desired(broker, 3).await?;
        let last = &resource["status"]["scaling"]["lastDecision"];
        let reason = last["reason"].as_str().unwrap_or_default();
        ensure!(reason.starts_with("connections ") && last["applied"] == false, "{last}");
        let note = broker.await_event("ScalingAdvised").await?;
        ensure!(note.starts_with("would go from 1 to "), "{note}");
        ensure!(resource["spec"]["proxy"]["replicas"] == 1);
        ensure!(broker.accepting().await? == before);
        drop(clients);
        let resource = await_desired(broker, 1).await?;
        ensure!(resource["spec"]["proxy"]["replicas"] == 1);
        ensure!(broker.accepting().await? == before);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn scale_follows_the_clients_by_promotion_and_back_in() -> Result<()> {
    with_broker("scaling-scale", scaled("Scale"), async |broker| {
        let warm = broker.pods("freshet.dev/cluster=mqtt,freshet.dev/role=warm").await?;
        let before = broker.accepting().await?;
        ensure!((before.len(), warm.len()) == (1, 2), "{before:?}, {warm:?}");
        let clients = connect(broker.address().await?).await?;
        let serving = await_serving(broker, 3).await?;
        ensure!(
            warm.iter().all(|pod| serving.contains(pod)),
            "{warm:?} waited, {serving:?} serve"
        );
        let resource = await_desired(broker, 3).await?;
        ensure!(resource["spec"]["proxy"]["replicas"] == 3);
        ensure!(resource["status"]["scaling"]["lastDecision"]["applied"] == true);
        let note = broker.await_event("ScalingDecided").await?;
        ensure!(note.contains("proxies: connections "), "{note}");
        drop(clients);
        await_serving(broker, 1).await?;
        let resource = broker.await_ready("AllServing").await?;
        ensure!(
            resource["spec"]["proxy"]["replicas"] == 1,
            "{}",
            resource["spec"]["proxy"]
        );
        Ok(())
    })
    .await
}
