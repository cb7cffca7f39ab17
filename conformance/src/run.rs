//! Runs scripts side by side, and says what came of each.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::StreamExt as _;

use crate::cannot::cannot;
use crate::driver::{Client, Driver};
use crate::message::Version;
use crate::scripts::{Script, awaited};
use crate::stage::{Finding, Stage, Stop, finding};

/// Scripts that run at once. They wait most of the time.
const AT_ONCE: usize = 8;
/// A script that takes longer hangs: a finding of its own.
const SCRIPT_DEADLINE: Duration = Duration::from_secs(120);

/// One script, one client, one version.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) script: &'a Script,
    pub(crate) client: Client,
    pub(crate) version: Version,
    pub(crate) driver: &'a Driver,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Everything was as expected.
    Passed,
    /// Something was not.
    Differs(Vec<Finding>),
    /// The client or the version has nothing to show here.
    Cannot(&'static str),
    /// The harness failed; says nothing about the broker.
    Broken(anyhow::Error),
}

/// An outcome with what it is of.
pub(crate) struct Ended<'a> {
    pub(crate) run: Run<'a>,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
}

/// Runs all against one broker, and hands each outcome to `told` as soon as it is there.
pub(crate) async fn run_all<'a>(runs: Vec<Run<'a>>, broker: SocketAddr, mut told: impl FnMut(Ended<'a>)) {
    let mut running = futures::stream::iter(runs)
        .map(|run| async move {
            let began = Instant::now();
            let outcome = play(run, broker).await;
            Ended {
                run,
                outcome,
                took: began.elapsed(),
            }
        })
        .buffer_unordered(AT_ONCE);
    while let Some(ended) = running.next().await {
        told(ended);
    }
}

async fn play(run: Run<'_>, broker: SocketAddr) -> Outcome {
    let Run {
        script,
        client,
        version,
        driver,
    } = run;
    if let Some((_, reason)) = script.not_in.filter(|(without, _)| *without == version) {
        return Outcome::Cannot(reason);
    }
    if let Some(reason) = script.needs.and_then(|feature| cannot(client, version, feature)) {
        return Outcome::Cannot(reason);
    }
    let name = format!("{}-{}-{}", client.name(), version.name(), script.name);
    let mut stage = Stage::new(client, version, driver, broker, name);
    let played = tokio::time::timeout(SCRIPT_DEADLINE, (script.play)(&mut stage)).await;
    let mut findings = stage.into_findings();
    match played {
        Ok(Ok(())) => {}
        Ok(Err(Stop::Missing(missing))) => findings.push(missing),
        Ok(Err(Stop::Harness(error))) => return Outcome::Broken(error),
        Err(_) => findings.push(finding(
            "the script",
            "its end",
            format!("nothing within {SCRIPT_DEADLINE:?}"),
        )),
    }
    if findings.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Differs(findings)
    }
}

/// How an outcome with the broker under test counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    /// Has nothing to show, or waits for a feature.
    Left,
}

/// Judges an outcome of Freshet: a script that waits for a feature must not pass.
pub(crate) fn judge(script: &str, outcome: &Outcome) -> Verdict {
    match (outcome, awaited(script)) {
        (Outcome::Cannot(_), _) | (Outcome::Differs(_), Some(_)) => Verdict::Left,
        (Outcome::Passed, None) => Verdict::Passed,
        _ => Verdict::Failed,
    }
}
