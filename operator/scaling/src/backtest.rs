//! Replays a trace against policies, by a model so simple that anyone can recompute it.
//!
//! A decision at `t` sees samples up to `t`. Warm proxies serve at `t` + 1 s, others at `t` + the capacity delay, and the
//! warm pool is full again at `t` + the capacity delay; a proxy that goes is gone at `t`. One proxy carries each target x
//! (100 + tolerancePercent) %. The load of a row lasts until the next row. `docs/scaling.md` says it in full.

mod fleet;
mod hpa;
mod oracle;
mod score;

use std::time::Duration;

use crate::forecast::{Ahead, Peak};
use crate::number::{count_up, fraction};
use crate::pool::Pool;
use crate::sample::Sample;
use crate::scaler::Scaler;
use crate::settings::Settings;
use crate::signal::Signal;
use crate::trace::{Trace, TraceRow};

use fleet::Fleet;
use hpa::Hpa;
use score::Tally;

pub use score::Score;

/// What is scored: the two loads that a client notices when they are not carried.
const SCORED: [Signal; 2] = [Signal::Connections, Signal::PublishesInPerSecond];

/// How a trace is replayed.
#[derive(Debug, Clone, PartialEq)]
pub struct Backtest {
    /// How the cluster is scaled. `capacity_delay` is that of the model too.
    pub settings: Settings,
    /// The warm pool. Load sizes it for the policies that know the load as the scaler does; for the others it is `min`.
    pub pool: Pool,
    /// How much of the trace is learned from and not scored.
    pub history: Duration,
}

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The scaler.
    Freshet,
    /// The scaler without a forecast.
    Reactive,
    /// Kubernetes' HorizontalPodAutoscaler on CPU.
    Hpa,
    /// One who knows what comes.
    Oracle,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Freshet, Self::Reactive, Self::Hpa, Self::Oracle];

    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Freshet => "freshet",
            Self::Reactive => "reactive",
            Self::Hpa => "hpa",
            Self::Oracle => "oracle",
        }
    }
}

/// How things stood after the decision at one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimelineRow {
    /// The row's time.
    pub at: Duration,
    /// Active proxies asked for.
    pub desired: u32,
    /// Active proxies that serve.
    pub serving: u32,
    /// Proxies of the warm pool, started or starting.
    pub warm: u32,
    /// Whether the row is scored.
    pub is_scored: bool,
}

/// Replays the trace with one policy, and shows each row to `look`.
pub fn replay(trace: &Trace, backtest: &Backtest, policy: Policy, look: impl FnMut(&TimelineRow)) -> Score {
    let decider = Decider::new(policy, trace, &backtest.settings);
    replay_decider(trace, backtest, policy.name(), decider, look)
}

/// Replays the trace with the scaler and another forecast in place of its own. `foresee` is asked at each row; it is the
/// caller's to let it know nothing of later rows.
pub fn replay_foreseen(
    trace: &Trace,
    backtest: &Backtest,
    name: &str,
    foresee: &mut dyn FnMut(&Ahead) -> Option<Peak>,
) -> Score {
    let decider = Decider::Foreseen(reactive(&backtest.settings), foresee);
    replay_decider(trace, backtest, name, decider, |_| {})
}

fn replay_decider(
    trace: &Trace,
    backtest: &Backtest,
    name: &str,
    mut decider: Decider<'_>,
    mut look: impl FnMut(&TimelineRow),
) -> Score {
    let settings = &backtest.settings;
    let Some(first) = trace.rows.first() else {
        return Tally::default().score(name);
    };
    let bounded = |count: u32| count.clamp(settings.min, settings.max.max(settings.min));
    let mut desired = bounded(needed(first, settings, 1.0));
    let mut fleet = Fleet::new(desired, backtest.pool.min, settings.capacity_delay);
    let mut tally = Tally::default();
    for (index, row) in trace.rows.iter().enumerate() {
        fleet.advance(row.at);
        let next = bounded(decider.decide(index, row, desired, fleet.serving()));
        let is_scored = row.at >= first.at + backtest.history;
        fleet.ask(next, row.at);
        fleet.keep_warm(decider.decide_pool(row.at, backtest.pool, next, fleet.warm()), row.at);
        if is_scored {
            tally.change(desired, next, row.at, settings.windows.stable);
        }
        desired = next;
        let shown = TimelineRow {
            at: row.at,
            desired,
            serving: fleet.serving(),
            warm: fleet.warm(),
            is_scored,
        };
        if is_scored {
            tally.add(row, &shown, trace.step(index), settings);
        }
        look(&shown);
    }
    tally.score(name)
}

/// What one proxy carries of the signal before clients notice.
fn carried(settings: &Settings, signal: Signal) -> Option<f64> {
    let target = settings.targets[signal].filter(|target| *target > 0.0)?;
    Some(target * (1.0 + fraction(settings.behavior.tolerance_percent)))
}

/// Proxies that carry the row when each carries `share` of its targets.
fn needed(row: &TraceRow, settings: &Settings, share: f64) -> u32 {
    SCORED
        .into_iter()
        .filter_map(|signal| {
            let target = settings.targets[signal].filter(|target| *target > 0.0)?;
            Some(count_up(row.values[signal]? / (target * share)))
        })
        .max()
        .unwrap_or(0)
}

/// The scaler without a forecast of its own.
fn reactive(settings: &Settings) -> Box<Scaler> {
    let mut settings = settings.clone();
    settings.predict.enabled = false;
    Box::new(Scaler::new(settings))
}

fn sample(row: &TraceRow, serving: u32) -> Sample {
    Sample {
        at: row.at,
        proxies: Some(serving),
        values: row.values,
        round_trip_p99_ms: row.round_trip_p99_ms,
        ..Sample::default()
    }
}

/// A policy with what it remembers.
enum Decider<'a> {
    Scaler(Box<Scaler>),
    Foreseen(Box<Scaler>, &'a mut dyn FnMut(&Ahead) -> Option<Peak>),
    Hpa(Box<Hpa>),
    Oracle(Vec<u32>),
}

impl Decider<'_> {
    fn new(policy: Policy, trace: &Trace, settings: &Settings) -> Self {
        match policy {
            Policy::Freshet => Self::Scaler(Box::new(Scaler::new(settings.clone()))),
            Policy::Reactive => Self::Scaler(reactive(settings)),
            Policy::Hpa => Self::Hpa(Box::new(Hpa::new(settings.clone()))),
            Policy::Oracle => Self::Oracle(oracle::needed_within_delay(trace, settings)),
        }
    }

    fn decide(&mut self, index: usize, row: &TraceRow, desired: u32, serving: u32) -> u32 {
        match self {
            Self::Scaler(scaler) => {
                scaler.observe(&sample(row, serving));
                scaler.decide(row.at, desired).to
            }
            Self::Foreseen(scaler, foresee) => {
                scaler.observe(&sample(row, serving));
                scaler.decide_foreseen(row.at, desired, foresee).to
            }
            Self::Hpa(hpa) => hpa.decide(row, desired, serving),
            Self::Oracle(needed) => needed.get(index).copied().unwrap_or(desired),
        }
    }

    fn decide_pool(&mut self, now: Duration, pool: Pool, active: u32, current: u32) -> u32 {
        match self {
            Self::Scaler(scaler) | Self::Foreseen(scaler, _) => scaler.decide_pool(now, pool, active, current).proxies,
            Self::Hpa(_) | Self::Oracle(_) => pool.min,
        }
    }
}
