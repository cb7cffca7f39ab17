//! How many proxies serve, by what they carry: one who observes changes nothing, one who scales follows the clients.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use freshet_e2e::command::run_with_input;
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

#[tokio::test]
async fn who_sets_replicas_beside_the_operator_is_told_what_becomes_of_it() -> Result<()> {
    with_broker("scaling-by-hand", scaled("Scale"), async |broker| {
        await_desired(broker, 1).await?;
        broker.run(&["scale", "mqc/mqtt", "--replicas=3"]).await?;
        let note = broker.await_event("ReplicasSet").await?;
        ensure!(
            note.starts_with("1 to 3 proxies: somebody else has set replicas"),
            "{note}"
        );
        await_serving(broker, 3).await?;
        // Without clients one is enough, and load decides.
        await_serving(broker, 1).await?;

        // From now on `replicas` is the operator's: a manifest that names it says so.
        let manifest = json!({
            "apiVersion": "freshet.dev/v1alpha1", "kind": "MqttCluster",
            "metadata": {"name": "mqtt", "namespace": broker.namespace},
            "spec": {"proxy": {"replicas": 2}},
        });
        let mut apply = broker.kubectl().command();
        apply.args(["apply", "--server-side", "--dry-run=server", "-f", "-"]);
        let refused = match run_with_input(&mut apply, manifest.to_string().as_bytes()).await {
            Ok(said) => anyhow::bail!("nobody minds: {said}"),
            Err(error) => format!("{error:#}"),
        };
        ensure!(refused.contains("freshet-scaling"), "{refused}");

        broker.run(&["scale", "mqc/mqtt", "--replicas=9"]).await?;
        let resource = await_desired(broker, 3).await?;
        let decisions = resource["status"]["scaling"]["decisions"].to_string();
        ensure!(
            decisions.contains("scaling.min and scaling.max allow 1 to 3"),
            "{decisions}"
        );
        await_serving(broker, 3).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_pool_that_load_sizes_grows_with_a_rise_where_nobody_is_scaled() -> Result<()> {
    let mut spec = scaled("Off");
    spec["proxy"]["warm"] = json!({
        "min": 1, "size": "Auto", "max": 5, "requests": {"cpu": "5m", "memory": "16Mi"},
    });
    // The clients of this test come one after another: slower than a proxy starts, where much else runs.
    spec["proxy"]["scaling"]["windows"] = json!({"stable": "20s", "panic": "20s"});
    with_broker("scaling-pool", spec, async |broker| {
        // What is there when the load is first known has not risen.
        await_condition("the load is known", DEADLINE, async || {
            let warm = broker.resource().await?["status"]["scaling"]["warm"].clone();
            let reason = warm["reason"].as_str().unwrap_or_default();
            Ok(if reason.starts_with("no rise within ") {
                Observed::Met(())
            } else {
                Observed::NotYet(warm.to_string())
            })
        })
        .await?;
        let clients = connect(broker.address().await?).await?;
        let said = await_condition("two wait", DEADLINE, async || {
            let warm = broker.resource().await?["status"]["scaling"]["warm"].clone();
            let waiting = broker.pods("freshet.dev/cluster=mqtt,freshet.dev/role=warm").await?;
            Ok(if warm["desired"] == 2 && waiting.len() == 2 {
                Observed::Met(warm)
            } else {
                Observed::NotYet(format!("{warm}, {waiting:?}"))
            })
        })
        .await?;
        let reason = said["reason"].as_str().unwrap_or_default();
        ensure!(reason.starts_with("load has risen by 2 proxies within "), "{said}");
        let resource = broker.resource().await?;
        ensure!(resource["spec"]["proxy"]["replicas"] == 1 && resource["status"]["scaling"]["mode"] == "Off");
        ensure!(broker.accepting().await?.len() == 1);
        drop(clients);
        Ok(())
    })
    .await
}
