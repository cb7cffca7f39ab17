//! How much happens in a minute, as an average that forgets: what happened a minute ago counts a third.

use std::fmt;
use std::time::Duration;

use freshet_storage_contract::ProxyReport;

const MINUTE_S: f64 = 60.0;

/// Averages of what proxies report.
#[derive(Debug, Default)]
pub(super) struct Loads {
    pub(super) packets_received: Load,
    pub(super) packets_sent: Load,
    pub(super) publishes_received: Load,
    pub(super) publishes_sent: Load,
    pub(super) connects: Load,
}

impl Loads {
    /// `total` is what has been done since the start, `elapsed` how long ago the last call was.
    pub(super) fn observe(&mut self, total: &ProxyReport, elapsed: Duration) {
        self.packets_received.observe(total.packets_received, elapsed);
        self.packets_sent.observe(total.packets_sent, elapsed);
        self.publishes_received.observe(total.publishes_received, elapsed);
        self.publishes_sent.observe(total.publishes_sent, elapsed);
        self.connects.observe(total.connects, elapsed);
    }
}

/// One average, per minute.
#[derive(Debug, Default)]
pub(super) struct Load {
    per_minute: f64,
    total: u64,
}

impl Load {
    fn observe(&mut self, total: u64, elapsed: Duration) {
        let elapsed_s = elapsed.as_secs_f64();
        let count = total.saturating_sub(std::mem::replace(&mut self.total, total));
        if elapsed_s <= 0.0 {
            return;
        }
        let now = f64::from(u32::try_from(count).unwrap_or(u32::MAX)) * MINUTE_S / elapsed_s;
        self.per_minute = now + (self.per_minute - now) * (-elapsed_s / MINUTE_S).exp();
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", self.per_minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_load_is_approached_and_a_silent_minute_leaves_a_third() {
        let mut load = Load::default();
        for round in 1..=60 {
            load.observe(round * 100, Duration::from_secs(10));
        }
        assert_eq!(load.to_string(), "599.97");
        for _ in 0..6 {
            load.observe(6_000, Duration::from_secs(10));
        }
        assert_eq!(load.to_string(), "220.72");
    }

    #[test]
    fn two_looks_at_the_same_moment_do_no_harm() {
        let mut load = Load::default();
        load.observe(100, Duration::ZERO);
        assert_eq!(load.to_string(), "0.00");
    }
}
