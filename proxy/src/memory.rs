//! How a proxy's memory budget is divided into the bounds of its parts.
//!
//! The budget comes from configuration, the size of an active proxy, never from what the process finds at its start: a
//! warm proxy has less memory than it will have when it serves.

/// Bounds of one proxy, in bytes. All of them full at once stay below the budget; the rest is connections' fixed
/// state, filters and the allocator's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryBounds {
    /// Publications without outcome, per worker.
    pub(crate) outstanding_publish_bytes: u64,
    /// Messages queued towards clients, per worker.
    pub(crate) outbound_bytes: u64,
    /// Incomplete and waiting packets, per worker.
    pub(crate) input_bytes: u64,
    /// Deliveries on their way from storage, per proxy.
    pub(crate) delivery_credit_bytes: u64,
}

impl MemoryBounds {
    /// Divides `budget_bytes` among `workers`, of which there is at least one.
    pub(crate) fn divide(budget_bytes: u64, workers: u16) -> Self {
        /// Below this a single large packet would already be too much.
        const LEAST: u64 = 4 << 20;
        let workers = u64::from(workers.max(1));
        let part = |of_16: u64| (budget_bytes / 16 * of_16 / workers).max(LEAST);
        Self {
            outstanding_publish_bytes: part(2),
            outbound_bytes: part(5),
            input_bytes: part(2),
            delivery_credit_bytes: (budget_bytes / 16).clamp(LEAST, 64 << 20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bounds_together_stay_below_the_budget() {
        for (budget, workers) in [(256 << 20, 1), (512 << 20, 2), (8_u64 << 30, 16)] {
            let bounds = MemoryBounds::divide(budget, workers);
            let per_worker = bounds.outstanding_publish_bytes + bounds.outbound_bytes + bounds.input_bytes;
            assert!(per_worker * u64::from(workers) + bounds.delivery_credit_bytes <= budget * 3 / 4);
        }
    }

    #[test]
    fn a_tiny_budget_still_lets_a_packet_through() {
        let bounds = MemoryBounds::divide(0, 4);
        assert!(bounds.input_bytes >= 1 << 20 && bounds.delivery_credit_bytes >= 1 << 20);
    }
}
