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
        let mut left = self.0;
        std::iter::from_fn(move || {
            let worker = u16::try_from(left.trailing_zeros()).ok().filter(|w| *w < MAX_WORKERS)?;
            // Takes the lowest bit away.
            left &= left.wrapping_sub(1);
            Some(WorkerId(worker))
        })
    }

    /// Workers beyond [`MAX_WORKERS`] do not exist: the link refuses to be made with more.
    fn bit(worker: WorkerId) -> u64 {
        1_u64.checked_shl(u32::from(worker.0)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_come_in_order_up_to_the_last_one() {
        let mut workers = WorkerSet::default();
        assert_eq!(workers.iter().next(), None);
        for worker in [63, 0, 5, 64] {
            workers.insert(WorkerId(worker));
        }
        workers.remove(WorkerId(5));
        let all: Vec<u16> = workers.iter().map(|worker| worker.0).collect();
        assert_eq!(all, [0, 63]);
    }
}
