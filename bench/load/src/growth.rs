//! Whether a message costs more because of what is beside it: the same load with few and with many bystanders, in turns.

use std::time::{Duration, Instant};

use super::Timing;
use super::bystanders::Bystanders;
use super::fan_out::fan_out;
use super::meter::{Broker, Outcome};
use super::pairs::pairs;

/// A broker that has nothing to do is waited for no longer.
const CALMS_WITHIN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);
/// A broker that uses less than this between two looks does nothing.
const CALM: Duration = Duration::from_millis(5);

/// Two pieces of work, each done twice, in turns: machines drift, and neither is to have the better half.
#[derive(Debug, Clone, Copy)]
pub struct InTurns {
    /// What is compared with.
    pub first: [Outcome; 2],
    /// What is compared.
    pub second: [Outcome; 2],
}

impl InTurns {
    /// Does them: first, second, first, second.
    ///
    /// # Errors
    /// What the work fails with.
    pub(crate) fn run(
        mut first: impl FnMut() -> anyhow::Result<Outcome>,
        mut second: impl FnMut() -> anyhow::Result<Outcome>,
    ) -> anyhow::Result<Self> {
        let (a, b) = (first()?, second()?);
        let (c, d) = (first()?, second()?);
        Ok(Self {
            first: [a, c],
            second: [b, d],
        })
    }

    /// A figure of the second over that of the first.
    #[must_use]
    pub fn ratio(&self, figure: impl Fn(&Outcome) -> f64) -> f64 {
        mean(self.second, &figure) / mean(self.first, &figure)
    }
}

/// The mean of a figure.
#[must_use]
pub fn mean(outcomes: [Outcome; 2], figure: impl Fn(&Outcome) -> f64) -> f64 {
    f64::midpoint(figure(&outcomes[0]), figure(&outcomes[1]))
}

/// 50 pairs at QoS 1 beside few and beside many.
///
/// # Errors
/// When a message is lost, doubled or overtaken, or the broker fails.
pub fn growth(
    broker: &dyn Broker,
    timing: Timing,
    seed: u64,
    kind: Bystanders,
    (few, many): (u32, u32),
) -> anyhow::Result<InTurns> {
    let beside = |name: &str, count: u32| {
        let bystanders = kind.connect(broker, name, usize::try_from(count)?)?;
        await_calm(broker)?;
        let outcome = pairs(broker, timing, seed, 1);
        drop(bystanders);
        await_calm(broker)?;
        outcome
    };
    InTurns::run(|| beside("few", few), || beside("many", many))
}

/// A fan-out with one message outstanding, and with so many.
///
/// # Errors
/// As [`growth`].
pub fn fan_out_in_turns(broker: &dyn Broker, timing: Timing, seed: u64, outstanding: u64) -> anyhow::Result<InTurns> {
    InTurns::run(
        || fan_out(broker, timing, seed, 1),
        || fan_out(broker, timing, seed, outstanding),
    )
}

/// Waits until the broker has nothing to do any more.
///
/// # Errors
/// When a process of it has ended.
#[allow(
    clippy::disallowed_methods,
    reason = "a process is looked at over time, with a deadline"
)]
pub(crate) fn await_calm(broker: &dyn Broker) -> anyhow::Result<()> {
    let until = Instant::now() + CALMS_WITHIN;
    let used = || -> anyhow::Result<Duration> {
        let usage = broker.usage()?;
        Ok(Duration::from_nanos(usage.proxy_ns + usage.storage_ns))
    };
    let mut before = used()?;
    loop {
        std::thread::sleep(LOOK);
        let now = used()?;
        if now.saturating_sub(before) < CALM || Instant::now() > until {
            return Ok(());
        }
        before = now;
    }
}
