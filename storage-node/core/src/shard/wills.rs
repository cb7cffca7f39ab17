//! What becomes of the will of a connection that has ended: MQTT 5.0, 3.1.2.5 and 3.1.3.2.2, and `willGraceOnMove`
//! where it is the server that ended it.
//!
//! A will that is published goes to the shard of its topic as a numbered effect; one that waits is a row of the state.

use bytes::Bytes;
use freshet_storage_contract::{DetachReason, SessionEpoch, Will};

use super::Shard;
use super::connections::End;
use crate::log::{Command, CommitLog};
use crate::state::{OnReturn, WillRow};
use crate::turn::Turn;

/// The will of a connection that has ended.
#[derive(Debug)]
pub(super) struct LeftWill {
    pub(super) client_id: Bytes,
    pub(super) epoch: SessionEpoch,
    pub(super) will: Will,
    /// Session Expiry Interval, seconds.
    pub(super) session_expiry_s: u32,
}

impl<L: CommitLog> Shard<L> {
    /// A connection has ended; `clean_start` is that of the one that takes its place, if any.
    pub(super) fn decide_will(&mut self, left: LeftWill, end: End, clean_start: Option<bool>, turn: &mut Turn<'_>) {
        let LeftWill {
            client_id,
            epoch,
            will,
            session_expiry_s,
        } = left;
        // The end of the session ends the delay (MQTT 5.0, 3.1.3.2.2).
        let delay_ms = u64::from(will.delay_interval_s.min(session_expiry_s)) * 1_000;
        let moved = match end {
            End::Detached(DetachReason::ByClient) => {
                self.counters.wills_dropped_total += 1;
                return;
            }
            End::Detached(DetachReason::WillDue | DetachReason::TakenOver) | End::Unconfirmed => false,
            End::Detached(DetachReason::Moved) | End::Unreachable | End::ProxyLost => true,
        };
        let log_time_ms = self.clock.log_time_ms(turn.now);
        match clean_start {
            // The client is back before its will was due.
            Some(clean_start) if moved || (delay_ms > 0 && !clean_start) => self.counters.wills_dropped_total += 1,
            Some(_) => self.send_will(will, turn),
            None if !moved && delay_ms == 0 => self.send_will(will, turn),
            None => {
                let (wait_ms, on_return) = if moved {
                    (delay_ms.max(turn.settings.will_grace_on_move_ms), OnReturn::Drop)
                } else {
                    (delay_ms, OnReturn::DropUnlessCleanStart)
                };
                let due_ms = log_time_ms.saturating_add(wait_ms);
                let row = WillRow {
                    message: will.message,
                    epoch,
                    due_ms,
                    on_return,
                };
                self.propose(Command::HoldWill { client_id, row }, turn);
                self.advance(turn);
            }
        }
    }

    /// The will of a client that waits when all that was proposed has been applied.
    pub(super) fn will_of(&self, client_id: &[u8]) -> Option<&WillRow> {
        self.ahead.will_of(client_id, &self.state)
    }

    /// When the next will is due whose end has not been proposed, ms of log time.
    pub(super) fn next_will_due(&self) -> Option<u64> {
        let mut undecided = self.state.wills.by_due().filter(|(_, c)| !self.ahead.is_about_will(c));
        undecided.next().map(|(due_ms, _)| due_ms)
    }

    /// A client that has no session attaches: a will of its last connection may still wait.
    pub(super) fn decide_waiting_will(&mut self, client_id: &Bytes, clean_start: bool, turn: &mut Turn<'_>) {
        let Some(row) = self.will_of(client_id) else {
            return;
        };
        match row.on_return {
            OnReturn::DropUnlessCleanStart if clean_start => self.fire_will(client_id.clone(), turn),
            OnReturn::Drop | OnReturn::DropUnlessCleanStart => {
                self.propose(
                    Command::DropWill {
                        client_id: client_id.clone(),
                    },
                    turn,
                );
                self.advance(turn);
            }
        }
    }

    /// Publishes a will that has waited.
    pub(super) fn fire_will(&mut self, client_id: Bytes, turn: &mut Turn<'_>) {
        let topic_name = self.will_of(&client_id).map(|row| row.message.topic_name.clone());
        let target = topic_name
            .as_deref()
            .and_then(|topic_name| std::str::from_utf8(topic_name).ok());
        let command = match target {
            Some(topic_name) => {
                let target = turn.placement.shard_of_topic(topic_name);
                Command::FireWill { client_id, target }
            }
            // Proxies check topics; nobody could be subscribed to this one.
            None => Command::DropWill { client_id },
        };
        self.propose(command, turn);
        self.advance(turn);
    }

    /// Publishes a will that does not wait.
    pub(super) fn send_will(&mut self, will: Will, turn: &mut Turn<'_>) {
        let Ok(topic_name) = std::str::from_utf8(&will.message.topic_name) else {
            self.counters.wills_dropped_total += 1;
            return;
        };
        let target = turn.placement.shard_of_topic(topic_name);
        self.propose(
            Command::SendWill {
                message: will.message,
                target,
            },
            turn,
        );
        self.advance(turn);
    }
}
