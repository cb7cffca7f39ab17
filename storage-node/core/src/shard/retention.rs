//! What a shard has to do with `spec.storage.retention`: it names what waits longest, and lets go what the node has chosen.
//!
//! Which messages go is decided over all shards (`crate::node`); what is too old each shard sees by itself
//! (`super::ticking`).

use freshet_storage_contract::{MonotonicMs, Position};

use super::Shard;
use super::ahead::Expiry;
use crate::log::{Command, CommitLog};
use crate::state::Waiting;
use crate::turn::Turn;

impl<L: CommitLog> Shard<L> {
    /// What is in queues, the oldest first, with its age in ms: times of different logs are not to be compared.
    pub(crate) fn oldest_first(&self, now: MonotonicMs) -> impl Iterator<Item = (u64, Waiting)> + '_ {
        let log_time_ms = self.clock.log_time_ms(now);
        let waiting = self.state.queues.oldest_first();
        waiting.map(move |waiting| (log_time_ms.saturating_sub(waiting.came_ms), waiting))
    }

    /// The content in memory that may go from it, the oldest first, with its age in ms.
    pub(crate) fn coldest_first(&self, now: MonotonicMs) -> impl Iterator<Item = (u64, Waiting)> + '_ {
        let log_time_ms = self.clock.log_time_ms(now);
        let coldest = self.state.queues.coldest_first();
        coldest.map(move |waiting| (log_time_ms.saturating_sub(waiting.came_ms), waiting))
    }

    /// Whether some content may go from memory.
    pub(crate) fn can_give_up(&self) -> bool {
        self.state.queues.can_give_up()
    }

    /// Content up to a position goes from memory.
    pub(crate) fn give_up_through(&mut self, through: Position, turn: &mut Turn<'_>) {
        self.state.queues.give_up_through(through);
        self.count(turn.usage);
    }

    /// The rows up to a position are in a checkpoint that is safe.
    pub(crate) fn checkpointed(&mut self, through: Position) {
        self.state.queues.checkpointed(through);
    }

    /// Lets go what is queued up to a position.
    pub(crate) fn drop_through(&mut self, through: Position, turn: &mut Turn<'_>) {
        self.propose(Command::DropThrough { through }, turn);
        self.settle(turn);
    }

    /// Whether something is being let go, and has not gone yet.
    pub(crate) fn is_dropping(&self) -> bool {
        self.ahead.is_expiring(Expiry::OverBytes)
    }

    /// The settings have changed: more may be due than was noted.
    pub(crate) fn look_again(&mut self) {
        self.wake_at(MonotonicMs(0));
    }
}
