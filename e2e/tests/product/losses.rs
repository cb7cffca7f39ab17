//! Proxies that die without Kubernetes noticing: their node says nothing any more, and the operator has to find out.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::pod_process;
use serde_json::{Value, json};

use crate::broker::{Broker, DEADLINE, PROXY, with_broker_alone};

/// How long a dead proxy may stay in the Service.
const LOSS_DEADLINE: Duration = Duration::from_secs(8);

const WARM: &str = "freshet.dev/cluster=mqtt,freshet.dev/role=warm";

fn three_and_one() -> Value {
    json!({"proxy": {"replicas": 3, "warm": {"min": 1, "requests": {"cpu": "5m", "memory": "16Mi"}}}})
}

async fn accepting(broker: &Broker<'_>) -> Result<BTreeSet<String>> {
    Ok(broker.accepting().await?.into_iter().collect())
}

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
