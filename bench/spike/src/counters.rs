//! What the proxy counts about itself; the measuring process reads it when the proxy ends.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A worker's own numbers, plain because only its thread touches them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) turns: u64,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) batches: u64,
    /// eventfd writes towards other workers.
    pub(crate) bells: u64,
}

/// The same numbers for the control thread, written once per turn.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    turns: AtomicU64,
    published: AtomicU64,
    delivered: AtomicU64,
    batches: AtomicU64,
    bells: AtomicU64,
    /// eventfd writes of driver C's storage thread; that thread adds to it itself.
    storage_bells: AtomicU64,
}

impl Counters {
    pub(crate) fn publish(&self, tally: &Tally) {
        self.turns.store(tally.turns, Ordering::Relaxed);
        self.published.store(tally.published, Ordering::Relaxed);
        self.delivered.store(tally.delivered, Ordering::Relaxed);
        self.batches.store(tally.batches, Ordering::Relaxed);
        self.bells.store(tally.bells, Ordering::Relaxed);
    }

    pub(crate) fn count_storage_bell(&self) {
        self.storage_bells.fetch_add(1, Ordering::Relaxed);
    }
}

/// The sum over workers, as one line of `name=value`.
pub(crate) struct Total<'a>(pub(crate) &'a [std::sync::Arc<Counters>]);

impl fmt::Display for Total<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum =
            |of: fn(&Counters) -> &AtomicU64| -> u64 { self.0.iter().map(|c| of(c).load(Ordering::Relaxed)).sum() };
        write!(
            f,
            "turns={} published={} delivered={} batches={} worker_bells={} storage_bells={}",
            sum(|c| &c.turns),
            sum(|c| &c.published),
            sum(|c| &c.delivered),
            sum(|c| &c.batches),
            sum(|c| &c.bells),
            sum(|c| &c.storage_bells),
        )
    }
}
