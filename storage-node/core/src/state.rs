//! What every replica of a shard holds alike: retained messages, wills that wait, effects between shards.
//!
//! Changes by [`State::apply`] alone, which is total (it refuses nothing: what goes into the log was checked before),
//! reads no clock but the entry's, and gives the same result everywhere. Leaves out everything that a new leader asks
//! proxies for again: interest, sessions that end with their connection, deliveries.

mod effects;
mod retained;
mod wills;

use freshet_storage_contract::Position;

pub(crate) use self::effects::Effects;
pub(crate) use self::retained::{ReadEnd, RetainedSet};
pub(crate) use self::wills::{OnReturn, WillRow, Wills};
use crate::log::{Command, ENTRY_VERSION, Entry};

/// State of a shard at a position of its log.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) applied: Position,
    pub(crate) retained: RetainedSet,
    pub(crate) wills: Wills,
    pub(crate) effects: Effects,
}

/// What an entry did, for the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The change was made.
    Done,
    /// There was nothing to change: it had been made before, or its subject has gone.
    Nothing,
    /// Retained messages expired.
    Expired(usize),
}

impl State {
    /// Applies an entry. Entries come in order; one of an unknown version changes nothing but the position.
    pub(crate) fn apply(&mut self, position: Position, entry: &Entry) -> Applied {
        self.applied = position;
        if entry.version > ENTRY_VERSION {
            return Applied::Nothing;
        }
        let done = |changed: bool| if changed { Applied::Done } else { Applied::Nothing };
        match &entry.command {
            Command::Retain { message } => {
                self.retained.put(message, position, entry.log_time_ms);
                Applied::Done
            }
            Command::ExpireRetained { limit } => Applied::Expired(self.retained.expire(entry.log_time_ms, *limit)),
            Command::HoldWill { client_id, row } => {
                self.wills.hold(client_id, row.clone());
                Applied::Done
            }
            Command::DropWill { client_id } => done(self.wills.take(client_id).is_some()),
            Command::FireWill { client_id, target } => match self.wills.take(client_id) {
                Some(row) => {
                    self.effects.send(*target, row.message);
                    Applied::Done
                }
                None => Applied::Nothing,
            },
            Command::SendWill { message, target } => {
                self.effects.send(*target, message.clone());
                Applied::Done
            }
            Command::ReceiveEffect { from, number, message } => {
                let first_time = self.effects.receive(*from, *number);
                if let Some(message) = message.as_ref().filter(|m| first_time && m.retain) {
                    self.retained.put(message, position, entry.log_time_ms);
                }
                done(first_time)
            }
            Command::ConfirmEffects { target, number } => {
                self.effects.confirm(*target, *number);
                Applied::Done
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use freshet_storage_contract::{Message, PublisherId, QoS, SessionEpoch, ShardId};

    use super::*;

    pub(super) fn message(topic: &str, payload: &str) -> Message {
        Message {
            topic_name: Bytes::copy_from_slice(topic.as_bytes()),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            qos: QoS::AtLeastOnce,
            retain: true,
            publisher: PublisherId(0),
            message_expiry_interval_s: None,
            forwarded_properties: Bytes::new(),
        }
    }

    fn entry(command: Command) -> Entry {
        Entry {
            version: ENTRY_VERSION,
            log_time_ms: 0,
            command,
        }
    }

    #[test]
    fn a_will_that_was_dropped_does_not_fire() {
        let mut state = State::default();
        let client_id = Bytes::from_static(b"c");
        let row = WillRow {
            message: message("w", "x"),
            epoch: SessionEpoch::default(),
            due_ms: 5,
            on_return: OnReturn::Drop,
        };
        state.apply(
            Position(1),
            &entry(Command::HoldWill {
                client_id: client_id.clone(),
                row,
            }),
        );
        state.apply(
            Position(2),
            &entry(Command::DropWill {
                client_id: client_id.clone(),
            }),
        );
        let fired = state.apply(
            Position(3),
            &entry(Command::FireWill {
                client_id,
                target: ShardId(1),
            }),
        );
        assert_eq!(fired, Applied::Nothing);
        assert_eq!(state.applied, Position(3));
    }

    #[test]
    fn an_effect_that_comes_twice_acts_once() {
        let mut state = State::default();
        let effect = |payload| Command::ReceiveEffect {
            from: ShardId(3),
            number: 1,
            message: Some(message("w", payload)),
        };
        assert_eq!(state.apply(Position(1), &entry(effect("first"))), Applied::Done);
        assert_eq!(state.apply(Position(2), &entry(effect("again"))), Applied::Nothing);
        assert_eq!(state.retained.usage().messages, 1);
        assert_eq!(state.retained.position_of(b"w"), Some(Position(1)));
    }

    #[test]
    fn an_entry_of_a_later_version_changes_nothing() {
        let mut state = State::default();
        let entry = Entry {
            version: ENTRY_VERSION + 1,
            log_time_ms: 0,
            command: Command::Retain {
                message: message("a", "x"),
            },
        };
        assert_eq!(state.apply(Position(9), &entry), Applied::Nothing);
        assert_eq!(state.retained.usage().messages, 0);
        assert_eq!(state.applied, Position(9));
    }
}
