//! Row 9: the operator dies before and after each write of a promotion, a rollout and a scale-in, while two thousand clients
//! are at work, and the next one is timed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::node::UpOptions;
use freshet_e2e::product;
use serde_json::{Value, json};
use tokio::process::Child;

use crate::broker::{Broker, DEADLINE, condition, with_broker_alone};
use crate::loads::Devices;
use crate::operator_process::OperatorProcess;
use crate::operators::without_operator;
use crate::stage::{proxies, warm_requests};
use crate::table::{Figures, Row, Sheet};

const CLIENTS: u16 = 2_000;
/// How long the operator may take to come to a point.
const DIES: Duration = Duration::from_secs(120);
const CONVERGES: Duration = Duration::from_secs(20);

/// What is asked for, and the writes that it takes.
const ACTIONS: [(&str, &[&str]); 3] = [
    (
        "promotion",
        &["patch-proxy-pod", "resize-proxy-pod", "apply-proxies", "write-status"],
    ),
    ("scale-in", &["patch-proxy-pod", "apply-proxies", "write-status"]),
    (
        "rollout",
        &[
            "apply-proxies",
            "patch-proxy-pod",
            "scale-old-proxies",
            "delete-old-proxies",
        ],
    ),
];

/// `edition` makes the revision.
fn spec(serving: u32, edition: u32) -> Value {
    json!({"proxy": {
        "replicas": serving,
        "resources": {
            "requests": {"cpu": "20m", "memory": "32Mi"},
            "limits": {"cpu": "200m", "memory": format!("{}Mi", 256 + edition)},
        },
        "warm": {"min": 1, "requests": warm_requests()},
        "drain": {"linger": "1s", "timeout": "60s"},
        "rebalance": {"mode": "OnReconnectOnly"},
        "rollout": {"canary": "1s"},
    }})
}

/// What is asked for at a time.
#[derive(Clone, Copy)]
struct Asked {
    serving: u32,
    edition: u32,
}

impl Asked {
    fn after(self, action: &str) -> Self {
        match action {
            "promotion" => Self { serving: 3, ..self },
            "scale-in" => Self { serving: 2, ..self },
            _ => Self {
                edition: self.edition + 1,
                ..self
            },
        }
    }

    /// What has to hold before the action can be seen.
    fn before(self, action: &str) -> Self {
        match action {
            "promotion" => Self { serving: 2, ..self },
            "scale-in" => Self { serving: 3, ..self },
            _ => self,
        }
    }

    async fn apply(self, broker: &Broker<'_>) -> Result<()> {
        broker.apply(spec(self.serving, self.edition)).await
    }

    /// Waits until it is so, the pool included, and nothing drains.
    async fn reached(self, broker: &Broker<'_>) -> Result<()> {
        await_condition("what was asked for", DEADLINE, async || {
            let resource = broker.resource().await?;
            let is_current = resource["status"]["observedGeneration"] == resource["metadata"]["generation"];
            let (ready, progressing) = (condition(&resource, "Ready"), condition(&resource, "Progressing"));
            let pods = proxies(broker).await?.len();
            let accepting = broker.accepting().await?.len();
            let wanted = usize::try_from(self.serving)?;
            let is_so = is_current && ready["status"] == "True" && progressing["status"] == "False";
            Ok(if is_so && accepting == wanted && pods == wanted + 1 {
                Observed::Met(())
            } else {
                Observed::NotYet(format!("{accepting} of {pods} proxies accept, {ready}, {progressing}"))
            })
        })
        .await
    }
}

async fn await_death(child: &mut Child, fault: &str) -> Result<()> {
    let ended = tokio::time::timeout(DIES, child.wait()).await;
    let status = ended.with_context(|| format!("{fault}: the operator never came there"))??;
    ensure!(!status.success(), "{fault}: it ended in order");
    Ok(())
}

/// How long the next operator took after each death.
async fn die_everywhere(broker: &Broker<'_>, operator: &OperatorProcess) -> Result<Vec<(String, Duration)>> {
    let mut took = Vec::new();
    let mut asked = Asked { serving: 2, edition: 0 };
    for (action, points) in ACTIONS {
        for point in points {
            for side in ["before", "after"] {
                let fault = format!("{point}:{side}");
                asked = asked.before(action);
                let calm = operator.start(None)?;
                asked.apply(broker).await?;
                asked
                    .reached(broker)
                    .await
                    .with_context(|| format!("before {action} {fault}"))?;
                drop(calm);
                asked = asked.after(action);
                asked.apply(broker).await?;
                let mut faulty = operator.start(Some(&fault))?;
                await_death(&mut faulty, &fault).await?;
                let since = Instant::now();
                let _next = operator.start(None)?;
                asked
                    .reached(broker)
                    .await
                    .with_context(|| format!("{action} {fault}"))?;
                println!("{action} {fault}: {:.1} s", since.elapsed().as_secs_f64());
                took.push((format!("{action} {fault}"), since.elapsed()));
            }
        }
    }
    Ok(took)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn deaths_of_the_operator() -> Result<()> {
    with_broker_alone("measure-deaths", spec(2, 0), async |broker| {
        let sheet = Sheet::begin()?;
        let (cluster, images) = product::for_tests(UpOptions { nodes: Some(2) }).await?;
        let operator = OperatorProcess::new(&cluster, &images, broker.namespace).await?;
        broker.await_all_reached(2).await?;
        let devices = Devices::begin(broker, broker.address().await?, CLIENTS).await?;
        let took = without_operator(&cluster, async || die_everywhere(broker, &operator).await).await?;
        devices.all_there(broker).await?;
        let outcome = devices.end().await?;

        let cells = took
            .iter()
            .map(|(fault, took)| [fault.clone(), format!("{:.2}", took.as_secs_f64())]);
        sheet.write_samples("operator-deaths", &["fault", "converged_after_s"], cells)?;
        let (lost, doubled, wills) = (outcome.lost.len(), outcome.doubled.len(), outcome.wills);
        let limit = CONVERGES.as_secs_f64();
        let what =
            "the operator dies at each write of promotion, scale-in and rollout: until the next one has finished";
        let row = Row::new(
            (9, 3),
            what,
            "s",
            Figures::of(took.iter().map(|(_, took)| took.as_secs_f64())),
        )
        .goal(format!("each <= {limit:.0} s, nothing acknowledged lost"), |figures| {
            figures.max <= limit && lost == 0 && doubled == 0
        })
        .note(format!(
            "{CLIENTS} clients: {lost} lost, {doubled} twice, {wills} wills"
        ))
        .note("a rollout and a scale-in have clients to move meanwhile, which is in it");
        sheet.write(&[row])?;
        ensure!(lost == 0 && doubled == 0, "{:?} {:?}", outcome.lost, outcome.doubled);
        ensure!(wills == 0, "{wills} wills fired");
        Ok(())
    })
    .await
}
