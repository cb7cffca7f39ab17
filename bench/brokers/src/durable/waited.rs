//! A publish that many sessions without connection wait for, beside the same with few; and their end, all at one time.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use freshet_bench_load::{self as load, Beside, Broker as _, Devices};

use super::{Findings, MIB, pause_until, wait_for};
use crate::processes::Running;
use crate::report::Figure;

/// Sessions of the first part.
const FEW: usize = 10;
const TOPIC: &str = "bench/waited/all";
/// A part ends by then, with fewer publishes: some brokers take milliseconds for each.
const NO_LONGER_THAN: Duration = Duration::from_secs(10);
/// A checkpoint has come by then, unless there was nothing left for it.
const SETTLES_WITHIN: Duration = Duration::from_secs(15);
/// How long those beside are looked at before the sessions end.
const CALM: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(100);
/// Sessions that are there for longer than this behind their end have not ended.
const END_WITHIN: Duration = Duration::from_secs(300);

/// How much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waited {
    pub(super) sessions: usize,
    /// Of each part.
    pub(super) publishes: u64,
    /// From the begin to the end of the sessions.
    pub(super) lifetime: Duration,
}

/// What one part costs, for each publish.
struct Cost {
    publishes: u64,
    cpu_us: f64,
    written: f64,
    to_log: Option<f64>,
    to_checkpoints: Option<f64>,
}

impl Cost {
    /// What Freshet counts; of others, and of the zeros that Freshet fills files with before it uses them, the kernel.
    fn bytes(&self) -> f64 {
        let counted = self.to_log.zip(self.to_checkpoints).map(|(log, rows)| log + rows);
        counted.unwrap_or(self.written)
    }
}

/// Cost with many over cost with few first.
///
/// # Errors
/// When the broker fails, loses or doubles a message, or is not done before the sessions end.
pub(super) fn waited(broker: &Running, amount: Waited, seed: u64, ends_are_counted: bool) -> anyhow::Result<Findings> {
    let ends_at = Instant::now() + amount.lifetime;
    let devices = Devices {
        name: "waited",
        shared: Some(TOPIC),
        ends_at: Some(ends_at),
    };
    devices.make(broker, 0..FEW)?;
    let few = part(broker, amount.publishes, seed)?;
    devices.come_back(broker, &[0], few.publishes, || Ok(()))?;
    let made = devices.make(broker, FEW..amount.sessions)?;
    let many = part(broker, amount.publishes, seed)?;
    devices.come_back(broker, &[0, amount.sessions - 1], many.publishes, || Ok(()))?;

    let mut figures = vec![
        ("CPU, many/few", many.cpu_us / few.cpu_us),
        ("bytes, many/few", many.bytes() / few.bytes()),
    ];
    for (cost, names) in [(&few, FEW_COLUMNS), (&many, MANY_COLUMNS)] {
        let values = [Some(cost.cpu_us), Some(cost.written), cost.to_log, cost.to_checkpoints];
        figures.extend(
            names
                .into_iter()
                .zip(values)
                .filter_map(|(name, value)| Some((name, value?))),
        );
    }
    // Exact below 2^53.
    #[allow(clippy::cast_precision_loss)]
    figures.push(("sessions made/s", (amount.sessions - FEW) as f64 / made.as_secs_f64()));
    figures.push(("resident MiB", to_f64(broker.whole_resident_bytes()?) / MIB));
    if ends_are_counted {
        figures.extend(end(broker, amount.sessions, ends_at, seed)?);
    }
    let mut findings = Findings::of(figures);
    findings.details = format!(
        "n = {} sessions, {FEW} before; {} and {} publishes of {} bytes; a session of the few and one of the many came \
         back and got each once.",
        amount.sessions,
        few.publishes,
        many.publishes,
        load::PAYLOAD_BYTES
    );
    Ok(findings)
}

const FEW_COLUMNS: [&str; 4] = [
    "few: CPU us/publish",
    "few: bytes by the kernel",
    "few: bytes to the log",
    "few: bytes to checkpoints",
];
const MANY_COLUMNS: [&str; 4] = [
    "many: CPU us/publish",
    "many: bytes by the kernel",
    "many: bytes to the log",
    "many: bytes to checkpoints",
];

/// Publishes to all sessions that are there, once what they have changed is in a checkpoint.
fn part(broker: &Running, publishes: u64, seed: u64) -> anyhow::Result<Cost> {
    await_checkpoint(broker)?;
    let (io, usage, metrics) = (broker.io()?, broker.usage()?, broker.metrics()?);
    let mut left = publishes;
    let mut numbers = std::collections::HashMap::new();
    let published = load::publish(broker, seed, |publisher, since| {
        if left == 0 || since > NO_LONGER_THAN {
            return None;
        }
        left -= 1;
        let number: &mut u64 = numbers.entry(publisher).or_default();
        *number += 1;
        Some((TOPIC.to_owned(), *number - 1))
    })?;
    let used = broker.usage()?;
    // What was published goes into a checkpoint, too.
    await_checkpoint(broker)?;
    let after = broker.metrics()?;
    let each = |bytes: u64| to_f64(bytes) / to_f64(published.messages);
    let difference = |name: &str| -> anyhow::Result<Option<f64>> {
        let (Some(before), Some(after)) = (&metrics, &after) else {
            return Ok(None);
        };
        Ok(Some(each(after.sum(name)? - before.sum(name)?)))
    };
    Ok(Cost {
        publishes: published.messages,
        cpu_us: each(used.proxy_ns + used.storage_ns - usage.proxy_ns - usage.storage_ns) / 1e3,
        written: each(broker.io()?.written_bytes - io.written_bytes),
        to_log: difference("log_written_bytes_total")?,
        to_checkpoints: difference("checkpoint_written_bytes_total")?,
    })
}

/// Waits for the next checkpoint of a broker that has any.
fn await_checkpoint(broker: &Running) -> anyhow::Result<()> {
    let Some(metrics) = broker.metrics()? else {
        return Ok(());
    };
    let before = metrics.sum("checkpoints_total")?;
    // Without another one everything was in the last.
    let _ = wait_for(SETTLES_WITHIN, LOOK, || {
        let metrics = broker.metrics()?.context("a broker that counts nothing any more")?;
        Ok(metrics.sum("checkpoints_total")? > before)
    });
    Ok(())
}

/// Waits for the end of the sessions, beside clients at work.
fn end(broker: &Running, sessions: usize, ends_at: Instant, seed: u64) -> anyhow::Result<Vec<Figure>> {
    let metrics = broker.metrics()?.context("a broker that counts nothing")?;
    let there = metrics.sum("stored_sessions")?;
    anyhow::ensure!(
        there == u64::try_from(sessions)? && Instant::now() + CALM < ends_at,
        "{there} of {sessions} sessions are there, and they end too soon for the rest: --lifetime says when"
    );
    pause_until(ends_at - CALM);
    let beside = Beside::start(broker, seed)?;
    pause_until(ends_at);
    beside.next_phase();
    let left = Cell::new(there);
    let ended = wait_for(END_WITHIN, LOOK, || {
        let metrics = broker.metrics()?.context("a broker that counts nothing any more")?;
        left.set(metrics.sum("stored_sessions")?);
        Ok(left.get() == 0)
    });
    let took = ends_at.elapsed();
    let noticed = beside.end()?;
    ended.with_context(|| format!("{} sessions are left", left.get()))?;
    let [calm, meanwhile] = noticed[..] else {
        anyhow::bail!("{} phases", noticed.len())
    };
    Ok(vec![
        ("all ended after s", took.as_secs_f64()),
        ("others' P99 us meanwhile", meanwhile.p99_us),
        ("others' P99.9 us meanwhile", meanwhile.p999_us),
        ("others' P99 us before", calm.p99_us),
    ])
}

/// Exact below 2^53.
#[allow(clippy::cast_precision_loss)]
fn to_f64(value: u64) -> f64 {
    value as f64
}
