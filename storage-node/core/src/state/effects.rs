//! Effects that one shard has on another: a will whose topic lives elsewhere, or what shards tell each other about
//! sessions ([`super::notes`]).
//!
//! Numbered per pair of shards, without gaps; kept at the source until the target has confirmed them, and taken by the
//! target once each, however often they arrive.

mod rows;

use std::collections::{BTreeMap, VecDeque};

use freshet_storage_contract::{Message, ShardId};

use self::rows::EffectChanges;

/// What an effect is charged with while it is not confirmed.
pub(crate) trait Charged {
    /// Bytes.
    fn charged_bytes(&self) -> u64;
}

impl Charged for Message {
    fn charged_bytes(&self) -> u64 {
        Message::charged_bytes(self) as u64
    }
}

/// Both directions of one shard, for one kind of effect.
#[derive(Debug)]
pub(crate) struct Effects<T> {
    outgoing: BTreeMap<ShardId, Outgoing<T>>,
    /// Effects that are not confirmed, of all targets.
    unconfirmed: usize,
    /// Last number taken from each shard.
    taken: BTreeMap<ShardId, u64>,
    bytes: u64,
    changes: EffectChanges,
}

#[derive(Debug)]
struct Outgoing<T> {
    confirmed: u64,
    /// Effects behind `confirmed`.
    effects: VecDeque<T>,
}

impl<T> Default for Effects<T> {
    fn default() -> Self {
        Self {
            outgoing: BTreeMap::new(),
            unconfirmed: 0,
            taken: BTreeMap::new(),
            bytes: 0,
            changes: EffectChanges::default(),
        }
    }
}

impl<T: Charged> Effects<T> {
    pub(super) fn send(&mut self, target: ShardId, effect: T) {
        self.bytes += effect.charged_bytes();
        let outgoing = self.outgoing.entry(target).or_insert_with(|| Outgoing {
            confirmed: 0,
            effects: VecDeque::new(),
        });
        outgoing.effects.push_back(effect);
        self.unconfirmed += 1;
        let number = outgoing.confirmed + outgoing.effects.len() as u64;
        self.changes.effects.add((target, number));
    }

    /// True: it is the next one of its source and acts now.
    pub(super) fn receive(&mut self, from: ShardId, number: u64) -> bool {
        let taken = self.taken.entry(from).or_default();
        let is_next = number.checked_sub(1) == Some(*taken);
        if is_next {
            *taken = number;
            self.changes.marks.change(from);
        }
        is_next
    }

    pub(super) fn confirm(&mut self, target: ShardId, number: u64) {
        if let Some(outgoing) = self.outgoing.get_mut(&target) {
            while outgoing.confirmed < number
                && let Some(effect) = outgoing.effects.pop_front()
            {
                self.bytes -= effect.charged_bytes();
                self.unconfirmed -= 1;
                outgoing.confirmed += 1;
                self.changes.effects.remove((target, outgoing.confirmed));
                self.changes.marks.change(target);
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

    /// Whether something is not confirmed and comes behind the number of its target in `given`. Asked of every shard with
    /// every connection.
    #[inline]
    pub(crate) fn has_behind(&self, given: &BTreeMap<ShardId, u64>) -> bool {
        self.unconfirmed > 0 && self.behind(given).next().is_some()
    }

    /// Everything that is not confirmed and comes behind the number of its target in `given`, with its number.
    pub(crate) fn behind(&self, given: &BTreeMap<ShardId, u64>) -> impl Iterator<Item = (ShardId, u64, &T)> {
        self.outgoing.iter().flat_map(|(target, outgoing)| {
            let given = given.get(target).copied().unwrap_or(0).max(outgoing.confirmed);
            let skipped = usize::try_from(given - outgoing.confirmed).unwrap_or(usize::MAX);
            let behind = outgoing.effects.range(skipped.min(outgoing.effects.len())..);
            (given + 1..)
                .zip(behind)
                .map(|(number, effect)| (*target, number, effect))
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
        let numbers = |e: &Effects<Message>| e.behind(&BTreeMap::new()).map(|(t, n, _)| (t.0, n)).collect::<Vec<_>>();
        assert_eq!(numbers(&effects), [(1, 1), (1, 2), (2, 1)]);
        effects.confirm(ShardId(1), 1);
        assert_eq!(numbers(&effects), [(1, 2), (2, 1)]);
        effects.confirm(ShardId(1), 99);
        effects.send(ShardId(1), message("w", "y"));
        assert_eq!(numbers(&effects), [(1, 3), (2, 1)]);
        let given = BTreeMap::from([(ShardId(1), 3)]);
        assert_eq!(
            effects.behind(&given).map(|(t, n, _)| (t.0, n)).collect::<Vec<_>>(),
            [(2, 1)]
        );
        effects.confirm(ShardId(1), 3);
        effects.confirm(ShardId(2), 1);
        assert_eq!(numbers(&effects), []);
        assert_eq!(effects.bytes(), 0);
    }

    #[test]
    fn only_the_next_number_acts() {
        let mut effects = Effects::<Message>::default();
        assert!(effects.receive(ShardId(4), 1));
        assert!(!effects.receive(ShardId(4), 1));
        assert!(!effects.receive(ShardId(4), 3));
        assert!(!effects.receive(ShardId(4), 0));
        assert!(effects.receive(ShardId(4), 2));
        assert_eq!(effects.last_taken(ShardId(4)), 2);
    }
}
