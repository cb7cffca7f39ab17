//! A new revision that does worse: it pauses while the others serve on, and goes back when somebody says so.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use serde_json::{Value, json};

use crate::broker::{Broker, DEADLINE, with_broker};
use crate::client::Client;

/// Clients that must not notice anything.
const CLIENTS: usize = 12;
/// Connections to the new revision that come to nothing.
const FAILURES: usize = 15;

/// Three proxies, and a canary of one for as long as the test takes; `cpu` of the pool makes the revision.
fn asked(cpu: &str, action: &str) -> Value {
    json!({"proxy": {
        "replicas": 3,
        "warm": {"min": 1, "requests": {"cpu": cpu, "memory": "16Mi"}},
        "rollout": {"canary": "10m", "action": action},
    }})
}

async fn accepting(broker: &Broker<'_>) -> Result<BTreeSet<String>> {
    Ok(broker.accepting().await?.into_iter().collect())
}

async fn await_phase(broker: &Broker<'_>, phase: &str, accepting_pods: usize) -> Result<BTreeSet<String>> {
    let what = format!("{phase}, {accepting_pods} proxies accept");
    await_condition(&what, DEADLINE, async || {
        let revision = broker.resource().await?["status"]["proxy"]["revision"].clone();
        let accepting = accepting(broker).await?;
        Ok(if revision["phase"] == phase && accepting.len() == accepting_pods {
            Observed::Met(accepting)
        } else {
            Observed::NotYet(format!("{revision}, {accepting:?}"))
        })
    })
    .await
}

#[tokio::test]
async fn a_revision_whose_connections_fail_pauses_and_goes_back_without_moving_those_it_never_had() -> Result<()> {
    with_broker("rollout-pauses", asked("5m", "Continue"), async |broker| {
        broker.await_pool().await?;
        let before = accepting(broker).await?;
        let address = broker.address().await?;
        let mut clients = Vec::new();
        for index in 0..CLIENTS {
            clients.push(Client::connect(address, &format!("stays-{index}")).await?.0);
        }
        broker.apply(asked("6m", "Continue")).await?;
        let with_canary = await_phase(broker, "Canary", before.len() + 1).await?;
        let canary = with_canary.difference(&before).next().context("no canary")?;

        // HTTP is no CONNECT: each of these is a connection to this one proxy that comes to nothing.
        let path = format!("/api/v1/namespaces/{}/pods/{canary}:1883/proxy/", broker.namespace);
        for _ in 0..FAILURES {
            let _ = broker.run(&["get", "--raw", &path]).await;
        }
        let paused = broker.await_status("RolloutPaused", "True").await?;
        let message = paused["message"].as_str().unwrap_or_default();
        ensure!(
            paused["reason"] == "DoesWorse" && message.contains("came to nothing"),
            "{paused}"
        );
        let event = broker.await_event("RolloutPaused").await?;
        ensure!(event.contains("came to nothing"), "{event}");
        ensure!(await_phase(broker, "Paused", with_canary.len()).await? == with_canary);

        broker.apply(asked("6m", "Rollback")).await?;
        ensure!(
            await_phase(broker, "Stable", before.len()).await? == before,
            "others serve"
        );
        for client in &mut clients {
            client.ping().await?;
        }
        broker.await_status("RolloutPaused", "False").await?;
        Ok(())
    })
    .await
}
