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
        let (usage, counted, settings) = (&*turn.usage, &self.counted, turn.settings);
        let of_others = |all: u64, mine: u64| all.saturating_sub(mine);
        let used = of_others(usage.queued_bytes, counted.queued_bytes) + self.queued_bytes();
        if added == 0 || used == 0 {
            return true;
        }
        let in_memory = of_others(usage.queue_memory_bytes, counted.queue_memory_bytes) + self.queue_memory_bytes();
        let content = of_others(usage.resident_bytes, counted.resident_bytes) + self.content_bytes();
        // As much as that is always there, and need not go for a message that is larger than all the room.
        let is_usual = content <= settings.queued_resident_bytes;
        used.saturating_add(added) <= settings.most_queued_bytes()
            && in_memory.saturating_add(added) <= settings.most_queue_memory_bytes()
            && (is_usual || content.saturating_add(added) <= settings.most_content_bytes())
    }

    /// Bytes of content in memory.
    fn content_bytes(&self) -> u64 {
        self.state.queues.resident_bytes() + self.ahead.queued_bytes()
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
