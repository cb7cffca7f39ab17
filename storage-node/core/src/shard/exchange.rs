//! Effects on other shards: wills, and notes about sessions. Carried by the node (`crate::node`) once, and kept in the state
//! until the other shard has confirmed them; a shard that comes back from its log has them carried again.

use std::collections::BTreeMap;

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

/// How far effects and notes are on their way, beside what the state says.
#[derive(Debug, Default)]
pub(super) struct Carried {
    effects: Channel,
    notes: Channel,
}

/// Both directions of one kind. Proposals do not get lost while this leader lives, so each is made once.
#[derive(Debug, Default)]
struct Channel {
    /// Last number that each target has taken over.
    given: BTreeMap<ShardId, u64>,
    /// Last number whose confirmation by each target has been proposed.
    confirmed: BTreeMap<ShardId, u64>,
    /// Last number of each source that has been proposed here.
    proposed: BTreeMap<ShardId, u64>,
    /// What has been applied here and is to be confirmed: (source, number).
    to_confirm: Vec<(ShardId, u64)>,
}

impl Channel {
    /// Raises the number of a shard. False: it was as high already.
    fn raise(numbers: &mut BTreeMap<ShardId, u64>, of: ShardId, number: u64) -> bool {
        let known = numbers.entry(of).or_default();
        let is_higher = number > *known;
        *known = number.max(*known);
        is_higher
    }
}

impl Carried {
    /// An effect of another shard has been applied here.
    pub(super) fn effect_applied(&mut self, from: ShardId, number: u64) {
        self.effects.to_confirm.push((from, number));
    }

    /// Notes of another shard, up to this one, have been applied here.
    pub(super) fn notes_applied(&mut self, from: ShardId, number: u64) {
        self.notes.to_confirm.push((from, number));
    }

    /// Whether an effect is to be proposed here.
    pub(super) fn is_new_effect(&mut self, from: ShardId, number: u64) -> bool {
        Channel::raise(&mut self.effects.proposed, from, number)
    }
}

impl<L: CommitLog> Shard<L> {
    /// Wills for other shards that these have not taken over.
    pub(crate) fn effects(&self) -> Vec<(ShardId, u64, Message)> {
        self.state
            .effects
            .behind(&self.carried.effects.given)
            .map(|(target, number, message)| (target, number, message.clone()))
            .collect()
    }

    pub(crate) fn has_effects(&self) -> bool {
        self.state.effects.has_behind(&self.carried.effects.given)
    }

    /// Whether anything is to be carried to another shard, or confirmed to one. Asked behind each operation of a session.
    #[inline]
    pub(crate) fn has_for_others(&self) -> bool {
        let Carried { effects, notes } = &self.carried;
        !effects.to_confirm.is_empty() || !notes.to_confirm.is_empty() || self.has_effects() || self.has_notes()
    }

    /// `target` will confirm the will with this number.
    pub(crate) fn effect_given(&mut self, target: ShardId, number: u64) {
        Channel::raise(&mut self.carried.effects.given, target, number);
    }

    /// Wills of other shards that have been taken here since the last call: (source, number).
    pub(crate) fn take_confirmations(&mut self) -> Vec<(ShardId, u64)> {
        std::mem::take(&mut self.carried.effects.to_confirm)
    }

    /// `target` has taken wills up to `number`.
    pub(crate) fn confirm_effects(&mut self, target: ShardId, number: u64, turn: &mut Turn<'_>) {
        if Channel::raise(&mut self.carried.effects.confirmed, target, number) {
            self.propose(Command::ConfirmEffects { target, number }, turn);
            self.settle(turn);
        }
    }

    pub(crate) fn has_notes(&self) -> bool {
        self.state.notes.has_behind(&self.carried.notes.given)
    }

    /// Takes the notes for other shards that these have not been given.
    pub(crate) fn take_notes(&mut self) -> Vec<Notes> {
        let mut all: Vec<Notes> = Vec::new();
        for (target, number, note) in self.state.notes.behind(&self.carried.notes.given) {
            match all.last_mut() {
                Some(last) if last.target == target => last.notes.push(note.clone()),
                _ => all.push(Notes {
                    target,
                    first: number,
                    notes: vec![note.clone()],
                }),
            }
        }
        for Notes { target, first, notes } in &all {
            let last = first + notes.len() as u64 - 1;
            Channel::raise(&mut self.carried.notes.given, *target, last);
        }
        all
    }

    /// Notes of another shard arrive, perhaps again.
    pub(crate) fn receive_notes(&mut self, from: ShardId, first: u64, mut notes: Vec<Note>, turn: &mut Turn<'_>) {
        let last = first.saturating_add(notes.len() as u64).saturating_sub(1);
        let taken = self.state.notes.last_taken(from);
        if taken >= first {
            self.carried.notes_applied(from, taken.min(last));
        }
        let proposed = self.carried.notes.proposed.get(&from).copied().unwrap_or(0).max(taken);
        let known = usize::try_from(proposed.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
        notes.drain(..known.min(notes.len()));
        if notes.is_empty() {
            return;
        }
        Channel::raise(&mut self.carried.notes.proposed, from, last);
        let first = first.max(proposed.saturating_add(1));
        // Its proxy was told that the session has it: the message is nobody else's, though the entry is on its way.
        self.end_leases_of_kept(&notes);
        self.propose(Command::ReceiveNotes { from, first, notes }, turn);
        self.settle(turn);
    }

    /// Notes of other shards that have been taken here since the last call: (source, number).
    pub(crate) fn take_note_confirmations(&mut self) -> Vec<(ShardId, u64)> {
        std::mem::take(&mut self.carried.notes.to_confirm)
    }

    /// `target` has taken notes up to `number`.
    pub(crate) fn confirm_notes(&mut self, target: ShardId, number: u64, turn: &mut Turn<'_>) {
        if Channel::raise(&mut self.carried.notes.confirmed, target, number) {
            self.propose(Command::ConfirmNotes { target, number }, turn);
            self.settle(turn);
        }
    }
}
