//! Row 7: two thousand clients whose proxies leave, by scale-in, by a new revision, and by a node that is drained.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use serde_json::{Value, json};

use crate::broker::{Broker, DEADLINE, with_broker_alone};
use crate::device::{Outcome, Report};
use crate::loads::Devices;
use crate::node_drain::{await_end, begin_drain, other_node};
use crate::operators;
use crate::stage::{PROXY_CPU, proxies, resources};
use crate::table::{Figures, Row, Sheet, ms};

const CLIENTS: u16 = 2_000;
/// What the longest gap may be, P99, without what the client itself waits.
const GAP_MS: f64 = 300.0;
/// How long a drain may take once there is an operator again.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
/// For so long a drain is held while there is none.
const HELD: Duration = Duration::from_secs(20);

/// Four proxies; `cpu` of those that wait makes the revision.
fn spec(cpu: &str, waiting: u32) -> Value {
    json!({"proxy": {
        "replicas": 4,
        "resources": resources(PROXY_CPU),
        "warm": {"min": waiting, "requests": {"cpu": cpu, "memory": "16Mi"}},
        "drain": {"linger": "3s", "timeout": "120s", "maxMovesPerSecond": 500},
        "rebalance": {"mode": "OnReconnectOnly"},
        "rollout": {"canary": "10s"},
        // As many on one node as on the other: what is drained would be by chance otherwise.
        "scheduling": {"topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
            "nodeTaintsPolicy": "Honor",
            "labelSelector": {"matchLabels": {
                "freshet.dev/cluster": "mqtt", "app.kubernetes.io/component": "proxy",
            }},
        }]},
    }})
}

/// Writes samples and rows of one kind of hand-over, and fails where the promises of the product were broken.
fn write(sheet: &Sheet, part: u8, name: &str, what: &str, outcome: &Outcome, notes: &[String]) -> Result<()> {
    let line = |report: &Report| {
        let gaps: Vec<String> = report.gaps.iter().map(|gap| format!("{:.1}", ms(*gap))).collect();
        [
            report.number.to_string(),
            report.acknowledged.to_string(),
            report.connects.to_string(),
            report.settings.to_string(),
            gaps.join(" "),
        ]
    };
    let columns = ["client", "acknowledged", "connects", "retained_messages", "gaps_ms"];
    sheet.write_samples(name, &columns, outcome.reports.iter().map(line))?;

    let gaps = Figures::of(
        outcome
            .reports
            .iter()
            .flat_map(|report| &report.gaps)
            .map(|gap| ms(*gap)),
    );
    let most = outcome
        .reports
        .iter()
        .map(|report| report.interruptions)
        .max()
        .unwrap_or(0);
    let twice = outcome.reports.iter().filter(|report| report.interruptions > 1).count();
    let connects: u32 = outcome.reports.iter().map(|report| report.connects).sum();
    let settings: u32 = outcome.reports.iter().map(|report| report.settings).sum();
    let clients = outcome.reports.len();
    let acknowledged: u32 = outcome
        .reports
        .iter()
        .map(|report| u32::from(report.acknowledged))
        .sum();
    let goal = format!(
        "0 lost, 0 QoS 2 twice, 0 wills, each client interrupted at most once; gap without the client's own wait \
         P99 <= {GAP_MS:.0} ms"
    );
    let (lost, doubled) = (outcome.lost.len(), outcome.doubled.len());
    let is_kept = lost == 0 && doubled == 0 && outcome.wills == 0 && most <= 1;
    let mut row = Row::new((7, part), what, "ms", gaps)
        .goal(goal, |figures| is_kept && figures.p99 <= GAP_MS)
        .note(format!(
            "{clients} clients, {acknowledged} acknowledged: {lost} lost, {doubled} twice, {} wills, {twice} interrupted \
             more than once (at most {most} times)",
            outcome.wills
        ))
        .note(format!(
            "CONNECTs per client {:.2}, retained messages sent again {}",
            f64::from(connects) / f64::from(u32::try_from(clients)?),
            settings.saturating_sub(u32::try_from(clients)?)
        ))
        .note(format!("CPU limit {PROXY_CPU}"));
    for note in notes {
        row = row.note(note);
    }
    sheet.write(&[row])?;
    ensure!(gaps.n > 0, "nobody was moved: nothing is shown");
    ensure!(lost == 0, "lost: {:?}", outcome.lost);
    ensure!(doubled == 0, "twice: {:?}", outcome.doubled);
    ensure!(outcome.wills == 0, "{} wills fired", outcome.wills);
    ensure!(
        most <= 1,
        "{twice} clients were interrupted more than once, one {most} times"
    );
    Ok(())
}

async fn await_proxies(broker: &Broker<'_>, count: usize) -> Result<()> {
    await_condition(&format!("{count} proxies are left"), DEADLINE, async || {
        let left = proxies(broker).await?.len();
        Ok(if left == count {
            Observed::Met(())
        } else {
            Observed::NotYet(left.to_string())
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn handover_scale_in() -> Result<()> {
    with_broker_alone("measure-scale-in", spec("5m", 0), async |broker| {
        let sheet = Sheet::begin()?;
        let address = broker.address().await?;
        broker.await_all_reached(4).await?;
        let devices = Devices::begin(broker, address, CLIENTS).await?;
        let began = Instant::now();
        broker.run(&["scale", "mqc/mqtt", "--replicas=2"]).await?;
        await_proxies(broker, 2).await?;
        let took = format!("two proxies were left after {:.1} s", began.elapsed().as_secs_f64());
        devices.all_there(broker).await?;
        let outcome = devices.end().await?;
        write(
            &sheet,
            1,
            "handover-scale-in",
            "gap at a scale-in from 4 to 2",
            &outcome,
            &[took],
        )
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn handover_rollout() -> Result<()> {
    with_broker_alone("measure-rollout", spec("5m", 1), async |broker| {
        let sheet = Sheet::begin()?;
        let address = broker.address().await?;
        broker.await_all_reached(4).await?;
        let devices = Devices::begin(broker, address, CLIENTS).await?;
        let began = Instant::now();
        broker.apply(spec("6m", 1)).await?;
        broker.await_event("RevisionRollStarted").await?;
        broker.await_event("RevisionRollFinished").await?;
        await_proxies(broker, 5).await?;
        let took = format!("the old proxies were gone after {:.1} s", began.elapsed().as_secs_f64());
        devices.all_there(broker).await?;
        let outcome = devices.end().await?;
        write(
            &sheet,
            2,
            "handover-rollout",
            "gap at a rollout of 4 proxies",
            &outcome,
            &[took],
        )
    })
    .await
}

/// Drains the node while clients are at work; returns what became of them, and notes.
async fn drained(broker: &Broker<'_>, node: &str, without_operator: bool) -> Result<(Outcome, Vec<String>)> {
    let address = broker.address().await?;
    let devices = Devices::begin(broker, address, CLIENTS).await?;
    let mut notes = Vec::new();
    let mut began = Instant::now();
    if without_operator {
        operators::scale(broker.cluster, 0).await?;
        let mut drain = begin_drain(broker, node)?;
        let held = tokio::time::timeout(HELD, drain.wait()).await.is_err();
        operators::scale(broker.cluster, operators::REPLICAS).await?;
        began = Instant::now();
        ensure!(held, "the drain went through without an operator");
        notes.push(format!("held for {} s without an operator", HELD.as_secs()));
        await_end(&mut drain).await?;
        let took = began.elapsed();
        notes.push(format!(
            "ended {:.1} s after it was back (goal {} s)",
            took.as_secs_f64(),
            DRAIN_DEADLINE.as_secs()
        ));
    } else {
        let mut drain = begin_drain(broker, node)?;
        await_end(&mut drain).await?;
        notes.push(format!("the drain took {:.1} s", began.elapsed().as_secs_f64()));
    }
    devices.all_there(broker).await?;
    Ok((devices.end().await?, notes))
}

async fn drain_case(part: u8, name: &str, what: &str, without_operator: bool) -> Result<()> {
    with_broker_alone(name, spec("5m", 2), async |broker| {
        let sheet = Sheet::begin()?;
        broker.await_all_reached(4).await?;
        let node = other_node(broker).await?;
        let drained = drained(broker, &node, without_operator).await;
        // Whatever came of it, the next case needs the node, and an operator.
        broker.kubectl().run(&["uncordon", &node]).await?;
        if without_operator {
            operators::scale(broker.cluster, operators::REPLICAS).await?;
        }
        let (outcome, notes) = drained?;
        write(&sheet, part, name, what, &outcome, &notes)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn handover_node_drain() -> Result<()> {
    drain_case(
        3,
        "handover-node-drain",
        "gap at a drain of the node of two without storage",
        false,
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn handover_node_drain_without_operator() -> Result<()> {
    let what = "the same, begun while there is no operator";
    drain_case(4, "handover-node-drain-alone", what, true).await
}
