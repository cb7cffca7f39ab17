//! A fleet under a placement rule: what a thousand devices cost storage.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_mqtt::QoS;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use crate::broker::{Broker, DEADLINE, with_broker};
use crate::client::Client;

const DEVICES: usize = 1_000;
/// Devices that connect at a time.
const AT_A_TIME: usize = 50;
/// Publications under way at a time: less than the Receive Maximum that the server grants.
const PUBLISHED_AT_A_TIME: usize = 50;

#[tokio::test]
async fn a_thousand_devices_with_their_own_wildcard_have_one_registration_each() -> Result<()> {
    let spec = json!({"storage": {"placement": {"rules": ["dev/{key}/#"]}}});
    with_broker("thousand", spec, async |broker| {
        let address = broker.address().await?;
        broker.await_all_reached(2).await?;
        let devices: Vec<Client> = stream::iter(0..DEVICES)
            .map(|id| device(address, id))
            .buffered(AT_A_TIME)
            .try_collect()
            .await?;
        let clients = broker.metric("freshet_proxy_clients").await?;
        ensure!(clients.values().sum::<u64>() == DEVICES as u64, "{clients:?}");
        ensure!(clients.values().all(|held| *held > 0), "on all proxies: {clients:?}");
        await_registrations(broker, DEVICES as u64).await?;

        // Each hears its own messages, from whatever proxy, and nobody else's.
        let (mut publisher, _) = Client::connect(address, "fleet-control").await?;
        let ids: Vec<usize> = (0..DEVICES).collect();
        for some in ids.chunks(PUBLISHED_AT_A_TIME) {
            let mut sent = Vec::new();
            for id in some {
                let (topic_name, payload) = (format!("dev/{id}/command/reboot"), id.to_string());
                let publication = publisher.begin_publish(&topic_name, payload.as_bytes(), QoS::AtLeastOnce, false);
                sent.push(publication.await?);
            }
            for packet_id in sent {
                let code = publisher.acknowledged(packet_id).await?;
                ensure!(!code.is_error(), "{code:?}");
            }
        }
        let devices: Vec<Client> = stream::iter(devices.into_iter().enumerate())
            .map(async |(id, mut device)| {
                let message = device.receive().await.with_context(|| format!("device {id}"))?;
                ensure!(message.payload == id.to_string().as_bytes(), "{id} got {message:?}");
                ensure!(message.topic_name == format!("dev/{id}/command/reboot"), "{message:?}");
                anyhow::Ok(device)
            })
            .buffered(AT_A_TIME)
            .try_collect()
            .await?;

        drop(devices);
        await_registrations(broker, 0).await
    })
    .await
}

async fn device(address: SocketAddr, id: usize) -> Result<Client> {
    let (mut client, _) = Client::connect(address, &format!("device-{id}")).await?;
    client.subscribe(&format!("dev/{id}/#")).await?;
    Ok(client)
}

/// Waits until storage has so many filters, each at one shard.
async fn await_registrations(broker: &Broker<'_>, count: u64) -> Result<()> {
    await_condition(&format!("{count} registrations"), DEADLINE, async || {
        let filters = broker.storage_metric_by("freshet_storage_filters", "scope").await?;
        let is_met = filters.get("one_shard") == Some(&count) && filters.get("all_shards") == Some(&0);
        Ok(if is_met {
            Observed::Met(())
        } else {
            Observed::NotYet(format!("{filters:?}"))
        })
    })
    .await
}
