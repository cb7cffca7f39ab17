//! The clients of the history checker at work on a cluster while something is done to its storage node, and the verdict on
//! what they saw: nothing acknowledged is lost, QoS 2 comes once, in order, sessions are there.

use std::time::Duration;

use anyhow::{Context, Result};
use freshet_checker::history::{Killing, What};
use freshet_checker::judge::{Rule, Thresholds, Violation};
use freshet_checker::{Crowd, History};
use freshet_e2e::condition::{Observed, await_condition};
use freshet_e2e::diagnostics;
use serde_json::{Value, json};

use crate::broker::{Broker, DEADLINE};
use crate::life::{await_another_life, life};

/// What clients do, as far as the machine lets them.
const SEED: u64 = 1;
/// What clients do and see before the next thing is done to the cluster.
const EVENTS: usize = 3_000;

/// Clients at work.
pub(crate) struct Trial<'a> {
    broker: &'a Broker<'a>,
    crowd: Crowd,
}

/// A cluster with a volume, as the clients need it.
pub(crate) fn with_volume() -> Value {
    json!({
        "proxy": {"warm": {"min": 0}},
        "storage": {"volume": {"size": "1Gi"}},
        // A will waits no longer than they come to rest.
        "mqtt": {"willGraceOnMove": "1s"},
    })
}

/// `part` is ended without a warning.
pub(crate) fn killed(part: &str) -> What {
    What::Killed {
        part: part.to_owned(),
        how: Killing::Signal,
    }
}

/// `part` is told to stop.
pub(crate) fn terminated(part: &str) -> What {
    What::Terminated { part: part.to_owned() }
}

impl<'a> Trial<'a> {
    /// Lets the clients loose; returns when they are at work.
    pub(crate) async fn begin(broker: &'a Broker<'a>) -> Result<Self> {
        let crowd = Crowd::start(broker.address().await?, SEED);
        let trial = Self { broker, crowd };
        trial.work().await?;
        Ok(trial)
    }

    /// Does `act`, which ends the storage process, waits until another one serves all proxies, and lets the clients work
    /// on. Returns how long that took.
    pub(crate) async fn strike(&self, what: What, act: impl AsyncFnOnce() -> Result<()>) -> Result<Duration> {
        let former = life(self.broker).await?;
        let said = format!("{what:?}");
        self.crowd.record(what);
        let since = std::time::Instant::now();
        act().await.with_context(|| said.clone())?;
        await_another_life(self.broker, &former).await?;
        self.crowd.record(What::Started);
        let took = since.elapsed();
        println!(
            "{said}: storage serves all proxies again after {:.1} s",
            took.as_secs_f64()
        );
        self.work().await?;
        Ok(took)
    }

    /// Waits until the clients have done something more.
    pub(crate) async fn work(&self) -> Result<()> {
        let before = self.crowd.events();
        await_condition("clients are at work", DEADLINE, async || {
            let more = self.crowd.events() - before;
            Ok(if more >= EVENTS {
                Observed::Met(())
            } else {
                Observed::NotYet(format!("{more} of {EVENTS} events"))
            })
        })
        .await
    }

    /// Lets the clients go on until they have seen enough, and come to rest, and judges; a history that does not prove what
    /// is promised is left with the diagnostics.
    ///
    /// One thing is not held against the cluster: a proxy that has not found storage again is not asked before a client of
    /// its own is let in elsewhere, and goes on with the former connection until it has.
    pub(crate) async fn judge(self, thresholds: Thresholds) -> Result<()> {
        let Self { broker, crowd } = self;
        await_condition("clients have seen enough", DEADLINE, async || {
            let lacks = crowd.lacks(&thresholds);
            Ok(if lacks.is_empty() {
                Observed::Met(())
            } else {
                Observed::NotYet(lacks.join("; "))
            })
        })
        .await?;
        let mut outcome = tokio::task::spawn_blocking(move || {
            let mut say = |said: &str| println!("{said}");
            crowd.finish(&thresholds, &mut say)
        })
        .await?;
        println!("{}", outcome.verdict);
        let history = &outcome.history;
        outcome
            .verdict
            .violations
            .retain(|v| !is_while_storage_is_away(history, v));
        if outcome.verdict.is_proven() {
            return Ok(());
        }
        let folder = diagnostics::folder_of(broker.namespace)?;
        std::fs::create_dir_all(&folder)?;
        let file = folder.join("history.jsonl");
        std::fs::write(&file, outcome.history.to_json_lines()?)?;
        anyhow::bail!("{}\nthe history is {}", outcome.verdict, file.display())
    }
}

/// Whether a client was taken over before all proxies had found storage again, and its former connection was served
/// meanwhile.
fn is_while_storage_is_away(history: &History, violation: &Violation) -> bool {
    let until = violation.lines.first().copied().unwrap_or_default();
    let before = history.events.get(..until).unwrap_or_default();
    let last = before.iter().rev().find_map(|event| match event.what {
        What::Started => Some(false),
        What::Killed { .. } | What::Terminated { .. } => Some(true),
        _ => None,
    });
    violation.rule == Rule::TakeoverExclusive && last == Some(true)
}
