//! Giving clients away: at a bounded pace, down to a number, who costs least first.
//!
//! One mover serves three ends: a proxy that stops gives all away, one that is drained by the operator too, and one that
//! has more than its share gives away what is above it. The order, looked at anew for each client:
//!
//! 1. nothing in flight, no session to hand over, no subscription: the client connects again, and that is all;
//! 2. the same with subscriptions, which the client makes again;
//! 3. nothing in flight and a session that outlives the connection: storage hands it over, and it reads on;
//! 4. something in flight, those with the least queued first: they are not read any more, finish within a moment and go
//!    then. What is unacknowledged after it, their own sessions send again.
//!
//! No will fires ([`freshet_storage_contract::DetachReason::Moved`]). Nothing is sorted or remembered for each client: a
//! lap over the slots per class takes those of it, a bounded part of a lap in each step.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use freshet_storage_contract::MonotonicMs;

use super::Worker;
use super::actions::Actions;
use super::slots::Connections;
use super::token::ConnectionToken;
use crate::connection::{Connection, Pause, Phase};
use crate::reason::DisconnectReason;

/// Why clients are given away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveKind {
    /// The process ends: no connection is taken any more, and at the deadline all that are left go at once.
    Shutdown,
    /// The operator drains the proxy. Who comes all the same is served, and moved last.
    Drain,
    /// The proxy has more than its share. Who has come since the order was given stays, so that nobody is moved twice.
    Rebalance,
}

/// How fast a worker gives clients away, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovePace {
    /// Why.
    pub kind: MoveKind,
    /// Clients of this worker that stay.
    pub keep: u64,
    /// Clients per second; 0: nobody for now.
    pub moves_per_second: u32,
    /// Nobody goes before.
    pub from: MonotonicMs,
    /// The end of the order: of a shutdown, when all that are left go at once; of the others, when nobody else is asked.
    pub until: MonotonicMs,
    /// Where clients of MQTT 5.0 may go instead, told in turn; none: they are not told.
    pub server_references: Arc<[Box<str>]>,
}

/// Clients that are given away.
#[derive(Debug)]
pub(crate) struct Mover {
    pace: MovePace,
    /// When the first order of this kind came.
    given: MonotonicMs,
    /// Since when the pace counts.
    counted_from: MonotonicMs,
    moved: u64,
    /// The lap: whom it takes, and the slot it has come to.
    class: u8,
    next_slot: u32,
    /// Connections with something in flight, and until when that is waited for.
    leaving: VecDeque<(ConnectionToken, MonotonicMs)>,
    next_step: MonotonicMs,
    next_reference: usize,
}

/// Time for what is in flight.
const FINISH: Duration = Duration::from_secs(2);
/// How often the mover looks again.
const STEP: Duration = Duration::from_millis(50);
/// How often it does while there is nobody to be moved.
const IDLE_STEP: Duration = Duration::from_secs(1);
/// Slots looked at in a step: what a turn has time for.
const SLOTS_PER_STEP: u32 = 8_192;
/// Bytes queued towards a client, up to which each class of those with something in flight reaches.
const QUEUED_BYTES: [usize; 2] = [1 << 10, 16 << 10];
/// The class of clients that were not accepted yet: of those only a proxy that ends gets rid.
const LAST_CLASS: u8 = 6;

impl Mover {
    /// When there is something to do; `is_drained`: all connections of a worker that ends have gone.
    pub(super) fn next_step(&self, is_drained: bool) -> Option<MonotonicMs> {
        let goes_on = if self.is_shutdown() {
            !is_drained
        } else {
            !self.leaving.is_empty() || self.next_step < self.pace.until
        };
        goes_on.then_some(self.next_step)
    }

    /// Whether the process ends.
    pub(super) fn is_shutdown(&self) -> bool {
        self.pace.kind == MoveKind::Shutdown
    }

    /// Whether all are to go now, whatever they have in flight.
    fn is_at_end(&self, now: MonotonicMs) -> bool {
        self.is_shutdown() && now >= self.pace.until
    }

    /// Connections that may go by now.
    fn allowance(&self, now: MonotonicMs) -> u64 {
        if self.is_at_end(now) {
            return u64::MAX;
        }
        if self.pace.moves_per_second == 0 || now < self.counted_from || now >= self.pace.until {
            return 0;
        }
        let elapsed_ms = now.0.saturating_sub(self.counted_from.0);
        let due = elapsed_ms.saturating_mul(u64::from(self.pace.moves_per_second)) / 1_000;
        // The first one at once.
        (due + 1).saturating_sub(self.moved)
    }

    /// Where the next client of MQTT 5.0 is told to go.
    fn next_reference(&mut self) -> Option<Box<str>> {
        let references = &self.pace.server_references;
        let reference = references.get(self.next_reference % references.len().max(1)).cloned();
        self.next_reference = self.next_reference.wrapping_add(1);
        reference
    }

    /// Takes those out of the list that have finished or were waited for long enough.
    fn take_finished(&mut self, connections: &Connections, now: MonotonicMs) -> Vec<ConnectionToken> {
        let is_at_end = self.is_at_end(now);
        let mut finished = Vec::new();
        self.leaving.retain(|(token, until)| {
            let connection = connections.get(*token).filter(|c| c.phase != Phase::Closing);
            let stays = connection.is_some_and(|c| !c.is_idle() && now < *until && !is_at_end);
            if !stays {
                finished.push(*token);
            }
            stays
        });
        finished
    }

    /// Goes on to the next class at the end of a lap. False: all classes have had theirs.
    fn next_lap(&mut self) -> bool {
        self.next_slot = 0;
        let goes_on = self.class < LAST_CLASS;
        self.class = if goes_on { self.class + 1 } else { 0 };
        goes_on
    }

    /// Whether the connection is to go in this lap.
    fn takes(&self, connection: &Connection, is_at_end: bool) -> bool {
        if connection.phase == Phase::Closing || connection.is_leaving && !is_at_end {
            return false;
        }
        let is_spared = match self.pace.kind {
            MoveKind::Shutdown => false,
            MoveKind::Drain => connection.phase != Phase::Connected,
            MoveKind::Rebalance => connection.phase != Phase::Connected || connection.cold.accepted > self.given,
        };
        !is_spared && (is_at_end || class_of(connection) <= self.class)
    }
}

/// What it costs to move a client: the lower the sooner.
fn class_of(connection: &Connection) -> u8 {
    if connection.phase != Phase::Connected {
        return LAST_CLASS;
    }
    if !connection.is_idle() {
        let queued = connection.outbound.as_ref().map_or(0, |o| o.accounted_bytes);
        let above = QUEUED_BYTES.iter().filter(|bytes| queued > **bytes).count();
        return 3 + u8::try_from(above).unwrap_or(0);
    }
    match &connection.cold.session {
        Some(session) if session.durable.is_some() => 2,
        Some(session) if !session.subscriptions.is_empty() => 1,
        _ => 0,
    }
}

impl Worker {
    /// Begins to give clients away, or goes on in another way from now on.
    pub fn move_clients(&mut self, pace: MovePace, now: MonotonicMs, out: &mut Actions) {
        let former = self.shared.mover.take();
        let given = former
            .as_ref()
            .filter(|f| f.pace.kind == pace.kind)
            .map_or(now, |f| f.given);
        self.shared.mover = Some(Mover {
            given,
            counted_from: pace.from.max(now),
            moved: 0,
            class: 0,
            next_slot: 0,
            next_step: now,
            next_reference: former.as_ref().map_or(0, |f| f.next_reference),
            leaving: former.map(|f| f.leaving).unwrap_or_default(),
            pace,
        });
        self.move_some(now, out);
        self.resume_paused(now, out);
    }

    /// Gives nobody away any more: the order was withdrawn. Those that have not gone yet stay.
    pub fn end_moves(&mut self, now: MonotonicMs, out: &mut Actions) {
        if self.shared.mover.take().is_none() {
            return;
        }
        self.shared.stats.moving_now = 0;
        self.shared.stats.moving_at_risk_now = 0;
        for at in 0..self.connections.slot_end() {
            let Some((token, connection)) = self.connections.in_slot(at) else {
                continue;
            };
            connection.is_leaving = false;
            if connection.paused == Some(Pause::Leaving) {
                self.shared.to_resume.push(token);
            }
        }
        self.resume_paused(now, out);
    }

    pub(super) fn move_some(&mut self, now: MonotonicMs, out: &mut Actions) {
        let Some(mut mover) = self.shared.mover.take() else {
            return;
        };
        let mut go = mover.take_finished(&self.connections, now);
        let is_at_end = mover.is_at_end(now);
        let surplus = self.surplus(&mover);
        let mut allowance = mover.allowance(now).min(surplus);
        let mut looked_at = 0;
        while allowance > 0 && (is_at_end || looked_at < SLOTS_PER_STEP) {
            if mover.next_slot >= self.connections.slot_end() {
                if is_at_end || !mover.next_lap() {
                    break;
                }
                continue;
            }
            let at = mover.next_slot;
            mover.next_slot += 1;
            looked_at += 1;
            let Some((token, connection)) = self.connections.in_slot(at) else {
                continue;
            };
            if !mover.takes(connection, is_at_end) {
                continue;
            }
            allowance -= 1;
            mover.moved += 1;
            connection.is_leaving = true;
            if connection.is_idle() || is_at_end {
                go.push(token);
            } else {
                mover.leaving.push_back((token, now.plus(FINISH)));
            }
        }
        self.note_leaving(&mover);
        let is_waiting = mover.is_shutdown() || surplus > 0 || !mover.leaving.is_empty();
        mover.next_step = if is_waiting && mover.pace.moves_per_second > 0 || !mover.leaving.is_empty() {
            now.plus(STEP).max(mover.counted_from.min(now.plus(IDLE_STEP)))
        } else {
            now.plus(IDLE_STEP)
        };
        let reason = if mover.is_shutdown() {
            DisconnectReason::ServerShutdown
        } else {
            DisconnectReason::Moved
        };
        self.shared.mover = Some(mover);
        for token in go {
            let ending = match self.connections.get(token) {
                Some(connection) if connection.phase == Phase::Attaching => connection.refuse(reason),
                _ => reason.into(),
            };
            self.end(token, ending, now, out);
        }
    }

    /// Clients that are to go and have not been asked to.
    fn surplus(&self, mover: &Mover) -> u64 {
        if mover.is_shutdown() {
            return u64::MAX;
        }
        let staying = self.shared.stats.clients_now.saturating_sub(mover.leaving.len() as u64);
        staying.saturating_sub(mover.pace.keep)
    }

    /// Counts those that finish what they have in flight, and what may be lost with them: what a session that ends with
    /// its connection has in flight is nobody's afterwards.
    fn note_leaving(&mut self, mover: &Mover) {
        let is_at_risk = |connection: &&Connection| {
            connection
                .cold
                .session
                .as_ref()
                .is_some_and(|session| session.durable.is_none())
        };
        let leaving = mover
            .leaving
            .iter()
            .filter_map(|(token, _)| self.connections.get(*token));
        let at_risk = leaving.filter(is_at_risk).count() as u64;
        self.shared.stats.moving_now = mover.leaving.len() as u64;
        self.shared.stats.moving_at_risk_now = at_risk;
    }
}

impl super::Shared {
    /// Whether the process ends: nobody is taken any more.
    pub(crate) fn is_shutting_down(&self) -> bool {
        self.mover.as_ref().is_some_and(Mover::is_shutdown)
    }

    /// Where a client that is moved is told to go, if it is.
    pub(crate) fn next_server_reference(&mut self) -> Option<Box<str>> {
        self.mover.as_mut()?.next_reference()
    }
}
