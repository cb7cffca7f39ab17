//! Row 5: while a proxy hands over its clients, CONNACK takes a tenth of a second longer for a while. Fewer are moved then,
//! and as many as before afterwards.
//!
//! Storage is stopped for a tenth of a second again and again: whoever asks it for a session waits up to that.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use freshet_e2e::node::process;
use freshet_e2e::pod_process;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::broker::{Broker, STORAGE, STORAGE_POD, with_broker_alone};
use crate::client::Client;
use crate::loads::await_clients;
use crate::publishers::Publishers;
use crate::stage::{PROXY_CPU, metric, patch_proxy, proxies, resources};
use crate::table::{Figures, Row, Sheet, ms};

const CLIENTS: u32 = 4_000;
/// They do next to nothing.
const EVERY: Duration = Duration::from_secs(60);
const MOVES_PER_SECOND: u32 = 200;
const LIMIT: Duration = Duration::from_millis(200);
/// Storage is stopped for so long, and runs for so long before the next time.
const STOPPED: Duration = Duration::from_millis(100);
const RUNS: Duration = Duration::from_millis(50);
/// When it begins to be stopped, since the first client was moved, and how long that goes on.
const SLOW_FROM: Duration = Duration::from_secs(3);
const SLOW_FOR: Duration = Duration::from_secs(6);
/// Between two looks, and between two clients that measure how long a CONNACK takes.
const LOOKED_EVERY: Duration = Duration::from_millis(200);
const PROBED_EVERY: Duration = Duration::from_millis(20);
/// How long the whole hand-over may take.
const DEADLINE: Duration = Duration::from_secs(120);

fn spec() -> Value {
    json!({"proxy": {
        "replicas": 2,
        "resources": resources(PROXY_CPU),
        "warm": {"min": 0},
        "drain": {
            "linger": "1s", "timeout": "120s", "maxMovesPerSecond": MOVES_PER_SECOND,
            "connackP99Limit": format!("{}ms", LIMIT.as_millis()),
        },
        "rebalance": {"mode": "OnReconnectOnly"},
    }})
}

/// What the proxy that leaves was told, and how many clients it has.
struct Look {
    at: Duration,
    per_second: u64,
    clients: u64,
}

/// When a CONNACK was asked for, and how long it took.
type Connack = (Duration, Duration);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn slow_connacks_during_a_drain() -> Result<()> {
    with_broker_alone("measure-slow", spec(), async |broker| {
        let sheet = Sheet::begin()?;
        let address = broker.address().await?;
        broker.await_all_reached(2).await?;
        let publishers = Publishers::begin(address, CLIENTS, EVERY).await;
        await_clients(broker, usize::try_from(CLIENTS)?).await?;
        let storage = pod_process::container_pid(broker.cluster, broker.namespace, STORAGE_POD, STORAGE).await?;
        patch_proxy(&crate::stage::clusters(broker), &json!({"replicas": 1})).await?;
        let leaving = await_first_move(broker).await?;

        let began = Instant::now();
        let connacks = Arc::new(Mutex::new(Vec::new()));
        let probing = tokio::spawn(probe(address, began, Arc::clone(&connacks)));
        let (looks, ()) = tokio::try_join!(watch(broker, &leaving, began), slow_down(storage))?;
        probing.abort();
        drop(publishers);
        let connacks = std::mem::take(&mut *connacks.lock().unwrap_or_else(PoisonError::into_inner));
        write(&sheet, &looks, &connacks)
    })
    .await
}

/// The pod that leaves, once it has been told to give clients away and has begun.
async fn await_first_move(broker: &Broker<'_>) -> Result<String> {
    let until = Instant::now() + DEADLINE;
    let pods: Api<Pod> = Api::namespaced(broker.cluster.client(), broker.namespace);
    loop {
        for pod in proxies(broker).await? {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let moved = metric(std::slice::from_ref(&pod), "freshet_proxy_moves_total").await;
            if order_of(&pods, &name).await?.is_some() && moved.get(&name).is_some_and(|moved| *moved > 0) {
                return Ok(name);
            }
        }
        ensure!(Instant::now() < until, "no proxy gives clients away");
        tokio::time::sleep(LOOKED_EVERY).await;
    }
}

/// Clients per second that a pod was told to give away.
async fn order_of(pods: &Api<Pod>, name: &str) -> Result<Option<u64>> {
    let Some(pod) = pods.get_opt(name).await? else {
        return Ok(None);
    };
    let annotations = pod.metadata.annotations.unwrap_or_default();
    let Some(order) = annotations.get("freshet.dev/moves") else {
        return Ok(None);
    };
    let order: Value = serde_json::from_str(order)?;
    let per_second = order["clientsPerSecond"].as_u64();
    Ok(Some(
        per_second.with_context(|| format!("an order without a pace: {order}"))?,
    ))
}

/// Looks at the proxy that leaves until it has no client any more, or is gone.
async fn watch(broker: &Broker<'_>, leaving: &str, began: Instant) -> Result<Vec<Look>> {
    let pods: Api<Pod> = Api::namespaced(broker.cluster.client(), broker.namespace);
    let mut looks = Vec::new();
    let mut ticks = tokio::time::interval(LOOKED_EVERY);
    loop {
        ticks.tick().await;
        ensure!(began.elapsed() < DEADLINE, "the proxy does not hand over its clients");
        let Some(per_second) = order_of(&pods, leaving).await? else {
            return Ok(looks);
        };
        let Some(pod) = pods.get_opt(leaving).await? else {
            return Ok(looks);
        };
        let Some(clients) = metric(&[pod], "freshet_proxy_clients").await.remove(leaving) else {
            return Ok(looks);
        };
        looks.push(Look {
            at: began.elapsed(),
            per_second,
            clients,
        });
        if clients == 0 {
            return Ok(looks);
        }
    }
}

/// Stops storage again and again, for a while.
async fn slow_down(storage: u32) -> Result<()> {
    tokio::time::sleep(SLOW_FROM).await;
    let until = Instant::now() + SLOW_FOR;
    while Instant::now() < until {
        let stopped = process::freeze(storage)?;
        tokio::time::sleep(STOPPED).await;
        drop(stopped);
        tokio::time::sleep(RUNS).await;
    }
    Ok(())
}

/// Connects again and again, and notes how long each CONNACK takes.
async fn probe(address: SocketAddr, began: Instant, connacks: Arc<Mutex<Vec<Connack>>>) {
    let mut ticks = tokio::time::interval(PROBED_EVERY);
    let mut under_way = JoinSet::new();
    for number in 0_u64.. {
        ticks.tick().await;
        let connacks = Arc::clone(&connacks);
        under_way.spawn(async move {
            let asked = Instant::now();
            if Client::connect(address, &format!("probe-{number}")).await.is_ok() {
                let sample = (asked.duration_since(began), asked.elapsed());
                connacks.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
            }
        });
        while under_way.try_join_next().is_some() {}
    }
}

fn write(sheet: &Sheet, looks: &[Look], connacks: &[Connack]) -> Result<()> {
    let cells = |look: &Look| {
        [
            format!("{:.0}", ms(look.at)),
            look.per_second.to_string(),
            look.clients.to_string(),
        ]
    };
    sheet.write_samples(
        "slow-connacks-pace",
        &["after_ms", "moves_per_second", "clients_left"],
        looks.iter().map(cells),
    )?;
    let cells = |(at, took): &Connack| [format!("{:.0}", ms(*at)), format!("{:.1}", ms(*took))];
    sheet.write_samples(
        "slow-connacks",
        &["asked_after_ms", "connack_ms"],
        connacks.iter().map(cells),
    )?;

    let slow_until = SLOW_FROM + SLOW_FOR;
    let is_slow = |at: Duration| at >= SLOW_FROM && at < slow_until;
    let paces = |is_of: &dyn Fn(Duration) -> bool| {
        let of = looks.iter().filter(|look| is_of(look.at)).map(|look| look.per_second);
        of.collect::<Vec<u64>>()
    };
    let before = paces(&|at| at < SLOW_FROM).into_iter().max().unwrap_or(0);
    let least = paces(&is_slow).into_iter().min().unwrap_or(0);
    let after = paces(&|at| at >= slow_until).into_iter().max().unwrap_or(0);
    let took = |is_of: &dyn Fn(Duration) -> bool| {
        let of = connacks.iter().filter(|(at, _)| is_of(*at));
        Figures::of(of.map(|(_, took)| ms(*took)))
    };
    let limit = ms(LIMIT);
    let row = Row::new(
        (5, 1),
        "CONNACK while storage is stopped for 100 ms again and again, during a drain",
        "ms",
        took(&is_slow),
    )
    .goal(
        format!("P99 <= {limit:.0} ms (connackP99Limit); fewer are moved meanwhile, and more again afterwards"),
        |figures| figures.p99 <= limit && least < before && after > least,
    )
    .note(format!(
        "clients per second: {before} before, {least} at least meanwhile, {after} at most afterwards"
    ))
    .note(format!(
        "P99 before {:.0} ms, afterwards {:.0} ms",
        took(&|at| at < SLOW_FROM).p99,
        took(&|at| at >= slow_until).p99
    ))
    .note(format!(
        "{CLIENTS} clients on 2 proxies of which one leaves, CPU limit {PROXY_CPU}"
    ));
    sheet.write(&[row])
}
