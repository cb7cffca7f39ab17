//! What proxies read in the stream of deliveries: retained messages, what is queued for a session, single messages.
//!
//! An answer is read when it is put into the ring, so a message that follows it in the stream is newer than what it
//! holds. What was retained after a reader's first chunk (`up_to`) it gets live, and no chunk repeats it; what is queued
//! after a pull that says `caught_up` it gets live, behind that pull's `up_to`.

use freshet_storage_contract::{Delivery, Fetch, Pull, ReadRetained};

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

/// A read that waits for room in the ring, or for filters that do not fit.
#[derive(Debug)]
pub(crate) enum Read {
    Retained(ReadRetained),
    Queued(Pull),
    Messages(Fetch),
}

impl<L: CommitLog> Shard<L> {
    /// Takes a read.
    pub(crate) fn read(&mut self, key: PeerKey, read: Read, turn: &mut Turn<'_>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.reads.len() >= MAX_WAITING_READS {
            turn.fault(
                key,
                LinkFault::TooMuchUnderWay {
                    shard: self.id,
                    what: "reads",
                },
            );
            return;
        }
        peer.reads.push_back(read);
        self.serve_reads(key, turn);
        self.settle(turn);
    }

    /// Answers reads while there is room in the ring. One whose proxy has filters that do not act waits: a subscriber
    /// takes the first chunk as the confirmation that its filter does.
    pub(super) fn serve_reads(&mut self, key: PeerKey, turn: &mut Turn<'_>) {
        let log_time_ms = self.clock.log_time_ms(turn.now);
        let mut served = false;
        while let Some(peer) = self.peers.get_mut(key)
            && !peer.filters.is_incomplete()
            && peer.ring.has_room()
            && let Some(read) = peer.reads.pop_front()
        {
            let (answer, bytes) = match read {
                Read::Retained(read) => self.read_retained(&read, log_time_ms),
                Read::Queued(pull) => self.pull(&pull, log_time_ms),
                Read::Messages(fetch) => self.fetch(&fetch, log_time_ms),
            };
            if let Some(peer) = self.peers.get_mut(key) {
                peer.ring.push_answer(answer, bytes, turn.now);
            }
            served = true;
        }
        if served {
            self.watch_silence(turn);
            self.send(key, turn);
        }
    }

    fn read_retained(&mut self, read: &ReadRetained, log_time_ms: u64) -> (Delivery, usize) {
        self.counters.retained_reads_total += 1;
        let up_to = read.up_to.unwrap_or(self.state.applied);
        let (messages, end) = self.state.retained.read(
            &read.topic_filter,
            read.after.as_ref(),
            up_to,
            chunk_bytes(read.max_bytes),
            log_time_ms,
        );
        let next = match end {
            ReadEnd::Done => None,
            ReadEnd::Behind(topic_name) => Some(topic_name),
        };
        let bytes = messages.iter().map(|m| m.message.charged_bytes()).sum();
        let answer = Delivery::Retained {
            request: read.request,
            messages,
            up_to,
            next,
        };
        (answer, bytes)
    }

    fn pull(&mut self, pull: &Pull, log_time_ms: u64) -> (Delivery, usize) {
        let pulled = self.state.queues.pull(pull, chunk_bytes(pull.max_bytes), log_time_ms);
        self.counters.pulls_total += 1;
        self.counters.pulled_messages_total += pulled.messages.len() as u64;
        let bytes = pulled.messages.iter().map(|m| m.message.charged_bytes()).sum();
        let answer = Delivery::Pulled {
            request: pull.request,
            messages: pulled.messages,
            up_to: pulled.more_behind.unwrap_or(self.state.applied).max(pull.after),
            caught_up: pulled.more_behind.is_none(),
        };
        (answer, bytes)
    }

    fn fetch(&mut self, fetch: &Fetch, log_time_ms: u64) -> (Delivery, usize) {
        let (messages, answered) = self.state.queues.fetch(&fetch.positions, MAX_CHUNK_BYTES, log_time_ms);
        let bytes = messages.iter().map(|m| m.message.charged_bytes()).sum();
        let answer = Delivery::Fetched {
            request: fetch.request,
            messages,
            answered: u32::try_from(answered).unwrap_or(u32::MAX),
        };
        (answer, bytes)
    }
}

fn chunk_bytes(max_bytes: u32) -> usize {
    usize::try_from(max_bytes).unwrap_or(usize::MAX).min(MAX_CHUNK_BYTES)
}
