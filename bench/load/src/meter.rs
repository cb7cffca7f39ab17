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
    /// Where clients connect, in turns.
    fn addresses(&self) -> &[SocketAddr];

    /// What its processes have used since their start.
    ///
    /// # Errors
    /// When one has ended.
    fn usage(&self) -> anyhow::Result<Usage>;

    /// What its processes hold.
    ///
    /// # Errors
    /// When one has ended.
    fn memory(&self) -> anyhow::Result<Memory>;
}

/// Memory of a broker at one moment, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Anonymous and resident, of the processes that clients are connected to.
    pub proxy_bytes: u64,
    /// The same of those behind it.
    pub storage_bytes: u64,
    /// Of the cgroup that all of them are in by themselves, with what the kernel holds for them; none: they have none.
    pub cgroup_bytes: Option<u64>,
}

impl Memory {
    /// Of all processes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.proxy_bytes + self.storage_bytes
    }
}

/// CPU time, user and system, and times that a thread went to sleep.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Of the processes that clients are connected to.
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
    /// CPU of the processes that clients are connected to, for each message.
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
    /// From the publish to its acknowledgement, where that is looked at.
    pub acknowledged: Percentiles,
    /// Of the whole run, warm-up and end included; equal, or the measurement failed.
    pub sent: u64,
    /// As above.
    pub delivered: u64,
    /// CPU that neither broker nor load used, as a share of one CPU: the disturbance.
    pub others_cpus: f64,
}

/// Of latencies, in microseconds; not a number when there were none.
#[derive(Debug, Clone, Copy)]
pub struct Percentiles {
    /// Half of them are below.
    pub p50_us: f64,
    /// 99 of 100 are below.
    pub p99_us: f64,
    /// 999 of 1,000 are below.
    pub p999_us: f64,
}

impl Percentiles {
    /// Of these.
    #[must_use]
    pub fn of_times(times: &[Duration]) -> Self {
        Self::of(&mut times.iter().copied().map(micros).collect::<Vec<_>>())
    }

    /// Of these microseconds, which are sorted.
    pub(crate) fn of(latencies_us: &mut [u32]) -> Self {
        latencies_us.sort_unstable();
        Self {
            p50_us: percentile(latencies_us, 500),
            p99_us: percentile(latencies_us, 990),
            p999_us: percentile(latencies_us, 999),
        }
    }
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
    acknowledged_us: Vec<u32>,
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
            acknowledged_us: Vec::new(),
            sent: 0,
            delivered: 0,
        }
    }

    /// Notes a delivery that was sent at `sent_at`.
    pub(crate) fn deliver(&mut self, sent_at: Duration, now: Duration) {
        self.delivered += 1;
        if self.phase == Phase::Measured && self.latencies_us.len() < MAX_LATENCIES {
            self.latencies_us.push(micros(now.saturating_sub(sent_at)));
        }
    }

    /// Notes the acknowledgement of what was sent at `sent_at`.
    pub(crate) fn acknowledge(&mut self, sent_at: Duration, now: Duration) {
        if self.phase == Phase::Measured && self.acknowledged_us.len() < MAX_LATENCIES {
            self.acknowledged_us.push(micros(now.saturating_sub(sent_at)));
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
        let delivered = Percentiles::of(&mut self.latencies_us);
        Ok(Outcome {
            messages_per_second: messages / elapsed,
            proxy_us: to_f64(last.usage.proxy_ns - first.usage.proxy_ns) / 1e3 / messages,
            storage_us: to_f64(last.usage.storage_ns - first.usage.storage_ns) / 1e3 / messages,
            proxy_switches: to_f64(last.usage.proxy_switches - first.usage.proxy_switches) / messages,
            p50_us: delivered.p50_us,
            p99_us: delivered.p99_us,
            p999_us: delivered.p999_us,
            acknowledged: Percentiles::of(&mut self.acknowledged_us),
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

pub(crate) fn micros(latency: Duration) -> u32 {
    u32::try_from(latency.as_micros()).unwrap_or(u32::MAX)
}

/// A payload: when it was sent, and its place in its publisher's sequence.
pub(crate) fn payload(sent_at: Duration, sequence: u64) -> [u8; PAYLOAD_BYTES] {
    let mut payload = [0; PAYLOAD_BYTES];
    let nanoseconds = u64::try_from(sent_at.as_nanos()).unwrap_or(u64::MAX);
    payload[..8].copy_from_slice(&nanoseconds.to_le_bytes());
    payload[8..16].copy_from_slice(&sequence.to_le_bytes());
    payload
}

/// The same in so many bytes, 16 at least.
pub(crate) fn payload_of(bytes: usize, sent_at: Duration, sequence: u64) -> Vec<u8> {
    let head = payload(sent_at, sequence);
    let mut payload = vec![0; bytes];
    let room = bytes.min(head.len());
    payload[..room].copy_from_slice(&head[..room]);
    payload
}

/// The time a payload was sent.
///
/// # Errors
/// Unless it is the `expected` one of its sequence: something was lost, doubled or overtaken.
pub(crate) fn read_payload(payload: &[u8], expected: u64) -> anyhow::Result<Duration> {
    let (sent_at, sequence) = parse_payload(payload, PAYLOAD_BYTES)?;
    anyhow::ensure!(
        sequence == expected,
        "message {sequence} arrived where {expected} was next"
    );
    Ok(sent_at)
}

/// The time a payload was sent, and its place in its sequence.
///
/// # Errors
/// When it is not of so many bytes, 16 at least.
pub(crate) fn parse_payload(payload: &[u8], bytes: usize) -> anyhow::Result<(Duration, u64)> {
    let split = payload.split_first_chunk().filter(|_| payload.len() == bytes);
    let sequence = split.and_then(|(_, rest)| rest.first_chunk());
    let (Some((sent_at, _)), Some(sequence)) = (split, sequence) else {
        anyhow::bail!("a payload of {} bytes", payload.len())
    };
    let sent_at = Duration::from_nanos(u64::from_le_bytes(*sent_at));
    Ok((sent_at, u64::from_le_bytes(*sequence)))
}

fn percentile(sorted: &[u32], permille: usize) -> f64 {
    sorted
        .get(sorted.len().saturating_sub(1) * permille / 1_000)
        .map_or(f64::NAN, |value| f64::from(*value))
}

/// Exact below 2^53, which no counter here reaches.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn to_f64(value: u64) -> f64 {
    value as f64
}
