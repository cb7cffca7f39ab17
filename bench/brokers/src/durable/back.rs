//! Sessions that come back at once, each for what waits for it, beside clients at work.

use std::time::{Duration, Instant};

use freshet_bench_load::{self as load, Beside, Broker as _, Devices};

use super::disk::drop_page_caches;
use super::{Findings, MIB, pause_until};
use crate::processes::Running;

/// How long those beside are looked at before.
const CALM: Duration = Duration::from_secs(2);

/// Messages a second behind the last CONNACK first.
///
/// # Errors
/// When the broker fails, or a session or a message is missing or comes twice.
// Counters are exact as floating point numbers below 2^53.
#[allow(clippy::cast_precision_loss)]
pub(super) fn back(broker: &Running, sessions: usize, each: u64, seed: u64) -> anyhow::Result<Findings> {
    let devices = Devices {
        name: "back",
        shared: None,
        ends_at: None,
    };
    let empty = broker.metrics()?;
    devices.make(broker, 0..sessions)?;
    let published = load::publish(
        broker,
        seed,
        load::each_device(sessions, each, |device| devices.topic(device)),
    )?;
    let stored = match (empty, broker.metrics()?) {
        (Some(before), Some(after)) => {
            Some(after.sum("log_written_bytes_total")? - before.sum("log_written_bytes_total")?)
        }
        _ => None,
    };
    let resident = broker.whole_resident_bytes()?;
    let dropped = drop_page_caches();

    let beside = Beside::start(broker, seed)?;
    pause_until(Instant::now() + CALM);
    beside.next_phase();
    let (io, usage) = (broker.io()?, broker.usage()?);
    let all: Vec<usize> = (0..sessions).collect();
    let came = devices.come_back(broker, &all, each, || Ok(()))?;
    let (read, used) = (broker.io()?.read_bytes - io.read_bytes, broker.usage()?);
    let noticed = beside.end()?;
    let [calm, meanwhile] = noticed[..] else {
        anyhow::bail!("{} phases", noticed.len())
    };

    let messages = (came.before + came.behind) as f64;
    let cpu_ns = used.proxy_ns + used.storage_ns - usage.proxy_ns - usage.storage_ns;
    let mut figures = vec![
        (
            "messages/s behind the last CONNACK",
            came.behind as f64 / came.drained.as_secs_f64(),
        ),
        (
            "messages/s in all",
            messages / (came.connected + came.drained).as_secs_f64(),
        ),
        ("all in after s", came.connected.as_secs_f64()),
        ("of the messages, came until then", came.before as f64 / messages),
        ("the rest came within s", came.drained.as_secs_f64()),
        ("CPU us/message", cpu_ns as f64 / 1e3 / messages),
        ("others' P99 us meanwhile", meanwhile.p99_us),
        ("others' P99 us before", calm.p99_us),
        ("stored/s", published.messages as f64 / published.took.as_secs_f64()),
        ("resident MiB", resident as f64 / MIB),
    ];
    if let Some(stored) = stored {
        figures.push(("bytes read/bytes written to the log", read as f64 / stored as f64));
    }
    let mut findings = Findings::of(figures);
    findings.details = format!(
        "n = {sessions} sessions, {each} messages each, {messages} in all, each came once and in order. Page caches were \
         {}dropped before.",
        if dropped { "" } else { "not " }
    );
    Ok(findings)
}
