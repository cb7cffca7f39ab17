//! Much passes while one session is asleep: what that takes of the disk, looked at all the while.

use std::fmt::Write as _;

use freshet_bench_load::{self as load, Passed, Passing};

use super::disk::folder_bytes;
use super::{Findings, MIB};
use crate::freshet::DATA;
use crate::processes::Running;

/// The disk at one time.
struct Look {
    passed: Passed,
    disk_bytes: u64,
    resident_bytes: u64,
    log: Option<Log>,
}

/// What Freshet counts.
struct Log {
    segments: u64,
    segment_bytes: u64,
    written_bytes: u64,
    checkpoint_bytes: u64,
    queued_bytes: u64,
}

/// Disk over what is kept first.
///
/// # Errors
/// When the broker fails, loses or doubles a message.
// Counters are exact as floating point numbers below 2^53.
#[allow(clippy::cast_precision_loss)]
pub(super) fn asleep(broker: &Running, passing: Passing, seed: u64) -> anyhow::Result<Findings> {
    let mut looks = Vec::new();
    let night = load::asleep(broker, seed, passing, |passed| {
        looks.push(Look::take(broker, passed)?);
        Ok(())
    })?;
    let most = looks.iter().map(|look| look.disk_bytes).max().unwrap_or(0);
    // The last look is behind the return of the one that slept.
    let at_rest = looks.iter().rev().nth(1);
    let (disk, kept) = at_rest.map_or((0, 0), |look| (look.disk_bytes, look.passed.kept_bytes));
    let mut figures = vec![
        ("disk/kept at rest", disk as f64 / kept as f64),
        ("kept MiB", kept as f64 / MIB),
        ("disk MiB at rest", disk as f64 / MIB),
        ("most disk MiB", most as f64 / MIB),
        ("passed MiB", night.passed.bytes as f64 / MIB),
        ("MiB/s", night.passed.bytes as f64 / MIB / night.took.as_secs_f64()),
        ("woke within s", night.woke.as_secs_f64()),
    ];
    if let Some(Look { log: Some(log), .. }) = at_rest {
        let segment_bytes = log.segment_bytes as f64 / log.segments as f64;
        figures.push(("segments written", log.written_bytes as f64 / segment_bytes));
    }
    let mut findings = Findings::of(figures);
    findings.details = format!(
        "Payloads of {} bytes, one of {} for the one that sleeps; all {} came to it once and in order.\n\n{}",
        passing.payload_bytes,
        passing.kept_of,
        night.passed.kept,
        table(&looks)
    );
    Ok(findings)
}

impl Look {
    fn take(broker: &Running, passed: Passed) -> anyhow::Result<Self> {
        let log = match broker.metrics()? {
            None => None,
            Some(metrics) => Some(Log {
                segments: metrics.sum("log_segments")?,
                segment_bytes: metrics.sum("log_bytes")?,
                written_bytes: metrics.sum("log_written_bytes_total")?,
                checkpoint_bytes: metrics.sum("checkpoint_bytes")?,
                queued_bytes: metrics.sum("queued_bytes")?,
            }),
        };
        Ok(Self {
            passed,
            disk_bytes: folder_bytes(&broker.path(DATA)?)?,
            resident_bytes: broker.whole_resident_bytes()?,
            log,
        })
    }
}

/// The disk over the run.
fn table(looks: &[Look]) -> String {
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = writeln!(
        text,
        "| passed MiB | kept MiB | disk MiB | log MiB | segments | checkpoint MiB | queued MiB | resident MiB |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    for look in looks {
        let mib = |bytes: u64| format!("{}", bytes >> 20);
        let of_log = |of: fn(&Log) -> u64| look.log.as_ref().map_or_else(|| "-".to_owned(), |log| mib(of(log)));
        let segments = look
            .log
            .as_ref()
            .map_or_else(|| "-".to_owned(), |log| log.segments.to_string());
        let cells = [
            mib(look.passed.bytes),
            mib(look.passed.kept_bytes),
            mib(look.disk_bytes),
            of_log(|log| log.segment_bytes),
            segments,
            of_log(|log| log.checkpoint_bytes),
            of_log(|log| log.queued_bytes),
            mib(look.resident_bytes),
        ];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}
