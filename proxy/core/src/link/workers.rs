//! A set of workers of one proxy, as bits.

use crate::exchange::WorkerId;

/// Workers that a proxy may have: the bits of a [`WorkerSet`].
pub const MAX_WORKERS: u16 = 64;

/// Some workers of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct WorkerSet(u64);

impl WorkerSet {
    pub(super) fn insert(&mut self, worker: WorkerId) {
        self.0 |= Self::bit(worker);
    }

    pub(super) fn remove(&mut self, worker: WorkerId) {
        self.0 &= !Self::bit(worker);
    }

    pub(super) fn contains(self, worker: WorkerId) -> bool {
        self.0 & Self::bit(worker) != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn iter(self) -> impl Iterator<Item = WorkerId> {
        (0..MAX_WORKERS).map(WorkerId).filter(move |w| self.contains(*w))
    }

    /// Workers beyond [`MAX_WORKERS`] do not exist: the link refuses to be made with more.
    fn bit(worker: WorkerId) -> u64 {
        1_u64.checked_shl(u32::from(worker.0)).unwrap_or(0)
    }
}
