//! Publishers, and subscribers whose sessions are kept: what a durable message costs, and when it is acknowledged.

use freshet_bench_load::{self as load, Pairs, Timing};

use super::Findings;
use super::disk::raw_flushes;
use crate::processes::Running;
use crate::report::Figure;

/// What a write to the disk by itself takes, in figures.
fn flush_figures(raw: load::Percentiles) -> [Figure; 3] {
    [
        ("raw flush P50 us", raw.p50_us),
        ("raw flush P99 us", raw.p99_us),
        ("raw flush P99.9 us", raw.p999_us),
    ]
}

/// Rate and CPU first.
///
/// # Errors
/// When the broker fails or loses a message.
pub(super) fn at_full_speed(broker: &Running, timing: Timing, seed: u64, pairs: Pairs) -> anyhow::Result<Findings> {
    let measured = measure(broker, timing, seed, pairs)?;
    let Measured { outcome, raw, written } = measured;
    let mut figures = vec![
        ("messages/s", outcome.messages_per_second),
        ("CPU us/message", outcome.proxy_us + outcome.storage_us),
        ("delivered P50 us", outcome.p50_us),
        ("P99 us", outcome.p99_us),
        ("P99.9 us", outcome.p999_us),
        ("acknowledged P50 us", outcome.acknowledged.p50_us),
        ("acknowledged P99 us", outcome.acknowledged.p99_us),
        ("acknowledged P99.9 us", outcome.acknowledged.p999_us),
    ];
    figures.extend(flush_figures(raw));
    figures.extend(written);
    figures.push(("others' CPUs", outcome.others_cpus));
    Ok(Findings::of(figures))
}

/// Latency of the acknowledgement first.
///
/// # Errors
/// As [`at_full_speed`].
pub(super) fn one_at_a_time(broker: &Running, timing: Timing, seed: u64, devices: usize) -> anyhow::Result<Findings> {
    let pairs = Pairs {
        pairs: devices,
        window: 1,
        qos: 1,
    };
    let Measured { outcome, raw, written } = measure(broker, timing, seed, pairs)?;
    let mut figures = vec![
        ("acknowledged P50 us", outcome.acknowledged.p50_us),
        ("2 raw flushes + 1 ms, us", 2.0 * raw.p50_us + 1_000.0),
        ("acknowledged P99 us", outcome.acknowledged.p99_us),
        ("acknowledged P99.9 us", outcome.acknowledged.p999_us),
    ];
    figures.extend(flush_figures(raw));
    figures.push(("messages/s", outcome.messages_per_second));
    figures.push(("CPU us/message", outcome.proxy_us + outcome.storage_us));
    figures.extend(written);
    figures.push(("others' CPUs", outcome.others_cpus));
    Ok(Findings::of(figures))
}

struct Measured {
    outcome: load::Outcome,
    raw: load::Percentiles,
    written: Vec<Figure>,
}

// Counters are exact as floating point numbers below 2^53.
#[allow(clippy::cast_precision_loss)]
fn measure(broker: &Running, timing: Timing, seed: u64, pairs: Pairs) -> anyhow::Result<Measured> {
    let raw = raw_flushes(&broker.path("raw")?)?;
    let (io, metrics) = (broker.io()?, broker.metrics()?);
    let outcome = load::kept(broker, timing, seed, pairs)?;
    let bytes = broker.io()?.written_bytes - io.written_bytes;
    let mut written = vec![("bytes by the kernel/message", bytes as f64 / outcome.sent as f64)];
    if let (Some(before), Some(after)) = (metrics, broker.metrics()?) {
        let of = |name| anyhow::Ok(after.sum(name)? - before.sum(name)?);
        let messages = outcome.sent as f64;
        written.push(("messages/flush", messages / of("log_flush_seconds_count")? as f64));
        written.push((
            "bytes to the log/message",
            of("log_written_bytes_total")? as f64 / messages,
        ));
    }
    Ok(Measured { outcome, raw, written })
}
