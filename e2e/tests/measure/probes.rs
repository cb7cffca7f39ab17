//! Clients that connect through the Service, two hundred a second, until new proxies have answered.
//!
//! With N proxies behind the Service one in N of them reaches a certain one: so many come that this adds little.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use freshet_mqtt::{ClientPacket, Disconnect, ReasonCode};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::client::Client;

/// Between two probes.
const EVERY: Duration = Duration::from_millis(5);
/// Probes that have no answer yet.
const UNDER_WAY: usize = 100;
/// How long a proxy that was asked for may take to answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// User property of CONNACK that names the proxy.
const PROXY_NAME: &str = "freshet-proxy";

/// Probes until `count` proxies have answered that are not among `known`; returns when each answered first.
pub(crate) async fn first_answers(
    address: SocketAddr,
    known: &[String],
    count: usize,
) -> Result<BTreeMap<String, Instant>> {
    let until = Instant::now() + DEADLINE;
    let mut answered: BTreeMap<String, Instant> = BTreeMap::new();
    let mut under_way = JoinSet::new();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while answered.len() < count {
        ensure!(
            Instant::now() < until,
            "of {count} proxies that were asked for only {answered:?} answer"
        );
        tokio::select! {
            _ = ticks.tick() => {
                if under_way.len() < UNDER_WAY {
                    under_way.spawn(probe(address));
                }
            }
            Some(Ok(Ok((proxy, at)))) = under_way.join_next() => {
                if !known.contains(&proxy) {
                    let first = answered.entry(proxy).or_insert(at);
                    *first = (*first).min(at);
                }
            }
        }
    }
    Ok(answered)
}

/// Connects, and returns who has answered and when.
async fn probe(address: SocketAddr) -> Result<(String, Instant)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let client_id = format!("probe-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let (mut client, accepted) = Client::connect(address, &client_id).await?;
    let at = Instant::now();
    client
        .send(&ClientPacket::Disconnect(Disconnect::new(ReasonCode::Success)))
        .await?;
    let name = accepted.user_properties.into_iter().find(|(key, _)| key == PROXY_NAME);
    let Some((_, name)) = name else {
        anyhow::bail!("CONNACK names no proxy")
    };
    Ok((name, at))
}
