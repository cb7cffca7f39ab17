//! Random histories of a state: what is put together from its rows and the entries behind them is the state that was never
//! taken apart, and goes on like it.

mod cold;
mod refused;

use std::collections::BTreeMap;

use freshet_config::QueueLimits;
use freshet_storage_contract::{
    Cursor, ExactlyOnce, IncarnationId, Message, OutboundExchange, OutboundStage, PacketId, PublisherId, QoS,
    SessionChange, SessionEpoch, ShardId, StoredSession, StoredSubscription, SubscriptionOptions, SubscriptionStart,
};
use proptest::prelude::*;

use super::super::*;
use super::*;
use crate::log::{Command, ENTRY_VERSION, Entry, LastingNumber, Publish};

const FILTERS: [&str; 5] = ["a", "a/+", "#", "$share/g/a", "$share/h/#"];
const TOPICS: [&str; 3] = ["a", "a/b", "b"];
const CLIENTS: [&str; 3] = ["x", "y", "z"];
/// Positions that commands name: those of a history.
const POSITIONS: u64 = 80;

fn text(from: &'static [&'static str]) -> impl Strategy<Value = Bytes> {
    prop::sample::select(from).prop_map(|text| Bytes::from_static(text.as_bytes()))
}

fn shard() -> impl Strategy<Value = ShardId> {
    (0..2_u16).prop_map(ShardId)
}

fn position() -> impl Strategy<Value = Position> {
    (0..POSITIONS).prop_map(Position)
}

fn epoch() -> impl Strategy<Value = SessionEpoch> {
    (1..4_u64).prop_map(|counter| SessionEpoch { term: Term(1), counter })
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..4_u16).prop_map(|id| PacketId::new(id).unwrap_or(PacketId::MIN))
}

fn qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][..])
}

fn exactly_once() -> impl Strategy<Value = ExactlyOnce> {
    (text(&CLIENTS), epoch(), packet_id(), prop::option::of(epoch())).prop_map(
        |(client_id, generation, packet_id, epoch)| ExactlyOnce {
            client_id,
            generation,
            packet_id,
            epoch,
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let payload = prop::sample::select(&["", "payload"][..]);
    let expiry = prop::option::of(1..20_u32);
    (text(&TOPICS), payload, qos(), any::<bool>(), expiry).prop_map(|(topic_name, payload, qos, retain, expiry)| {
        Message {
            topic_name,
            payload: Bytes::from_static(payload.as_bytes()),
            qos,
            retain,
            publisher: PublisherId(3),
            message_expiry_interval_s: expiry,
            forwarded_properties: Bytes::from_static(b"p"),
            exactly_once: None,
        }
    })
}

fn subscription() -> impl Strategy<Value = StoredSubscription> {
    let starts = prop::collection::vec((shard(), position()), 0..3);
    (text(&FILTERS), qos(), starts).prop_map(|(topic_filter, qos, starts)| StoredSubscription {
        topic_filter,
        options: SubscriptionOptions::new(qos),
        subscription_identifier: None,
        starts: starts
            .into_iter()
            .map(|(shard, position)| SubscriptionStart { shard, position })
            .collect(),
    })
}

fn cursor() -> impl Strategy<Value = Cursor> {
    (shard(), position(), prop::collection::vec(position(), 0..3)).prop_map(|(shard, acknowledged, beyond)| Cursor {
        shard,
        acknowledged,
        beyond,
    })
}

fn session() -> impl Strategy<Value = StoredSession> {
    let lists = (
        prop::collection::vec(subscription(), 0..3),
        prop::collection::vec(cursor(), 0..2),
    );
    (epoch(), lists).prop_map(|(generation, (subscriptions, cursors))| StoredSession {
        generation,
        subscriptions,
        cursors,
        outbound: Vec::new(),
    })
}

fn exchange() -> impl Strategy<Value = OutboundExchange> {
    let rest = (
        prop::option::of(text(&FILTERS[3..])),
        prop::option::of(message().prop_map(Box::new)),
    );
    (packet_id(), shard(), position(), rest).prop_map(|(packet_id, shard, position, (shared, message))| {
        OutboundExchange {
            packet_id,
            shard,
            position,
            qos: QoS::ExactlyOnce,
            stage: OutboundStage::Sent,
            shared,
            message,
        }
    })
}

fn change() -> impl Strategy<Value = SessionChange> {
    prop_oneof![
        4 => subscription().prop_map(SessionChange::Subscribe),
        2 => text(&FILTERS).prop_map(|topic_filter| SessionChange::Unsubscribe { topic_filter }),
        4 => cursor().prop_map(SessionChange::Advance),
        3 => exchange().prop_map(|e| SessionChange::Sending {
            packet_id: e.packet_id,
            shard: e.shard,
            position: e.position,
            qos: e.qos,
            shared: e.shared,
            message: e.message,
        }),
        1 => packet_id().prop_map(|packet_id| SessionChange::Received { packet_id }),
        1 => packet_id().prop_map(|packet_id| SessionChange::Completed { packet_id }),
    ]
}

fn note() -> impl Strategy<Value = Note> {
    prop_oneof![
        (text(&FILTERS), position()).prop_map(|(topic_filter, ensured)| Note::Confirm { topic_filter, ensured }),
        (text(&FILTERS), position()).prop_map(|(topic_filter, ensured)| Note::Drop { topic_filter, ensured }),
        prop::collection::vec((text(&FILTERS), position()), 0..3).prop_map(|filters| Note::Trim { filters }),
        (text(&CLIENTS), epoch()).prop_map(|(client_id, generation)| Note::HasPackets { client_id, generation }),
        (text(&CLIENTS), epoch()).prop_map(|(client_id, generation)| Note::ForgetPackets { client_id, generation }),
        (text(&FILTERS[3..]), position()).prop_map(|(group, position)| Note::Keep { group, position }),
        position().prop_map(|position| Note::ReleaseKept { position }),
    ]
}

fn known_by() -> impl Strategy<Value = KnownBy> {
    let number = (1..3_u128, 1..9_u64, 1..5_u64).prop_map(|(origin, number, oldest)| LastingNumber {
        origin: IncarnationId(origin),
        number,
        oldest: oldest.min(number),
    });
    prop_oneof![
        Just(KnownBy::Nothing),
        (exactly_once(), shard()).prop_map(|(of, session_shard)| KnownBy::Exchange { of, session_shard }),
        number.prop_map(|number| KnownBy::Number { number }),
    ]
}

fn publish() -> impl Strategy<Value = Box<Publish>> {
    (message(), known_by(), 0..4_u64).prop_map(|(message, known_by, messages)| {
        Box::new(Publish {
            message,
            known_by,
            matched: Matched::default(),
            limits: QueueLimits {
                messages,
                ..QueueLimits::default()
            },
        })
    })
}

fn interval_s() -> impl Strategy<Value = u32> {
    prop::sample::select(&[0, 5, 60, u32::MAX][..])
}

fn of_sessions() -> impl Strategy<Value = Command> {
    prop_oneof![
        4 => (text(&CLIENTS), epoch(), any::<bool>(), interval_s()).prop_map(
            |(client_id, epoch, clean_start, session_expiry_interval_s)| Command::AttachSession {
                client_id,
                epoch,
                clean_start,
                session_expiry_interval_s,
            }
        ),
        2 => (text(&CLIENTS), epoch(), interval_s(), prop::option::of(session().prop_map(Box::new))).prop_map(
            |(client_id, epoch, session_expiry_interval_s, session)| Command::RegisterSession {
                client_id,
                epoch,
                session_expiry_interval_s,
                session,
            }
        ),
        2 => (text(&CLIENTS), epoch(), interval_s()).prop_map(|(client_id, epoch, session_expiry_interval_s)| {
            Command::DetachSession {
                client_id,
                epoch,
                session_expiry_interval_s,
            }
        }),
        12 => (text(&CLIENTS), epoch(), prop::collection::vec(change(), 1..4)).prop_map(
            |(client_id, epoch, changes)| Command::UpdateSession {
                client_id,
                epoch,
                changes,
            }
        ),
        1 => Just(Command::SuspendSessions),
        1 => Just(Command::ExpireSessions { limit: 1 }),
        2 => (1..3_usize).prop_map(|limit| Command::SendTrims { limit }),
        1 => (1..9_u64).prop_map(|term| Command::BeginTerm { term: Term(term) }),
        1 => (1..9_u64).prop_map(|term| Command::BeginRouting { term: Term(term) }),
        2 => (1..4_u128, any::<bool>()).prop_map(|(proxy, is_passed)| Command::PassBy {
            proxy: IncarnationId(proxy),
            is_passed
        }),
    ]
}

fn of_messages() -> impl Strategy<Value = Command> {
    prop_oneof![
        12 => publish().prop_map(Command::Publish),
        6 => (shard(), text(&FILTERS)).prop_map(|(session_shard, topic_filter)| Command::EnsureDurable {
            session_shard,
            topic_filter
        }),
        8 => (shard(), 1..20_u64, prop::collection::vec(note(), 1..4))
            .prop_map(|(from, first, notes)| Command::ReceiveNotes { from, first, notes }),
        3 => (text(&FILTERS[3..]), any::<bool>()).prop_map(|(group, is_live)| Command::ShareGroup { group, is_live }),
        3 => (text(&FILTERS[3..]), prop::collection::vec(position(), 1..6))
            .prop_map(|(group, positions)| Command::SettleShared { group, positions }),
        2 => exactly_once().prop_map(|of| Command::Release { of: Box::new(of) }),
        1 => Just(Command::ExpirePackets { limit: 1 }),
        1 => Just(Command::ExpireRetained { limit: 1 }),
        1 => Just(Command::ExpireFilters { limit: 1 }),
        1 => Just(Command::DropUnneeded { limit: 1 }),
        1 => Just(Command::ExpireQueued { limit: 2 }),
        1 => Just(Command::DropOldQueued { age_ms: 40_000, limit: 1 }),
        1 => Just(Command::DropOutdated { age_ms: 30_000, limit: 2 }),
        1 => position().prop_map(|through| Command::DropThrough { through }),
    ]
}

fn of_effects() -> impl Strategy<Value = Command> {
    let row = (message(), epoch(), 0..50_000_u64).prop_map(|(message, epoch, due_ms)| WillRow {
        message,
        epoch,
        due_ms,
        on_return: OnReturn::Drop,
    });
    prop_oneof![
        (text(&CLIENTS), row).prop_map(|(client_id, row)| Command::HoldWill { client_id, row }),
        text(&CLIENTS).prop_map(|client_id| Command::DropWill { client_id }),
        (text(&CLIENTS), shard()).prop_map(|(client_id, target)| Command::FireWill { client_id, target }),
        (message(), shard()).prop_map(|(message, target)| Command::SendWill { message, target }),
        (shard(), 1..6_u64, prop::option::of(publish())).prop_map(|(from, number, publish)| Command::ReceiveEffect {
            from,
            number,
            publish
        }),
        (shard(), 1..6_u64).prop_map(|(target, number)| Command::ConfirmEffects { target, number }),
        (shard(), 1..12_u64).prop_map(|(target, number)| Command::ConfirmNotes { target, number }),
    ]
}

/// What happens: an entry some time after the one before, and rows that a checkpoint takes behind it, if there is one
/// under way.
#[derive(Debug, Clone)]
struct Step {
    command: Command,
    later_ms: u64,
    /// The leader has looked for queues just now; else it was some time ago.
    looks: bool,
    rows: Option<usize>,
}

fn step() -> impl Strategy<Value = Step> {
    let command = prop_oneof![5 => of_sessions(), 6 => of_messages(), 2 => of_effects()];
    let later_ms = prop::sample::select(&[0, 1, 700, 9_000][..]);
    let rows = prop::option::weighted(0.5, prop::sample::select(&[0, 1, 3, 8, 1_000][..]));
    (command, later_ms, any::<bool>(), rows).prop_map(|(command, later_ms, looks, rows)| Step {
        command,
        later_ms,
        looks,
        rows,
    })
}

type Rows = BTreeMap<Bytes, Bytes>;

/// A state, its log, and what checkpoints have written of it.
struct History {
    state: State,
    log: Vec<Entry>,
    /// What the leader found last for each topic.
    found: BTreeMap<Bytes, Matched>,
    /// Of the checkpoint that is whole.
    rows: Rows,
    /// Of the round that is under way.
    round: Vec<(Bytes, Option<Bytes>)>,
    /// What a checkpoint has of queued messages is on disk alone.
    is_cold: bool,
}

impl History {
    fn new() -> Self {
        let mut state = State::new(KeyedHash::new(1));
        state.track_changes();
        Self {
            state,
            log: Vec::new(),
            found: BTreeMap::new(),
            rows: Rows::new(),
            round: Vec::new(),
            is_cold: false,
        }
    }

    fn take(&mut self, step: Step) -> Applied {
        let Step {
            mut command,
            later_ms,
            looks,
            rows,
        } = step;
        if let Command::Publish(publish)
        | Command::ReceiveEffect {
            publish: Some(publish), ..
        } = &mut command
        {
            let topic_name = &publish.message.topic_name;
            if looks || !self.found.contains_key(topic_name) {
                let matched = self.state.queues.find(topic_name);
                self.found.insert(topic_name.clone(), matched);
            }
            publish.matched = self.found[topic_name].clone();
        }
        let entry = Entry {
            version: ENTRY_VERSION,
            log_time_ms: self.state.log_time_ms + later_ms,
            command,
        };
        self.log.push(entry.clone());
        let applied = self.state.apply(Position(self.log.len() as u64), &entry);
        if let Some(rows) = rows {
            self.write(rows);
        }
        applied
    }

    /// Takes a part of the rows that have changed. True: the checkpoint is whole.
    fn write(&mut self, max_rows: usize) -> bool {
        let round = &mut self.round;
        let done = self
            .state
            .take_changes(max_rows, &mut |key, value| round.push((key, value)));
        if done.is_none() {
            return false;
        }
        assert_eq!(done, Some(self.state.applied));
        for (key, value) in self.round.drain(..) {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
        if self.is_cold {
            self.state.queues.checkpointed(self.state.applied);
            self.state.queues.give_up_beyond(0);
        }
        true
    }

    /// What the process finds when it comes back.
    fn restored(&self) -> Self {
        let mut state = State::new(KeyedHash::new(2));
        for (key, value) in &self.rows {
            state.restore_row(key.clone(), value).expect("rows that were written");
            if self.is_cold {
                state.queues.give_up_beyond(0);
            }
        }
        state.track_changes();
        let applied = usize::try_from(state.applied.0).expect("a short history");
        for (at, entry) in self.log.iter().enumerate().skip(applied) {
            let entry = Entry::from_bytes(entry.to_bytes()).expect("an entry that was written");
            state.apply(Position(at as u64 + 1), &entry);
        }
        Self {
            state,
            log: self.log.clone(),
            found: self.found.clone(),
            rows: self.rows.clone(),
            round: Vec::new(),
            is_cold: self.is_cold,
        }
    }

    /// All rows, and that those which checkpoints have written are these.
    fn all_rows(&mut self) -> Rows {
        while !self.write(1_000) {}
        let state = &mut self.state;
        state.sessions.mark_all();
        state.queues.mark_all();
        state.retained.mark_all();
        state.wills.mark_all();
        state.packets.mark_all();
        state.origins.mark_all();
        state.passed.mark_all();
        state.effects.mark_all();
        state.notes.mark_all();
        let mut all = Rows::new();
        state.take_changes(usize::MAX, &mut |key, value| {
            all.insert(key, value.expect("it is there"));
        });
        assert_eq!(self.rows, all, "each change was noted");
        all
    }

    /// What follows from rows.
    fn sums(&self) -> impl PartialEq + std::fmt::Debug {
        let State {
            retained,
            wills,
            sessions,
            queues,
            packets,
            origins,
            passed,
            effects,
            notes,
            ..
        } = &self.state;
        let of_sessions = (
            (sessions.len(), sessions.offline(), sessions.bytes()),
            (sessions.next_end(), sessions.trims() == Trims::None),
        );
        let of_queues = (
            (queues.len(), queues.groups(), queues.rows(), queues.messages()),
            (queues.bytes(), queues.filter_bytes(), queues.kept()),
            (queues.next_expiry(), queues.oldest_came(), queues.next_unconfirmed()),
        );
        let of_others = (
            (retained.usage(), retained.next_expiry(), wills.len(), wills.bytes()),
            (packets.rows(), packets.bytes(), packets.next_expiry()),
            (origins.rows(), origins.bytes(), origins.next_expiry()),
            (effects.bytes(), notes.bytes(), passed.first()),
        );
        (of_sessions, of_queues, of_others)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_back_from_rows_and_entries_is_the_state_that_never_went(
        before in prop::collection::vec(step(), 1..60),
        after in prop::collection::vec(step(), 0..20),
    ) {
        let mut history = History::new();
        for step in before {
            history.take(step);
        }
        let mut restored = history.restored();
        prop_assert_eq!(history.sums(), restored.sums());
        for step in after {
            let step = Step { rows: None, ..step };
            prop_assert_eq!(history.take(step.clone()), restored.take(step));
        }
        prop_assert_eq!(history.sums(), restored.sums());
        prop_assert_eq!(history.all_rows(), restored.all_rows());
    }
}
