//! Clients that are moved: proxies that leave hand theirs over, and full ones give some to those that are new. Nothing
//! acknowledged is lost, nothing of QoS 2 comes twice, no will fires, and nobody is interrupted twice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::broker::{Broker, DEADLINE, with_broker, with_broker_alone};
use crate::client::Client;
use crate::device::{Device, Report, Watching, outcome_of};

/// Clients of a scale-in; half of them publish with QoS 1, half with QoS 2.
const DEVICES: u16 = 200;
/// Clients on one proxy before the others come.
const CROWD: usize = 2_000;
/// How often a client that was moved tries to come back.
const AGAIN: Duration = Duration::from_millis(200);

/// Four proxies of which two may leave, giving so many clients a second away.
pub(crate) fn four_proxies(moves_per_second: u32) -> Value {
    json!({"proxy": {
        "replicas": 4,
        "warm": {"min": 0},
        "drain": {"linger": "3s", "timeout": "60s", "maxMovesPerSecond": moves_per_second},
        "rebalance": {"mode": "OnReconnectOnly"},
    }})
}

/// Takes two of four proxies away while devices publish, and does `midway` as soon as both are known to leave.
pub(crate) async fn scale_in(broker: &Broker<'_>, midway: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    broker.await_all_reached(4).await?;
    while_devices_publish(broker, 0, async || {
        broker.run(&["scale", "mqc/mqtt", "--replicas=2"]).await?;
        // Two drain at once, and say so.
        await_condition("two drains are shown", DEADLINE, async || {
            let resource = broker.resource().await?;
            let proxy = &resource["status"]["proxy"];
            Ok(if proxy["drainsTotal"] == 2 {
                Observed::Met(())
            } else {
                Observed::NotYet(proxy.to_string())
            })
        })
        .await?;
        midway().await?;
        await_condition("two proxies are left", DEADLINE, async || {
            let left = broker
                .pods("freshet.dev/cluster=mqtt,app.kubernetes.io/component=proxy")
                .await?;
            Ok(if left.len() == 2 {
                Observed::Met(())
            } else {
                Observed::NotYet(format!("{left:?}"))
            })
        })
        .await?;
        let note = broker.await_event("ProxyDrained").await?;
        ensure!(note.ends_with("has handed over all clients"), "{note}");
        Ok(())
    })
    .await
}

/// Does `act`, which moves clients, while devices publish, numbered from `first` on: nothing of theirs is lost, nobody is
/// interrupted twice, and no will fires.
pub(crate) async fn while_devices_publish(
    broker: &Broker<'_>,
    first: u16,
    act: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    let address = broker.address().await?;
    let ends = Arc::new(AtomicBool::new(false));
    let watching = Watching::begin(address).await?;
    let mut devices = JoinSet::new();
    for number in first..first + DEVICES {
        devices.spawn(Device::new(number).run(address, Arc::clone(&ends)));
    }
    await_clients(broker, usize::from(DEVICES) + 1).await?;
    act().await?;
    await_clients(broker, usize::from(DEVICES) + 1).await?;
    ends.store(true, Ordering::Relaxed);
    ensure_all_arrived(devices, watching).await
}

#[tokio::test]
async fn a_scale_in_from_four_to_two_loses_nothing_and_interrupts_nobody_twice() -> Result<()> {
    with_broker("moves-scale-in", four_proxies(50), async |broker| {
        scale_in(broker, async || Ok(())).await
    })
    .await
}

/// Waits for devices that were asked to end: all that they had acknowledged has arrived, some were moved, and none twice.
pub(crate) async fn ensure_all_arrived(devices: JoinSet<Result<Report>>, watching: Watching) -> Result<()> {
    let outcome = outcome_of(devices, watching).await?;
    let mut moved = 0;
    for report in &outcome.reports {
        ensure!(
            report.interruptions <= 1,
            "{} was interrupted {} times",
            report.number,
            report.interruptions
        );
        moved += report.interruptions;
    }
    ensure!(moved > 0, "no client was on the proxies that left: nothing is shown");
    ensure!(outcome.wills == 0, "{} wills fired", outcome.wills);
    ensure!(outcome.lost.is_empty(), "{:?}", outcome.lost);
    ensure!(outcome.doubled.is_empty(), "{:?}", outcome.doubled);
    Ok(())
}

#[tokio::test]
async fn proxies_that_are_new_get_their_share_of_those_that_are_connected() -> Result<()> {
    let spec = json!({"proxy": {"replicas": 1, "warm": {"min": 3, "requests": {"cpu": "5m", "memory": "16Mi"}}}});
    with_broker_alone("moves-rebalance", spec, async |broker| {
        let address = broker.address().await?;
        let interruptions: Arc<Vec<AtomicU32>> = Arc::new((0..CROWD).map(|_| AtomicU32::new(0)).collect());
        let mut crowd = JoinSet::new();
        for index in 0..CROWD {
            crowd.spawn(stay(address, index, Arc::clone(&interruptions)));
        }
        await_clients(broker, CROWD).await?;
        let began = Instant::now();
        broker.run(&["scale", "mqc/mqtt", "--replicas=4"]).await?;
        broker.await_event("RebalanceBegun").await?;
        let clients = await_condition("all proxies have about the same", DEADLINE, async || {
            let clients = broker.metric("freshet_proxy_clients").await?;
            let mean = u64::try_from(CROWD / 4)?;
            let is_even = clients.len() == 4 && clients.values().all(|count| count.abs_diff(mean) * 10 <= mean);
            Ok(if is_even {
                Observed::Met(clients)
            } else {
                Observed::NotYet(format!("{clients:?}"))
            })
        })
        .await?;
        println!(
            "within 10 % of even {:.1} s after it was asked for: {clients:?}",
            began.elapsed().as_secs_f64()
        );
        broker.await_event("RebalanceEnded").await?;
        let most = interruptions.iter().map(|count| count.load(Ordering::Relaxed)).max();
        let moved: u32 = interruptions.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        ensure!(most == Some(1), "somebody was interrupted {most:?} times");
        ensure!(moved <= 1_600, "{moved} were moved where 1,500 are enough");
        crowd.shutdown().await;
        Ok(())
    })
    .await
}

/// Stays connected, and comes back when it is moved.
async fn stay(address: SocketAddr, index: usize, interruptions: Arc<Vec<AtomicU32>>) {
    loop {
        if let Ok((mut client, _)) = Client::connect(address, &format!("crowd-{index}")).await {
            let _ = client.closed().await;
            if let Some(count) = interruptions.get(index) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Waits until so many clients are connected, wherever they are.
pub(crate) async fn await_clients(broker: &Broker<'_>, count: usize) -> Result<Value> {
    await_condition(&format!("{count} clients are connected"), DEADLINE, async || {
        let clients = broker.metric("freshet_proxy_clients").await?;
        let sum: u64 = clients.values().sum();
        Ok(if sum == u64::try_from(count)? {
            Observed::Met(json!(clients))
        } else {
            Observed::NotYet(format!("{clients:?}"))
        })
    })
    .await
}
