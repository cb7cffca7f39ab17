//! What proxies read in the stream of deliveries: retained messages, what is queued for a session, single messages.
//!
//! An answer is read when it is put into the ring, so a message that follows it in the stream is newer than what it
//! holds. What was retained after a reader's first chunk (`up_to`) it gets live, and no chunk repeats it; what is queued
//! after a pull that says `caught_up` it gets live, behind that pull's `up_to`. Little is read ahead of what the proxy has
//! acknowledged: what is live comes behind it in the stream. A read that needs content which is on disk alone makes room
//! for those behind it, and is answered when that is there (`super::loads`).

use freshet_storage_contract::{Delivery, Fetch, Pull, ReadRetained};

use super::Shard;
use super::loads::Reader;
use crate::facts::LinkFault;
use crate::incarnations::PeerKey;
use crate::log::CommitLog;
use crate::state::{Missing, ReadEnd};
use crate::turn::Turn;

/// Reads per proxy and shard that may wait for room in the ring.
const MAX_WAITING_READS: usize = 65_536;
/// Bytes of a chunk, whatever the proxy asks for: well within a frame.
pub(super) const MAX_CHUNK_BYTES: usize = 1 << 20;

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
        if peer.reads.len() + peer.loading >= MAX_WAITING_READS {
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
            && peer.ring.has_room_to_read()
            && let Some(read) = peer.reads.pop_front()
        {
            let answer = match &read {
                Read::Retained(read) => Ok(self.read_retained(read, log_time_ms)),
                Read::Queued(pull) => self.pull(pull, log_time_ms),
                Read::Messages(fetch) => self.fetch(fetch, log_time_ms),
            };
            let (answer, bytes) = match answer {
                Ok(answer) => answer,
                Err(missing) => {
                    let first = missing.first().unwrap_or_default();
                    if let Some(peer) = self.peers.get_mut(key) {
                        peer.loading += 1;
                    }
                    self.loads.wait(first, Reader::Peer(key, read));
                    continue;
                }
            };
            if let Some(peer) = self.peers.get_mut(key) {
                peer.ring.push_read(answer, bytes, turn.now);
            }
            served = true;
        }
        if served {
            self.watch_silence(turn);
            self.send(key, turn);
        }
    }

    /// What a read waited for is there, until this call ends.
    pub(super) fn read_on(&mut self, key: PeerKey, read: Read, turn: &mut Turn<'_>) {
        if let Some(peer) = self.peers.get_mut(key) {
            peer.loading = peer.loading.saturating_sub(1);
            peer.reads.push_front(read);
            self.serve_reads(key, turn);
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

    /// The next chunk of what is queued, or what has to be brought back before.
    fn pull(&mut self, pull: &Pull, log_time_ms: u64) -> Result<(Delivery, usize), Missing> {
        let pulled = self.state.queues.pull(pull, chunk_bytes(pull.max_bytes), log_time_ms);
        if !pulled.missing.is_empty() {
            return Err(pulled.missing);
        }
        self.counters.pulls_total += 1;
        self.counters.pulled_messages_total += pulled.messages.len() as u64;
        let bytes = pulled.messages.iter().map(|m| m.message.charged_bytes()).sum();
        let answer = Delivery::Pulled {
            request: pull.request,
            messages: pulled.messages,
            up_to: pulled.more_behind.unwrap_or(self.state.applied).max(pull.after),
            caught_up: pulled.more_behind.is_none(),
        };
        Ok((answer, bytes))
    }

    /// Single messages, or what has to be brought back before.
    fn fetch(&mut self, fetch: &Fetch, log_time_ms: u64) -> Result<(Delivery, usize), Missing> {
        let fetched = self.state.queues.fetch(&fetch.positions, MAX_CHUNK_BYTES, log_time_ms);
        if !fetched.missing.is_empty() {
            return Err(fetched.missing);
        }
        let bytes = fetched.messages.iter().map(|m| m.message.charged_bytes()).sum();
        let answer = Delivery::Fetched {
            request: fetch.request,
            messages: fetched.messages,
            answered: u32::try_from(fetched.looked_at).unwrap_or(u32::MAX),
        };
        Ok((answer, bytes))
    }
}

fn chunk_bytes(max_bytes: u32) -> usize {
    usize::try_from(max_bytes).unwrap_or(usize::MAX).min(MAX_CHUNK_BYTES)
}
