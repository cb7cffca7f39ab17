//! One field of each class of `docs/resource.md` is changed: what moves, and what stays where it is.
//!
//! That a new revision replaces all proxies is in `lifecycle`.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_mqtt::{QoS, ReasonCode, ServerPacket};
use serde_json::json;

use crate::broker::{Broker, DEADLINE, with_broker};
use crate::client::Client;

/// Uids of all pods of the cluster: a pod that was replaced has another.
async fn uids(broker: &Broker<'_>) -> Result<BTreeSet<String>> {
    let listed = broker.get(&["pods", "--selector", "freshet.dev/cluster=mqtt"]).await?;
    let pods = listed["items"].as_array().context("no list of pods")?;
    let uid = |pod: &serde_json::Value| pod["metadata"]["uid"].as_str().map(str::to_owned);
    Ok(pods.iter().filter_map(uid).collect())
}

#[tokio::test]
async fn a_live_limit_is_taken_up_by_running_storage() -> Result<()> {
    with_broker("live", json!({}), async |broker| {
        let (mut client, _) = Client::connect(broker.address().await?, "stays").await?;
        let pods = uids(broker).await?;
        let code = client.publish("state/0", b"x", true).await?;
        ensure!(!code.is_error(), "{code:?}");
        broker
            .apply(json!({"limits": {"cluster": {"retainedMessages": 1}}}))
            .await?;
        let mut next = 0;
        await_condition("another retained message is refused", DEADLINE, async || {
            next += 1;
            let code = client.publish(&format!("state/{next}"), b"x", true).await?;
            Ok(match code {
                ReasonCode::QuotaExceeded => Observed::Met(()),
                taken => Observed::NotYet(format!("{taken:?}")),
            })
        })
        .await?;
        client.ping().await?;
        ensure!(uids(broker).await? == pods, "no pod was replaced");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_field_for_new_connections_leaves_present_ones_what_they_were_told() -> Result<()> {
    const FORMER: u16 = 20;
    const CHANGED: u16 = 5;
    with_broker(
        "new-connections",
        json!({"mqtt": {"receiveMaximum": FORMER}}),
        async |broker| {
            let address = broker.address().await?;
            let (mut present, told) = Client::connect(address, "present").await?;
            ensure!(told.receive_maximum == FORMER, "{told:?}");
            let pods = uids(broker).await?;
            broker.apply(json!({"mqtt": {"receiveMaximum": CHANGED}})).await?;
            // Each connection is dealt to some proxy: all of them have it when that many in a row say so.
            let mut in_a_row = 0;
            await_condition("new connections are told the new maximum", DEADLINE, async || {
                let (_, told) = Client::connect(address, "new").await?;
                in_a_row = if told.receive_maximum == CHANGED {
                    in_a_row + 1
                } else {
                    0
                };
                Ok(if in_a_row == 10 {
                    Observed::Met(())
                } else {
                    Observed::NotYet(format!("{told:?}"))
                })
            })
            .await?;

            // Exchanges that are not released stay open, one more than is allowed anew.
            let (mut new, _) = Client::connect(address, "new").await?;
            for client in [&mut present, &mut new] {
                for _ in 0..=CHANGED {
                    client.begin_publish("a", b"x", QoS::ExactlyOnce, false).await?;
                }
            }
            ensure!(new.end().await? == Some(ReasonCode::ReceiveMaximumExceeded));
            for _ in 0..=CHANGED {
                let received = |packet: &ServerPacket<'_>| matches!(packet, ServerPacket::PubRec(_)).then_some(());
                present.until(received).await?;
            }
            present.ping().await?;
            ensure!(uids(broker).await? == pods, "no pod was replaced");
            Ok(())
        },
    )
    .await
}

#[tokio::test]
async fn an_immutable_field_is_refused_and_nothing_moves() -> Result<()> {
    with_broker("immutable", json!({}), async |broker| {
        let (mut client, _) = Client::connect(broker.address().await?, "stays").await?;
        let pods = uids(broker).await?;
        let before = broker.resource().await?["metadata"]["generation"].clone();
        let Err(refusal) = broker.apply(json!({"storage": {"shards": 16}})).await else {
            anyhow::bail!("another number of shards was taken");
        };
        let refusal = format!("{refusal:#}");
        ensure!(refusal.contains("storage.shards cannot be changed"), "{refusal}");
        ensure!(broker.resource().await?["metadata"]["generation"] == before);
        client.ping().await?;
        ensure!(uids(broker).await? == pods, "no pod was replaced");
        Ok(())
    })
    .await
}
