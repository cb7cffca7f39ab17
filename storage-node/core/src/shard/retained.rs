//! Retained reads of proxies: a chunk each, answered in the stream of deliveries.
//!
//! A chunk is read when it is put into the ring, so a message that follows it in the stream is newer than what it
//! holds; what was stored after the first chunk (`up_to`) the reader gets live, and no chunk repeats it.

use freshet_storage_contract::ReadRetained;

use super::Shard;
use crate::facts::LinkFault;
use crate::incarnations::PeerKey;
use crate::log::CommitLog;
use crate::state::ReadEnd;
use crate::turn::Turn;

/// Reads per proxy and shard that may wait for room in the ring.
const MAX_WAITING_READS: usize = 65_536;
/// Bytes of a chunk, whatever the proxy asks for: well within a frame.
const MAX_CHUNK_BYTES: usize = 1 << 20;

impl<L: CommitLog> Shard<L> {
    /// Takes a read of retained messages.
    pub(crate) fn read_retained(&mut self, key: PeerKey, read: ReadRetained, turn: &mut Turn<'_>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.reads.len() >= MAX_WAITING_READS {
            turn.fault(
                key,
                LinkFault::TooMuchUnderWay {
                    shard: self.id,
                    what: "retained reads",
                },
            );
            return;
        }
        peer.reads.push_back(read);
        self.serve_reads(key, turn);
        self.settle(turn);
    }

    /// Answers reads while there is room in the ring. One whose filters do not all act waits: a subscriber takes the
    /// first chunk as the confirmation that its filter does.
    pub(super) fn serve_reads(&mut self, key: PeerKey, turn: &mut Turn<'_>) {
        let log_time_ms = self.clock.log_time_ms(turn.now);
        let mut served = false;
        while let Some(peer) = self.peers.get_mut(key)
            && !peer.filters.is_incomplete()
            && peer.ring.has_room()
            && let Some(read) = peer.reads.pop_front()
        {
            let up_to = read.up_to.unwrap_or(self.state.applied);
            let max_bytes = usize::try_from(read.max_bytes)
                .unwrap_or(usize::MAX)
                .min(MAX_CHUNK_BYTES);
            let (messages, end) =
                self.state
                    .retained
                    .read(&read.topic_filter, read.after.as_ref(), up_to, max_bytes, log_time_ms);
            let next = match end {
                ReadEnd::Done => None,
                ReadEnd::Behind(topic_name) => Some(topic_name),
            };
            peer.ring.push_retained(read.request, messages, up_to, next, turn.now);
            self.counters.retained_reads_total += 1;
            served = true;
        }
        if served {
            self.watch_silence(turn);
            self.send(key, turn);
        }
    }
}
