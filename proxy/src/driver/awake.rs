//! Since when a worker's thread is awake: what has come since then may have waited, because the thread was at work, or
//! because it may use no more CPU for now (`cpu.max`), which is what waiting for a throttled proxy mostly is.
//!
//! Told by the runtime when it parks the thread. That the thread is not given CPU at the moment at which something wakes it
//! is not seen: a process that is throttled is so mostly because of this thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use freshet_storage_contract::MonotonicMs;

use crate::clock::Clock;

/// A sleep shorter than this, of two readings of a clock of milliseconds, may have been none: what was there already ends it
/// at once.
const LEAST_SLEEP: Duration = Duration::from_millis(2);

/// Shared by a thread with the hooks of its runtime; copies tell the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Awake(Arc<Times>);

#[derive(Debug, Default)]
struct Times {
    parked_at_ms: AtomicU64,
    since_ms: AtomicU64,
}

impl Awake {
    /// Lets a runtime of one thread tell.
    pub(super) fn watch(&self, builder: &mut tokio::runtime::Builder, clock: Clock) {
        let (parking, waking) = (self.clone(), self.clone());
        builder
            .on_thread_park(move || parking.park(clock.now()))
            .on_thread_unpark(move || waking.wake_up(clock.now()));
    }

    /// The end of the last sleep.
    pub(super) fn since(&self) -> MonotonicMs {
        MonotonicMs(self.0.since_ms.load(Ordering::Relaxed))
    }

    fn park(&self, now: MonotonicMs) {
        self.0.parked_at_ms.store(now.0, Ordering::Relaxed);
    }

    fn wake_up(&self, now: MonotonicMs) {
        let parked_at = MonotonicMs(self.0.parked_at_ms.load(Ordering::Relaxed));
        if now.since(parked_at) >= LEAST_SLEEP {
            self.0.since_ms.store(now.0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_begins_anew_and_a_nap_does_not() {
        let awake = Awake::default();
        for (parked, woken, since) in [(10, 11, 0), (20, 22, 22), (23, 24, 22), (24, 90, 90)] {
            awake.park(MonotonicMs(parked));
            awake.wake_up(MonotonicMs(woken));
            assert_eq!(awake.since(), MonotonicMs(since));
        }
    }

    #[test]
    fn a_runtime_tells_when_its_thread_has_slept() {
        let (awake, clock) = (Awake::default(), Clock::start());
        let mut builder = tokio::runtime::Builder::new_current_thread();
        awake.watch(builder.enable_time(), clock);
        let runtime = builder.build().unwrap();
        let slept = Duration::from_millis(20);
        runtime.block_on(async { tokio::time::sleep(slept).await });
        let since = awake.since();
        assert!(since >= MonotonicMs(20) && since <= clock.now(), "{since:?}");
        runtime.block_on(async {
            let began = std::time::Instant::now();
            while began.elapsed() < slept {
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(awake.since(), since, "it was at work");
    }
}
