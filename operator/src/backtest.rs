//! The verbs `backtest` and `trace`: files in, results out. What is computed is `freshet-scaling`'s.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use freshet_operator_api::{Scaling, Warm};
use freshet_operator_core::scaling::{read_pool, read_scaling};
use freshet_scaling::backtest::{Backtest, Policy, Score, TimelineRow, replay};
use freshet_scaling::trace::{Kind, Trace, generate, parse_trace, write_header, write_row};
use serde::{Deserialize, Serialize};

use crate::args::{BacktestArgs, ResultFormat, TraceArgs};

/// What is read of a manifest. The rest of it is left alone: the operator of this release refuses what it does not act on,
/// and a backtest is there to try it before.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Manifest {
    kind: Option<String>,
    spec: ManifestSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ManifestSpec {
    proxy: ManifestProxy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ManifestProxy {
    warm: Warm,
    scaling: Scaling,
}

/// The results as JSON.
#[derive(Debug, Serialize)]
struct Results {
    policies: Vec<Score>,
}

/// Replays a trace with every policy and prints the scores.
pub(crate) fn run_backtest(args: &BacktestArgs) -> anyhow::Result<()> {
    let text = fs::read_to_string(&args.trace).with_context(|| format!("reading {}", args.trace.display()))?;
    let trace = parse_trace(&text).with_context(|| format!("{}", args.trace.display()))?;
    let proxy = args
        .settings
        .as_deref()
        .map_or_else(|| Ok(ManifestProxy::default()), read_manifest)?;
    let settings = read_scaling(&proxy.scaling, args.capacity_delay)?;
    let backtest = Backtest {
        settings,
        pool: read_pool(&proxy.warm),
        history: args.history,
    };
    anyhow::ensure!(
        covers(&trace, &backtest),
        "{}: the trace is no longer than --history, so nothing is left to score",
        args.trace.display()
    );
    let mut timeline = args.timeline.as_deref().map(create_timeline).transpose()?;
    let mut policies = Vec::new();
    for policy in Policy::ALL {
        let mut failure = None;
        policies.push(replay(&trace, &backtest, policy, |row| {
            if let (Some(out), None) = (&mut timeline, &failure) {
                failure = write_timeline_row(out, policy, row).err();
            }
        }));
        if let Some(error) = failure {
            return Err(error).context("writing the timeline");
        }
    }
    if let Some(mut out) = timeline {
        out.flush().context("writing the timeline")?;
    }
    let mut out = std::io::stdout().lock();
    match args.format {
        ResultFormat::Json => writeln!(out, "{}", serde_json::to_string(&Results { policies })?)?,
        ResultFormat::Table => write!(out, "{}", table(&policies))?,
    }
    Ok(())
}

/// Writes a trace to standard output.
pub(crate) fn write_trace(args: &TraceArgs) -> anyhow::Result<()> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == args.kind);
    let kind = kind.with_context(|| format!("there is no kind `{}`", args.kind))?;
    anyhow::ensure!(args.step.as_secs() >= 1, "--step must be at least 1s");
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut line = String::new();
    write_header(&mut line);
    for row in generate(kind, args.seed, args.days, args.step).rows {
        write_row(&mut line, &row);
        match out.write_all(line.as_bytes()) {
            // `trace ... | head` is no failure.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
        line.clear();
    }
    Ok(out.flush()?)
}

fn read_manifest(path: &Path) -> anyhow::Result<ManifestProxy> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("reading {shown}"))?;
    let manifest: Manifest = serde_saphyr::from_str(&text).with_context(|| format!("{shown}"))?;
    anyhow::ensure!(
        manifest.kind.as_deref() == Some("MqttCluster"),
        "{shown}: not the manifest of an MqttCluster"
    );
    Ok(manifest.spec.proxy)
}

fn covers(trace: &Trace, backtest: &Backtest) -> bool {
    match (trace.rows.first(), trace.rows.last()) {
        (Some(first), Some(last)) => last.at >= first.at + backtest.history,
        _ => false,
    }
}

fn create_timeline(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    let mut out = BufWriter::new(file);
    writeln!(out, "time_s,policy,desired,serving,warm")?;
    Ok(out)
}

/// Rows of the history are not written: every row of the timeline is scored.
fn write_timeline_row(out: &mut impl Write, policy: Policy, row: &TimelineRow) -> std::io::Result<()> {
    if !row.is_scored {
        return Ok(());
    }
    let TimelineRow {
        desired, serving, warm, ..
    } = row;
    writeln!(
        out,
        "{},{},{desired},{serving},{warm}",
        row.at.as_secs_f64(),
        policy.name()
    )
}

fn table(scores: &[Score]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "{:<10} {:>11} {:>22} {:>20} {:>11} {:>8} {:>9}",
        "POLICY", "BAD MINUTES", "UNSERVED CONNECTION-S", "UNSERVED PUBLISHES", "PROXY-HOURS", "ACTIONS", "REVERSALS"
    );
    for score in scores {
        let _ = writeln!(
            out,
            "{:<10} {:>11} {:>22.0} {:>20.0} {:>11.1} {:>8} {:>9}",
            score.name,
            score.bad_minutes,
            score.unserved_connection_seconds,
            score.unserved_publish_seconds,
            score.proxy_hours,
            score.scale_actions,
            score.reversals
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_may_hold_much_else() {
        let manifest = "apiVersion: freshet.dev/v1alpha1\nkind: MqttCluster\nmetadata: {name: prod}\nspec:\n  paused: false\n  \
                        proxy:\n    replicas: 3\n    warm: {min: 2, size: Fixed}\n    scaling: {max: 6, targets: {connections: 500}}\n";
        let manifest: Manifest = serde_saphyr::from_str(manifest).expect("a manifest");
        let proxy = manifest.spec.proxy;
        assert_eq!(
            (proxy.warm.min, proxy.scaling.max, proxy.scaling.targets.connections),
            (2, 6, 500)
        );
        assert_eq!(proxy.scaling.targets.cpu_percent, 70);
    }
}
