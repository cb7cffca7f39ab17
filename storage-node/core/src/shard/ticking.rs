//! What time brings: the end of the hold, silence, takeovers that were not confirmed, wills, expiry, departures.
//!
//! Paced: one call does a bounded amount of each, and what is left is due at once.

use super::Shard;
use crate::facts::StorageFact;
use crate::log::{Command, CommitLog};
use crate::turn::Turn;

/// Wills that one call publishes.
const WILLS_PER_TICK: usize = 1_024;
/// Retained messages that one call lets expire.
const EXPIRED_PER_TICK: usize = 4_096;

impl<L: CommitLog> Shard<L> {
    /// Does what is due.
    pub(crate) fn tick(&mut self, turn: &mut Turn<'_>) {
        if self.wake.is_none_or(|wake| wake > turn.now) {
            return;
        }
        if self.intake.hold_until.is_some_and(|until| until <= turn.now) {
            let held = self.end_hold(turn);
            turn.out.fact(StorageFact::RecoveryHoldEnded { shard: self.id, held });
        }
        self.notice_silence(turn);
        self.grant_overdue(turn);
        self.fire_wills(turn);
        self.expire_retained(turn);
        self.clear_up_departed(turn);
        self.wake = None;
        let silence = self
            .peers
            .living()
            .filter_map(|p| p.ring.silence_begins(turn.settings.silent_after_ms))
            .min();
        let departure = (!self.departing.is_empty()).then_some(turn.now);
        for due in [silence, departure, self.intake.hold_until].into_iter().flatten() {
            self.wake_at(due);
        }
        self.settle(turn);
    }

    fn fire_wills(&mut self, turn: &mut Turn<'_>) {
        let log_time_ms = self.clock.log_time_ms(turn.now);
        for _ in 0..WILLS_PER_TICK {
            let Some(client_id) = self.state.wills.next_due().filter(|(due_ms, _)| *due_ms <= log_time_ms) else {
                return;
            };
            let client_id = client_id.1.clone();
            self.fire_will(client_id, turn);
        }
    }

    fn expire_retained(&mut self, turn: &mut Turn<'_>) {
        if self
            .state
            .retained
            .next_expiry()
            .is_some_and(|expires_ms| expires_ms <= self.clock.log_time_ms(turn.now))
        {
            self.propose(
                Command::ExpireRetained {
                    limit: EXPIRED_PER_TICK,
                },
                turn,
            );
            self.advance(turn);
        }
    }
}
