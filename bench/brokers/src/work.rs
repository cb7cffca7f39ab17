//! The kinds of work, and which of their figures is compared.

use std::time::Duration;

use freshet_bench_load::{self as load, Bystanders, Each, InTurns, Outcome, Timing};

use crate::brokers::Kind;
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
    /// The same with eight messages outstanding.
    FanOut8,
    /// A shared subscription of eight members.
    Shared,
    /// One member that works on each message, and eight.
    Members,
    /// 50 pairs at an offered rate.
    Offered,
    /// 5,000 pairs at an offered rate.
    Sparse,
    /// CONNECT and CONNACK.
    Connects,
    /// Memory of clients that do nothing.
    Idle,
    /// Memory of clients that do nothing, with a filter each.
    IdleFilter,
    /// Memory of filters `dev/ID/#`.
    Subtrees,
    /// All clients come back at once.
    Storm,
    /// Memory behind a burst to each client.
    Burst,
    /// Memory of retained messages.
    Retained,
    /// 50 pairs beside idle connections.
    BesideConnections,
    /// 50 pairs beside exact filters that do not match.
    BesideFilters,
    /// 50 pairs beside filters with wildcards that do not match.
    BesideWildcards,
    /// 50 pairs beside filters `dev/ID/#`.
    BesideSubtrees,
    /// 50 pairs beside subscribers that do not read.
    BesideStopped,
}

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) timing: Timing,
    /// Connections of [`Work::Connects`], and of all works of idle ones.
    pub(crate) connections: u32,
    /// Clients of [`Work::Storm`].
    pub(crate) crowd: u32,
    /// Filters of [`Work::Subtrees`], and of those beside pairs where there are many.
    pub(crate) filters: u32,
    /// Filters with wildcards beside pairs.
    pub(crate) wildcards: u32,
    /// Messages of [`Work::Retained`].
    pub(crate) retained: u32,
    /// Subscribers of [`Work::BesideStopped`].
    pub(crate) stopped: u32,
    /// How long memory may take to come back.
    pub(crate) rest: Duration,
}

/// What growth is compared with, in connections and filters.
const FEW: u32 = 10;
/// Messages outstanding of [`Work::FanOut8`].
const OUTSTANDING: u64 = 8;
const MB: f64 = 1e6;

impl Work {
    pub(crate) const ALL: [Self; 22] = [
        Self::Pairs0,
        Self::Pairs1,
        Self::Pairs2,
        Self::Ingest,
        Self::FanOut,
        Self::FanOut8,
        Self::Shared,
        Self::Members,
        Self::Offered,
        Self::Sparse,
        Self::Connects,
        Self::Idle,
        Self::IdleFilter,
        Self::Subtrees,
        Self::Storm,
        Self::Burst,
        Self::Retained,
        Self::BesideConnections,
        Self::BesideFilters,
        Self::BesideWildcards,
        Self::BesideSubtrees,
        Self::BesideStopped,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Pairs0 => "50 pairs, QoS 0, window 20",
            Self::Pairs1 => "50 pairs, QoS 1, window 20",
            Self::Pairs2 => "50 pairs, QoS 2, window 20",
            Self::Ingest => "100 publishers, QoS 1, window 20, no subscriber",
            Self::FanOut => "fan-out 1 to 1,000, QoS 0, one message outstanding",
            Self::FanOut8 => "fan-out 1 to 1,000, QoS 0, eight messages outstanding",
            Self::Shared => "50 publishers to 8 members of a shared subscription, QoS 1, window 20",
            Self::Members => "a shared subscription of 1 and of 8 members that work 1 ms on each message",
            Self::Offered => "50 pairs, 10,000 msg/s offered, QoS 1, window 20",
            Self::Sparse => "sparse: 5,000 pairs, 10,000 msg/s offered, QoS 1, window 1",
            Self::Connects => "CONNECT and CONNACK",
            Self::Idle => "memory of an idle connection",
            Self::IdleFilter => "memory of an idle connection with a filter of its own",
            Self::Subtrees => "memory of a filter dev/ID/#",
            Self::Storm => "storm: all clients connect at once beside 50 pairs at work",
            Self::Burst => "memory of an idle connection behind a burst of 64 KiB to each",
            Self::Retained => "memory of a retained message",
            Self::BesideConnections => "50 pairs, QoS 1, window 20, beside few and many idle connections",
            Self::BesideFilters => "50 pairs, QoS 1, window 20, beside few and many exact filters",
            Self::BesideWildcards => "50 pairs, QoS 1, window 20, beside few and many filters with wildcards",
            Self::BesideSubtrees => "50 pairs, QoS 1, window 20, beside few and many filters dev/ID/#",
            Self::BesideStopped => {
                "50 pairs, 10,000 msg/s offered, QoS 1, without and beside subscribers that do not read"
            }
        }
    }

    /// What is asked of Freshet at full size, where a table does not say it by itself.
    pub(crate) fn goal(self) -> Option<&'static str> {
        Some(match self {
            Self::FanOut8 => "a quarter less CPU than with one outstanding.",
            Self::Shared => "as many messages as pairs.",
            Self::Members => "0.8 of linear.",
            Self::IdleFilter => "0.7 of Mosquitto.",
            Self::Subtrees => "300 bytes each.",
            Self::Burst => "1.3 times idle, 60 s later.",
            Self::Retained => "of 1,000,000: 300 MB.",
            Self::BesideConnections => "beside 10,000 at most 1.1 times the CPU of a message beside 10.",
            Self::BesideFilters | Self::BesideSubtrees => {
                "beside 100,000 at most 1.2 times the CPU of a message beside 10."
            }
            Self::BesideWildcards => "beside 1,000 at most 1.2 times the CPU of a message beside 10.",
            Self::BesideStopped => "at most 1.2 times the CPU, P99 unchanged.",
            _ => return None,
        })
    }

    /// Whether it is done in a few rounds only: it takes a minute, or compares within itself.
    pub(crate) fn is_long(self) -> bool {
        match self {
            Self::Idle | Self::IdleFilter | Self::Subtrees | Self::Burst | Self::Retained => true,
            _ => self.is_in_turns(),
        }
    }

    fn is_in_turns(self) -> bool {
        matches!(
            self,
            Self::Members
                | Self::BesideConnections
                | Self::BesideFilters
                | Self::BesideWildcards
                | Self::BesideSubtrees
                | Self::BesideStopped
        )
    }

    /// Why a broker has no figure here; none: it has.
    pub(crate) fn why_not(self, broker: Kind) -> Option<&'static str> {
        match (self, broker) {
            (Self::Shared | Self::Members, Kind::Nats) => Some("not run: it has no shared subscriptions"),
            (Self::Burst, Kind::Nats) => {
                Some("not run: a session is a consumer, of which it has 1,000 at most by default")
            }
            (Self::Shared | Self::Members | Self::Subtrees | Self::Retained | Self::Burst, Kind::Floor) => {
                Some("not run: it knows literal filters only and keeps nothing")
            }
            (_, Kind::Mochi | Kind::Nats | Kind::Floor) if self.is_in_turns() => {
                Some("not run: what is asked for is a ratio of a broker to itself")
            }
            _ => None,
        }
    }

    /// Measures; the first figure is the one that is compared.
    ///
    /// # Errors
    /// When the broker fails or loses a message.
    pub(crate) fn measure(self, broker: &Running, amount: Amount, seed: u64) -> anyhow::Result<Vec<Figure>> {
        let Amount {
            timing, connections, ..
        } = amount;
        let beside = |kind, many| -> anyhow::Result<Vec<Figure>> {
            Ok(growth(&load::growth(broker, timing, seed, kind, (FEW, many))?))
        };
        Ok(match self {
            Self::Pairs0 => figures(&load::pairs(broker, timing, seed, 0)?),
            Self::Pairs1 => figures(&load::pairs(broker, timing, seed, 1)?),
            Self::Pairs2 => figures(&load::pairs(broker, timing, seed, 2)?),
            Self::Ingest => figures(&load::ingest(broker, timing, seed)?),
            Self::FanOut => fan_out(broker, timing, seed)?,
            Self::FanOut8 => {
                let turns = load::fan_out_in_turns(broker, timing, seed, OUTSTANDING)?;
                compared(&turns, "to one outstanding", cpu_us)
            }
            Self::Shared => {
                let turns = load::shared_in_turns(broker, timing, seed)?;
                compared(&turns, "messages/s to pairs", |outcome| outcome.messages_per_second)
            }
            Self::Members => {
                let turns = load::members_in_turns(broker, timing, seed)?;
                let rate = |outcome: &Outcome| outcome.messages_per_second;
                // Eight.
                #[allow(clippy::cast_precision_loss)]
                let members = load::MEMBERS as f64;
                vec![
                    ("of linear", turns.ratio(rate) / members),
                    ("one: messages/s", load::mean(turns.first, rate)),
                    ("eight: messages/s", load::mean(turns.second, rate)),
                    ("one: P99 us", load::mean(turns.first, |outcome| outcome.p99_us)),
                    ("eight: P99 us", load::mean(turns.second, |outcome| outcome.p99_us)),
                ]
            }
            Self::Offered => figures(&load::offered(broker, timing, seed)?),
            Self::Sparse => figures(&load::sparse(broker, timing, seed)?),
            Self::Connects => {
                let connects = load::connects(broker, connections)?;
                vec![
                    ("CPU us/connection", connects.broker_us),
                    ("connections/s", connects.per_second),
                ]
            }
            Self::Idle => memory("bytes/connection", load::idle(broker, connections, false)?),
            Self::IdleFilter => memory("bytes/connection", load::idle(broker, connections, true)?),
            Self::Subtrees => memory("bytes/filter", load::subtrees(broker, amount.filters)?),
            Self::Storm => {
                let storm = load::storm(broker, amount.crowd, seed)?;
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
            Self::Burst => {
                let burst = load::burst(broker, connections, amount.rest, seed)?;
                let mut figures = memory("bytes/connection", burst.after);
                figures.extend([
                    ("to idle", burst.after.resident_bytes / burst.idle.resident_bytes),
                    ("whole to idle", burst.whole_ratio),
                    ("idle: bytes/connection", burst.idle.resident_bytes),
                    ("full: bytes/connection", burst.full.resident_bytes),
                ]);
                let cgroup = burst.idle.cgroup_bytes.zip(burst.full.cgroup_bytes);
                figures.extend(
                    cgroup
                        .into_iter()
                        .flat_map(|(idle, full)| [("idle: in its cgroup", idle), ("full: in its cgroup", full)]),
                );
                figures
            }
            Self::Retained => {
                let retained = load::retained(broker, amount.retained, amount.rest, seed)?;
                let mut figures = memory("bytes/message", retained.each);
                figures.extend([
                    ("whole MB", retained.whole_bytes / MB),
                    ("retained/s", retained.kept_per_second),
                    ("topic bytes", retained.topic_bytes),
                ]);
                figures
            }
            Self::BesideConnections => beside(Bystanders::Connections, connections)?,
            Self::BesideFilters => beside(Bystanders::Filters, amount.filters)?,
            Self::BesideWildcards => beside(Bystanders::Wildcards, amount.wildcards)?,
            Self::BesideSubtrees => beside(Bystanders::Subtrees, amount.filters)?,
            Self::BesideStopped => {
                let turns = load::stopped(broker, timing, seed, amount.stopped)?;
                let acknowledged = |outcome: &Outcome| outcome.acknowledged.p99_us;
                let mut figures = growth(&turns);
                figures.extend([
                    ("their publisher's P99 us, few", load::mean(turns.first, acknowledged)),
                    ("their publisher's P99 us, many", load::mean(turns.second, acknowledged)),
                ]);
                figures
            }
        })
    }
}

fn cpu_us(outcome: &Outcome) -> f64 {
    outcome.proxy_us + outcome.storage_us
}

/// What a piece takes by the name of its column, where of it, and with what the kernel holds for it.
fn memory(name: &'static str, each: Each) -> Vec<Figure> {
    let mut figures = vec![(name, each.resident_bytes)];
    if each.storage_bytes > 0.0 {
        figures.push(("of it in storage", each.storage_bytes));
    }
    figures.extend(each.cgroup_bytes.map(|bytes| ("in its cgroup", bytes)));
    figures
}

/// What a message costs beside many, over what it costs beside few.
fn growth(turns: &InTurns) -> Vec<Figure> {
    let p99 = |outcome: &Outcome| outcome.p99_us;
    vec![
        ("CPU, many/few", turns.ratio(cpu_us)),
        ("P99, many/few", turns.ratio(p99)),
        ("few: CPU us/message", load::mean(turns.first, cpu_us)),
        ("many: CPU us/message", load::mean(turns.second, cpu_us)),
        ("few: P99 us", load::mean(turns.first, p99)),
        ("many: P99 us", load::mean(turns.second, p99)),
        ("others' CPUs", load::mean(turns.second, |outcome| outcome.others_cpus)),
    ]
}

/// The second of two, with what of it is compared with the first.
fn compared(turns: &InTurns, ratio: &'static str, of: impl Fn(&Outcome) -> f64) -> Vec<Figure> {
    let mean = |figure: fn(&Outcome) -> f64| load::mean(turns.second, figure);
    vec![
        ("CPU us/message", mean(cpu_us)),
        (ratio, turns.ratio(of)),
        ("messages/s", mean(|outcome| outcome.messages_per_second)),
        ("P50 us", mean(|outcome| outcome.p50_us)),
        ("P99 us", mean(|outcome| outcome.p99_us)),
        ("others' CPUs", mean(|outcome| outcome.others_cpus)),
    ]
}

/// With what storage has sent to proxies for each message, where it is apart.
fn fan_out(broker: &Running, timing: Timing, seed: u64) -> anyhow::Result<Vec<Figure>> {
    let sent = |metrics: Option<crate::metrics::Metrics>| metrics.map(|m| m.sum("deliveries_total")).transpose();
    let before = sent(broker.metrics()?)?;
    let outcome = load::fan_out(broker, timing, seed, 1)?;
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
        ("CPU us/message", cpu_us(outcome)),
        ("messages/s", outcome.messages_per_second),
        ("P50 us", outcome.p50_us),
        ("P99 us", outcome.p99_us),
        ("P99.9 us", outcome.p999_us),
        ("others' CPUs", outcome.others_cpus),
    ]
}
