//! What users see when a process of a cluster dies.

use anyhow::{Result, ensure};
use freshet_e2e::mosquitto::{Subscriber, publish};
use freshet_e2e::pod_process;
use serde_json::json;

use crate::broker::{DEADLINE, MESSAGE_DEADLINE, PROXY, STORAGE, with_broker};

#[tokio::test]
async fn clients_of_a_killed_proxy_come_back_through_the_service() -> Result<()> {
    with_broker("proxy-killed", json!({}), async |broker| {
        let address = broker.address().await?;
        // mosquitto_sub connects again by itself and subscribes anew.
        let mut subscriber = Subscriber::start(address, &["-t", "a", "-q", "1"], MESSAGE_DEADLINE).await?;
        let held = broker.metric("freshet_proxy_connections").await?;
        let Some((holder, _)) = held.iter().find(|(_, open)| **open == 1) else {
            anyhow::bail!("no proxy holds the subscriber: {held:?}");
        };
        pod_process::kill_container(broker.cluster, broker.namespace, holder, PROXY).await?;
        let confirmed = tokio::time::timeout(DEADLINE, async {
            while let Some(line) = subscriber.line().await? {
                if line.contains("received SUBACK") {
                    return anyhow::Ok(true);
                }
            }
            anyhow::Ok(false)
        })
        .await??;
        ensure!(confirmed, "the subscriber ended instead of connecting again");
        publish(address, &["-t", "a", "-q", "1", "-m", "again"]).await?;
        ensure!(subscriber.next(MESSAGE_DEADLINE).await?.payload == "again");
        broker.await_ready("AllServing").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn clients_stay_connected_and_publications_are_held_while_storage_is_killed() -> Result<()> {
    with_broker("storage-killed", json!({}), async |broker| {
        let address = broker.address().await?;
        let mut subscriber = Subscriber::start(address, &["-t", "a", "-q", "1"], MESSAGE_DEADLINE).await?;
        let endpoints = broker.accepting().await?;
        let connects = broker.metric("freshet_proxy_connects_total").await?;
        pod_process::kill_container(broker.cluster, broker.namespace, "mqtt-storage-0", STORAGE).await?;
        // Held until storage is back, then answered: mosquitto_pub ends well only with its PUBACK.
        publish(address, &["-t", "a", "-q", "1", "-m", "held"]).await?;
        let received = subscriber.next(MESSAGE_DEADLINE).await?;
        ensure!(received.payload == "held", "{received:?}");
        ensure!(subscriber.is_running()?);
        let after = broker.metric("freshet_proxy_connects_total").await?;
        let new: u64 = after.values().sum::<u64>() - connects.values().sum::<u64>();
        ensure!(
            new == 1,
            "only the publisher has connected since: {connects:?} {after:?}"
        );
        ensure!(broker.accepting().await? == endpoints, "endpoints do not change");
        let note = broker.await_event("StorageRestarted").await?;
        ensure!(note.contains("retained"), "says what was lost: {note}");
        Ok(())
    })
    .await
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
