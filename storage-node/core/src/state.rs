//! What every replica of a shard holds alike: retained messages, wills that wait, sessions, queued messages, effects
//! between shards.
//!
//! Changes by [`State::apply`] alone, which is total (it refuses nothing: what goes into the log was checked before),
//! reads no clock but the entry's, and gives the same result everywhere. Leaves out everything that a new leader asks
//! proxies for again: interest, connections, deliveries.

mod effects;
mod notes;
mod origins;
mod packets;
mod passed;
mod queues;
mod retained;
mod rows;
mod sessions;
mod tight;
mod wills;

use freshet_storage_contract::{Message, Position, QoS, ShardId, Term};

pub(crate) use self::effects::Effects;
pub(crate) use self::notes::Note;
use self::origins::Origins;
use self::packets::{Packets, Seen};
use self::passed::Passed;
pub(crate) use self::queues::{
    Content, Dropped, Matched, Missing, QueueId, Queued, Queues, Taken, Waiting, is_group, matched_by,
};
pub(crate) use self::retained::{ReadEnd, RetainedSet};
pub use self::rows::RowError;
pub(crate) use self::sessions::{SessionCost, Stored, StoredSessions, Trims};
pub(crate) use self::wills::{OnReturn, WillRow, Wills};
use crate::hash::KeyedHash;
use crate::log::{Command, ENTRY_VERSION, Entry, KnownBy, Publish, ROUTING_SAID_FROM};
use crate::planted::planted;

/// State of a shard at a position of its log.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) applied: Position,
    pub(crate) retained: RetainedSet,
    pub(crate) wills: Wills,
    pub(crate) sessions: StoredSessions,
    pub(crate) queues: Queues,
    pub(crate) packets: Packets,
    pub(crate) origins: Origins,
    pub(crate) passed: Passed,
    /// Wills for other shards.
    pub(crate) effects: Effects<Message>,
    /// What other shards have to know about sessions.
    pub(crate) notes: Effects<Note>,
    /// Time of the last entry, ms.
    pub(crate) log_time_ms: u64,
    /// First and last term of the leaders that have begun one in this log; 0 before.
    pub(crate) terms: (Term, Term),
    /// Term of the last leader that has begun to route publications; 0: none has.
    pub(crate) routed: Term,
}

/// What an entry did, for the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The change was made.
    Done,
    /// There was nothing to change: it had been made before, or its subject has gone.
    Nothing,
    /// This many went: retained messages, sessions, filters, or rows of queues.
    Gone(u64),
    /// A publication acts.
    Published {
        /// What has it.
        taken: Taken,
        /// What the limits on queues dropped for it.
        dropped: Dropped,
    },
    /// A publication had come before.
    Repeated {
        /// Where; none: it is of a connection before the one that goes on with its exchange.
        first: Option<Position>,
    },
    /// A connection has its session.
    Attached {
        /// It was there before.
        present: bool,
    },
}

impl State {
    /// State at the beginning of a log; `hash` is this replica's own.
    pub(crate) fn new(hash: KeyedHash) -> Self {
        Self {
            applied: Position::default(),
            retained: RetainedSet::default(),
            wills: Wills::default(),
            sessions: StoredSessions::default(),
            queues: Queues::new(hash),
            packets: Packets::default(),
            origins: Origins::default(),
            passed: Passed::default(),
            effects: Effects::default(),
            notes: Effects::default(),
            log_time_ms: 0,
            terms: (Term(0), Term(0)),
            routed: Term(0),
        }
    }

    /// Applies an entry. Entries come in order; one of an unknown version changes nothing but the position.
    pub(crate) fn apply(&mut self, position: Position, entry: &Entry) -> Applied {
        self.applied = position;
        if entry.version > ENTRY_VERSION {
            return Applied::Nothing;
        }
        let log_time_ms = entry.log_time_ms;
        self.log_time_ms = self.log_time_ms.max(log_time_ms);
        let done = |changed: bool| if changed { Applied::Done } else { Applied::Nothing };
        match &entry.command {
            Command::Publish(publish) => self.publish(position, publish, log_time_ms),
            Command::ExpireRetained { limit } => Applied::Gone(self.retained.expire(log_time_ms, *limit) as u64),
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
            Command::ReceiveEffect { from, number, publish } => match publish {
                _ if !self.effects.receive(*from, *number) => Applied::Nothing,
                Some(publish) => self.publish(position, publish, log_time_ms),
                None => Applied::Done,
            },
            Command::ConfirmEffects { target, number } => {
                self.effects.confirm(*target, *number);
                Applied::Done
            }
            Command::ReceiveNotes { from, first, notes } => {
                for (number, note) in (*first..).zip(notes) {
                    if self.notes.receive(*from, number) {
                        self.take_note(*from, note, log_time_ms);
                    }
                }
                Applied::Done
            }
            Command::ConfirmNotes { target, number } => {
                self.notes.confirm(*target, *number);
                Applied::Done
            }
            Command::EnsureDurable {
                session_shard,
                topic_filter,
            } => {
                self.queues.ensure(*session_shard, topic_filter, position, log_time_ms);
                Applied::Done
            }
            Command::ExpireFilters { limit } => Applied::Gone(self.queues.expire_filters(log_time_ms, *limit) as u64),
            Command::ExpireQueued { limit } => Applied::Gone(self.queues.expire_messages(log_time_ms, *limit)),
            Command::DropOldQueued { age_ms, limit } | Command::DropOutdated { age_ms, limit } => {
                let came_ms = log_time_ms.saturating_sub(*age_ms);
                Applied::Gone(self.queues.drop_older(came_ms, *limit))
            }
            Command::DropUnneeded { limit } => Applied::Gone(self.queues.drop_unneeded(*limit)),
            Command::DropThrough { through } => Applied::Gone(self.queues.drop_through(*through)),
            Command::ShareGroup { group, is_live } => {
                self.queues.set_live(group, *is_live);
                Applied::Done
            }
            Command::SettleShared { group, positions } => Applied::Gone(self.queues.settle(group, positions)),
            Command::Release { of } => done(self.packets.release(of)),
            Command::BeginTerm { term } => {
                let (first, last) = self.terms;
                let first = if first == Term(0) { *term } else { first };
                self.terms = (first, last.max(*term));
                self.passed.keep_all(log_time_ms);
                if entry.version < ROUTING_SAID_FROM {
                    self.routed = self.routed.max(*term);
                }
                Applied::Done
            }
            Command::BeginRouting { term } => {
                self.routed = self.routed.max(*term);
                Applied::Done
            }
            Command::PassBy { proxy, is_passed: true } => {
                self.passed.insert(*proxy, log_time_ms);
                Applied::Done
            }
            Command::PassBy {
                proxy,
                is_passed: false,
            } => done(self.passed.remove(*proxy)),
            Command::ExpirePackets { limit } => {
                let generations = self.packets.expire(log_time_ms, *limit);
                Applied::Gone((generations + self.origins.expire(log_time_ms, *limit)) as u64)
            }
            of_session => self.change_session(of_session, log_time_ms),
        }
    }

    fn change_session(&mut self, command: &Command, log_time_ms: u64) -> Applied {
        let Self { sessions, notes, .. } = self;
        let done = |changed: bool| if changed { Applied::Done } else { Applied::Nothing };
        match command {
            Command::AttachSession {
                client_id,
                epoch,
                clean_start,
                session_expiry_interval_s,
            } => Applied::Attached {
                present: sessions.attach(client_id, *epoch, *clean_start, *session_expiry_interval_s, notes),
            },
            Command::RegisterSession {
                client_id,
                epoch,
                session_expiry_interval_s,
                session,
            } => {
                sessions.register(client_id, *epoch, *session_expiry_interval_s, session.as_deref(), notes);
                Applied::Done
            }
            Command::DetachSession {
                client_id,
                epoch,
                session_expiry_interval_s,
            } => done(sessions.detach(client_id, *epoch, *session_expiry_interval_s, log_time_ms, notes)),
            Command::UpdateSession {
                client_id,
                epoch,
                changes,
            } => done(sessions.update(client_id, *epoch, changes, log_time_ms, notes)),
            Command::SuspendSessions => {
                sessions.suspend_all(log_time_ms);
                Applied::Done
            }
            Command::ExpireSessions { limit } => Applied::Gone(sessions.expire(log_time_ms, *limit, notes) as u64),
            Command::SendTrims { limit } => {
                sessions.send_trims(*limit, notes);
                Applied::Done
            }
            _ => Applied::Nothing,
        }
    }

    /// A publication: its exchange, its retained form, its place in queues.
    fn publish(&mut self, position: Position, publish: &Publish, log_time_ms: u64) -> Applied {
        let message = &publish.message;
        match &publish.known_by {
            KnownBy::Nothing => {}
            KnownBy::Exchange { of, session_shard } => match self.packets.insert(of, position) {
                Seen::Before { first } => return Applied::Repeated { first },
                Seen::First { of_generation: true } => {
                    let (client_id, generation) = (of.client_id.clone(), of.generation);
                    self.notes
                        .send(*session_shard, Note::HasPackets { client_id, generation });
                }
                Seen::First { of_generation: false } => {}
            },
            KnownBy::Number { number } => {
                if !planted!(NumberNotNoted)
                    && let Some(first) = self.origins.insert(*number, position, log_time_ms)
                {
                    return Applied::Repeated { first: Some(first) };
                }
            }
        }
        if message.retain {
            self.retained.put(message, position, log_time_ms);
        }
        let (taken, dropped) = if message.qos == QoS::AtMostOnce {
            (Taken::default(), Dropped::default())
        } else {
            self.queues
                .push(position, message, &publish.matched, publish.limits, log_time_ms)
        };
        Applied::Published { taken, dropped }
    }

    fn take_note(&mut self, from: ShardId, note: &Note, log_time_ms: u64) {
        match note {
            Note::Confirm { topic_filter, ensured } => self.queues.confirm(from, topic_filter, *ensured),
            Note::Drop { topic_filter, ensured } => self.queues.drop_filter(from, topic_filter, *ensured, log_time_ms),
            Note::Trim { filters } => self.queues.trim(from, filters),
            Note::HasPackets { client_id, generation } => {
                self.sessions.has_packets(client_id, *generation, from, &mut self.notes);
            }
            Note::ForgetPackets { client_id, generation } => self.packets.end(client_id, *generation, log_time_ms),
            Note::Keep { group, position } => self.queues.keep(group, *position),
            Note::ReleaseKept { position } => self.queues.release_kept(*position),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use freshet_config::QueueLimits;
    use freshet_storage_contract::{Message, PublisherId, QoS, SessionEpoch};

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
            exactly_once: None,
        }
    }

    fn entry(command: Command) -> Entry {
        Entry {
            version: ENTRY_VERSION,
            log_time_ms: 0,
            command,
        }
    }

    /// A publication of a message that no filter was found for.
    pub(super) fn publish(message: Message) -> Box<Publish> {
        let matched = Queues::new(KeyedHash::new(1)).find(&message.topic_name);
        let limits = QueueLimits::default();
        Box::new(Publish {
            message,
            known_by: KnownBy::Nothing,
            matched,
            limits,
        })
    }

    #[test]
    fn a_will_that_was_dropped_does_not_fire() {
        let mut state = State::new(KeyedHash::new(1));
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
        let mut state = State::new(KeyedHash::new(1));
        let effect = |payload| Command::ReceiveEffect {
            from: ShardId(3),
            number: 1,
            publish: Some(publish(message("w", payload))),
        };
        let published = Applied::Published {
            taken: Taken::default(),
            dropped: Dropped::default(),
        };
        assert_eq!(state.apply(Position(1), &entry(effect("first"))), published);
        assert_eq!(state.apply(Position(2), &entry(effect("again"))), Applied::Nothing);
        assert_eq!(state.retained.usage().messages, 1);
        assert_eq!(state.retained.position_of(b"w"), Some(Position(1)));
    }

    #[test]
    fn an_entry_of_a_later_version_changes_nothing() {
        let mut state = State::new(KeyedHash::new(1));
        let entry = Entry {
            version: ENTRY_VERSION + 1,
            log_time_ms: 0,
            command: Command::Publish(publish(message("a", "x"))),
        };
        assert_eq!(state.apply(Position(9), &entry), Applied::Nothing);
        assert_eq!(state.retained.usage().messages, 0);
        assert_eq!(state.applied, Position(9));
    }
}
