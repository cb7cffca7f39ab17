//! Effects on other shards: wills, and notes about sessions. Carried by the node (`crate::node`) until the other shard
//! has confirmed them.

use freshet_storage_contract::{Message, ShardId};

use super::Shard;
use crate::log::{Command, CommitLog};
use crate::state::Note;
use crate::turn::Turn;

/// Notes for one shard, numbered without gaps.
#[derive(Debug)]
pub(crate) struct Notes {
    pub(crate) target: ShardId,
    pub(crate) first: u64,
    pub(crate) notes: Vec<Note>,
}

impl<L: CommitLog> Shard<L> {
    /// Wills for other shards that are not confirmed.
    pub(crate) fn effects(&self) -> Vec<(ShardId, u64, Message)> {
        self.state
            .effects
            .unconfirmed()
            .map(|(target, number, message)| (target, number, message.clone()))
            .collect()
    }

    pub(crate) fn has_effects(&self) -> bool {
        self.state.effects.has_unconfirmed()
    }

    /// Wills of other shards that have been taken here since the last call: (source, number).
    pub(crate) fn take_confirmations(&mut self) -> Vec<(ShardId, u64)> {
        std::mem::take(&mut self.confirmations)
    }

    /// `target` has taken wills up to `number`.
    pub(crate) fn confirm_effects(&mut self, target: ShardId, number: u64, turn: &mut Turn<'_>) {
        self.propose(Command::ConfirmEffects { target, number }, turn);
        self.settle(turn);
    }

    pub(crate) fn has_notes(&self) -> bool {
        self.state.notes.has_unconfirmed()
    }

    /// Notes for other shards that are not confirmed.
    pub(crate) fn notes(&self) -> Vec<Notes> {
        let mut all: Vec<Notes> = Vec::new();
        for (target, number, note) in self.state.notes.unconfirmed() {
            match all.last_mut() {
                Some(last) if last.target == target => last.notes.push(note.clone()),
                _ => all.push(Notes {
                    target,
                    first: number,
                    notes: vec![note.clone()],
                }),
            }
        }
        all
    }

    /// Notes of another shard arrive; returns the last number that is taken.
    pub(crate) fn receive_notes(&mut self, from: ShardId, first: u64, notes: Vec<Note>, turn: &mut Turn<'_>) -> u64 {
        self.intake.filters_in_flight += 1;
        self.propose(Command::ReceiveNotes { from, first, notes }, turn);
        self.settle(turn);
        self.state.notes.last_taken(from)
    }

    /// `target` has taken notes up to `number`.
    pub(crate) fn confirm_notes(&mut self, target: ShardId, number: u64, turn: &mut Turn<'_>) {
        self.propose(Command::ConfirmNotes { target, number }, turn);
        self.settle(turn);
    }
}
