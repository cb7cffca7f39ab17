//! Row 3: two thousand clients on one proxy publish four times as much within a second; three proxies wait.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use freshet_bench_load::own_cpu_seconds;
use serde_json::{Value, json};

use crate::broker::{Broker, with_broker_alone};
use crate::loads::await_clients;
use crate::publishers::{Publishers, Sample};
use crate::stage::{PROXY_CPU, metric, proxies, resources, warm_requests};
use crate::table::{Figures, Row, Sheet, ms};

const CLIENTS: u32 = 2_000;
const ROUNDS: usize = 3;
/// Between two messages of a client, and a quarter of that after the rise.
const EVERY: Duration = Duration::from_secs(4);
const EVERY_AFTER: Duration = Duration::from_secs(1);
/// Messages per second that a proxy is to carry: one is enough before, four after.
const TARGET: u32 = 600;
/// Objective of the round trip, the default.
const OBJECTIVE: Duration = Duration::from_millis(100);
/// Publications are looked at for so long before the rise, and after it.
const BEFORE: Duration = Duration::from_secs(15);
const AFTER: Duration = Duration::from_secs(40);
/// Publications are looked at together that were sent within so long.
const BUCKET: Duration = Duration::from_millis(500);
/// How often the clients of each proxy are counted.
const COUNTED_EVERY: Duration = Duration::from_millis(250);
const GOAL_S: f64 = 10.0;
/// CPUs that the load may use: beyond, it takes what the proxies should have.
const LOAD_CPUS: f64 = 0.5;

fn spec() -> Value {
    json!({"proxy": {
        "replicas": 1,
        "resources": resources(PROXY_CPU),
        "warm": {"min": 3, "requests": warm_requests()},
        "scaling": {
            "mode": "Scale", "min": 1, "max": 4,
            "targets": {
                "connections": 0, "connectsPerSecond": 0, "publishesInPerSecond": TARGET, "deliveriesOutPerSecond": 0,
                "cpuPercent": 0, "memoryPercent": 0,
            },
        },
    }})
}

/// What one rise came to.
struct Rise {
    /// From the rise until all four have about the same.
    even: Option<Duration>,
    /// From the rise until the last publications whose P99 misses the objective.
    calm: Duration,
    load_cpus: f64,
    /// How often containers of proxies were started again.
    restarts: i32,
    samples: Vec<Sample>,
    counts: Vec<(Duration, BTreeMap<String, u64>)>,
    began: Instant,
}

impl Rise {
    /// Seconds until both goals were reached.
    fn seconds(&self) -> f64 {
        self.even
            .map_or(f64::INFINITY, |even| even.max(self.calm).as_secs_f64())
    }
}

async fn rise(broker: &Broker<'_>) -> Result<Rise> {
    let publishers = Publishers::begin(broker.address().await?, CLIENTS, EVERY).await;
    await_clients(broker, usize::try_from(CLIENTS)?).await?;
    publishers.take_samples();
    tokio::time::sleep(BEFORE).await;
    let calm_p99 = p99_of(&publishers.take_samples());
    println!("P99 of the round trip before the rise: {calm_p99:.1} ms");
    ensure!(
        proxies_with_clients(broker).await? == 1,
        "one proxy has the clients before the rise"
    );

    let (began, cpu) = (Instant::now(), own_cpu_seconds());
    publishers.publish_every(EVERY_AFTER);
    let mut counts = Vec::new();
    let mut even = None;
    let mut ticks = tokio::time::interval(COUNTED_EVERY);
    while began.elapsed() < AFTER {
        ticks.tick().await;
        let clients = metric(&proxies(broker).await?, "freshet_proxy_clients").await;
        let at = began.elapsed();
        if even.is_none() && is_even(&clients) {
            even = Some(at);
        }
        counts.push((at, clients));
    }
    let load_cpus = (own_cpu_seconds() - cpu) / began.elapsed().as_secs_f64();
    let samples = publishers.take_samples();
    let pods = proxies(broker).await?;
    let statuses = pods
        .iter()
        .filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref());
    Ok(Rise {
        restarts: statuses.flatten().map(|status| status.restart_count).sum(),
        even,
        calm: calm_after(&samples, began),
        load_cpus,
        samples,
        counts,
        began,
    })
}

async fn proxies_with_clients(broker: &Broker<'_>) -> Result<usize> {
    let clients = metric(&proxies(broker).await?, "freshet_proxy_clients").await;
    Ok(clients.values().filter(|count| **count > 0).count())
}

/// All clients are connected, and each of four proxies has a quarter of them, within a tenth. Others wait and have none.
fn is_even(clients: &BTreeMap<String, u64>) -> bool {
    let sum: u64 = clients.values().sum();
    let mean = u64::from(CLIENTS) / 4;
    let mut holders = clients.values().filter(|count| **count > 0);
    let is_near = |count: &u64| count.abs_diff(mean) * 10 <= mean;
    holders.clone().count() == 4 && sum * 100 >= u64::from(CLIENTS) * 98 && holders.all(is_near)
}

fn p99_of(samples: &[Sample]) -> f64 {
    Figures::of(samples.iter().map(|sample| ms(sample.round_trip))).p99
}

fn bucket_of(sample: &Sample, began: Instant) -> u128 {
    sample.sent.saturating_duration_since(began).as_millis() / BUCKET.as_millis()
}

fn buckets(samples: &[Sample], began: Instant) -> BTreeMap<u128, Figures> {
    let mut by_bucket: BTreeMap<u128, Vec<f64>> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.sent >= began) {
        by_bucket
            .entry(bucket_of(sample, began))
            .or_default()
            .push(ms(sample.round_trip));
    }
    by_bucket
        .into_iter()
        .map(|(bucket, all)| (bucket, Figures::of(all)))
        .collect()
}

/// The end of the last bucket whose P99 misses the objective.
fn calm_after(samples: &[Sample], began: Instant) -> Duration {
    let missed = buckets(samples, began)
        .into_iter()
        .filter(|(_, figures)| figures.p99 > ms(OBJECTIVE));
    let last = missed.map(|(bucket, _)| bucket + 1).max().unwrap_or(0);
    BUCKET * u32::try_from(last).unwrap_or(u32::MAX)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn rise_of_load() -> Result<()> {
    let sheet = Sheet::begin()?;
    let mut rises = Vec::new();
    for round in 0..ROUNDS {
        with_broker_alone("measure-rise", spec(), async |broker| {
            let rise = rise(broker).await?;
            let even = rise.even.map(|even| even.as_secs_f64());
            println!(
                "round {round}: even after {even:?} s, calm after {:.1} s",
                rise.calm.as_secs_f64()
            );
            rises.push(rise);
            Ok(())
        })
        .await?;
    }
    write(&sheet, &rises)
}

fn write(sheet: &Sheet, rises: &[Rise]) -> Result<()> {
    let mut round_trips = Vec::new();
    let mut counted = Vec::new();
    for (round, rise) in rises.iter().enumerate() {
        for (bucket, figures) in buckets(&rise.samples, rise.began) {
            round_trips.push([
                round.to_string(),
                (bucket * BUCKET.as_millis()).to_string(),
                figures.n.to_string(),
                format!("{:.1}", figures.p50),
                format!("{:.1}", figures.p99),
                format!("{:.1}", figures.max),
            ]);
        }
        for (at, clients) in &rise.counts {
            for (proxy, count) in clients {
                counted.push([
                    round.to_string(),
                    format!("{:.0}", ms(*at)),
                    proxy.clone(),
                    count.to_string(),
                ]);
            }
        }
    }
    let columns = ["round", "sent_after_ms", "n", "p50_ms", "p99_ms", "max_ms"];
    sheet.write_samples("rise-round-trips", &columns, round_trips)?;
    sheet.write_samples("rise-clients", &["round", "after_ms", "proxy", "clients"], counted)?;

    let seconds = |part: fn(&Rise) -> f64| Figures::of(rises.iter().map(part));
    let load = rises.iter().map(|rise| rise.load_cpus).fold(0.0, f64::max);
    let setting = format!(
        "2,000 clients on one proxy, 500 messages/s and then 2,000, target {TARGET} of each, 3 warm, CPU limit \
         {PROXY_CPU}; n is the number of rises"
    );
    sheet.write(&[
        Row::new(
            (3, 1),
            "load times four: until even and under the objective",
            "s",
            seconds(Rise::seconds),
        )
        .goal(
            format!("each <= {GOAL_S:.0} s, the load <= {LOAD_CPUS} CPUs"),
            |figures| figures.max <= GOAL_S && load <= LOAD_CPUS,
        )
        .note(setting)
        .note(format!(
            "containers of proxies that were started again: {}",
            rises.iter().map(|rise| rise.restarts).sum::<i32>()
        ))
        .note(format!("the load used {load:.2} CPUs")),
        Row::new(
            (3, 2),
            "of that, until all four are within 10 % of even",
            "s",
            seconds(|rise| rise.even.map_or(f64::INFINITY, |even| even.as_secs_f64())),
        ),
        Row::new(
            (3, 3),
            "of that, until P99 of the round trip stays within 100 ms",
            "s",
            seconds(|rise| rise.calm.as_secs_f64()),
        )
        .note("of publications sent within the same 0.5 s, to the end of the 40 s that are looked at"),
    ])
}
