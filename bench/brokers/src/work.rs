//! The kinds of work, and which of their figures is compared.

use freshet_bench_load::{self as load, Outcome, Timing};

use crate::processes::Running;
use crate::report::Figure;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Work {
    /// 50 pairs at QoS 0.
    Pairs0,
    /// 50 pairs at QoS 1.
    Pairs1,
    /// 50 pairs at QoS 2.
    Pairs2,
    /// Publishes at QoS 1 that nobody listens to.
    Ingest,
    /// One publisher, 1,000 subscribers.
    FanOut,
    /// 50 pairs at an offered rate.
    Offered,
    /// 5,000 pairs at an offered rate.
    Sparse,
    /// CONNECT and CONNACK.
    Connects,
    /// Memory of clients that do nothing.
    Idle,
    /// All clients come back at once.
    Storm,
}

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) timing: Timing,
    /// Connections of [`Work::Connects`] and [`Work::Idle`].
    pub(crate) connections: u32,
    /// Clients of [`Work::Storm`].
    pub(crate) crowd: u32,
}

impl Work {
    pub(crate) const ALL: [Self; 10] = [
        Self::Pairs0,
        Self::Pairs1,
        Self::Pairs2,
        Self::Ingest,
        Self::FanOut,
        Self::Offered,
        Self::Sparse,
        Self::Connects,
        Self::Idle,
        Self::Storm,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Pairs0 => "50 pairs, QoS 0, window 20",
            Self::Pairs1 => "50 pairs, QoS 1, window 20",
            Self::Pairs2 => "50 pairs, QoS 2, window 20",
            Self::Ingest => "100 publishers, QoS 1, window 20, no subscriber",
            Self::FanOut => "fan-out 1 to 1,000, QoS 0, one message outstanding",
            Self::Offered => "50 pairs, 10,000 msg/s offered, QoS 1, window 20",
            Self::Sparse => "sparse: 5,000 pairs, 10,000 msg/s offered, QoS 1, window 1",
            Self::Connects => "CONNECT and CONNACK",
            Self::Idle => "memory of an idle connection",
            Self::Storm => "storm: all clients connect at once beside 50 pairs at work",
        }
    }

    /// Measures; the first figure is the one that is compared.
    ///
    /// # Errors
    /// When the broker fails or loses a message.
    pub(crate) fn measure(self, broker: &Running, amount: Amount, seed: u64) -> anyhow::Result<Vec<Figure>> {
        let Amount {
            timing,
            connections,
            crowd,
        } = amount;
        Ok(match self {
            Self::Pairs0 => figures(&load::pairs(broker, timing, seed, 0)?),
            Self::Pairs1 => figures(&load::pairs(broker, timing, seed, 1)?),
            Self::Pairs2 => figures(&load::pairs(broker, timing, seed, 2)?),
            Self::Ingest => figures(&load::ingest(broker, timing, seed)?),
            Self::FanOut => fan_out(broker, timing, seed)?,
            Self::Offered => figures(&load::offered(broker, timing, seed)?),
            Self::Sparse => figures(&load::sparse(broker, timing, seed)?),
            Self::Connects => {
                let connects = load::connects(broker, connections)?;
                vec![
                    ("CPU us/connection", connects.broker_us),
                    ("connections/s", connects.per_second),
                ]
            }
            Self::Idle => vec![("bytes/connection", load::idle_bytes(broker, connections)?)],
            Self::Storm => {
                let storm = load::storm(broker, crowd, seed)?;
                vec![
                    ("all in, s", storm.all_in_s),
                    ("others' P99 us", storm.p99_us),
                    ("others' P50 us", storm.p50_us),
                    ("P99 us before", storm.calm_p99_us),
                    // Exact below 2^53.
                    #[allow(clippy::cast_precision_loss)]
                    ("came again", storm.again as f64),
                ]
            }
        })
    }
}

/// With what storage has sent to proxies for each message, where it is apart.
fn fan_out(broker: &Running, timing: Timing, seed: u64) -> anyhow::Result<Vec<Figure>> {
    let sent = |metrics: Option<crate::metrics::Metrics>| metrics.map(|m| m.sum("deliveries_total")).transpose();
    let before = sent(broker.metrics()?)?;
    let outcome = load::fan_out(broker, timing, seed)?;
    let after = sent(broker.metrics()?)?;
    let mut figures = figures(&outcome);
    if let (Some(before), Some(after)) = (before, after) {
        let messages = outcome.sent / load::FAN_OUT_SUBSCRIBERS;
        // Exact below 2^53.
        #[allow(clippy::cast_precision_loss)]
        figures.push(("copies to proxies/message", (after - before) as f64 / messages as f64));
    }
    Ok(figures)
}

fn figures(outcome: &Outcome) -> Vec<Figure> {
    vec![
        ("CPU us/message", outcome.proxy_us + outcome.storage_us),
        ("messages/s", outcome.messages_per_second),
        ("P50 us", outcome.p50_us),
        ("P99 us", outcome.p99_us),
        ("P99.9 us", outcome.p999_us),
        ("others' CPUs", outcome.others_cpus),
    ]
}
