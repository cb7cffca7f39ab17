//! What a measurement counts: messages, latencies, and the broker's CPU between two moments.

use std::net::SocketAddr;
use std::time::Duration;

use super::Timing;
use crate::process::{machine_busy_seconds, own_cpu_seconds};

/// Latencies kept for the percentiles; beyond, the measurement is long enough.
const MAX_LATENCIES: usize = 8 << 20;

/// Bytes of every payload: send time and sequence number at its start, zeros behind.
pub const PAYLOAD_BYTES: usize = 64;

/// A broker that is measured.
pub trait Broker {
    /// Where clients connect.
    fn address(&self) -> SocketAddr;

    /// What its processes have used since their start.
    ///
    /// # Errors
    /// When one has ended.
    fn usage(&self) -> anyhow::Result<Usage>;

    /// Anonymous resident memory of the process that clients are connected to.
    ///
    /// # Errors
    /// When it has ended.
    fn resident_bytes(&self) -> anyhow::Result<u64>;
}

/// CPU time, user and system, and times that a thread went to sleep.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Of the process that clients are connected to.
    pub proxy_ns: u64,
    /// Of those behind it.
    pub storage_ns: u64,
    /// Of the first.
    pub proxy_switches: u64,
}

/// The figures of one measurement.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Deliveries; of work without subscribers, acknowledged publishes.
    pub messages_per_second: f64,
    /// CPU of the process that clients are connected to, for each message.
    pub proxy_us: f64,
    /// CPU of those behind it, for each message.
    pub storage_us: f64,
    /// Times that a thread went to sleep, for each message.
    pub proxy_switches: f64,
    /// From the publish, or the time when it was due, to the delivery.
    pub p50_us: f64,
    /// As above.
    pub p99_us: f64,
    /// As above.
    pub p999_us: f64,
    /// Of the whole run, warm-up and end included; equal, or the measurement failed.
    pub sent: u64,
    /// As above.
    pub delivered: u64,
    /// CPU that neither broker nor load used, as a share of one CPU: the disturbance.
    pub others_cpus: f64,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    WarmUp,
    Measured,
    Draining,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Duration,
    delivered: u64,
    usage: Usage,
    machine_seconds: f64,
    own_seconds: f64,
}

/// Counts during a run.
pub(crate) struct Meter<'a> {
    broker: &'a dyn Broker,
    timing: Timing,
    started: Duration,
    pub(crate) phase: Phase,
    first: Option<Mark>,
    last: Option<Mark>,
    latencies_us: Vec<u32>,
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(broker: &'a dyn Broker, timing: Timing, now: Duration) -> Self {
        Self {
            broker,
            timing,
            started: now,
            phase: Phase::WarmUp,
            first: None,
            last: None,
            latencies_us: Vec::new(),
            sent: 0,
            delivered: 0,
        }
    }

    /// Notes a delivery that was sent at `sent_at`.
    pub(crate) fn deliver(&mut self, sent_at: Duration, now: Duration) {
        self.delivered += 1;
        if self.phase == Phase::Measured && self.latencies_us.len() < MAX_LATENCIES {
            let latency = now.saturating_sub(sent_at).as_micros();
            self.latencies_us.push(u32::try_from(latency).unwrap_or(u32::MAX));
        }
    }

    /// Moves to the phase that `now` belongs to, marking the ends of the measured one.
    ///
    /// # Errors
    /// When a process of the broker has ended, or deliveries are outstanding for too long.
    pub(crate) fn advance(&mut self, now: Duration) -> anyhow::Result<()> {
        let measured_from = self.started + self.timing.warm_up;
        let drained_from = measured_from + self.timing.measured;
        if self.phase == Phase::WarmUp && now >= measured_from {
            self.first = Some(self.mark(now)?);
            self.phase = Phase::Measured;
        }
        if self.phase == Phase::Measured && now >= drained_from {
            self.last = Some(self.mark(now)?);
            self.phase = Phase::Draining;
        }
        anyhow::ensure!(
            now < drained_from + super::DRAIN_LIMIT,
            "{} messages sent, {} delivered, and nothing more arrives",
            self.sent,
            self.delivered
        );
        Ok(())
    }

    /// The figures, once everything is drained.
    ///
    /// # Errors
    /// When something sent was not delivered, or nothing was measured.
    pub(crate) fn finish(mut self) -> anyhow::Result<Outcome> {
        anyhow::ensure!(
            self.sent == self.delivered,
            "{} sent, {} delivered",
            self.sent,
            self.delivered
        );
        let (Some(first), Some(last)) = (self.first, self.last) else {
            anyhow::bail!("the run ended early")
        };
        let messages = to_f64(last.delivered - first.delivered);
        anyhow::ensure!(messages > 0.0, "nothing was delivered");
        let elapsed = (last.at - first.at).as_secs_f64();
        let broker_ns = (last.usage.proxy_ns - first.usage.proxy_ns) + (last.usage.storage_ns - first.usage.storage_ns);
        let ours = to_f64(broker_ns) / 1e9 + last.own_seconds - first.own_seconds;
        self.latencies_us.sort_unstable();
        Ok(Outcome {
            messages_per_second: messages / elapsed,
            proxy_us: to_f64(last.usage.proxy_ns - first.usage.proxy_ns) / 1e3 / messages,
            storage_us: to_f64(last.usage.storage_ns - first.usage.storage_ns) / 1e3 / messages,
            proxy_switches: to_f64(last.usage.proxy_switches - first.usage.proxy_switches) / messages,
            p50_us: percentile(&self.latencies_us, 500),
            p99_us: percentile(&self.latencies_us, 990),
            p999_us: percentile(&self.latencies_us, 999),
            sent: self.sent,
            delivered: self.delivered,
            others_cpus: (last.machine_seconds - first.machine_seconds - ours) / elapsed,
        })
    }

    fn mark(&self, at: Duration) -> anyhow::Result<Mark> {
        Ok(Mark {
            at,
            delivered: self.delivered,
            usage: self.broker.usage()?,
            machine_seconds: machine_busy_seconds()?,
            own_seconds: own_cpu_seconds(),
        })
    }
}

/// A payload: when it was sent, and its place in its publisher's sequence.
pub(crate) fn payload(sent_at: Duration, sequence: u64) -> [u8; PAYLOAD_BYTES] {
    let mut payload = [0; PAYLOAD_BYTES];
    let nanoseconds = u64::try_from(sent_at.as_nanos()).unwrap_or(u64::MAX);
    payload[..8].copy_from_slice(&nanoseconds.to_le_bytes());
    payload[8..16].copy_from_slice(&sequence.to_le_bytes());
    payload
}

/// The time a payload was sent.
///
/// # Errors
/// Unless it is the `expected` one of its sequence: something was lost, doubled or overtaken.
pub(crate) fn read_payload(payload: &[u8], expected: u64) -> anyhow::Result<Duration> {
    let (Some((sent_at, rest)), true) = (payload.split_first_chunk(), payload.len() == PAYLOAD_BYTES) else {
        anyhow::bail!("a payload of {} bytes", payload.len())
    };
    let sequence = rest.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
    anyhow::ensure!(
        sequence == expected,
        "message {sequence} arrived where {expected} was next"
    );
    Ok(Duration::from_nanos(u64::from_le_bytes(*sent_at)))
}

pub(crate) fn percentile(sorted: &[u32], permille: usize) -> f64 {
    sorted
        .get(sorted.len().saturating_sub(1) * permille / 1_000)
        .map_or(f64::NAN, |value| f64::from(*value))
}

/// Exact below 2^53, which no counter here reaches.
#[allow(clippy::cast_precision_loss)]
fn to_f64(value: u64) -> f64 {
    value as f64
}
