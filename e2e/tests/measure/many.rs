//! Row 10, and row 2 under load: an operator that looks after a hundred idle clusters with a thousand proxies, which are
//! objects of the real API server and nothing behind them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use freshet_bench_load::process_usage;
use freshet_e2e::cluster::http_get;
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::node::UpOptions;
use freshet_e2e::{Cluster, product, with_temp_namespace};
use serde_json::{Value, json};
use tokio::process::Child;

use crate::broker::{Broker, condition};
use crate::operator_process::OperatorProcess;
use crate::operators::without_operator;
use crate::path::Watches;
use crate::stage::{self, patch_proxy, resources};
use crate::stand_ins::{StandIns, scheduling};
use crate::table::{Figures, Row, Sheet, ms};
use crate::turns;

const CLUSTERS: u32 = 100;
/// Of each cluster; one waits beside them.
const SERVING: u32 = 9;
/// How long all of them may take to be made.
const MADE: Duration = Duration::from_secs(20 * 60);
/// The operator is looked at for so long: what it does once a minute is in it, and what it does every five.
const WATCHED: Duration = Duration::from_secs(330);
const SAMPLED_EVERY: Duration = Duration::from_secs(5);
const CPUS: f64 = 0.2;
const MEMORY_MB: f64 = 150.0;
const WRITES_PER_SECOND: f64 = 0.1;
/// Promotions while other clusters change.
const PROMOTIONS: usize = 100;
/// Between two changes of other clusters.
const CHANGED_EVERY: Duration = Duration::from_millis(500);
/// How long one promotion may take.
const PROMOTED: Duration = Duration::from_secs(30);

/// The first is the one that is promoted in, and called as clusters of the other cases.
fn name_of(number: u32) -> String {
    if number == 0 {
        "mqtt".to_owned()
    } else {
        format!("c{number}")
    }
}

fn cluster(namespace: &str, number: u32) -> Value {
    json!({
        "apiVersion": "freshet.dev/v1alpha1", "kind": "MqttCluster",
        "metadata": {"name": name_of(number), "namespace": namespace},
        "spec": {
            "proxy": {
                "replicas": SERVING,
                "resources": resources("200m"),
                // No kubelet would raise what they reserve.
                "warm": {"min": 1, "reserve": true},
                "scaling": {"min": SERVING, "max": SERVING + 5},
                "drain": {"linger": "0s"},
                "scheduling": scheduling(),
            },
            "storage": {"volume": {"medium": "Memory"}, "scheduling": scheduling()},
        },
    })
}

/// A moment of the operator's life.
struct Moment {
    at: Instant,
    cpu_ns: u64,
    resident_mb: f64,
    writes: u64,
}

impl Moment {
    async fn now(pid: u32, metrics: SocketAddr) -> Result<Self> {
        let said = http_get(metrics, "/metrics").await?;
        let writes = freshet_e2e::metrics::samples::<u64>(&said.body, "freshet_operator_api_writes_total");
        Ok(Self {
            at: Instant::now(),
            cpu_ns: process_usage(pid)?.cpu_ns,
            resident_mb: resident_mb(pid)?,
            writes: writes.map(|(_, count)| count).sum(),
        })
    }
}

/// All resident memory, the program's own pages included.
fn resident_mb(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line
        .and_then(|line| line.split_whitespace().next())
        .context("no VmRSS")?
        .parse()?;
    Ok(kib * 1_024.0 / 1e6)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn many_clusters() -> Result<()> {
    let _turn = turns::alone().await?;
    let (cluster, images) = product::for_tests(UpOptions { nodes: Some(2) }).await?;
    without_operator(&cluster, async || {
        with_temp_namespace(&cluster, "measure-many", async |namespace| {
            let stand_ins = StandIns::begin(cluster.client(), namespace).await?;
            let result = look_after_many(&cluster, &images, namespace).await;
            // The namespace goes first with all its pods, which somebody has to let go.
            let gone = remove_all(&cluster, namespace).await;
            let ended = stand_ins.end().await;
            result.and(gone).and(ended)
        })
        .await
    })
    .await
}

async fn look_after_many(cluster: &Cluster, images: &product::Images, namespace: &str) -> Result<()> {
    // Free a moment ago.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let metrics = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let operator = OperatorProcess::new(cluster, images, namespace)
        .await?
        .everywhere(metrics);
    let mut process = operator.start(None)?;
    for number in 0..CLUSTERS {
        cluster.kubectl().apply(&[self::cluster(namespace, number)]).await?;
    }
    let broker = Broker { cluster, namespace };
    await_all_ready(&broker, &operator, &mut process).await?;
    let pid = process.id().context("the operator has ended")?;
    idle(pid, metrics).await?;
    promote_under_load(&broker).await
}

/// Waits until all is made. An operator that ends meanwhile is started again, as Kubernetes would: it gives up when the API
/// server is too busy to renew its lease.
async fn await_all_ready(broker: &Broker<'_>, operator: &OperatorProcess, process: &mut Child) -> Result<()> {
    await_condition("all clusters are ready", MADE, async || {
        if let Some(status) = process.try_wait()? {
            eprintln!("      … the operator has ended ({status}), and is started again");
            *process = operator.start(None)?;
        }
        let listed = broker.get(&["mqc"]).await?;
        let clusters = listed["items"].as_array().cloned().unwrap_or_default();
        let is_ready = |cluster: &&Value| condition(cluster, "Ready")["status"] == "True";
        let ready = clusters.iter().filter(is_ready).count();
        let pods = broker
            .pods("app.kubernetes.io/component=proxy,freshet.dev/role")
            .await?
            .len();
        let wanted = usize::try_from(CLUSTERS * (SERVING + 1))?;
        Ok(if ready == usize::try_from(CLUSTERS)? && pods == wanted {
            Observed::Met(())
        } else {
            Observed::NotYet(format!("{ready} of {} ready, {pods} proxies", clusters.len()))
        })
    })
    .await
}

/// Looks at an operator that has nothing to do.
async fn idle(pid: u32, metrics: SocketAddr) -> Result<()> {
    let sheet = Sheet::begin()?;
    // What followed the last cluster is over when a status may be written anew.
    tokio::time::sleep(Duration::from_secs(30)).await;
    let mut moments = vec![Moment::now(pid, metrics).await?];
    let began = Instant::now();
    let mut ticks = tokio::time::interval(SAMPLED_EVERY);
    while began.elapsed() < WATCHED {
        ticks.tick().await;
        moments.push(Moment::now(pid, metrics).await?);
    }
    let (Some(first), Some(last)) = (moments.first(), moments.last()) else {
        anyhow::bail!("nothing was seen")
    };
    let lines = moments.iter().map(|moment| {
        [
            format!("{:.1}", moment.at.duration_since(first.at).as_secs_f64()),
            moment.cpu_ns.to_string(),
            format!("{:.1}", moment.resident_mb),
            moment.writes.to_string(),
        ]
    });
    sheet.write_samples(
        "operator-idle",
        &["after_s", "cpu_ns", "resident_mb", "api_writes"],
        lines,
    )?;
    let seconds = last.at.duration_since(first.at).as_secs_f64();
    let used = Duration::from_nanos(last.cpu_ns.saturating_sub(first.cpu_ns)).as_secs_f64() / seconds;
    let between = moments.windows(2).filter_map(|pair| {
        let [earlier, later] = pair else { return None };
        let cpu = Duration::from_nanos(later.cpu_ns.saturating_sub(earlier.cpu_ns)).as_secs_f64();
        let elapsed = later.at.duration_since(earlier.at).as_secs_f64();
        // The first two moments are one.
        (elapsed > 1.0).then_some(cpu / elapsed)
    });
    let writes = f64::from(u32::try_from(last.writes.saturating_sub(first.writes))?) / seconds / f64::from(CLUSTERS);
    let memory = Figures::of(moments.iter().map(|moment| moment.resident_mb));
    let what = format!(
        "operator, {} proxies in {CLUSTERS} idle clusters",
        CLUSTERS * (SERVING + 1)
    );
    sheet.write(&[
        Row::new((10, 1), format!("{what}: CPU"), "CPUs", Figures::of(between))
            .goal(format!("on average <= {CPUS}"), |_| used <= CPUS)
            .note(format!(
                "on average {used:.3} CPUs over {seconds:.0} s; a sample is {} s",
                SAMPLED_EVERY.as_secs()
            )),
        Row::new((10, 2), "the same: resident memory", "MB", memory)
            .goal(format!("max <= {MEMORY_MB:.0} MB"), |figures| figures.max <= MEMORY_MB)
            .note("VmRSS: heap and program"),
        Row::new(
            (10, 3),
            "the same: writes to the API server",
            "/s per cluster",
            Figures::of([writes]),
        )
        .goal(format!("<= {WRITES_PER_SECOND} /s per cluster"), |figures| {
            figures.max <= WRITES_PER_SECOND
        })
        .note("the Lease is not among them"),
    ])
}

/// Row 2 while other clusters change: the operator's share of promotions in one of them.
async fn promote_under_load(broker: &Broker<'_>) -> Result<()> {
    let sheet = Sheet::begin()?;
    let watches = Watches::begin(broker);
    let clusters = stage::clusters(broker);
    let change_others = async {
        let mut ticks = tokio::time::interval(CHANGED_EVERY);
        let mut changes = 0_u64;
        loop {
            ticks.tick().await;
            changes += 1;
            let other = name_of(1 + u32::try_from(changes % u64::from(CLUSTERS - 1)).unwrap_or(0));
            // A setting that proxies take up while they run: the ConfigMap and each of the pods are written.
            let patch = json!({"spec": {"mqtt": {"willGraceOnMove": format!("{}s", 31 + changes % 60)}}});
            let patch = kube::api::Patch::Merge(patch);
            if let Err(error) = clusters.patch(&other, &kube::api::PatchParams::default(), &patch).await {
                eprintln!("      … {other}: {error}");
            }
        }
    };
    let promote = async {
        let mut shares = Vec::new();
        // Load decides nothing: who serves is what is asked for here.
        patch_proxy(&clusters, &json!({"scaling": {"mode": "Off"}})).await?;
        while shares.len() < PROMOTIONS {
            for serving in [SERVING + 1, SERVING] {
                let known = watches.seen().labelled.clone();
                let asked = Instant::now();
                let waiting = SERVING + 1 - serving;
                let generation =
                    patch_proxy(&clusters, &json!({"replicas": serving, "warm": {"min": waiting}})).await?;
                let labelled = await_count(&watches, usize::try_from(serving)?).await?;
                let decided = watches.seen().generations.get(&generation).copied().unwrap_or(asked);
                let newest = labelled.into_iter().find(|(name, _)| !known.contains_key(name));
                if serving > SERVING {
                    let (name, at) = newest.context("nobody new serves")?;
                    shares.push((name, at.saturating_duration_since(decided)));
                }
            }
        }
        anyhow::Ok(shares)
    };
    let shares = tokio::select! {
        shares = promote => shares?,
        () = change_others => anyhow::bail!("changes ended"),
    };
    let cells = shares
        .iter()
        .map(|(name, share)| [name.clone(), format!("{:.1}", ms(*share))]);
    sheet.write_samples("operator-share-under-load", &["proxy", "operator_ms"], cells)?;
    let row = Row::new(
        (2, 2),
        "operator's share of a promotion, under load",
        "ms",
        Figures::of(shares.iter().map(|(_, share)| ms(*share))),
    )
    .goal(format!("P99 <= 250 ms, n >= {PROMOTIONS}"), |figures| {
        figures.p99 <= 250.0 && figures.n >= PROMOTIONS
    })
    .note(format!(
        "beside {} others, two of which change each second: each change is a write to {} pods",
        CLUSTERS - 1,
        SERVING + 2
    ));
    sheet.write(&[row])
}

/// Waits until so many proxies of the first cluster have the label by which its Service selects.
async fn await_count(watches: &Watches, count: usize) -> Result<std::collections::BTreeMap<String, Instant>> {
    let until = Instant::now() + PROMOTED;
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    loop {
        ticks.tick().await;
        let seen = watches.seen();
        let warm = seen.roles.values().filter(|(role, _)| role == "warm").count();
        // Who has left waits again before it can be asked for.
        if seen.labelled.len() == count && seen.roles.len() == count + warm {
            return Ok(seen.labelled.clone());
        }
        ensure!(Instant::now() < until, "{count} proxies are to serve: {:?}", seen.roles);
    }
}

async fn remove_all(cluster: &Cluster, namespace: &str) -> Result<()> {
    let scope = ["--namespace", namespace];
    cluster
        .kubectl()
        .run(&[&["delete", "mqc", "--all", "--wait=false"], scope.as_slice()].concat())
        .await?;
    await_condition("all stand-ins are gone", MADE, async || {
        let left = cluster
            .kubectl()
            .run(&[&["get", "pods", "--output=name"], scope.as_slice()].concat())
            .await?;
        Ok(match left.lines().count() {
            0 => Observed::Met(()),
            count => Observed::NotYet(format!("{count} pods")),
        })
    })
    .await
}
