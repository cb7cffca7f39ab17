//! Which sessions have something to tell storage: at the end of the turn where somebody waits for it, otherwise when a
//! little has come together.

use std::time::Duration;

use freshet_storage_contract::MonotonicMs;

use super::Worker;
use super::actions::Actions;
use super::token::ConnectionToken;
use crate::connection::durable::Telling;

/// For how long acknowledgements that nobody waits for come together. What a proxy that dies has not told is delivered
/// again.
const TOGETHER: Duration = Duration::from_millis(100);

/// Connections whose sessions have changed; one that has gone is passed over. Bounded by the connections: each is there
/// at most twice.
#[derive(Debug, Default)]
pub(crate) struct SessionUpdates {
    now: Vec<ConnectionToken>,
    soon: Vec<ConnectionToken>,
    soon_at: Option<MonotonicMs>,
}

impl SessionUpdates {
    /// A session has something to tell.
    pub(crate) fn add(&mut self, token: ConnectionToken, urgency: Telling, now: MonotonicMs) {
        match urgency {
            Telling::Nothing => {}
            Telling::Now => self.now.push(token),
            Telling::Soon => {
                self.soon.push(token);
                self.soon_at.get_or_insert(now.plus(TOGETHER));
            }
        }
    }

    /// When something is to be told although nothing happens.
    pub(crate) fn next(&self) -> Option<MonotonicMs> {
        // What came up while bytes were written goes with the next turn, at once.
        if self.now.is_empty() {
            self.soon_at
        } else {
            Some(MonotonicMs(0))
        }
    }
}

impl Worker {
    /// Tells storage what somebody waits for.
    pub(super) fn tell_urgent_updates(&mut self, now: MonotonicMs, out: &mut Actions) {
        while !self.shared.session_updates.now.is_empty() {
            for token in std::mem::take(&mut self.shared.session_updates.now) {
                self.with(token, now, out, |connection, cx| connection.send_update(cx));
            }
        }
    }

    /// Tells storage what has come together.
    pub(super) fn tell_other_updates(&mut self, now: MonotonicMs, out: &mut Actions) {
        let updates = &mut self.shared.session_updates;
        if updates.soon_at.is_none_or(|at| at > now) {
            return;
        }
        updates.soon_at = None;
        for token in std::mem::take(&mut updates.soon) {
            self.with(token, now, out, |connection, cx| connection.send_update(cx));
        }
    }
}
