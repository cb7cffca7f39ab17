//! QoS 2 publications of sessions that outlive their connection, as long as the publisher may repeat them
//! (MQTT 5.0, 4.3.3).
//!
//! A row stands from the entry of its message until PUBREL. Rows of a generation go with it: its session shard is told
//! once that some are here, and says when it has ended.

use std::collections::BTreeMap;

use bytes::Bytes;
use freshet_storage_contract::{ExactlyOnce, PacketId, SessionEpoch};

use crate::planted::planted;

/// What a publisher costs beside its client id, in bytes.
const PUBLISHER_OVERHEAD_BYTES: u64 = 128;
/// What a row costs, in bytes.
const ROW_BYTES: u64 = 8;

/// The rows of a shard.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    by_client: BTreeMap<Bytes, Publisher>,
    rows: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Publisher {
    generation: SessionEpoch,
    /// The last connection that has named itself.
    epoch: SessionEpoch,
    /// Ascending.
    packet_ids: Vec<PacketId>,
}

/// What a publication is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It has come before, or is of a connection before the one that goes on with it.
    Before,
    /// It comes first.
    First {
        /// Nothing of its generation was here: its session shard is to be told.
        of_generation: bool,
    },
    /// Its generation has ended: no row is kept.
    Ended,
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
        if self.by_client.contains_key(&of.client_id) {
            ROW_BYTES
        } else {
            publisher_bytes(&of.client_id) + ROW_BYTES
        }
    }

    /// Keeps a row for a publication.
    pub(super) fn insert(&mut self, of: &ExactlyOnce) -> Seen {
        let mut of_generation = false;
        if let Some(publisher) = self.by_client.get(&of.client_id) {
            if publisher.generation > of.generation {
                return Seen::Ended;
            }
            if publisher.generation < of.generation {
                self.forget(&of.client_id, publisher.generation);
            }
        }
        let publisher = self
            .by_client
            .entry(of.client_id.clone())
            .or_insert_with_key(|client_id| {
                of_generation = true;
                self.bytes += publisher_bytes(client_id);
                Publisher {
                    generation: of.generation,
                    epoch: SessionEpoch::default(),
                    packet_ids: Vec::new(),
                }
            });
        // The client has sent again, or will, what it did not see answered (MQTT-4.4.0-1).
        let is_late = of.epoch.is_some_and(|epoch| epoch < publisher.epoch);
        if is_late {
            return Seen::Before;
        }
        publisher.epoch = publisher.epoch.max(of.epoch.unwrap_or_default());
        match publisher.packet_ids.binary_search(&of.packet_id) {
            Ok(_) => Seen::Before,
            Err(at) => {
                publisher.packet_ids.insert(at, of.packet_id);
                self.rows += 1;
                self.bytes += ROW_BYTES;
                Seen::First { of_generation }
            }
        }
    }

    /// The packet id may come again with another message. False: it was not here.
    pub(super) fn release(&mut self, of: &ExactlyOnce) -> bool {
        let Some(publisher) = self
            .by_client
            .get_mut(&of.client_id)
            .filter(|p| p.generation == of.generation)
        else {
            return false;
        };
        if of.epoch.is_some_and(|epoch| epoch < publisher.epoch) {
            return false;
        }
        publisher.epoch = publisher.epoch.max(of.epoch.unwrap_or_default());
        let Ok(at) = publisher.packet_ids.binary_search(&of.packet_id) else {
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

    /// A generation has ended.
    pub(super) fn forget(&mut self, client_id: &Bytes, generation: SessionEpoch) {
        if self.by_client.get(client_id).is_none_or(|p| p.generation > generation) {
            return;
        }
        if let Some(publisher) = self.by_client.remove(client_id) {
            let rows = publisher.packet_ids.len() as u64;
            self.rows -= rows;
            self.bytes -= publisher_bytes(client_id) + rows * ROW_BYTES;
        }
    }
}

fn publisher_bytes(client_id: &Bytes) -> u64 {
    client_id.len() as u64 + PUBLISHER_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use freshet_storage_contract::Term;

    use super::*;

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
        assert_eq!(packets.insert(&of(1, 7)), Seen::First { of_generation: true });
        assert_eq!(packets.insert(&of(1, 7)), Seen::Before);
        assert_eq!(packets.insert(&of(1, 6)), Seen::First { of_generation: false });
        assert!(packets.release(&of(1, 7)));
        assert!(!packets.release(&of(1, 7)));
        assert_eq!(packets.insert(&of(1, 7)), Seen::First { of_generation: false });
        assert_eq!(packets.rows(), 2);
    }

    #[test]
    fn a_later_generation_takes_the_place_of_an_earlier_one() {
        let mut packets = Packets::default();
        packets.insert(&of(1, 7));
        assert_eq!(packets.insert(&of(2, 7)), Seen::First { of_generation: true });
        assert_eq!(packets.insert(&of(1, 8)), Seen::Ended);
        assert!(!packets.release(&of(1, 7)), "it belongs to the later generation now");
        packets.forget(&of(1, 7).client_id, of(1, 7).generation);
        assert_eq!(packets.rows(), 1, "the end of the earlier one comes late");
        packets.forget(&of(2, 7).client_id, of(2, 7).generation);
        assert_eq!((packets.rows(), packets.bytes()), (0, 0));
    }
}
