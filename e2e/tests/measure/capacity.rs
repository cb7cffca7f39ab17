//! Row 4: a proxy may suddenly use half of its CPU, and the operator is to find out from the round trip of publishes alone
//! what it still carries.
//!
//! What is true is found out beforehand: how much a proxy carries within the objective that has so little from the start.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use freshet_e2e::pod_process;
use serde_json::{Value, json};

use crate::broker::{Broker, PROXY, with_broker_alone};
use crate::loads::await_clients;
use crate::publishers::{Publishers, Sample};
use crate::stage::{metric, proxies, resources, said_round_trip_ms, warm_requests};
use crate::table::{Figures, Row, Sheet, ms};

const CLIENTS: u32 = 1_000;
const FULL_CPU: &str = "200m";
const HALF_CPU: &str = "100m";
/// Messages per second that the search for the truth begins with, and by how much it goes on.
const FIRST_RATE: f64 = 200.0;
const STEP: f64 = 1.15;
/// So far apart is what is carried within the objective from what is not, at the end of the search.
const RESOLUTION: f64 = 1.03;
/// How long each rate lasts before it is looked at, and in how many windows. The median of theirs counts, since a machine that
/// stands still for a moment says nothing of the rate.
const SETTLES: Duration = Duration::from_secs(3);
const WINDOWS: u32 = 7;
const WINDOW: Duration = Duration::from_secs(1);
/// No proxy of this size carries more.
const MOST_RATE: f64 = 20_000.0;
const OBJECTIVE: Duration = Duration::from_millis(100);
/// Load of the proxy whose CPU is halved, in parts of what it carries then.
const LOAD: f64 = 1.4;
/// The target that is set, in the same: nothing is learned below a fifth of it.
const TARGET: f64 = 3.0;
const BEFORE: Duration = Duration::from_secs(75);
const LEARNS: Duration = Duration::from_secs(180);
const GOAL_PERCENT: f64 = 20.0;

fn spec(mode: &str, cpu: &str, target: u64) -> Value {
    json!({"proxy": {
        "replicas": 1,
        "resources": resources(cpu),
        "warm": {"min": 2, "requests": warm_requests()},
        "scaling": {
            "mode": mode, "min": 1, "max": 3,
            // CPU in percent of its limit would say it as well.
            "targets": {
                "connections": 0, "connectsPerSecond": 0, "publishesInPerSecond": target,
                "deliveriesOutPerSecond": 0, "cpuPercent": 0, "memoryPercent": 0,
            },
        },
    }})
}

/// The time between two messages of each client at so many messages per second.
fn every(rate: f64) -> Duration {
    Duration::from_secs_f64(f64::from(CLIENTS) / rate)
}

/// One rate and what came of it.
struct Tried {
    asked: f64,
    carried: f64,
    /// The median of the windows.
    p99_ms: f64,
    /// What the proxy says of the same time.
    said_p99_ms: f64,
}

impl Tried {
    fn is_within(&self) -> bool {
        self.p99_ms <= ms(OBJECTIVE)
    }
}

/// Lets a proxy carry more and more until its round trip misses the objective, and finds out in between where it begins to.
async fn find_truth(broker: &Broker<'_>) -> Result<Vec<Tried>> {
    let publishers = Publishers::begin(broker.address().await?, CLIENTS, every(FIRST_RATE)).await;
    await_clients(broker, usize::try_from(CLIENTS)?).await?;
    let mut tried = Vec::new();
    let (mut within, mut beyond) = (None, None);
    loop {
        let rate: f64 = match (within, beyond) {
            (None, None) => FIRST_RATE,
            (Some(within), None) => within * STEP,
            (Some(within), Some(beyond)) if beyond / within > RESOLUTION => f64::sqrt(within * beyond),
            (Some(_), Some(_)) => return Ok(tried),
            (None, Some(_)) => anyhow::bail!("a proxy with {HALF_CPU} does not carry {FIRST_RATE} messages per second"),
        };
        ensure!(
            rate < MOST_RATE,
            "a proxy with {HALF_CPU} carries {MOST_RATE} messages per second"
        );
        let one = try_rate(broker, &publishers, rate).await?;
        *(if one.is_within() { &mut within } else { &mut beyond }) = Some(rate);
        tried.push(one);
    }
}

async fn try_rate(broker: &Broker<'_>, publishers: &Publishers, rate: f64) -> Result<Tried> {
    publishers.publish_every(every(rate));
    tokio::time::sleep(SETTLES).await;
    publishers.take_samples();
    let began = Instant::now();
    let mut carried = 0;
    let mut windows = Vec::new();
    for _ in 0..WINDOWS {
        tokio::time::sleep(WINDOW).await;
        let samples: Vec<Sample> = publishers.take_samples();
        carried += u32::try_from(samples.len())?;
        windows.push(Figures::of(samples.iter().map(|sample| ms(sample.round_trip))).p99);
    }
    Ok(Tried {
        asked: rate,
        carried: f64::from(carried) / began.elapsed().as_secs_f64(),
        p99_ms: Figures::of(windows).p50,
        said_p99_ms: said_round_trip_ms(&proxies(broker).await?).await,
    })
}

/// Lets a container use half of the CPU time that it may.
async fn halve(broker: &Broker<'_>, pod: &str) -> Result<()> {
    let process = pod_process::container_pid(broker.cluster, broker.namespace, pod, PROXY).await?;
    let groups = std::fs::read_to_string(format!("/proc/{process}/cgroup"))?;
    let of = |controller: &str| {
        groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let has = controllers.split(',').any(|of| of == controller);
            has.then(|| path.trim_start_matches('/').to_owned())
        })
    };
    // Version 1 of cgroups, and version 2.
    let (file, rest) = if let Some(path) = of("cpu") {
        (
            PathBuf::from("/sys/fs/cgroup/cpu").join(path).join("cpu.cfs_quota_us"),
            String::new(),
        )
    } else {
        let path = of("").context("a process without a cgroup")?;
        let file = PathBuf::from("/sys/fs/cgroup").join(path).join("cpu.max");
        let text = std::fs::read_to_string(&file)?;
        let period = text.split_whitespace().nth(1).context("no period")?.to_owned();
        (file, format!(" {period}"))
    };
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let quota: u64 = text.split_whitespace().next().context("no quota")?.parse()?;
    std::fs::write(&file, format!("{}{rest}", quota / 2)).with_context(|| format!("cannot write {}", file.display()))
}

/// What the operator has learned at a time.
struct Look {
    at: Duration,
    learned: Option<f64>,
    reason: String,
    /// Clients of each proxy that has some.
    clients: Vec<u64>,
    /// P99 of what came back within the last second, and what proxies say of the last 10 s.
    p99_ms: f64,
    said_p99_ms: f64,
}

async fn look(broker: &Broker<'_>, publishers: &Publishers, began: Instant) -> Result<Look> {
    let proxies = proxies(broker).await?;
    let clients = metric(&proxies, "freshet_proxy_clients").await;
    let samples: Vec<Sample> = publishers.take_samples();
    let scaling = broker.resource().await?["status"]["scaling"].clone();
    Ok(Look {
        at: began.elapsed(),
        learned: scaling["learnedCapacity"]["publishesInPerSecond"].as_f64(),
        reason: scaling["lastDecision"]["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        clients: clients.into_values().filter(|clients| *clients > 0).collect(),
        p99_ms: Figures::of(samples.iter().map(|sample| ms(sample.round_trip))).p99,
        said_p99_ms: said_round_trip_ms(&proxies).await,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn capacity_is_learned() -> Result<()> {
    let sheet = Sheet::begin()?;
    let mut tried = Vec::new();
    with_broker_alone("measure-truth", spec("Off", HALF_CPU, 0), async |broker| {
        tried = find_truth(broker).await?;
        Ok(())
    })
    .await?;
    let cells = |t: &Tried| [t.asked, t.carried, t.p99_ms, t.said_p99_ms].map(|value| format!("{value:.1}"));
    sheet.write_samples(
        "capacity-truth",
        &["asked_per_second", "carried_per_second", "p99_ms", "said_p99_ms"],
        tried.iter().map(cells),
    )?;
    let within = tried.iter().filter(|tried| tried.is_within());
    let truth = within.map(|tried| tried.carried).fold(0.0, f64::max);
    println!("a proxy with {HALF_CPU} carries {truth:.0} messages per second");

    let target = format!("{:.0}", truth * TARGET).parse()?;
    with_broker_alone("measure-capacity", spec("Scale", FULL_CPU, target), async |broker| {
        let publishers = Publishers::begin(broker.address().await?, CLIENTS, every(truth * LOAD)).await;
        tokio::time::sleep(BEFORE).await;
        let began = Instant::now();
        let before = look(broker, &publishers, began).await?;
        ensure!(before.learned.is_none(), "{:?} was learned before", before.learned);
        let serving = broker.accepting().await?;
        let [proxy] = &serving[..] else {
            anyhow::bail!("one proxy carries it: {serving:?}")
        };
        halve(broker, proxy).await?;
        let mut looks = Vec::new();
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        while began.elapsed() < LEARNS {
            ticks.tick().await;
            looks.push(look(broker, &publishers, began).await?);
        }
        drop(publishers);
        write(&sheet, truth, &looks)
    })
    .await
}

fn write(sheet: &Sheet, truth: f64, looks: &[Look]) -> Result<()> {
    let cells = |look: &Look| {
        let learned = look.learned.map(|learned| format!("{learned:.0}")).unwrap_or_default();
        let clients: Vec<String> = look.clients.iter().map(u64::to_string).collect();
        [
            format!("{:.0}", ms(look.at)),
            learned,
            clients.join(" "),
            format!("{:.0}", look.p99_ms),
            format!("{:.0}", look.said_p99_ms),
            format!("\"{}\"", look.reason),
        ]
    };
    let columns = [
        "after_ms",
        "learned_per_second",
        "clients_of_proxies",
        "p99_ms",
        "said_p99_ms",
        "last_decision",
    ];
    sheet.write_samples("capacity-learned", &columns, looks.iter().map(cells))?;
    let learned = looks.last().and_then(|look| look.learned);
    let off = learned.map_or(f64::NAN, |learned| (learned - truth).abs() / truth * 100.0);
    let named = looks
        .iter()
        .find(|look| look.reason.contains("was learned from round trips"));
    let row = Row::new(
        (4, 1),
        "CPU of the only proxy halved: what is learned is off the truth by",
        "%",
        Figures::of([off]),
    )
    .goal(
        format!(
            "<= {GOAL_PERCENT:.0} % after {} s, named in the decision",
            LEARNS.as_secs()
        ),
        |figures| figures.max <= GOAL_PERCENT && named.is_some(),
    )
    .note(format!(
        "a proxy with {HALF_CPU} carries {truth:.0} messages per second within the objective, learned were {:.0}",
        learned.unwrap_or(f64::NAN)
    ))
    .note(match named {
        Some(look) => format!("after {:.0} s: \"{}\"", look.at.as_secs_f64(), look.reason),
        None => "no decision named it".to_owned(),
    });
    sheet.write(&[row])
}
