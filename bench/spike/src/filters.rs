//! A worker's replica of the filter table: exact filters only, its own receivers, and which other workers have some.
//!
//! Filled and asked by [`crate::worker`]. A receiver that is gone is dropped by the delivery that meets it; there is no
//! UNSUBSCRIBE in the spike.

use hashbrown::HashMap;

/// A subscription of this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receiver {
    /// The connection, see `worker::Token`.
    pub(crate) token: u64,
    pub(crate) qos: u8,
}

/// Who wants what one filter matches.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    pub(crate) receivers: Vec<Receiver>,
    /// Bit `n` is set when worker `n` has receivers of its own.
    pub(crate) workers: u64,
}

/// Exact filters by a keyed hash, because attackers choose topics.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    interests: HashMap<Vec<u8>, Interest, foldhash::quality::RandomState>,
}

impl Filters {
    pub(crate) fn subscribe(&mut self, filter: &[u8], receiver: Receiver) {
        self.entry(filter).receivers.push(receiver);
    }

    pub(crate) fn note_worker(&mut self, filter: &[u8], worker: usize) {
        self.entry(filter).workers |= 1 << worker;
    }

    pub(crate) fn matching(&mut self, topic: &[u8]) -> Option<&mut Interest> {
        self.interests.get_mut(topic)
    }

    fn entry(&mut self, filter: &[u8]) -> &mut Interest {
        self.interests.entry_ref(filter).or_default()
    }
}
