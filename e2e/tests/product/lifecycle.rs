//! Scaling, rolling, pausing and deleting a cluster.

use anyhow::{Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::mosquitto::{Subscriber, publish};
use serde_json::json;

use crate::broker::{Broker, DEADLINE, MESSAGE_DEADLINE, with_broker};

async fn await_accepting(broker: &Broker<'_>, count: usize) -> Result<Vec<String>> {
    await_condition(&format!("{count} proxies accept"), DEADLINE, async || {
        let accepting = broker.accepting().await?;
        let resource = broker.resource().await?;
        let active = &resource["status"]["proxy"]["active"];
        Ok(if accepting.len() == count && *active == count {
            Observed::Met(accepting)
        } else {
            Observed::NotYet(format!("{accepting:?}, status says {active}"))
        })
    })
    .await
}

#[tokio::test]
async fn kubectl_scale_adds_and_removes_proxies() -> Result<()> {
    with_broker("scale", json!({}), async |broker| {
        await_accepting(broker, 2).await?;
        broker.run(&["scale", "mqc/mqtt", "--replicas=4"]).await?;
        await_accepting(broker, 4).await?;
        broker.run(&["scale", "mqc/mqtt", "--replicas=2"]).await?;
        await_accepting(broker, 2).await?;
        broker.await_ready("AllServing").await?;
        publish(broker.address().await?, &["-t", "a", "-q", "1", "-m", "after"]).await
    })
    .await
}

#[tokio::test]
async fn a_new_revision_replaces_all_proxies_and_clients_come_back() -> Result<()> {
    with_broker("revision", json!({}), async |broker| {
        let before = await_accepting(broker, 2).await?;
        let address = broker.address().await?;
        let mut subscriber = Subscriber::start(address, &["-t", "a", "-q", "1"], MESSAGE_DEADLINE).await?;
        let limits = json!({"proxy": {"resources": {"limits": {"cpu": "2"}}}});
        broker.apply(limits).await?;
        await_condition("all proxies are new", DEADLINE, async || {
            let now = broker.accepting().await?;
            let all_new = now.len() == 2 && now.iter().all(|pod| !before.contains(pod));
            Ok(if all_new {
                Observed::Met(())
            } else {
                Observed::NotYet(format!("{now:?}"))
            })
        })
        .await?;
        broker.await_ready("AllServing").await?;
        // The client was told to go and has come back to a new proxy by itself.
        await_condition("a message reaches the client again", DEADLINE, async || {
            publish(address, &["-t", "a", "-q", "1", "-m", "again"]).await?;
            let next = subscriber.next(std::time::Duration::from_secs(2)).await?;
            Ok(Observed::Met(next))
        })
        .await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_changed_listener_is_taken_up_by_the_running_proxies() -> Result<()> {
    with_broker("listener", json!({}), async |broker| {
        let before = await_accepting(broker, 2).await?;
        let listeners = json!({"listeners": [{"name": "mqtt", "port": 1883}, {"name": "second", "port": 2883}]});
        broker.apply(listeners).await?;
        let port = await_condition("the Service has the port", DEADLINE, async || {
            let service = broker.get(&["service", "mqtt"]).await?;
            Ok(match service["spec"]["ports"][1]["nodePort"].as_u64() {
                Some(port) => Observed::Met(u16::try_from(port)?),
                None => Observed::NotYet(service["spec"]["ports"].to_string()),
            })
        })
        .await?;
        let address = broker.cluster.node_port(port);
        await_condition("the new listener answers", DEADLINE, async || {
            publish(address, &["-t", "a", "-q", "1", "-m", "there"]).await?;
            Ok(Observed::Met(()))
        })
        .await?;
        ensure!(broker.accepting().await? == before, "no proxy was replaced");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn nothing_is_left_of_a_deleted_cluster() -> Result<()> {
    with_broker("deleted", json!({}), async |broker| {
        broker.run(&["delete", "mqc", "mqtt"]).await?;
        let kinds = "pods,deployments,replicasets,statefulsets,services,endpointslices,configmaps,poddisruptionbudgets,\
                     serviceaccounts";
        await_condition("its children are gone", DEADLINE, async || {
            let selector = "freshet.dev/cluster=mqtt";
            let left = broker
                .run(&["get", kinds, "--selector", selector, "--output=name"])
                .await?;
            Ok(if left.trim().is_empty() {
                Observed::Met(())
            } else {
                Observed::NotYet(left)
            })
        })
        .await
    })
    .await
}
