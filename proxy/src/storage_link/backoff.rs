//! How long a proxy waits before it tries to reach storage again.

use std::time::Duration;

/// First pause after a loss.
const MIN: Duration = Duration::from_millis(50);
/// Longest pause while storage cannot be reached: half of the time for which storage that comes back waits, from its first
/// proxy on, until all have named their interest and their clients.
const MAX: Duration = Duration::from_millis(500);
/// Pause after a refusal that stays until somebody acts.
pub(super) const AFTER_REFUSAL: Duration = Duration::from_secs(10);

/// Doubling pauses with jitter, so that the proxies of a cluster do not come back in one moment.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    jitter: u64,
}

impl Backoff {
    /// `seed` is random: it makes this proxy's pauses differ from others'.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            next: MIN,
            jitter: seed,
        }
    }

    /// The pause before the next attempt: between half and all of the present step.
    pub(super) fn next_pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(MAX);
        step / 2 + self.spread(step / 2)
    }

    /// Spreads `most` evenly.
    pub(super) fn spread(&mut self, most: Duration) -> Duration {
        // SplitMix64: enough to keep proxies apart.
        self.jitter = self.jitter.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.jitter;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let part = (z ^ (z >> 31)) >> 32;
        most.mul_f64(part as f64 / f64::from(u32::MAX))
    }

    /// Storage was reached.
    pub(super) fn reset(&mut self) {
        self.next = MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_second_and_begin_anew_after_success() {
        let mut backoff = Backoff::new(7);
        for step_ms in [50, 100, 200, 400, 500, 500] {
            let step = Duration::from_millis(step_ms);
            let pause = backoff.next_pause();
            assert!(pause >= step / 2 && pause <= step, "{pause:?} in the step of {step:?}");
        }
        backoff.reset();
        assert!(backoff.next_pause() <= MIN);
    }

    #[test]
    fn two_proxies_do_not_come_back_in_one_moment() {
        assert_ne!(Backoff::new(1).next_pause(), Backoff::new(2).next_pause());
    }
}
