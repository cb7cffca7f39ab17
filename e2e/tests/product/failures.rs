//! What users see when a process of a cluster dies.

use anyhow::{Result, ensure};
use freshet_e2e::mosquitto::{Subscriber, publish};
use freshet_e2e::pod_process;
use serde_json::{Value, json};

use crate::broker::{Broker, DEADLINE, MESSAGE_DEADLINE, PROXY, STORAGE, STORAGE_POD, condition, with_broker};
use crate::client::Client;

#[tokio::test]
async fn clients_of_a_killed_proxy_come_back_through_the_service() -> Result<()> {
    let no_pool = json!({"proxy": {"warm": {"min": 0}}});
    with_broker("proxy-killed", no_pool, async |broker| {
        let address = broker.address().await?;
        // mosquitto_sub connects again by itself and subscribes anew.
        let mut subscriber = Subscriber::start(address, &["-t", "a", "-q", "1"], MESSAGE_DEADLINE).await?;
        let held = broker.metric("freshet_proxy_connections").await?;
        let Some((holder, _)) = held.iter().find(|(_, open)| **open == 1) else {
            anyhow::bail!("no proxy holds the subscriber: {held:?}");
        };
        let well = condition(&broker.resource().await?, "Degraded");
        ensure!(well["status"] == "False", "{well}");
        pod_process::kill_container(broker.cluster, broker.namespace, holder, PROXY).await?;
        await_line(&mut subscriber, "received SUBACK").await?;

        let lost = broker.await_event("ProxyLost").await?;
        ensure!(lost.contains(holder), "names the proxy: {lost}");
        let missing = broker.await_event("ProxiesMissing").await?;
        ensure!(missing.contains("1 of 2 proxies"), "{missing}");
        let back = broker.await_event("ProxyBack").await?;
        ensure!(back.contains(holder), "names the proxy: {back}");
        broker.await_event("Recovered").await?;
        broker.await_ready("AllServing").await?;
        // Before, the Service may send a client to the proxy that does not answer.
        publish(address, &["-t", "a", "-q", "1", "-m", "again"]).await?;
        ensure!(subscriber.next(MESSAGE_DEADLINE).await?.payload == "again");
        // It may have been True for less time than lies between two looks; the time of its change tells.
        let well_again = broker.await_status("Degraded", "False").await?;
        ensure!(
            well_again["lastTransitionTime"] != well["lastTransitionTime"],
            "it was Degraded in between: {well_again}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn clients_stay_connected_and_publications_are_held_while_storage_is_killed() -> Result<()> {
    with_broker("storage-killed", json!({}), async |broker| {
        let address = broker.address().await?;
        publish(address, &["-t", "state", "-r", "-q", "1", "-m", "kept in memory"]).await?;
        let mut subscriber = Subscriber::start(address, &["-t", "a", "-q", "1"], MESSAGE_DEADLINE).await?;
        let (mut publisher, _) = Client::connect(address, "publisher").await?;
        let ready = condition(&broker.resource().await?, "Ready");
        let slices = endpoint_slices(broker).await?;
        let connects = broker.metric("freshet_proxy_connects_total").await?;
        pod_process::kill_container(broker.cluster, broker.namespace, STORAGE_POD, STORAGE).await?;

        // Held until storage is back, then answered, on a connection that stays.
        let code = publisher.publish("a", b"held", false).await?;
        ensure!(!code.is_error(), "{code:?}");
        let received = subscriber.next(MESSAGE_DEADLINE).await?;
        ensure!(received.payload == "held", "{received:?}");
        let losses = broker.metric("freshet_proxy_storage_losses_total").await?;
        ensure!(losses.values().all(|lost| *lost == 1), "each was cut off: {losses:?}");
        ensure!(subscriber.is_running()?);
        ensure!(
            broker.metric("freshet_proxy_connects_total").await? == connects,
            "nobody has connected since"
        );

        let note = broker.await_event("StorageRestarted").await?;
        ensure!(note.contains("retained messages and sessions are gone"), "{note}");
        broker.await_ready("AllServing").await?;
        let ready_again = condition(&broker.resource().await?, "Ready");
        ensure!(
            ready_again["lastTransitionTime"] != ready["lastTransitionTime"],
            "it was not Ready in between: {ready_again}"
        );
        ensure!(
            endpoint_slices(broker).await? == slices,
            "the Service's endpoints were never written"
        );

        // As the Event says.
        let (mut late, _) = Client::connect(address, "late").await?;
        late.subscribe("state").await?;
        publish(address, &["-t", "state", "-q", "1", "-m", "live"]).await?;
        let first = late.receive().await?;
        ensure!(first.payload == b"live", "{first:?}");
        Ok(())
    })
    .await
}

async fn await_line(subscriber: &mut Subscriber, part: &str) -> Result<()> {
    let found = tokio::time::timeout(DEADLINE, async {
        while let Some(line) = subscriber.line().await? {
            if line.contains(part) {
                return anyhow::Ok(true);
            }
        }
        anyhow::Ok(false)
    })
    .await??;
    ensure!(found, "the subscriber ended instead of connecting again");
    Ok(())
}

/// The endpoints of the client Service: names of the slices with the number of times that they changed, and contents.
async fn endpoint_slices(broker: &Broker<'_>) -> Result<Vec<(Value, Value, Value)>> {
    let selector = "kubernetes.io/service-name=mqtt";
    let slices = broker.get(&["endpointslices", "--selector", selector]).await?;
    let slices = slices["items"].as_array().cloned().unwrap_or_default();
    ensure!(!slices.is_empty(), "the Service has no endpoints");
    let parts = |slice: &Value| {
        let metadata = &slice["metadata"];
        (
            metadata["name"].clone(),
            metadata["generation"].clone(),
            slice["endpoints"].clone(),
        )
    };
    Ok(slices.iter().map(parts).collect())
}

#[tokio::test]
async fn an_unusable_image_is_named_and_the_old_proxies_go_on_serving() -> Result<()> {
    with_broker("bad-image", json!({}), async |broker| {
        let before = broker.accepting().await?;
        broker
            .apply(json!({"proxy": {"image": {"repository": "freshet/proxy", "tag": "no-such-tag"}}}))
            .await?;
        let trouble = broker.await_status("Degraded", "True").await?.to_string();
        ensure!(trouble.contains("ImagePull"), "names the reason: {trouble}");
        ensure!(trouble.contains("mqtt-proxy-"), "names the pod: {trouble}");
        ensure!(broker.accepting().await? == before, "the old revision serves");
        publish(broker.address().await?, &["-t", "a", "-q", "1", "-m", "still"]).await?;
        broker.apply(json!({})).await?;
        broker.await_ready("AllServing").await?;
        ensure!(broker.accepting().await? == before, "nobody was moved");
        Ok(())
    })
    .await
}
