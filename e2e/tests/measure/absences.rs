//! Row 9: what two thousand clients notice while the API server is away for a minute, and while nobody reaches storage.
//! And the part of row 6 that no other case has: the operator reaches no proxy for a minute, and takes none away.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use freshet_e2e::cluster::http_get;
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::product::chart;
use freshet_e2e::{command, metrics, pod_process};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::broker::{Broker, DEADLINE, STORAGE, STORAGE_POD, with_broker_alone};
use crate::device::Outcome;
use crate::loads::Devices;
use crate::operators;
use crate::stage::{PROXY_CPU, address_of, proxies, resources};
use crate::table::{Figures, Row, Sheet, ms};

const CLIENTS: u16 = 2_000;
const AWAY: Duration = Duration::from_secs(60);
/// How soon everything is as before.
const CONVERGES: Duration = Duration::from_secs(20);
/// Where the operator serves its metrics.
const OPERATOR_PORT: u16 = 8080;
/// Where proxies reach storage.
const STORAGE_PORT: &str = "7883";

fn spec() -> Value {
    json!({"proxy": {
        "replicas": 2,
        "resources": resources(PROXY_CPU),
        "warm": {"min": 1, "requests": {"cpu": "5m", "memory": "16Mi"}},
        "rebalance": {"mode": "OnReconnectOnly"},
    }})
}

/// Pods behind the client Service that take connections.
async fn endpoints(broker: &Broker<'_>) -> Result<BTreeSet<String>> {
    let slices: Api<EndpointSlice> = Api::namespaced(broker.cluster.client(), broker.namespace);
    let of_service = ListParams::default().labels("kubernetes.io/service-name=mqtt");
    let slices = slices.list(&of_service).await?;
    let all = slices.items.into_iter().flat_map(|slice| slice.endpoints);
    let serving = all.filter(|endpoint| endpoint.conditions.as_ref().and_then(|c| c.ready) == Some(true));
    Ok(serving.filter_map(|endpoint| endpoint.target_ref?.name).collect())
}

/// Waits until the resource is ready again; returns for how long since `back`.
async fn await_as_before(broker: &Broker<'_>, before: &BTreeSet<String>, back: Instant) -> Result<Duration> {
    await_condition("everything is as before", DEADLINE, async || {
        let now = endpoints(broker).await?;
        let ready = crate::broker::condition(&broker.resource().await?, "Ready");
        Ok(if now == *before && ready["status"] == "True" {
            Observed::Met(back.elapsed())
        } else {
            Observed::NotYet(format!("{now:?}, {ready}"))
        })
    })
    .await
}

fn write(
    sheet: &Sheet,
    part: u8,
    name: &str,
    what: &str,
    outcome: &Outcome,
    took: Duration,
    may_close: bool,
) -> Result<()> {
    let lines = outcome.reports.iter().map(|report| {
        let gaps: Vec<String> = report.gaps.iter().map(|gap| format!("{:.1}", ms(*gap))).collect();
        [
            report.number.to_string(),
            report.acknowledged.to_string(),
            gaps.join(" "),
        ]
    });
    sheet.write_samples(name, &["client", "acknowledged", "gaps_ms"], lines)?;
    let interrupted = outcome.reports.iter().filter(|report| report.interruptions > 0).count();
    let (lost, doubled, wills) = (outcome.lost.len(), outcome.doubled.len(), outcome.wills);
    let is_kept = lost == 0 && doubled == 0 && (may_close || interrupted == 0);
    let limit = CONVERGES.as_secs_f64();
    let row = Row::new((9, part), what, "s", Figures::of([took.as_secs_f64()]))
        .goal(
            format!("as before within {limit:.0} s, nothing acknowledged lost, endpoints unchanged"),
            |figures| figures.max <= limit && is_kept,
        )
        .note(format!(
            "{} clients: {lost} lost, {doubled} twice, {wills} wills, {interrupted} interrupted",
            outcome.reports.len()
        ));
    sheet.write(&[row])?;
    ensure!(lost == 0, "lost: {:?}", outcome.lost);
    ensure!(doubled == 0, "twice: {:?}", outcome.doubled);
    ensure!(may_close || interrupted == 0, "{interrupted} clients were interrupted");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn absence_of_the_api_server() -> Result<()> {
    with_broker_alone("measure-no-api", spec(), async |broker| {
        let sheet = Sheet::begin()?;
        let address = broker.address().await?;
        broker.await_all_reached(2).await?;
        let devices = Devices::begin(broker, address, CLIENTS).await?;
        let before = endpoints(broker).await?;
        let frozen = broker.cluster.freeze_server("kube-apiserver")?;
        tokio::time::sleep(AWAY).await;
        drop(frozen);
        let took = await_as_before(broker, &before, Instant::now()).await?;
        let outcome = devices.end().await?;
        let what = "the API server is away for 60 s: until all is as before";
        write(&sheet, 1, "absence-api-server", what, &outcome, took, false)
    })
    .await
}

/// Changes the packet filter of the pod that a process is in.
async fn filter(process: u32, rule: &[&str]) -> Result<()> {
    let net = format!("--net=/proc/{process}/ns/net");
    let mut iptables = Command::new("nsenter");
    iptables.args([net.as_str(), "iptables"]).args(rule);
    command::run(&mut iptables).await?;
    Ok(())
}

/// Drops, or lets through again, what proxies and storage say to each other; probes of the kubelet go on.
async fn cut(storage: u32, verb: &str) -> Result<()> {
    for (chain, port) in [("INPUT", "--dport"), ("OUTPUT", "--sport")] {
        filter(storage, &[verb, chain, "-p", "tcp", port, STORAGE_PORT, "-j", "DROP"]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn absence_of_storage() -> Result<()> {
    with_broker_alone("measure-no-storage", spec(), async |broker| {
        let sheet = Sheet::begin()?;
        let address = broker.address().await?;
        broker.await_all_reached(2).await?;
        let devices = Devices::begin(broker, address, CLIENTS).await?;
        let before = endpoints(broker).await?;
        let storage = pod_process::container_pid(broker.cluster, broker.namespace, STORAGE_POD, STORAGE).await?;
        cut(storage, "-A").await?;
        let away = Instant::now();
        let mut is_unchanged = true;
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        while away.elapsed() < AWAY {
            ticks.tick().await;
            is_unchanged &= endpoints(broker).await? == before;
        }
        cut(storage, "-D").await?;
        let back = Instant::now();
        devices.all_there(broker).await?;
        let took = await_as_before(broker, &before, back).await?;
        let outcome = devices.end().await?;
        let what = "nobody reaches storage for 60 s: until all clients are there and all is as before";
        write(&sheet, 2, "absence-storage", what, &outcome, took, true)?;
        ensure!(is_unchanged, "the endpoints of the Service changed meanwhile");
        Ok(())
    })
    .await
}

/// The processes of the operator's replicas.
async fn operator_processes(broker: &Broker<'_>) -> Result<Vec<u32>> {
    let pods = operators::get(
        broker.cluster,
        &["pods", "--selector", "app.kubernetes.io/name=freshet-operator"],
    )
    .await?;
    let mut found = Vec::new();
    for pod in pods["items"].as_array().into_iter().flatten() {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        found.push(pod_process::container_pid(broker.cluster, chart::NAMESPACE, name, "operator").await?);
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn absence_of_all_scrapes() -> Result<()> {
    with_broker_alone("measure-no-scrapes", spec(), async |broker| {
        let sheet = Sheet::begin()?;
        let before = endpoints(broker).await?;
        let operators = operator_processes(broker).await?;
        ensure!(!operators.is_empty(), "there is no operator");
        let proxies = proxies(broker).await?;
        let addresses: Vec<String> = proxies
            .iter()
            .filter_map(|pod| Some(address_of(pod)?.ip().to_string()))
            .collect();
        let cut_all = async |verb: &str| {
            for operator in &operators {
                for address in &addresses {
                    filter(*operator, &[verb, "OUTPUT", "-d", address, "-j", "DROP"]).await?;
                }
            }
            anyhow::Ok(())
        };
        cut_all("-A").await?;
        let away = Instant::now();
        let mut removed = 0.0_f64;
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        while away.elapsed() < AWAY {
            ticks.tick().await;
            let gone = before.difference(&endpoints(broker).await?).count();
            removed = removed.max(f64::from(u32::try_from(gone)?));
        }
        // The scaler notices what is asked of no proxy: otherwise nothing was cut.
        let noticed = failed_questions(broker).await?;
        cut_all("-D").await?;
        let what = "no proxy answers the operator for 60 s, all leases hold: proxies that are taken away";
        let row = Row::new((6, 2), what, "", Figures::of([removed]))
            .goal("0", |figures| figures.max == 0.0)
            .note(format!("{noticed} questions came to nothing"));
        sheet.write(&[row])?;
        ensure!(noticed > 0, "nothing was cut: nothing is shown");
        ensure!(removed == 0.0, "{removed} proxies were taken away");
        Ok(())
    })
    .await
}

/// Questions of the operator that came to nothing.
async fn failed_questions(broker: &Broker<'_>) -> Result<u64> {
    let pods = operators::get(
        broker.cluster,
        &["pods", "--selector", "app.kubernetes.io/name=freshet-operator"],
    )
    .await?;
    let mut failed = 0;
    for pod in pods["items"].as_array().into_iter().flatten() {
        let Some(ip) = pod["status"]["podIP"].as_str() else {
            continue;
        };
        let said = http_get(SocketAddr::new(ip.parse()?, OPERATOR_PORT), "/metrics").await?;
        let scrapes = metrics::samples::<u64>(&said.body, "freshet_operator_scaling_scrapes_total");
        let of_none = scrapes.filter(|(labels, _)| !labels.contains("\"ok\""));
        failed += of_none.map(|(_, count)| count).sum::<u64>();
    }
    Ok(failed)
}
