//! Sessions that outlive their connection and groups that share a subscription, through the
//! Service of a cluster of two proxies.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::mosquitto::{Subscriber, publish};
use serde_json::json;
use tokio::task::JoinSet;

use crate::broker::{Broker, DEADLINE, MESSAGE_DEADLINE, with_broker};

/// Messages of one absence, each with its QoS. Those of QoS 2 come last: mosquitto gives them to its user when their
/// exchange is over, and what was sent behind them may be there before.
const MESSAGES: [(&str, u8); 6] = [("a", 1), ("b", 1), ("c", 1), ("d", 2), ("e", 2), ("f", 2)];

/// Leaves and comes back until that was through another proxy; everything that was sent in between has to be there.
async fn be_away(broker: &Broker<'_>, subscribe: &[&str]) -> Result<()> {
    let address = broker.address().await?;
    let mut subscriber = Subscriber::start(address, subscribe, MESSAGE_DEADLINE).await?;
    let until = Instant::now() + DEADLINE;
    for absence in 0.. {
        let former = broker.await_holder().await?;
        drop(subscriber);
        broker.await_no_connection().await?;
        let sent = MESSAGES.map(|(name, qos)| (format!("{absence}.{name}"), qos));
        for (message, qos) in &sent {
            publish(address, &["-t", "dev/one", "-q", &qos.to_string(), "-m", message]).await?;
        }
        // Nobody keeps this one.
        publish(address, &["-t", "dev/one", "-q", "0", "-m", "gone"]).await?;
        subscriber = Subscriber::start(address, subscribe, MESSAGE_DEADLINE).await?;
        for (message, qos) in &sent {
            let received = subscriber
                .next(MESSAGE_DEADLINE)
                .await
                .with_context(|| message.clone())?;
            ensure!(
                (&received.payload, &received.qos) == (message, qos),
                "{message}: {received:?}"
            );
        }
        if broker.await_holder().await? != former {
            break;
        }
        ensure!(Instant::now() < until, "every connection was dealt to {former}");
    }
    // The session goes on live from where the queue ended.
    publish(address, &["-t", "dev/one", "-q", "1", "-m", "live"]).await?;
    let received = subscriber.next(MESSAGE_DEADLINE).await?;
    ensure!(received.payload == "live", "{received:?}");
    drop(subscriber);
    broker.await_no_connection().await
}

#[tokio::test]
#[cfg_attr(false, shows("5.0:3.1.2-5", "5.0:3.1.2-23", "3.1.1:3.1.2-4", "3.1.1:3.1.2-5"))]
async fn what_is_sent_in_an_absence_is_there_whichever_proxy_the_client_comes_back_to() -> Result<()> {
    with_broker("absence", json!({}), async |broker| {
        be_away(broker, &["-V", "mqttv311", "-i", "old", "-c", "-q", "2", "-t", "dev/+"]).await?;
        be_away(
            broker,
            &[
                "-V", "mqttv5", "-i", "new", "-c", "-x", "3600", "-q", "2", "-t", "dev/+",
            ],
        )
        .await
    })
    .await
}

/// Members of a group, at least one on each of the two proxies.
async fn members(broker: &Broker<'_>, subscribe: &[&str]) -> Result<Vec<Subscriber>> {
    let address = broker.address().await?;
    let mut members = Vec::new();
    await_condition("each proxy has a member", DEADLINE, async || {
        members.push(Subscriber::start(address, subscribe, MESSAGE_DEADLINE).await?);
        let clients = broker.metric("freshet_proxy_clients").await?;
        Ok(if clients.len() == 2 && clients.values().all(|held| *held > 0) {
            Observed::Met(())
        } else {
            Observed::NotYet(format!("{clients:?}"))
        })
    })
    .await?;
    Ok(members)
}

#[tokio::test]
async fn a_message_for_a_group_reaches_one_member_of_all_that_the_proxies_have() -> Result<()> {
    with_broker("group", json!({}), async |broker| {
        let address = broker.address().await?;
        for version in ["mqttv311", "mqttv5"] {
            let subscribe = ["-V", version, "-q", "1", "-t", "$share/workers/job/+"];
            let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
            let mut reading = JoinSet::new();
            for mut member in members(broker, &subscribe).await? {
                let arrived = arrived.clone();
                reading.spawn(async move {
                    while let Ok(received) = member.next(DEADLINE).await {
                        if arrived.send(received.payload).is_err() {
                            break;
                        }
                    }
                });
            }
            let jobs: BTreeSet<String> = (0..24).map(|number| number.to_string()).collect();
            for job in &jobs {
                publish(address, &["-t", "job/one", "-q", "1", "-m", job]).await?;
            }
            let mut done = BTreeSet::new();
            while done.len() < jobs.len() {
                let next = tokio::time::timeout(MESSAGE_DEADLINE, arrivals.recv()).await;
                let job = next
                    .with_context(|| format!("{} of {} jobs arrived", done.len(), jobs.len()))?
                    .context("the members have ended")?;
                ensure!(jobs.contains(&job), "{job} was never sent");
                ensure!(done.insert(job.clone()), "{job} came twice");
            }
            ensure!(arrivals.is_empty(), "more than was sent");
            reading.shutdown().await;
            broker.await_no_connection().await?;
        }
        Ok(())
    })
    .await
}
