//! The topics below `$SYS` of a cluster of two proxies, as a stock client reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::mosquitto::{Subscriber, publish};
use serde_json::json;

use crate::broker::{Broker, DEADLINE, MESSAGE_DEADLINE, with_broker};

/// Keeps a subscriber on each of the two proxies.
async fn keep_one_on_each(broker: &Broker<'_>) -> Result<Vec<Subscriber>> {
    let address = broker.address().await?;
    let mut held = Vec::new();
    await_condition("each proxy has a client", DEADLINE, async || {
        held.push(Subscriber::start(address, &["-t", "a"], MESSAGE_DEADLINE).await?);
        let clients = broker.metric("freshet_proxy_clients").await?;
        Ok(if clients.len() == 2 && clients.values().all(|count| *count > 0) {
            Observed::Met(())
        } else {
            Observed::NotYet(format!("{clients:?}"))
        })
    })
    .await?;
    Ok(held)
}

#[tokio::test]
async fn the_topics_below_sys_count_both_proxies_and_come_once() -> Result<()> {
    with_broker("sys", json!({"observability": {"sysInterval": "2s"}}), async |broker| {
        let address = broker.address().await?;
        let held = keep_one_on_each(broker).await?;
        for _ in 0..3 {
            publish(address, &["-t", "a", "-q", "1", "-m", "counted"]).await?;
        }
        let published: u64 = broker
            .metric("freshet_proxy_publishes_received_total")
            .await?
            .values()
            .sum();
        ensure!(published == 3, "the proxies have counted {published}");
        let mut watcher = Subscriber::start(address, &["-t", "$SYS/#"], MESSAGE_DEADLINE).await?;
        let connected = (held.len() + 1).to_string();
        let expected = [
            ("$SYS/broker/clients/connected", connected.as_str()),
            ("$SYS/broker/subscriptions/count", connected.as_str()),
            ("$SYS/broker/publish/messages/received", "3"),
        ];
        let mut last = BTreeMap::new();
        let mut uptimes = BTreeSet::new();
        let until = Instant::now() + DEADLINE;
        let is_so = |last: &BTreeMap<String, String>| {
            let said = |(topic, value): &(&str, &str)| last.get(*topic).is_some_and(|found| found == value);
            last.len() == 25 && expected.iter().all(said)
        };
        while !is_so(&last) {
            ensure!(Instant::now() < until, "{expected:?} in {last:?}");
            let received = watcher.next(MESSAGE_DEADLINE).await?;
            if received.topic == "$SYS/broker/uptime" && received.retain == 0 {
                let is_new = uptimes.insert(received.payload.clone());
                ensure!(is_new, "{} came twice", received.payload);
            }
            last.insert(received.topic, received.payload);
        }
        Ok(())
    })
    .await
}
