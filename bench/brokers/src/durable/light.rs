//! Light queues: sessions without connection, each with a filter of its own and one message, and a broker that comes back
//! to them after it was killed.

use std::time::Instant;

use anyhow::Context as _;
use freshet_bench_load::{self as load, Devices};

use super::disk::{drop_page_caches, folder_bytes};
use super::{Findings, MIB, Reads};
use crate::freshet;
use crate::processes::Running;

/// Devices that come back for their message in the end, evenly among all.
const SAMPLE: usize = 1_000;

/// Makes the queues, kills the broker, starts it again, and looks whether everything is there.
///
/// # Errors
/// When the broker fails, or a session or a message is missing or comes twice.
// Counters are exact as floating point numbers below 2^53.
#[allow(clippy::cast_precision_loss)]
pub(super) fn light(broker: &mut Running, count: usize, seed: u64) -> anyhow::Result<Findings> {
    let devices = Devices {
        name: "light",
        shared: None,
        ends_at: None,
    };
    let made = devices.make(broker, 0..count)?;
    let published = load::publish(
        broker,
        seed,
        load::each_device(count, 1, |device| devices.topic(device)),
    )?;
    anyhow::ensure!(
        published.messages == u64::try_from(count)?,
        "not everything was published"
    );
    let before = broker.whole_resident_bytes()?;
    let on_disk = folder_bytes(&broker.path(freshet::DATA)?)?;

    broker.kill();
    let dropped = drop_page_caches();
    freshet::log_more(broker)?;
    let began = Instant::now();
    broker.start_again()?;
    let mut connected = began.elapsed();
    let first = devices.come_back(broker, &[0], 1, || {
        connected = began.elapsed();
        Ok(())
    })?;
    let serving = connected + first.drained;
    let after = broker.whole_resident_bytes()?;
    let metrics = broker.metrics()?.context("a broker that counts nothing")?;
    let (sessions, queued) = (metrics.sum("stored_sessions")?, metrics.sum("queued_messages")?);
    let expected = u64::try_from(count)?;
    anyhow::ensure!(
        sessions == expected && (expected - 1..=expected).contains(&queued),
        "{sessions} sessions and {queued} messages of {expected} are there"
    );
    let sample: Vec<usize> = (1..count).step_by((count / SAMPLE).max(1)).collect();
    devices.come_back(broker, &sample, 1, || Ok(()))?;

    let reads = Reads::find(&broker.path(freshet::LOG)?)?;
    let mut findings = Findings::of(vec![
        ("serving after s", serving.as_secs_f64()),
        ("rows/s while reading", reads.per_second()),
        ("resident MiB", after as f64 / MIB),
        ("rows", reads.rows as f64),
        ("records", reads.records as f64),
        ("resident MiB before", before as f64 / MIB),
        ("disk MiB", on_disk as f64 / MIB),
        ("queues made/s", count as f64 / made.as_secs_f64()),
        ("published/s", published.messages as f64 / published.took.as_secs_f64()),
    ]);
    findings.details = format!(
        "n = {count}; {} of them came back for their message, and got it once. {}",
        sample.len() + 1,
        if dropped {
            "Page caches were dropped before the start."
        } else {
            "Page caches could not be dropped: that takes root."
        }
    );
    Ok(findings)
}
