//! Rows 1 and 2: how long it takes from asking for another proxy to its first CONNACK through the Service, part by part, and
//! how much of that is the operator's.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use kube::api::{Api, DynamicObject};
use serde_json::{Value, json};

use crate::broker::{Broker, DEADLINE, with_broker_alone};
use crate::path::{self, Watches};
use crate::probes::first_answers;
use crate::stage::{self, PROXY_CPU, patch_proxy, resources, warm_requests};
use crate::table::{Figures, Row, Sheet, ms};

/// Promotions that a row is made of, at least.
const PROMOTIONS: usize = 100;
/// The same where each one starts a cold pod, too.
const COLD_PROMOTIONS: usize = 20;
/// Proxies of the stage: one serves, the others wait.
const POOL: u32 = 4;
/// kube-proxy writes at once when its last write is a second old, and the controller of EndpointSlices has seen its own.
const QUIET: Duration = Duration::from_secs(2);
/// Between two promotions that follow each other.
const FOLLOWS: Duration = Duration::from_millis(500);

/// One promotion, by when each part of its way was seen.
struct Promotion {
    proxy: String,
    /// Before the request to the API server was sent.
    asked: Instant,
    /// The changed resource, as the operator sees it.
    decided: Instant,
    labelled: Instant,
    listed: Instant,
    /// Of kube-proxy on the node that is connected to; none where its next write was not seen.
    written: Option<Instant>,
    answered: Instant,
}

impl Promotion {
    fn total(&self) -> Duration {
        self.answered.saturating_duration_since(self.asked)
    }

    fn of_operator(&self) -> Duration {
        self.labelled.saturating_duration_since(self.decided)
    }

    fn cells(&self) -> [String; 7] {
        let from = |earlier: Instant, later: Instant| {
            // Watches of different objects are not ordered: a part may seem to end before it began.
            let sign = if later < earlier { -1.0 } else { 1.0 };
            let gap = later
                .checked_duration_since(earlier)
                .unwrap_or_else(|| earlier.saturating_duration_since(later));
            format!("{:.1}", sign * ms(gap))
        };
        let written = self.written.unwrap_or(self.listed);
        [
            self.proxy.clone(),
            format!("{:.1}", ms(self.total())),
            from(self.asked, self.decided),
            from(self.decided, self.labelled),
            from(self.labelled, self.listed),
            from(self.listed, written),
            from(written, self.answered),
        ]
    }
}

const COLUMNS: [&str; 7] = [
    "proxy",
    "total_ms",
    "api_server_ms",
    "operator_ms",
    "endpoint_slice_ms",
    "kube_proxy_ms",
    "connack_ms",
];

/// The cluster that is promoted in.
struct Stage<'a> {
    broker: &'a Broker<'a>,
    clusters: Api<DynamicObject>,
    watches: Watches,
    address: std::net::SocketAddr,
}

fn spec() -> Value {
    json!({
        "observability": {"proxyInConnack": true},
        "proxy": {
            "replicas": 1,
            "resources": resources(PROXY_CPU),
            "warm": {"min": POOL, "requests": warm_requests()},
            "drain": {"linger": "0s"},
            "rebalance": {"mode": "OnReconnectOnly"},
        },
    })
}

impl<'a> Stage<'a> {
    async fn set(broker: &'a Broker<'a>) -> Result<Self> {
        let stage = Self {
            broker,
            clusters: stage::clusters(broker),
            watches: Watches::begin(broker),
            address: broker.address().await?,
        };
        stage.at_rest(1).await?;
        Ok(stage)
    }

    /// Asks for so many that serve, and as many fewer that wait; `cold` more wait than there are.
    async fn ask(&self, serving: u32, cold: u32) -> Result<i64> {
        let waiting = (POOL + 1 + cold).saturating_sub(serving);
        patch_proxy(&self.clusters, &json!({"replicas": serving, "warm": {"min": waiting}})).await
    }

    /// Goes back to one that serves; the others wait again, in the pods that they are.
    async fn reset(&self) -> Result<()> {
        self.ask(1, 0).await?;
        self.at_rest(1).await
    }

    /// Waits until so many serve, all others wait, and no endpoint has changed for a while.
    async fn at_rest(&self, serving: usize) -> Result<()> {
        let all = usize::try_from(POOL + 1)?;
        await_condition("the pool is at rest", DEADLINE, async || {
            let seen = self.watches.seen();
            let is_quiet = seen.endpoints_changed.is_some_and(|at| at.elapsed() >= QUIET);
            let of_role = |wanted: &str| {
                seen.roles
                    .values()
                    .filter(|(role, is_well)| role == wanted && *is_well)
                    .count()
            };
            let is_so = seen.roles.len() == all && of_role("active") == serving && of_role("warm") == all - serving;
            Ok(if is_so && seen.listed.len() == serving && is_quiet {
                Observed::Met(())
            } else {
                Observed::NotYet(format!("{} endpoints, {:?}", seen.listed.len(), seen.roles))
            })
        })
        .await
    }

    /// Waits until no endpoint has changed for a while.
    async fn quiet(&self) {
        loop {
            let changed = self.watches.seen().endpoints_changed;
            let left = changed.map_or(QUIET, |at| QUIET.saturating_sub(at.elapsed()));
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    /// Asks for more proxies step by step, each step after the one before by so much, and follows all of them.
    async fn promote(&self, steps: &[u32], apart: Duration, cold: u32) -> Result<Vec<Promotion>> {
        let known: Vec<String> = self.watches.seen().labelled.keys().cloned().collect();
        let last = usize::try_from(steps.last().copied().unwrap_or(0))?;
        let more = last.saturating_sub(known.len());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let ask = async {
            let mut asked = Vec::new();
            let mut ticks = tokio::time::interval(apart.max(Duration::from_millis(1)));
            let mut before = known.len();
            for step in steps {
                ticks.tick().await;
                let at = Instant::now();
                let generation = self.ask(*step, cold).await?;
                let serving = usize::try_from(*step)?;
                asked.extend(std::iter::repeat_n((at, generation), serving.saturating_sub(before)));
                before = serving;
            }
            anyhow::Ok(asked)
        };
        let follow = async {
            let (asked, answered) = tokio::try_join!(ask, first_answers(self.address, &known, more))?;
            // The write of the rules that an answer shows may be told a moment later.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let _ = stop.send(());
            anyhow::Ok((asked, answered))
        };
        let (followed, writes) = tokio::join!(follow, path::rule_writes(self.broker, stopped));
        let (asked, answered) = followed?;
        let seen = self.watches.seen();
        let mut promoted: Vec<(Instant, &String)> = answered
            .keys()
            .map(|proxy| Ok((*seen.labelled.get(proxy).context("a proxy that no label names")?, proxy)))
            .collect::<Result<_>>()?;
        // Who was asked for first is promoted first.
        promoted.sort_unstable();
        ensure!(
            promoted.len() == asked.len(),
            "{} of {} came",
            promoted.len(),
            asked.len()
        );
        let promotion = |((labelled, proxy), (asked, generation)): ((Instant, &String), (Instant, i64))| {
            let listed = *seen.listed.get(proxy).context("a proxy that is no endpoint")?;
            let decided = seen.generations.get(&generation).copied().unwrap_or(asked);
            let answered = *answered.get(proxy).context("a proxy without an answer")?;
            Ok(Promotion {
                proxy: proxy.clone(),
                asked,
                decided,
                labelled,
                listed,
                written: writes
                    .iter()
                    .copied()
                    .find(|at| *at >= listed)
                    .filter(|at| *at <= answered),
                answered,
            })
        };
        promoted.into_iter().zip(asked).map(promotion).collect()
    }
}

/// What a kind of promotion should come to, in milliseconds.
struct Goal {
    p50: Option<f64>,
    p99: Option<f64>,
    n: usize,
}

/// Writes samples and row of one kind of promotion.
fn write(sheet: &Sheet, part: u8, name: &str, what: &str, goal: &Goal, promotions: &[Promotion]) -> Result<()> {
    let cells = promotions.iter().map(Promotion::cells);
    sheet.write_samples(name, &COLUMNS, cells)?;
    let figures = Figures::of(promotions.iter().map(|p| ms(p.total())));
    let words = |which: &str, limit: Option<f64>| limit.map(|limit| format!("{which} <= {limit:.0} ms"));
    let limits = [words("P50", goal.p50), words("P99", goal.p99)];
    let mut row = Row::new((1, part), what, "ms", figures);
    let text: Vec<String> = limits.into_iter().flatten().collect();
    if !text.is_empty() {
        row = row.goal(format!("{}, n >= {}", text.join(", "), goal.n), |figures| {
            let is_within = |value: f64, limit: Option<f64>| limit.is_none_or(|limit| value <= limit);
            is_within(figures.p50, goal.p50) && is_within(figures.p99, goal.p99) && figures.n >= goal.n
        });
    }
    let of = |column: usize| {
        let value = |p: &Promotion| p.cells().get(column).and_then(|cell| cell.parse().ok());
        Figures::of(promotions.iter().filter_map(value))
    };
    let parts: Vec<String> = COLUMNS
        .iter()
        .enumerate()
        .skip(2)
        .map(|(column, name)| {
            let figures = of(column);
            format!(
                "{} {:.0} / {:.0}",
                name.trim_end_matches("_ms"),
                figures.p50,
                figures.p99
            )
        })
        .collect();
    let row = row
        .note(format!("P50 / P99 in ms: {}", parts.join(", ")))
        .note(format!("CPU limit {PROXY_CPU}"));
    sheet.write(&[row])
}

fn write_share(sheet: &Sheet, promotions: &[Promotion]) -> Result<()> {
    let figures = Figures::of(promotions.iter().map(|p| ms(p.of_operator())));
    let row = Row::new((2, 1), "operator's share of a promotion, idle", "ms", figures)
        .goal("P99 <= 100 ms", |figures| figures.p99 <= 100.0)
        .note("from the changed resource to the label, as watches see them: one write of the API server is in it")
        .note("samples are those of 1.1");
    sheet.write(&[row])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn promotions_in_quiet() -> Result<()> {
    with_broker_alone("measure-quiet", spec(), async |broker| {
        let sheet = Sheet::begin()?;
        let stage = Stage::set(broker).await?;
        let mut promotions = Vec::new();
        while promotions.len() < PROMOTIONS {
            for serving in 2..=POOL + 1 {
                stage.quiet().await;
                promotions.extend(stage.promote(&[serving], Duration::ZERO, 0).await?);
            }
            stage.reset().await?;
        }
        let goal = Goal {
            p50: Some(400.0),
            p99: Some(1_300.0),
            n: PROMOTIONS,
        };
        let what = "decision to first CONNACK, no endpoint changed for 2 s";
        write(&sheet, 1, "promotions-quiet", what, &goal, &promotions)?;
        write_share(&sheet, &promotions)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn promotions_three_at_once() -> Result<()> {
    with_broker_alone("measure-batch", spec(), async |broker| {
        let sheet = Sheet::begin()?;
        let stage = Stage::set(broker).await?;
        let mut promotions = Vec::new();
        while promotions.len() < PROMOTIONS {
            promotions.extend(stage.promote(&[4], Duration::ZERO, 0).await?);
            stage.reset().await?;
        }
        let goal = Goal {
            p50: None,
            p99: Some(1_500.0),
            n: PROMOTIONS,
        };
        let what = "the same, three at once";
        write(&sheet, 2, "promotions-three-at-once", what, &goal, &promotions)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn promotions_each_half_second() -> Result<()> {
    with_broker_alone("measure-follows", spec(), async |broker| {
        let sheet = Sheet::begin()?;
        let stage = Stage::set(broker).await?;
        let mut promotions = Vec::new();
        while promotions.len() < PROMOTIONS {
            let steps: Vec<u32> = (2..=POOL + 1).collect();
            promotions.extend(stage.promote(&steps, FOLLOWS, 0).await?);
            stage.reset().await?;
        }
        let goal = Goal {
            p50: None,
            p99: Some(2_500.0),
            n: PROMOTIONS,
        };
        let what = "the same, one each 0.5 s";
        write(&sheet, 3, "promotions-each-half-second", what, &goal, &promotions)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn promotions_beside_a_cold_pod() -> Result<()> {
    with_broker_alone("measure-cold", spec(), async |broker| {
        let sheet = Sheet::begin()?;
        let stage = Stage::set(broker).await?;
        let mut promotions = Vec::new();
        while promotions.len() < COLD_PROMOTIONS {
            // One more is to wait: a pod that starts while another one is promoted.
            stage.ask(1, 1).await?;
            let pods = usize::try_from(POOL + 2)?;
            await_condition("a cold pod is there", DEADLINE, async || {
                let there = broker
                    .pods("freshet.dev/cluster=mqtt,app.kubernetes.io/component=proxy")
                    .await?;
                Ok(if there.len() == pods {
                    Observed::Met(())
                } else {
                    Observed::NotYet(format!("{there:?}"))
                })
            })
            .await?;
            promotions.extend(stage.promote(&[2], Duration::ZERO, 1).await?);
            stage.reset().await?;
        }
        let goal = Goal {
            p50: None,
            p99: None,
            n: COLD_PROMOTIONS,
        };
        let what = "the same as 1.1, while a cold pod starts";
        write(&sheet, 4, "promotions-beside-a-cold-pod", what, &goal, &promotions)
    })
    .await
}
