//! Handing over all clients: the proxy is about to stop, or to become a warm one.
//!
//! Clients leave at an even pace, so that those who take them are not overrun. Each is asked to go when nothing of it is
//! in flight, or after a moment: what is unacknowledged then, its own session sends again. No will fires
//! ([`freshet_storage_contract::DetachReason::Moved`]).

use std::collections::VecDeque;
use std::time::Duration;

use freshet_storage_contract::MonotonicMs;

use super::Worker;
use super::actions::Actions;
use super::token::ConnectionToken;
use crate::connection::{Pause, Phase};
use crate::reason::DisconnectReason;

/// How fast clients are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainPace {
    /// Connections per second; at least 1.
    pub moves_per_second: u32,
    /// When all that are left go at once.
    pub deadline: MonotonicMs,
}

/// A drain under way.
#[derive(Debug)]
pub(crate) struct Drain {
    pace: DrainPace,
    /// Since when the pace counts.
    began: MonotonicMs,
    moved: u64,
    /// Slots below this one have been asked.
    next_slot: u32,
    /// Connections with something in flight, and until when that is waited for.
    leaving: VecDeque<(ConnectionToken, MonotonicMs)>,
    next_step: MonotonicMs,
}

/// Time for what is in flight.
const FINISH: Duration = Duration::from_secs(2);
/// How often the drain looks again.
const STEP: Duration = Duration::from_millis(50);

impl Drain {
    /// When there is something to do; `is_drained`: all connections have gone.
    pub(super) fn next_step(&self, is_drained: bool) -> Option<MonotonicMs> {
        (!is_drained).then_some(self.next_step)
    }

    /// Connections that may go by now.
    fn allowance(&self, now: MonotonicMs) -> u64 {
        if now >= self.pace.deadline {
            return u64::MAX;
        }
        let elapsed_ms = now.0.saturating_sub(self.began.0);
        let due = elapsed_ms.saturating_mul(u64::from(self.pace.moves_per_second.max(1))) / 1_000;
        // The first one at once.
        (due + 1).saturating_sub(self.moved)
    }
}

impl Worker {
    /// Begins to hand over all clients; no connection is taken from now on. Calling it again changes the pace.
    pub fn begin_drain(&mut self, pace: DrainPace, now: MonotonicMs, out: &mut Actions) {
        match &mut self.shared.drain {
            Some(drain) => {
                (drain.pace, drain.began, drain.moved) = (pace, now, 0);
            }
            None => {
                self.shared.drain = Some(Drain {
                    pace,
                    began: now,
                    moved: 0,
                    next_slot: 0,
                    leaving: VecDeque::new(),
                    next_step: now,
                });
            }
        }
        self.drain_some(now, out);
        self.resume_paused(now, out);
    }

    /// Takes clients again: the drain is called off, or what was drained goes on as a warm proxy. Those that have not
    /// gone yet stay.
    pub fn end_drain(&mut self, now: MonotonicMs, out: &mut Actions) {
        self.shared.drain = None;
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

    /// Whether all clients have been handed over and storage has been told of each.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.shared.drain.is_some() && self.connections.len() == 0 && self.shared.leaving.is_empty()
    }

    pub(super) fn drain_some(&mut self, now: MonotonicMs, out: &mut Actions) {
        let Some(mut drain) = self.shared.drain.take() else {
            return;
        };
        let mut go = Vec::new();
        drain.leaving.retain(|(token, until)| {
            let connection = self.connections.get(*token).filter(|c| c.phase != Phase::Closing);
            let stays = connection.is_some_and(|c| !c.is_idle() && now < *until && now < drain.pace.deadline);
            if !stays {
                go.push(*token);
            }
            stays
        });
        let mut allowance = drain.allowance(now);
        while allowance > 0 && drain.next_slot < self.connections.slot_end() {
            let at = drain.next_slot;
            drain.next_slot += 1;
            let Some((token, connection)) = self.connections.in_slot(at) else {
                continue;
            };
            if connection.phase == Phase::Closing {
                continue;
            }
            allowance -= 1;
            drain.moved += 1;
            connection.is_leaving = true;
            if connection.is_idle() || now >= drain.pace.deadline {
                go.push(token);
            } else {
                drain.leaving.push_back((token, now.plus(FINISH)));
            }
        }
        drain.next_step = now.plus(STEP);
        self.shared.drain = Some(drain);
        for token in go {
            let reason = DisconnectReason::ServerShutdown;
            let ending = match self.connections.get(token) {
                Some(connection) if connection.phase == Phase::Attaching => connection.refuse(reason),
                _ => reason.into(),
            };
            self.end(token, ending, now, out);
        }
    }
}
