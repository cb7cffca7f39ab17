//! Wills of clients whose proxy is deleted: edge nodes of Sparkplug B, and a will with a delay. Who comes back through
//! the Service within the grace never died, who does not dies once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_mqtt::sparkplug::{EdgeNode, HOST_FILTER, Lifetime, Told};
use freshet_mqtt::{Connect, Disconnect, QoS, ReasonCode, Will, WillProperties};
use serde_json::json;

use crate::broker::{Broker, DEADLINE, with_broker};
use crate::client::{Client, V5};

/// Long enough to come back through the Service once the nodes have followed its endpoints; waited for once.
const GRACE: Duration = Duration::from_secs(10);
/// Longer than the grace, which it replaces then.
const DELAY: Duration = Duration::from_secs(13);
const DELAYED: &str = "delayed";
const LOST: &[u8] = b"lost";

#[tokio::test]
async fn an_edge_node_whose_proxy_is_deleted_dies_only_when_it_does_not_come_back_in_time() -> Result<()> {
    let spec = json!({
        "mqtt": {"willGraceOnMove": format!("{}s", GRACE.as_secs())},
        "proxy": {"warm": {"min": 0}},
    });
    with_broker("wills", spec, async |broker| {
        let address = broker.address().await?;
        let (mut host, _) = Client::connect(address, "host").await?;
        host.subscribe(HOST_FILTER).await?;
        host.subscribe(DELAYED).await?;
        let of_host = broker.await_holder().await?;
        let (mut returns, mut stays_away) = (EdgeNode::new("returns"), EdgeNode::new("stays-away"));
        let mut moved = away_from(broker, &of_host, async || establish(address, &mut returns).await).await?;
        let mut lost = away_from(broker, &of_host, async || establish(address, &mut stays_away).await).await?;
        let mut delayed = away_from(broker, &of_host, async || with_delay(address).await).await?;
        // Those that were dealt to the other proxy first have died in order since, and were born again.
        let (first, last) = (returns.latest_bd_seq(), stays_away.latest_bd_seq());
        let births = BTreeSet::from([birth(&returns, first), birth(&stays_away, last)]);
        let mut told = BTreeSet::new();
        while !births.is_subset(&told) {
            told.insert(host_is_told(&mut host).await?);
        }

        let victim = other_than(broker, &of_host).await?;
        broker.run(&["delete", "pod", &victim, "--wait=false"]).await?;
        for client in [&mut moved, &mut lost, &mut delayed] {
            let said = client.end().await?;
            ensure!(said == Some(ReasonCode::ServerShuttingDown), "{said:?}");
        }
        let ended = Instant::now();
        let moved = await_condition("the edge node is back", DEADLINE, async || {
            // Until the nodes have followed, the Service leads to where nobody listens any more.
            Ok(match establish(address, &mut returns).await {
                Ok(client) => Observed::Met(client),
                Err(error) => Observed::NotYet(format!("{error:#}")),
            })
        })
        .await?;
        ensure!(
            ended.elapsed() < GRACE,
            "back after {:?}: nothing is shown",
            ended.elapsed()
        );
        let next = host_is_told(&mut host).await?;
        ensure!(next == birth(&returns, returns.latest_bd_seq()), "{next:?}");
        // All were moved at once: with this death the grace of both is over.
        let next = host_is_told(&mut host).await?;
        ensure!(next == death(&stays_away, last), "{next:?}");
        let message = host.receive().await?;
        ensure!(message.payload == LOST && message.topic_name == DELAYED, "{message:?}");
        let waited = ended.elapsed();
        ensure!(waited > GRACE, "the longer delay counts: {waited:?}");

        // From here on as ever: one death for a connection that is lost, with the number of its birth.
        drop(moved);
        let next = host_is_told(&mut host).await?;
        ensure!(next == death(&returns, returns.latest_bd_seq()), "{next:?}");
        Ok(())
    })
    .await
}

/// Connects as Sparkplug B 3.0 asks: a clean start, NDEATH as the will, the commands, then NBIRTH.
async fn establish(address: SocketAddr, node: &mut EdgeNode) -> Result<Client> {
    let Lifetime {
        death_topic,
        death,
        birth_topic,
        birth,
        command_filter,
        ..
    } = node.next_lifetime();
    let connect = Connect {
        will: Some(will(&death_topic, &death, None)),
        ..Connect::new(V5, &node.id)
    };
    let (mut client, _) = Client::connect_with(address, &connect).await?;
    client.subscribe(&command_filter).await?;
    client
        .begin_publish(&birth_topic, &birth, QoS::AtMostOnce, false)
        .await?;
    Ok(client)
}

/// A lasting session with a will that waits.
async fn with_delay(address: SocketAddr) -> Result<Client> {
    let mut connect = Connect::new(V5, DELAYED);
    connect.clean_start = false;
    connect.properties.session_expiry_interval = Some(600);
    let delay = u32::try_from(DELAY.as_secs())?;
    connect.will = Some(will(DELAYED, LOST, Some(delay)));
    Ok(Client::connect_with(address, &connect).await?.0)
}

fn will<'a>(topic_name: &'a str, payload: &'a [u8], delay: Option<u32>) -> Will<'a> {
    Will {
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: WillProperties {
            will_delay_interval: delay,
            ..WillProperties::default()
        },
        topic_name,
        payload,
    }
}

/// Connects until the Service has led the client to another proxy than this one. Goes in order in between, which
/// leaves no will behind.
async fn away_from(
    broker: &Broker<'_>,
    proxy: &str,
    mut connect: impl AsyncFnMut() -> Result<Client>,
) -> Result<Client> {
    await_condition(&format!("a client elsewhere than at {proxy}"), DEADLINE, async || {
        let before = broker.metric("freshet_proxy_connects_total").await?;
        let mut client = connect().await?;
        client.ping().await?;
        let after = broker.metric("freshet_proxy_connects_total").await?;
        let is_elsewhere = after
            .iter()
            .any(|(pod, count)| pod != proxy && *count > before.get(pod).copied().unwrap_or(0));
        if is_elsewhere {
            return Ok(Observed::Met(client));
        }
        client
            .send(&freshet_mqtt::ClientPacket::Disconnect(Disconnect::new(
                ReasonCode::Success,
            )))
            .await?;
        client.end().await?;
        Ok(Observed::NotYet(format!("{after:?}")))
    })
    .await
}

async fn other_than(broker: &Broker<'_>, proxy: &str) -> Result<String> {
    let all = broker.accepting().await?;
    let other = all.into_iter().find(|pod| pod != proxy);
    other.context("there is no other proxy")
}

async fn host_is_told(host: &mut Client) -> Result<Told> {
    let message = host.receive().await?;
    Told::read(&message.topic_name, &message.payload).with_context(|| format!("neither birth nor death: {message:?}"))
}

fn birth(node: &EdgeNode, bd_seq: u8) -> Told {
    Told::Birth(node.id.clone(), bd_seq.into())
}

fn death(node: &EdgeNode, bd_seq: u8) -> Told {
    Told::Death(node.id.clone(), bd_seq.into())
}
