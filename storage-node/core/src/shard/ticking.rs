//! What time brings: the end of the hold and who is let in behind it, silence, takeovers that were not confirmed, wills,
//! expiry of everything that expires, what sessions need no more, departures.
//!
//! Paced: one call does a bounded amount of each, and what is left is due at once.

use std::time::Duration;

use bytes::Bytes;
use freshet_storage_contract::MonotonicMs;

use super::Shard;
use super::ahead::Expiry;
use crate::log::{Command, CommitLog};
use crate::state::{State, Trims};
use crate::turn::Turn;

/// Wills that one call publishes.
const WILLS_PER_TICK: usize = 1_024;
/// Retained messages and messages that one call lets go, of each.
const EXPIRED_PER_TICK: usize = 4_096;
/// Rows of queues that nobody needs and that one call lets go. All shards may have some at once, and the next call is due in
/// the next turn: of eight shards hundreds of thousands go in a second.
const UNNEEDED_PER_TICK: usize = 1_024;
/// Sessions that one call lets end: each has filters, which other shards are told of.
const SESSIONS_PER_TICK: usize = 64;
/// How long other work has the shard for itself before more of those that are due end: 2,560 end in a second, of eight
/// shards 20,000.
const SESSIONS_EVERY: Duration = Duration::from_millis(25);
/// Filters about which one call tells other shards what sessions need no more: each of these calls is one turn there.
const TRIMS_PER_TICK: usize = 256;
/// How long what sessions need no more is gathered before it is told.
const TRIM_AFTER: Duration = Duration::from_secs(1);
/// The same when there is much of it.
const TRIM_MUCH_AFTER: Duration = Duration::from_millis(100);
/// How soon room is looked for again while publications wait for it: other shards make it, too.
const LOOK_FOR_ROOM_AFTER: Duration = Duration::from_millis(50);

impl<L: CommitLog> Shard<L> {
    /// Does what is due.
    pub(crate) fn tick(&mut self, turn: &mut Turn<'_>) {
        if self.wake.is_none_or(|wake| wake > turn.now) {
            return;
        }
        self.end_hold_in_time(turn);
        self.let_in(turn);
        self.notice_silence(turn);
        self.grant_overdue(turn);
        self.fire_wills(turn);
        self.expire(turn);
        self.send_trims(turn);
        self.submit_held(turn);
        self.clear_up_departed(turn);
        self.wake = None;
        let silence = self
            .peers
            .living()
            .filter_map(|p| p.ring.silence_begins(turn.settings.silent_after_ms))
            .min();
        let departure = (!self.departing.is_empty()).then_some(turn.now);
        for due in [silence, departure, self.recovery.due(turn.now)].into_iter().flatten() {
            self.wake_at(due);
        }
        self.settle(turn);
    }

    fn fire_wills(&mut self, turn: &mut Turn<'_>) {
        if self.wills_from(turn.now).is_none_or(|from| from > turn.now) {
            return;
        }
        let log_time_ms = self.clock.log_time_ms(turn.now);
        let due = self
            .state
            .wills
            .by_due()
            .take_while(|(due_ms, _)| *due_ms <= log_time_ms);
        let undecided = due.filter(|(_, client_id)| !self.ahead.is_about_will(client_id));
        let due: Vec<Bytes> = undecided.take(WILLS_PER_TICK).map(|(_, c)| c.clone()).collect();
        for client_id in due {
            self.fire_will(client_id, turn);
        }
    }

    /// Lets go what has come to its time.
    fn expire(&mut self, turn: &mut Turn<'_>) {
        let now_ms = self.clock.log_time_ms(turn.now);
        let is_due = |kind| self.next_of(kind, turn).is_some_and(|due_ms| due_ms <= now_ms);
        let sessions_end = self.sessions_end_from <= turn.now && is_due(Expiry::Sessions);
        let limit = EXPIRED_PER_TICK;
        let sessions = Command::ExpireSessions {
            limit: SESSIONS_PER_TICK,
        };
        let age_ms = turn.settings.queue_limits.age_ms;
        let outdated = Command::DropOutdated {
            age_ms: turn.settings.retention.max_age_ms,
            limit,
        };
        let unneeded = Command::DropUnneeded {
            limit: UNNEEDED_PER_TICK,
        };
        let commands = [
            (is_due(Expiry::Retained), Command::ExpireRetained { limit }),
            (sessions_end, sessions),
            (is_due(Expiry::Queued), Command::ExpireQueued { limit }),
            (is_due(Expiry::Filters), Command::ExpireFilters { limit }),
            (is_due(Expiry::Packets), Command::ExpirePackets { limit }),
            (is_due(Expiry::OldQueued), Command::DropOldQueued { age_ms, limit }),
            (is_due(Expiry::Outdated), outdated),
            (is_due(Expiry::UnneededRows), unneeded),
        ];
        let forgets_passed = is_due(Expiry::Passed);
        if sessions_end && self.state.sessions.has_more_due(now_ms, SESSIONS_PER_TICK) {
            self.sessions_end_from = turn.now.plus(SESSIONS_EVERY);
        }
        for (_, command) in commands.into_iter().filter(|(is_due, _)| *is_due) {
            self.propose(command, turn);
        }
        if forgets_passed {
            self.forget_passed(turn);
        }
        self.advance(turn);
    }

    /// When the first of a kind expires, ms of log time; none while an entry that sees to it is on its way.
    fn next_of(&self, kind: Expiry, turn: &Turn<'_>) -> Option<u64> {
        let is_kept = kind == Expiry::Sessions && self.is_recovering();
        if is_kept || self.ahead.is_expiring(kind) {
            return None;
        }
        let State {
            retained,
            sessions,
            queues,
            packets,
            origins,
            passed,
            ..
        } = &self.state;
        match kind {
            Expiry::Retained => retained.next_expiry(),
            Expiry::Sessions => sessions.next_end(),
            Expiry::Queued => queues.next_expiry(),
            Expiry::OldQueued => queues.next_older(turn.settings.queue_limits.age_ms),
            Expiry::Outdated => queues.next_older(turn.settings.retention.max_age_ms),
            Expiry::Filters => queues.next_unconfirmed(),
            Expiry::Packets => packets.next_expiry().into_iter().chain(origins.next_expiry()).min(),
            Expiry::UnneededRows => queues.has_unneeded().then_some(0),
            Expiry::Passed => passed.first().map(|(goes_ms, _)| goes_ms),
            // These have a time of their own, and the node sees to that.
            Expiry::Trims | Expiry::OverBytes => None,
        }
    }

    /// Tells other shards what sessions need no more.
    fn send_trims(&mut self, turn: &mut Turn<'_>) {
        if self.trim_at.is_some_and(|at| at <= turn.now) {
            self.trim_at = None;
            self.propose(Command::SendTrims { limit: TRIMS_PER_TICK }, turn);
            self.advance(turn);
        }
    }

    /// Notes when something of the state is due.
    pub(super) fn note_deadlines(&mut self, turn: &Turn<'_>) {
        let clock = self.clock;
        let when = |due_ms: Option<u64>| due_ms.map(|due_ms| clock.when(due_ms));
        if !self.ahead.is_expiring(Expiry::Trims)
            && let Some(at) = trim_at(self.state.sessions.trims(), turn.now)
        {
            self.trim_at = Some(self.trim_at.map_or(at, |before| before.min(at)));
        }
        let wills_from = self.wills_from(turn.now);
        let due: [Option<MonotonicMs>; 13] = [
            self.sessions.next_wait(),
            wills_from.and_then(|from| Some(when(self.next_will_due())?.max(from))),
            when(self.next_of(Expiry::Retained, turn)),
            when(self.next_of(Expiry::Sessions, turn)).map(|at| at.max(self.sessions_end_from)),
            when(self.next_of(Expiry::Queued, turn)),
            when(self.next_of(Expiry::Filters, turn)),
            when(self.next_of(Expiry::Packets, turn)),
            when(self.next_of(Expiry::Passed, turn)),
            when(self.next_of(Expiry::OldQueued, turn)),
            when(self.next_of(Expiry::Outdated, turn)),
            when(self.next_of(Expiry::UnneededRows, turn)),
            self.trim_at,
            self.waits_for_room().then(|| turn.now.plus(LOOK_FOR_ROOM_AFTER)),
        ];
        for due in due.into_iter().flatten() {
            self.wake_at(due);
        }
    }
}

/// When shards of messages are told what they could drop, if something has come up by now.
fn trim_at(trims: Trims, now: MonotonicMs) -> Option<MonotonicMs> {
    match trims {
        Trims::None => None,
        Trims::Some => Some(now.plus(TRIM_AFTER)),
        Trims::Much => Some(now.plus(TRIM_MUCH_AFTER)),
        Trims::Rest => Some(now),
    }
}
