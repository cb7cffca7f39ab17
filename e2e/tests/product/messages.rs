//! Messages through the Service of a cluster of two proxies.

use std::time::Instant;

use anyhow::{Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::mosquitto::{Received, Subscriber, publish};
use serde_json::json;

use crate::broker::{Broker, DEADLINE, MESSAGE_DEADLINE, with_broker, with_one_more_broker};

/// Publishes until a publisher was dealt to another proxy than the one that holds the only connection; returns what
/// then arrived.
async fn publish_through_the_other_proxy(
    broker: &Broker<'_>,
    subscriber: &mut Subscriber,
    arguments: &[&str],
) -> Result<Received> {
    let address = broker.address().await?;
    let held = broker.metric("freshet_proxy_connections").await?;
    let holder: Vec<_> = held
        .iter()
        .filter(|(_, open)| **open > 0)
        .map(|(pod, _)| pod.clone())
        .collect();
    ensure!(holder.len() == 1, "the subscriber is on one proxy: {held:?}");
    await_condition("a publisher reaches the other proxy", DEADLINE, async || {
        let before = broker.metric("freshet_proxy_connects_total").await?;
        publish(address, arguments).await?;
        let received = subscriber.next(MESSAGE_DEADLINE).await?;
        ensure!(received.payload == "crossing", "{received:?}");
        let after = broker.metric("freshet_proxy_connects_total").await?;
        let other = after
            .iter()
            .any(|(pod, count)| *pod != holder[0] && *count > before.get(pod).copied().unwrap_or(0));
        Ok(if other {
            Observed::Met(received)
        } else {
            Observed::NotYet(format!("{after:?}"))
        })
    })
    .await
}

#[tokio::test]
async fn a_message_crosses_from_one_proxy_to_another_at_every_qos() -> Result<()> {
    with_broker("crosses", json!({}), async |broker| {
        let address = broker.address().await?;
        for qos in ["0", "1", "2"] {
            let arguments = ["-V", "mqttv5", "-t", "a/+", "-q", qos];
            let mut subscriber = Subscriber::start(address, &arguments, MESSAGE_DEADLINE).await?;
            let properties = ["-D", "publish", "user-property", "made", "here"];
            let message = ["-V", "mqttv5", "-t", "a/b", "-q", qos, "-m", "crossing"];
            let arguments = [message.as_slice(), &properties].concat();
            let received = publish_through_the_other_proxy(broker, &mut subscriber, &arguments).await?;
            ensure!(received.qos.to_string() == qos, "{received:?}");
            ensure!(received.properties.to_string().contains("made"), "{received:?}");
            drop(subscriber);
            broker.await_no_connection().await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
#[cfg_attr(false, shows("3.1.1:7.0.0-2"))]
async fn a_retained_message_waits_for_whoever_subscribes_and_can_be_taken_back() -> Result<()> {
    with_broker("retained", json!({}), async |broker| {
        let address = broker.address().await?;
        publish(address, &["-t", "state/door", "-r", "-q", "1", "-m", "open"]).await?;
        for _ in 0..4 {
            let mut subscriber = Subscriber::start(address, &["-t", "state/#"], MESSAGE_DEADLINE).await?;
            let received = subscriber.next(MESSAGE_DEADLINE).await?;
            ensure!(
                (received.payload.as_str(), received.retain) == ("open", 1),
                "{received:?}"
            );
        }
        publish(address, &["-t", "state/door", "-r", "-q", "1", "-n"]).await?;
        let mut subscriber = Subscriber::start(address, &["-t", "state/#"], MESSAGE_DEADLINE).await?;
        publish(address, &["-t", "state/window", "-q", "1", "-m", "shut"]).await?;
        let received = subscriber.next(MESSAGE_DEADLINE).await?;
        ensure!(received.topic == "state/window", "{received:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
#[cfg_attr(false, shows("5.0:3.1.4-3"))]
async fn the_same_client_id_through_any_proxy_ends_the_first_connection() -> Result<()> {
    with_broker("takeover", json!({}), async |broker| {
        let address = broker.address().await?;
        let arguments = ["-V", "mqttv5", "-i", "one", "-t", "t"];
        let mut present = Subscriber::start(address, &arguments, MESSAGE_DEADLINE).await?;
        let mut held_by = broker.await_holder().await?;
        // Each connection is dealt to a proxy at random: until the client came back through another one.
        let until = Instant::now() + DEADLINE;
        loop {
            let next = Subscriber::start(address, &arguments, MESSAGE_DEADLINE).await?;
            let mut superseded = std::mem::replace(&mut present, next);
            ensure_told_of_takeover(&mut superseded).await?;
            let former = std::mem::replace(&mut held_by, broker.await_holder().await?);
            if former != held_by {
                return Ok(());
            }
            ensure!(Instant::now() < until, "every connection was dealt to {held_by}");
        }
    })
    .await
}

async fn ensure_told_of_takeover(superseded: &mut Subscriber) -> Result<()> {
    let mut said = Vec::new();
    let told = tokio::time::timeout(MESSAGE_DEADLINE, async {
        while let Some(line) = superseded.line().await? {
            let is_told = line.contains("DISCONNECT (142)");
            said.push(line);
            if is_told {
                return anyhow::Ok(true);
            }
        }
        anyhow::Ok(false)
    })
    .await??;
    ensure!(told, "0x8E is 142: {said:?}");
    Ok(())
}

#[tokio::test]
async fn two_clusters_do_not_hear_each_other() -> Result<()> {
    with_broker("one", json!({}), async |one| {
        with_one_more_broker("other", json!({}), async |other| {
            let mut here = Subscriber::start(one.address().await?, &["-t", "#"], MESSAGE_DEADLINE).await?;
            publish(other.address().await?, &["-t", "a", "-q", "1", "-m", "there"]).await?;
            publish(one.address().await?, &["-t", "a", "-q", "1", "-m", "here"]).await?;
            let received = here.next(MESSAGE_DEADLINE).await?;
            ensure!(received.payload == "here", "{received:?}");
            Ok(())
        })
        .await
    })
    .await
}
