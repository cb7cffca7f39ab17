//! The end of a worker: all clients are given away ([`super::moves`]), and no connection is taken from then on.

use std::sync::Arc;

use freshet_storage_contract::MonotonicMs;

use super::Worker;
use super::actions::Actions;
use super::moves::{MoveKind, MovePace};

/// How fast clients are handed over by a worker that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainPace {
    /// Connections per second; at least 1.
    pub moves_per_second: u32,
    /// When all that are left go at once.
    pub deadline: MonotonicMs,
}

impl Worker {
    /// Begins to hand over all clients; no connection is taken from now on. Calling it again changes the pace.
    pub fn begin_drain(&mut self, pace: DrainPace, now: MonotonicMs, out: &mut Actions) {
        let pace = MovePace {
            kind: MoveKind::Shutdown,
            keep: 0,
            moves_per_second: pace.moves_per_second.max(1),
            from: now,
            until: pace.deadline,
            server_references: Arc::new([]),
        };
        self.move_clients(pace, now, out);
    }

    /// Whether all clients have been handed over and storage has been told of each.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.shared.is_shutting_down() && self.connections.len() == 0 && self.shared.leaving.is_empty()
    }
}
