//! What entries that were proposed and are not applied yet will have changed.
//!
//! Several entries of a shard can be on their way to the disk. Whoever decides what to propose next must not take the
//! applied state for what will be there: a limit may be used up, a will dropped, an expiry asked for already. This is
//! noted when an entry is proposed and forgotten when it is applied, whatever came of it there. Where the two differ, the
//! applied state is right again from then on.

use std::collections::VecDeque;

use bytes::Bytes;
use freshet_storage_contract::{Message, Position, QoS, ShardId};
use hashbrown::HashMap;

use crate::log::{Command, KnownBy, Publish};
use crate::state::{Note, Queues, RetainedSet, SessionCost, State, StoredSessions, WillRow};
use crate::usage::RetainedUsage;

/// What expires by itself, one entry of each at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    Retained,
    Sessions,
    Queued,
    OldQueued,
    Outdated,
    OverBytes,
    Filters,
    Packets,
    Passed,
    Trims,
    UnneededRows,
}

const EXPIRIES: usize = 11;

/// Entries that are not applied yet.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    entries: VecDeque<(Position, Change)>,
    sums: Sums,
    /// What topics will use, with how many entries that say so.
    retained: HashMap<Bytes, (RetainedUsage, u32)>,
    sessions: HashMap<Bytes, SessionAhead>,
    wills: HashMap<Bytes, WillAhead>,
    /// Entries that may bring a durable filter or a group.
    filters: usize,
    expiring: [bool; EXPIRIES],
}

/// What entries add, all together.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    retained_messages: i64,
    retained_bytes: i64,
    queued_bytes: u64,
    session_bytes: u64,
    filter_bytes: u64,
    /// Sessions without connection.
    offline: i64,
}

/// What one entry adds, to be taken off again.
#[derive(Debug, Default)]
pub(super) struct Change {
    sums: Sums,
    topic: Option<Bytes>,
    session: Option<(Bytes, u64)>,
    will: Option<Bytes>,
    brings_filter: bool,
    expiry: Option<Expiry>,
}

/// A session that entries are about.
#[derive(Debug, Clone, Copy)]
struct SessionAhead {
    entries: u32,
    is_stored: bool,
    is_offline: bool,
    /// To its row.
    added_bytes: u64,
}

/// A will that entries are about.
#[derive(Debug)]
struct WillAhead {
    entries: u32,
    /// What will wait then.
    row: Option<WillRow>,
}

impl Ahead {
    /// Entries on their way.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Notes what a command will change that is proposed to a shard which has applied `state`. To be given to
    /// [`Self::proposed`].
    pub(super) fn foresee(&mut self, command: &Command, state: &State) -> Change {
        let change = self.change(command, state);
        self.sums.add(&change.sums);
        self.filters += usize::from(change.brings_filter);
        if let Some(kind) = change.expiry {
            self.set_expiring(kind, true);
        }
        change
    }

    /// The command has been proposed, and its entry stands at `position`.
    pub(super) fn proposed(&mut self, position: Position, change: Change) {
        self.entries.push_back((position, change));
    }

    /// The entry at `position` has been applied.
    pub(super) fn applied(&mut self, position: Position) {
        let Some((_, change)) = self.entries.pop_front_if(|(first, _)| *first == position) else {
            return;
        };
        self.sums.take_off(&change.sums);
        self.filters -= usize::from(change.brings_filter);
        if let Some(kind) = change.expiry {
            self.set_expiring(kind, false);
        }
        if let Some(topic) = change.topic
            && let Some((_, entries)) = self.retained.get_mut(&topic)
        {
            *entries -= 1;
            if *entries == 0 {
                self.retained.remove(&topic);
            }
        }
        if let Some((client_id, bytes)) = change.session
            && let Some(session) = self.sessions.get_mut(&client_id)
        {
            session.entries -= 1;
            session.added_bytes -= bytes;
            if session.entries == 0 {
                self.sessions.remove(&client_id);
            }
        }
        if let Some(client_id) = change.will
            && let Some(will) = self.wills.get_mut(&client_id)
        {
            will.entries -= 1;
            if will.entries == 0 {
                self.wills.remove(&client_id);
            }
        }
    }

    fn change(&mut self, command: &Command, state: &State) -> Change {
        match command {
            Command::Publish(publish)
            | Command::ReceiveEffect {
                publish: Some(publish), ..
            } => self.publication(publish, state),
            Command::HoldWill { client_id, row } => {
                let bytes = client_id.len() as u64 + row.message.charged_bytes() as u64;
                self.will(client_id, Some(row.clone()), bytes)
            }
            Command::DropWill { client_id } | Command::FireWill { client_id, .. } => self.will(client_id, None, 0),
            Command::SendWill { message, .. } => Change::session_bytes(message.charged_bytes() as u64),
            Command::AttachSession {
                client_id,
                clean_start,
                session_expiry_interval_s,
                ..
            } => self.session(client_id, state, |before| {
                let is_stored = *session_expiry_interval_s > 0 || before.is_stored && !clean_start;
                let added = if is_stored && !before.is_stored {
                    StoredSessions::cost_of_new(client_id)
                } else {
                    SessionCost::default()
                };
                (is_stored, false, added)
            }),
            Command::RegisterSession { client_id, session, .. } => self.session(client_id, state, |before| {
                let added = session
                    .as_deref()
                    .filter(|_| !before.is_stored)
                    .map(|session| StoredSessions::cost_of_stored(client_id, session));
                (session.is_some() || before.is_stored, false, added.unwrap_or_default())
            }),
            Command::DetachSession {
                client_id,
                session_expiry_interval_s,
                ..
            } => self.session(client_id, state, |before| {
                let is_stored = before.is_stored && *session_expiry_interval_s > 0;
                (is_stored, is_stored, SessionCost::default())
            }),
            Command::UpdateSession { client_id, changes, .. } => self.session(client_id, state, |before| {
                let added = state.sessions.cost_of(client_id, changes, before.entries == 0);
                (before.is_stored, before.is_offline, added)
            }),
            Command::EnsureDurable {
                session_shard,
                topic_filter,
            } => Change {
                sums: Sums {
                    filter_bytes: state.queues.cost_of(*session_shard, topic_filter).unwrap_or(0),
                    ..Sums::default()
                },
                brings_filter: true,
                ..Change::default()
            },
            Command::ReceiveNotes { from, notes, .. } => Change {
                brings_filter: true,
                ..Change::session_bytes(notes.iter().map(|note| added_by(note, *from, state)).sum())
            },
            Command::ShareGroup { .. } => Change {
                brings_filter: true,
                ..Change::default()
            },
            Command::ExpireRetained { .. } => Change::expiry(Expiry::Retained),
            Command::ExpireSessions { .. } => Change::expiry(Expiry::Sessions),
            Command::ExpireQueued { .. } => Change::expiry(Expiry::Queued),
            Command::DropOldQueued { .. } => Change::expiry(Expiry::OldQueued),
            Command::DropOutdated { .. } => Change::expiry(Expiry::Outdated),
            Command::DropThrough { .. } => Change::expiry(Expiry::OverBytes),
            Command::ExpireFilters { .. } => Change::expiry(Expiry::Filters),
            Command::ExpirePackets { .. } => Change::expiry(Expiry::Packets),
            Command::PassBy { .. } => Change::expiry(Expiry::Passed),
            Command::SendTrims { .. } => Change::expiry(Expiry::Trims),
            Command::DropUnneeded { .. } => Change::expiry(Expiry::UnneededRows),
            Command::ReceiveEffect { publish: None, .. }
            | Command::ConfirmEffects { .. }
            | Command::ConfirmNotes { .. }
            | Command::BeginTerm { .. }
            | Command::BeginRouting { .. }
            | Command::SuspendSessions
            | Command::Release { .. }
            | Command::SettleShared { .. } => Change::default(),
        }
    }

    fn publication(&mut self, publish: &Publish, state: &State) -> Change {
        let message = &publish.message;
        let mut change = Change::default();
        if message.qos != QoS::AtMostOnce && !publish.matched.queues.is_empty() {
            change.sums.queued_bytes += Queues::cost_of_message(message, &publish.matched);
        }
        change.sums.queued_bytes += match &publish.known_by {
            KnownBy::Nothing => 0,
            KnownBy::Exchange { of, .. } => {
                change.sums.session_bytes += state.packets.note_cost_of(of);
                state.packets.cost_of(of)
            }
            KnownBy::Number { number } => state.origins.cost_of(*number),
        };
        if message.retain {
            let before = self.retained_of(&message.topic_name, state);
            let after = usage_of(message);
            change.sums.retained_messages = signed(after.messages) - signed(before.messages);
            change.sums.retained_bytes = signed(after.bytes) - signed(before.bytes);
            let topic = self.retained.entry(message.topic_name.clone()).or_default();
            *topic = (after, topic.1 + 1);
            change.topic = Some(message.topic_name.clone());
        }
        change
    }

    fn session(
        &mut self,
        client_id: &Bytes,
        state: &State,
        becomes: impl FnOnce(SessionAhead) -> (bool, bool, SessionCost),
    ) -> Change {
        let entry = self.sessions.entry(client_id.clone()).or_insert_with(|| SessionAhead {
            entries: 0,
            is_stored: state.sessions.contains(client_id),
            is_offline: state.sessions.is_offline(client_id),
            added_bytes: 0,
        });
        let (is_stored, is_offline, added) = becomes(*entry);
        let offline = i64::from(is_offline) - i64::from(entry.is_offline);
        *entry = SessionAhead {
            entries: entry.entries + 1,
            is_stored,
            is_offline,
            added_bytes: entry.added_bytes + added.row,
        };
        Change {
            sums: Sums {
                session_bytes: added.whole(),
                offline,
                ..Sums::default()
            },
            session: Some((client_id.clone(), added.row)),
            ..Change::default()
        }
    }

    fn will(&mut self, client_id: &Bytes, row: Option<WillRow>, bytes: u64) -> Change {
        let entries = self.wills.get(client_id).map_or(0, |will| will.entries) + 1;
        self.wills.insert(client_id.clone(), WillAhead { entries, row });
        Change {
            will: Some(client_id.clone()),
            ..Change::session_bytes(bytes)
        }
    }

    fn set_expiring(&mut self, kind: Expiry, is_expiring: bool) {
        if let Some(flag) = self.expiring.get_mut(kind as usize) {
            *flag = is_expiring;
        }
    }

    /// Whether an entry is on its way that lets this expire.
    pub(super) fn is_expiring(&self, kind: Expiry) -> bool {
        self.expiring.get(kind as usize).copied().unwrap_or(false)
    }

    /// Whether a durable filter or a group may be on its way.
    pub(super) fn brings_filters(&self) -> bool {
        self.filters > 0
    }

    /// Whether an entry about this session is on its way.
    pub(super) fn is_about_session(&self, client_id: &[u8]) -> bool {
        self.sessions.contains_key(client_id)
    }

    /// Bytes that entries on their way may add to the row of a session.
    pub(super) fn added_to_session(&self, client_id: &[u8]) -> u64 {
        self.sessions.get(client_id).map_or(0, |session| session.added_bytes)
    }

    /// Whether an entry about the will of this client is on its way.
    pub(super) fn is_about_will(&self, client_id: &[u8]) -> bool {
        self.wills.contains_key(client_id)
    }

    /// The will of a client that waits when all entries have been applied.
    pub(super) fn will_of<'s>(&'s self, client_id: &[u8], state: &'s State) -> Option<&'s WillRow> {
        match self.wills.get(client_id) {
            Some(will) => will.row.as_ref(),
            None => state.wills.get(client_id),
        }
    }

    /// What a topic's retained message uses when all entries have been applied.
    pub(super) fn retained_of(&self, topic_name: &[u8], state: &State) -> RetainedUsage {
        self.retained
            .get(topic_name)
            .map_or_else(|| state.retained.usage_of(topic_name), |(usage, _)| *usage)
    }

    /// What all retained messages use then.
    pub(super) fn retained(&self, state: &State) -> RetainedUsage {
        let now = state.retained.usage();
        RetainedUsage {
            messages: now.messages.saturating_add_signed(self.sums.retained_messages),
            bytes: now.bytes.saturating_add_signed(self.sums.retained_bytes),
        }
    }

    /// Bytes that entries add to what is queued, at most.
    pub(super) fn queued_bytes(&self) -> u64 {
        self.sums.queued_bytes
    }

    /// Bytes that entries add to sessions and wills, at most.
    pub(super) fn session_bytes(&self) -> u64 {
        self.sums.session_bytes
    }

    /// Bytes that entries add to filters, at most.
    pub(super) fn filter_bytes(&self) -> u64 {
        self.sums.filter_bytes
    }

    /// Sessions without connection when all entries have been applied.
    pub(super) fn offline(&self, state: &State) -> u64 {
        state.sessions.offline().saturating_add_signed(self.sums.offline)
    }
}

impl Change {
    fn session_bytes(session_bytes: u64) -> Self {
        Self {
            sums: Sums {
                session_bytes,
                ..Sums::default()
            },
            ..Self::default()
        }
    }

    fn expiry(kind: Expiry) -> Self {
        Self {
            expiry: Some(kind),
            ..Self::default()
        }
    }
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.retained_messages += other.retained_messages;
        self.retained_bytes += other.retained_bytes;
        self.queued_bytes += other.queued_bytes;
        self.session_bytes += other.session_bytes;
        self.filter_bytes += other.filter_bytes;
        self.offline += other.offline;
    }

    fn take_off(&mut self, other: &Self) {
        self.retained_messages -= other.retained_messages;
        self.retained_bytes -= other.retained_bytes;
        self.queued_bytes -= other.queued_bytes;
        self.session_bytes -= other.session_bytes;
        self.filter_bytes -= other.filter_bytes;
        self.offline -= other.offline;
    }
}

/// What a note adds to sessions of the shard that it comes to.
fn added_by(note: &Note, from: ShardId, state: &State) -> u64 {
    match note {
        Note::HasPackets { client_id, generation } => state.sessions.cost_of_packets(client_id, *generation, from),
        _ => 0,
    }
}

/// What a message uses where it is retained; nothing if it deletes.
fn usage_of(message: &Message) -> RetainedUsage {
    if message.payload.is_empty() {
        RetainedUsage::default()
    } else {
        RetainedSet::usage_of_message(message)
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
