//! Whether there is room for what a publication leaves behind in queues: on disk, or in memory where there is none, and in
//! memory for what a message on disk leaves there.

use super::Shard;
use super::intake::Publication;
use crate::log::CommitLog;
use crate::state::{Matched, Queues, State};
use crate::turn::Turn;

impl<L: CommitLog> Shard<L> {
    /// Whether what a publication of QoS >= 1 leaves behind fits into the node's bound. One alone always fits.
    pub(super) fn has_room_to_queue(&self, publication: &Publication, matched: &Matched, turn: &Turn<'_>) -> bool {
        let Publication { message, number, .. } = publication;
        let mut added = 0;
        if !matched.queues.is_empty() {
            added += Queues::cost_of_message(message, matched);
            added += number.map_or(0, |number| self.state.origins.cost_of(number));
        }
        if let Some(of) = &message.exactly_once {
            added += self.state.packets.cost_of(of);
        }
        // The node's sums hold this shard as of the last call; a batch may have queued more since.
        let others = turn.usage.queued_bytes.saturating_sub(self.counted.queued_bytes);
        let used = others.saturating_add(self.queued_bytes());
        if added == 0 || used == 0 {
            return true;
        }
        let others = turn
            .usage
            .queue_memory_bytes
            .saturating_sub(self.counted.queue_memory_bytes);
        let in_memory = others.saturating_add(self.queue_memory_bytes());
        used.saturating_add(added) <= turn.settings.most_queued_bytes()
            && in_memory.saturating_add(added) <= turn.settings.most_queue_memory_bytes()
    }

    /// What all that is queued takes in memory.
    pub(super) fn queue_memory_bytes(&self) -> u64 {
        let State {
            queues,
            packets,
            origins,
            ..
        } = &self.state;
        queues.memory_bytes() + packets.bytes() + origins.bytes() + self.ahead.queued_bytes()
    }

    /// Bytes that count towards the bound on what is queued.
    pub(super) fn queued_bytes(&self) -> u64 {
        let State {
            queues,
            packets,
            origins,
            ..
        } = &self.state;
        queues.bytes() + packets.bytes() + origins.bytes() + self.ahead.queued_bytes()
    }
}
