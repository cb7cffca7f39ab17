//! Effects that one shard has on another, such as a will whose topic lives elsewhere.
//!
//! Numbered per pair of shards, without gaps; kept at the source until the target has confirmed them, and taken by the
//! target once each, however often they arrive.

use std::collections::{BTreeMap, VecDeque};

use freshet_storage_contract::{Message, ShardId};

/// Both directions of one shard.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    outgoing: BTreeMap<ShardId, Outgoing>,
    /// Last number taken from each shard.
    taken: BTreeMap<ShardId, u64>,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Outgoing {
    confirmed: u64,
    /// Effects behind `confirmed`.
    messages: VecDeque<Message>,
}

impl Effects {
    pub(super) fn send(&mut self, target: ShardId, message: Message) {
        self.bytes += message.charged_bytes() as u64;
        self.outgoing.entry(target).or_default().messages.push_back(message);
    }

    /// True: it is the next one of its source and acts now.
    pub(super) fn receive(&mut self, from: ShardId, number: u64) -> bool {
        let taken = self.taken.entry(from).or_default();
        let is_next = number.checked_sub(1) == Some(*taken);
        if is_next {
            *taken = number;
        }
        is_next
    }

    pub(super) fn confirm(&mut self, target: ShardId, number: u64) {
        if let Some(outgoing) = self.outgoing.get_mut(&target) {
            while outgoing.confirmed < number
                && let Some(message) = outgoing.messages.pop_front()
            {
                self.bytes -= message.charged_bytes() as u64;
                outgoing.confirmed += 1;
            }
        }
    }

    /// Bytes charged for effects that are not confirmed.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Last effect taken from a shard.
    pub(crate) fn last_taken(&self, from: ShardId) -> u64 {
        self.taken.get(&from).copied().unwrap_or(0)
    }

    /// Whether some effect is not confirmed.
    pub(crate) fn has_unconfirmed(&self) -> bool {
        self.outgoing.values().any(|o| !o.messages.is_empty())
    }

    /// Everything that is not confirmed, with its number.
    pub(crate) fn unconfirmed(&self) -> impl Iterator<Item = (ShardId, u64, &Message)> {
        self.outgoing.iter().flat_map(|(target, outgoing)| {
            let numbers = outgoing.confirmed + 1..;
            numbers
                .zip(&outgoing.messages)
                .map(|(number, message)| (*target, number, message))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::message;

    #[test]
    fn numbers_are_dense_per_target_and_kept_until_confirmed() {
        let mut effects = Effects::default();
        for target in [1, 2, 1] {
            effects.send(ShardId(target), message("w", "x"));
        }
        let numbers = |e: &Effects| e.unconfirmed().map(|(t, n, _)| (t.0, n)).collect::<Vec<_>>();
        assert_eq!(numbers(&effects), [(1, 1), (1, 2), (2, 1)]);
        effects.confirm(ShardId(1), 1);
        assert_eq!(numbers(&effects), [(1, 2), (2, 1)]);
        effects.confirm(ShardId(1), 99);
        effects.send(ShardId(1), message("w", "y"));
        assert_eq!(numbers(&effects), [(1, 3), (2, 1)]);
    }

    #[test]
    fn only_the_next_number_acts() {
        let mut effects = Effects::default();
        assert!(effects.receive(ShardId(4), 1));
        assert!(!effects.receive(ShardId(4), 1));
        assert!(!effects.receive(ShardId(4), 3));
        assert!(!effects.receive(ShardId(4), 0));
        assert!(effects.receive(ShardId(4), 2));
        assert_eq!(effects.last_taken(ShardId(4)), 2);
    }
}
