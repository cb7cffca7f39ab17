//! What goes from shard to shard within a node: effects, which arrive once, and notes.

use freshet_storage_contract::MonotonicMs;

use super::{StorageCore, shard_id};
use crate::outputs::Outputs;
use crate::planted::reached;
use crate::shard::{Notes, Shard};

/// How often notes that answer notes are carried within one call; what is left leaves with the next.
const NOTE_ROUNDS: usize = 4;

impl StorageCore {
    /// Carries effects between shards until each has been taken over or waits for its target's hold to end, and
    /// confirmations back.
    pub(super) fn exchange_effects(&mut self, now: MonotonicMs, out: &mut Outputs) {
        if !self.shards.iter().any(Shard::has_for_others) {
            return;
        }
        for source in 0..self.shards.len() {
            if !self.shards[source].has_effects() {
                continue;
            }
            let (shards, mut turn) = self.turn(now, out);
            let from = shard_id(source);
            for (target, number, message) in shards[source].effects() {
                let taken = shards
                    .get_mut(usize::from(target.0))
                    .is_some_and(|shard| shard.receive_effect(from, number, message, &mut turn));
                if taken {
                    shards[source].effect_given(target, number);
                    reached!(Carried);
                }
            }
        }
        let (shards, mut turn) = self.turn(now, out);
        for target in 0..shards.len() {
            for (from, number) in shards[target].take_confirmations() {
                if let Some(shard) = shards.get_mut(usize::from(from.0)) {
                    shard.confirm_effects(shard_id(target), number, &mut turn);
                }
            }
        }
        // A note may be answered by one.
        for _ in 0..NOTE_ROUNDS {
            if !self.exchange_notes(now, out) {
                return;
            }
        }
    }

    /// Carries notes between shards once; false: there were none.
    fn exchange_notes(&mut self, now: MonotonicMs, out: &mut Outputs) -> bool {
        let mut some = false;
        let (shards, mut turn) = self.turn(now, out);
        for source in 0..shards.len() {
            if !shards[source].has_notes() {
                continue;
            }
            some = true;
            for Notes { target, first, notes } in shards[source].take_notes() {
                if let Some(shard) = shards.get_mut(usize::from(target.0)) {
                    shard.receive_notes(shard_id(source), first, notes, &mut turn);
                    reached!(Carried);
                }
            }
        }
        for target in 0..shards.len() {
            for (from, number) in shards[target].take_note_confirmations() {
                if let Some(shard) = shards.get_mut(usize::from(from.0)) {
                    shard.confirm_notes(shard_id(target), number, &mut turn);
                }
            }
        }
        some
    }
}
