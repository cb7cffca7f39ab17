//! What peers send that are no clients, or no good ones: each is answered as specified and counted under one reason,
//! and a good client on the same proxy notices nothing.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_mqtt::{ClientPacket, Connect, QoS, ReasonCode};
use serde_json::json;

use crate::broker::{Broker, DEADLINE, condition, with_broker};
use crate::client::{Client, V5, bytes_of};

/// Connections that the listener of these tests takes.
const MAX_CONNECTIONS: u64 = 8;
const MAX_PACKET: usize = 4096;

/// A client that must not notice anything.
struct Bystander(Client);

impl Bystander {
    async fn notices_nothing(&mut self) -> Result<()> {
        let code = self.0.publish("bystander", b"still here", false).await?;
        ensure!(code == ReasonCode::Success, "{code:?}");
        let message = self.0.receive().await?;
        ensure!(message.payload == b"still here", "{message:?}");
        self.0.ping().await
    }
}

/// How often connections have ended for `reason`.
async fn ends(broker: &Broker<'_>, reason: &str) -> Result<u64> {
    let by_reason = broker.metric_by("freshet_proxy_disconnects_total", "reason").await?;
    by_reason
        .get(reason)
        .copied()
        .with_context(|| format!("{reason} is no reason: {by_reason:?}"))
}

/// Waits until exactly `count` connections have ended for `reason`.
async fn await_ends(broker: &Broker<'_>, reason: &str, count: u64) -> Result<()> {
    await_condition(&format!("{count} ends with {reason}"), DEADLINE, async || {
        let found = ends(broker, reason).await?;
        ensure!(found <= count, "{found} ends with {reason}");
        Ok(if found == count {
            Observed::Met(())
        } else {
            Observed::NotYet(found.to_string())
        })
    })
    .await
}

#[tokio::test]
async fn bad_input_gets_its_answer_and_its_reason_and_nobody_else_notices() -> Result<()> {
    let spec = json!({
        "proxy": {"replicas": 1},
        "listeners": [{"name": "mqtt", "port": 1883, "maxConnections": MAX_CONNECTIONS}],
        "limits": {"client": {"maxPacket": MAX_PACKET.to_string()}},
    });
    with_broker("bad-input", spec, async |broker| {
        let address = broker.address().await?;
        let (mut client, _) = Client::connect(address, "bystander").await?;
        client.subscribe("bystander").await?;
        let mut bystander = Bystander(client);
        bystander.notices_nothing().await?;

        // The slow sender is begun first, and looked at last: it may take ten seconds.
        let began = Instant::now();
        let mut slow = Client::open(address).await?;
        let connect = bytes_of(&ClientPacket::Connect(Connect::new(V5, "slow")))?;
        slow.send_bytes(&connect[..connect.len() / 2]).await?;

        let client_hello = [0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
        let before_connect: [(&[u8], &str); 4] = [
            // Whatever it is, it does not begin as a CONNECT (MQTT 5.0, 3.1).
            (&[0xFF; 64], "protocol_error"),
            // CONNECT with flags that are reserved (MQTT 5.0, 2.1.3).
            (&[0x1F; 64], "malformed_packet"),
            (&client_hello, "tls_on_plain_port"),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "http_on_plain_port"),
        ];
        for (bytes, reason) in before_connect {
            let mut peer = Client::open(address).await?;
            peer.send_bytes(bytes).await?;
            ensure!(peer.end().await?.is_none(), "{reason}: no DISCONNECT before CONNECT");
            await_ends(broker, reason, 1).await?;
            bystander.notices_nothing().await?;
        }

        let (mut sender, _) = Client::connect(address, "reserved-flags").await?;
        // PINGREQ with flags that are reserved (MQTT 5.0, 2.1.3).
        sender.send_bytes(&[0xC5, 0]).await?;
        ensure!(sender.end().await? == Some(ReasonCode::MalformedPacket));
        await_ends(broker, "malformed_packet", 2).await?;
        bystander.notices_nothing().await?;

        let (mut sender, _) = Client::connect(address, "large").await?;
        sender
            .begin_publish("a", &vec![b'x'; MAX_PACKET], QoS::AtMostOnce, false)
            .await?;
        ensure!(sender.end().await? == Some(ReasonCode::PacketTooLarge));
        await_ends(broker, "packet_too_large", 1).await?;
        bystander.notices_nothing().await?;

        let (mut sender, _) = Client::connect(address, "twice").await?;
        sender.send(&ClientPacket::Connect(Connect::new(V5, "twice"))).await?;
        ensure!(sender.end().await? == Some(ReasonCode::ProtocolError));
        await_ends(broker, "protocol_error", 2).await?;
        bystander.notices_nothing().await?;

        ensure!(slow.end().await?.is_none());
        let lasted = began.elapsed();
        ensure!(lasted.as_secs() >= 9, "closed after {lasted:?}");
        await_ends(broker, "connect_timeout", 1).await?;
        bystander.notices_nothing().await
    })
    .await
}

#[tokio::test]
async fn a_maximum_of_connections_that_a_proxy_cannot_have_is_told() -> Result<()> {
    let asks_for = |connections: u64| {
        json!({
            "proxy": {"replicas": 1},
            "listeners": [{"name": "mqtt", "port": 1883, "maxConnections": connections}],
        })
    };
    with_broker("file-limit", asks_for(MAX_CONNECTIONS), async |broker| {
        await_condition("the proxy was asked", DEADLINE, async || {
            let said = condition(&broker.resource().await?, "ConnectionsLimited");
            Ok(if said["reason"] == "Enough" {
                Observed::Met(())
            } else {
                Observed::NotYet(said.to_string())
            })
        })
        .await?;
        let limits = broker.metric("freshet_proxy_connections_limit").await?;
        let limit = *limits.values().next().context("no proxy")?;
        broker.apply(asks_for(limit + 1)).await?;
        let said = broker.await_status("ConnectionsLimited", "True").await?;
        let message = said["message"].as_str().unwrap_or_default();
        ensure!(message.contains(&format!("may have {limit} connections")), "{message}");
        ensure!(message.contains(&format!("mqtt ({})", limit + 1)), "{message}");
        let resource = broker.resource().await?;
        ensure!(
            condition(&resource, "Ready")["status"] == "True",
            "clients are served all the same"
        );
        broker.apply(asks_for(limit)).await?;
        broker.await_status("ConnectionsLimited", "False").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn connections_over_the_maximum_are_closed_and_those_below_it_stay() -> Result<()> {
    let spec = json!({
        "proxy": {"replicas": 1},
        "listeners": [{"name": "mqtt", "port": 1883, "maxConnections": MAX_CONNECTIONS}],
    });
    with_broker("max-connections", spec, async |broker| {
        let address = broker.address().await?;
        let mut clients = Vec::new();
        for id in 0..MAX_CONNECTIONS {
            clients.push(Client::connect(address, &format!("c{id}")).await?.0);
        }
        for over in 1..=3 {
            ensure!(Client::open(address).await?.end().await?.is_none());
            await_ends(broker, "too_many_connections", over).await?;
        }
        for client in &mut clients {
            client.ping().await?;
        }
        let limit = broker.metric("freshet_proxy_listener_connections_limit").await?;
        ensure!(limit.values().eq([&MAX_CONNECTIONS]), "{limit:?}");
        // There is room again when one goes.
        drop(clients.pop());
        await_condition("the next client is taken", DEADLINE, async || {
            let (mut next, _) = Client::connect(address, "next").await?;
            next.ping().await?;
            Ok(Observed::Met(()))
        })
        .await
    })
    .await
}
