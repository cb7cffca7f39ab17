//! QoS 2 publications of sessions that outlive their connection, as long as the publisher may repeat them
//! (MQTT 5.0, 4.3.3).
//!
//! A row stands from the entry of its message until PUBREL. Rows of a generation go some time after it: its session
//! shard is told once that some are here, and says when it has ended. Until then a proxy that could not be reached may
//! send again what the client published in it.

mod rows;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use freshet_storage_contract::{ExactlyOnce, PacketId, Position, SessionEpoch};

use super::notes::Note;
use super::rows::Changes;
use crate::planted::planted;

/// What a publisher costs beside its client id, in bytes.
const PUBLISHER_OVERHEAD_BYTES: u64 = 160;
/// What a row costs, in bytes.
const ROW_BYTES: u64 = 16;
/// How long rows are kept once their generation has ended, ms of log time: several times what a client waits for an
/// answer while its proxy cannot reach storage.
const KEPT_BEHIND_END_MS: u64 = 60_000;

/// A client id, and the epoch at which its session began.
type Generation = (Bytes, SessionEpoch);

/// The rows of a shard.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    publishers: BTreeMap<Generation, Publisher>,
    /// Those whose generation has ended, by the log time at which they go, in ms.
    ended: BTreeSet<(u64, Generation)>,
    rows: u64,
    bytes: u64,
    changes: Changes<Generation>,
}

#[derive(Debug, Default)]
struct Publisher {
    /// The last connection that has named itself.
    epoch: SessionEpoch,
    /// With the positions of their messages, ascending.
    packet_ids: Vec<(PacketId, Position)>,
    /// When it goes; none: its generation has not ended.
    goes_ms: Option<u64>,
}

/// What a publication is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It has come before, or is of a connection before the one that goes on with it.
    Before {
        /// Where it came, in the first case.
        first: Option<Position>,
    },
    /// It comes first.
    First {
        /// Nothing of its generation was here, or that had ended: its session shard is to be told.
        of_generation: bool,
    },
}

impl Packets {
    /// Rows of all publishers.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes charged for rows and publishers.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What another row of this publisher would be charged with.
    pub(crate) fn cost_of(&self, of: &ExactlyOnce) -> u64 {
        if self.publishers.contains_key(&generation_of(of)) {
            ROW_BYTES
        } else {
            publisher_bytes(&of.client_id) + ROW_BYTES
        }
    }

    /// What the note would be charged with that tells the session's shard of another row of this publisher; 0: it knows.
    pub(crate) fn note_cost_of(&self, of: &ExactlyOnce) -> u64 {
        let publisher = self.publishers.get(&generation_of(of));
        if publisher.is_some_and(|publisher| publisher.goes_ms.is_none()) {
            0
        } else {
            Note::cost_of(&of.client_id)
        }
    }

    /// Keeps a row for a publication that comes at `position`.
    pub(super) fn insert(&mut self, of: &ExactlyOnce, position: Position) -> Seen {
        let generation = generation_of(of);
        let mut of_generation = false;
        let publisher = self.publishers.entry(generation.clone()).or_insert_with(|| {
            of_generation = true;
            self.changes.add(generation.clone());
            self.bytes += publisher_bytes(&of.client_id);
            Publisher::default()
        });
        // The client has sent again, or will, what it did not see answered (MQTT-4.4.0-1).
        let is_late = of.epoch.is_some_and(|epoch| epoch < publisher.epoch);
        if is_late {
            return Seen::Before { first: None };
        }
        self.changes.change(generation.clone());
        publisher.epoch = publisher.epoch.max(of.epoch.unwrap_or_default());
        let at = match publisher.find(of.packet_id) {
            Ok(at) => {
                let first = publisher.packet_ids.get(at).map(|(_, first)| *first);
                return Seen::Before { first };
            }
            Err(at) => at,
        };
        publisher.packet_ids.insert(at, (of.packet_id, position));
        self.rows += 1;
        self.bytes += ROW_BYTES;
        // A proxy may have kept the session that had expired.
        if let Some(goes_ms) = publisher.goes_ms.take() {
            of_generation = true;
            self.ended.remove(&(goes_ms, generation));
        }
        Seen::First { of_generation }
    }

    /// The packet id may come again with another message. False: it was not here.
    pub(super) fn release(&mut self, of: &ExactlyOnce) -> bool {
        let generation = generation_of(of);
        let Some(publisher) = self.publishers.get_mut(&generation) else {
            return false;
        };
        if of.epoch.is_some_and(|epoch| epoch < publisher.epoch) {
            return false;
        }
        self.changes.change(generation);
        publisher.epoch = publisher.epoch.max(of.epoch.unwrap_or_default());
        let Ok(at) = publisher.find(of.packet_id) else {
            return false;
        };
        if planted!(ReleaseKeepsRow) {
            return true;
        }
        publisher.packet_ids.remove(at);
        self.rows -= 1;
        self.bytes -= ROW_BYTES;
        true
    }

    /// Publications of a session that it has not released, with their positions, in order of packet ids.
    pub(crate) fn of(&self, client_id: &[u8], generation: SessionEpoch) -> &[(PacketId, Position)] {
        let name = (Bytes::copy_from_slice(client_id), generation);
        self.publishers
            .get(&name)
            .map_or(&[], |publisher| &publisher.packet_ids)
    }

    /// A generation has ended.
    pub(super) fn end(&mut self, client_id: &Bytes, generation: SessionEpoch, log_time_ms: u64) {
        let name = (client_id.clone(), generation);
        let Some(publisher) = self.publishers.get_mut(&name).filter(|p| p.goes_ms.is_none()) else {
            return;
        };
        let goes_ms = log_time_ms.saturating_add(KEPT_BEHIND_END_MS);
        publisher.goes_ms = Some(goes_ms);
        self.changes.change(name.clone());
        self.ended.insert((goes_ms, name));
    }

    /// Forgets up to `limit` publishers whose time has passed; returns how many.
    pub(super) fn expire(&mut self, log_time_ms: u64, limit: usize) -> usize {
        let mut count = 0;
        while count < limit
            && let Some((goes_ms, _)) = self.ended.first()
            && *goes_ms <= log_time_ms
            && let Some((_, name)) = self.ended.pop_first()
        {
            self.changes.remove(name.clone());
            if let Some(publisher) = self.publishers.remove(&name) {
                let rows = publisher.packet_ids.len() as u64;
                self.rows -= rows;
                self.bytes -= publisher_bytes(&name.0) + rows * ROW_BYTES;
            }
            count += 1;
        }
        count
    }

    /// When the first publisher goes, ms of log time.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.ended.first().map(|(goes_ms, _)| *goes_ms)
    }
}

impl Publisher {
    fn find(&self, packet_id: PacketId) -> Result<usize, usize> {
        self.packet_ids.binary_search_by_key(&packet_id, |(id, _)| *id)
    }
}

fn generation_of(of: &ExactlyOnce) -> Generation {
    (of.client_id.clone(), of.generation)
}

fn publisher_bytes(client_id: &Bytes) -> u64 {
    client_id.len() as u64 + PUBLISHER_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use freshet_storage_contract::Term;

    use super::*;

    const P: Position = Position(3);
    const BEFORE: Seen = Seen::Before { first: Some(P) };

    fn of(generation: u64, packet_id: u16) -> ExactlyOnce {
        ExactlyOnce {
            client_id: Bytes::from_static(b"c"),
            generation: SessionEpoch {
                term: Term(1),
                counter: generation,
            },
            packet_id: PacketId::new(packet_id).unwrap(),
            epoch: None,
        }
    }

    #[test]
    fn a_packet_id_is_known_until_it_is_released() {
        let mut packets = Packets::default();
        assert_eq!(packets.insert(&of(1, 7), P), Seen::First { of_generation: true });
        assert_eq!(packets.insert(&of(1, 7), P), BEFORE);
        assert_eq!(packets.insert(&of(1, 6), P), Seen::First { of_generation: false });
        assert!(packets.release(&of(1, 7)));
        assert!(!packets.release(&of(1, 7)));
        assert_eq!(packets.insert(&of(1, 7), P), Seen::First { of_generation: false });
        assert_eq!(packets.rows(), 2);
    }

    fn end(packets: &mut Packets, generation: u64, log_time_ms: u64) {
        let of = of(generation, 1);
        packets.end(&of.client_id, of.generation, log_time_ms);
    }

    #[test]
    fn generations_of_a_client_have_nothing_to_do_with_each_other() {
        let mut packets = Packets::default();
        packets.insert(&of(1, 7), P);
        end(&mut packets, 1, 0);
        assert_eq!(packets.insert(&of(2, 7), P), Seen::First { of_generation: true });
        assert!(packets.release(&of(2, 7)));
        assert_eq!(packets.insert(&of(1, 7), P), BEFORE, "it comes late");
        assert_eq!(packets.expire(KEPT_BEHIND_END_MS, 9), 1);
        assert_eq!(packets.insert(&of(2, 7), P), Seen::First { of_generation: false });
        end(&mut packets, 2, 0);
        packets.expire(KEPT_BEHIND_END_MS, 9);
        assert_eq!((packets.rows(), packets.bytes()), (0, 0));
    }

    #[test]
    fn what_was_published_in_a_generation_is_known_for_some_time_behind_its_end() {
        let mut packets = Packets::default();
        packets.insert(&of(1, 7), P);
        end(&mut packets, 1, 1_000);
        end(&mut packets, 1, 2_000);
        assert_eq!(packets.next_expiry(), Some(1_000 + KEPT_BEHIND_END_MS));
        assert_eq!(packets.expire(KEPT_BEHIND_END_MS, 9), 0);
        assert_eq!(packets.insert(&of(1, 7), P), BEFORE);
        assert_eq!(packets.expire(1_000 + KEPT_BEHIND_END_MS, 9), 1);
        assert_eq!((packets.rows(), packets.bytes(), packets.next_expiry()), (0, 0, None));
    }

    #[test]
    fn a_generation_that_goes_on_after_its_end_is_named_again() {
        let mut packets = Packets::default();
        packets.insert(&of(1, 7), P);
        end(&mut packets, 1, 0);
        assert_eq!(packets.insert(&of(1, 8), P), Seen::First { of_generation: true });
        assert_eq!(
            packets.expire(u64::MAX, 9),
            0,
            "its session shard says anew when it ends"
        );
        end(&mut packets, 1, 5);
        assert_eq!(packets.expire(u64::MAX, 9), 1);
        assert_eq!(packets.rows(), 0);
    }
}
