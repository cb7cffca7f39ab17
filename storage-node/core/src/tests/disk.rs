//! A world whose log is on a disk that flushes at once and whose every turn ends with a checkpoint: what is queued is on
//! disk alone, and what is read of it comes back at once or when a test says so.
//!
//! What sessions and groups see is the same as from memory: their tests run here again.

use std::cell::Cell;

use freshet_storage_contract::Position;

use super::*;
use crate::{Load, Restore};

thread_local! {
    static IS_WANTED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test in worlds with a disk.
fn with_disk(test: impl FnOnce()) {
    IS_WANTED.set(true);
    test();
    IS_WANTED.set(false);
}

/// What a disk has.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) rows: BTreeMap<(ShardId, Bytes), Bytes>,
    /// What is asked for waits for the test.
    pub(super) is_slow: bool,
    /// No checkpoint ends.
    pub(super) is_behind: bool,
    pub(super) asked: Vec<Load>,
    /// Rows that came back.
    pub(super) loaded: u64,
}

impl Disk {
    /// An empty one, in a test that runs with a disk.
    pub(super) fn if_wanted() -> Option<Self> {
        IS_WANTED.get().then(Self::default)
    }

    pub(super) fn restore(&self, settings: StorageSettings) -> Restore {
        let mut restore = Restore::new(settings).unwrap();
        for ((shard, key), value) in &self.rows {
            restore.row(*shard, key.clone(), value).unwrap();
        }
        restore
    }

    fn row(&self, load: Load) -> (Load, Option<Bytes>) {
        (load, self.rows.get(&(load.shard, load.key())).cloned())
    }
}

impl World {
    /// A world with a disk that answers when the test says so.
    pub(super) fn with_slow_disk(settings: StorageSettings) -> Self {
        let mut world = None;
        with_disk(|| world = Some(Self::new(settings)));
        let mut world = world.unwrap();
        world.disk.as_mut().unwrap().is_slow = true;
        world.keep();
        world
    }

    /// Flushes, takes a checkpoint, lets go of content, and reads it again for those who wait for it.
    pub(super) fn keep(&mut self) {
        let Some(mut disk) = self.disk.take() else { return };
        loop {
            let mut through = BTreeMap::new();
            through.extend(self.core.take_records().map(|(shard, position, _)| (shard, position)));
            if !through.is_empty() {
                let through: Vec<_> = through.into_iter().collect();
                self.core.flushed(&through, self.now, &mut self.out);
                continue;
            }
            if !disk.is_behind {
                self.take_checkpoint(&mut disk);
            }
            disk.asked.extend(self.core.take_loads());
            if disk.is_slow || disk.asked.is_empty() {
                break;
            }
            let asked: Vec<Load> = disk.asked.drain(..).rev().collect();
            disk.loaded += asked.len() as u64;
            let rows = asked.into_iter().map(|load| disk.row(load));
            self.core.loaded(rows, self.now, &mut self.out).unwrap();
        }
        self.disk = Some(disk);
    }

    fn take_checkpoint(&mut self, disk: &mut Disk) {
        let mut changes = Vec::new();
        let applied: Vec<(ShardId, Position)> = loop {
            let taken = self
                .core
                .take_changes(1_000, |shard, key, value| changes.push(((shard, key), value)));
            if let Some(applied) = taken {
                break applied;
            }
        };
        for (key, value) in changes {
            match value {
                Some(value) => disk.rows.insert(key, value),
                None => disk.rows.remove(&key),
            };
        }
        self.core.checkpointed(&applied, self.now, &mut self.out);
        self.core.give_up_all(self.now, &mut self.out);
    }

    /// What was asked of the slow disk since the last call.
    pub(super) fn take_asked(&mut self) -> Vec<Load> {
        std::mem::take(&mut self.disk.as_mut().unwrap().asked)
    }

    /// The slow disk answers.
    pub(super) fn answer_loads(&mut self, asked: &[Load]) {
        let disk = self.disk.as_ref().unwrap();
        let rows: Vec<_> = asked.iter().map(|load| disk.row(*load)).collect();
        self.core.loaded(rows, self.now, &mut self.out).unwrap();
        self.collect();
    }
}

#[test]
fn what_sessions_see_is_the_same_from_disk() {
    for scenario in [
        stored::a_session_finds_its_subscriptions_and_what_it_has_missed,
        stored::a_pull_that_has_caught_up_meets_the_live_stream_without_gap_or_overlap,
        stored::what_every_reader_has_done_with_is_no_longer_kept,
        stored::a_clean_start_ends_the_session_and_what_waits_for_it,
        stored::a_connection_that_was_taken_over_changes_nothing_any_more,
        stored::exchanges_are_handed_over_with_their_messages,
        stored::a_will_waits_in_queues_like_any_message,
        stored::expiring::messages_expire_in_their_queues_and_pulls_say_what_remains,
    ] {
        with_disk(scenario);
    }
}

#[test]
fn what_groups_see_is_the_same_from_disk() {
    for scenario in [
        shared::each_message_goes_to_one_proxy_of_a_group_and_to_every_group,
        shared::a_message_that_only_a_group_has_is_no_delivery_to_others,
        shared::a_proxy_gets_no_more_than_its_members_can_take_and_the_rest_waits,
        shared::what_comes_back_goes_to_another_member_first,
        shared::a_proxy_that_is_gone_gives_back_what_it_had,
        shared::a_link_that_comes_back_has_its_leases_and_gets_them_again_if_they_were_lost,
        shared::a_proxy_that_names_all_that_it_has_keeps_what_waits_for_it,
        shared::a_message_that_expires_while_it_waits_is_not_given_to_anybody,
        shared::a_proxy_whose_ring_is_full_gets_more_when_it_has_taken_some,
        shared::stored::while_no_member_is_connected_messages_wait_for_a_stored_one,
        shared::stored::a_qos_2_message_that_was_sent_stays_with_its_member,
        shared::stored::what_a_session_had_taken_goes_with_it,
        shared::stored::a_connection_that_was_taken_over_takes_nothing,
    ] {
        with_disk(scenario);
    }
}
