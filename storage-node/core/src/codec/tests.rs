//! Every entry comes back as it was; whatever else there is, is refused without a panic; bytes of version 1 stay readable.

use std::num::NonZeroU16;

use freshet_config::QueueLimits;
use freshet_storage_contract::{
    Cursor, ExactlyOnce, IncarnationId, Message, OutboundExchange, OutboundStage, Position, PublisherId, QoS,
    RetainHandling, SessionChange, SessionEpoch, ShardId, StoredSession, StoredSubscription, SubscriptionOptions,
    SubscriptionStart, Term,
};
use proptest::prelude::*;

use super::*;
use crate::log::{Command, ENTRY_VERSION, Entry, KnownBy, LastingNumber, Publish};
use crate::state::{Matched, Note, OnReturn, WillRow};

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn epoch() -> impl Strategy<Value = SessionEpoch> {
    (any::<u64>(), any::<u64>()).prop_map(|(term, counter)| SessionEpoch {
        term: Term(term),
        counter,
    })
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn packet_id() -> impl Strategy<Value = NonZeroU16> {
    (1..=u16::MAX).prop_map(|id| NonZeroU16::new(id).unwrap_or(NonZeroU16::MIN))
}

fn exactly_once() -> impl Strategy<Value = ExactlyOnce> {
    (bytes(), epoch(), packet_id(), prop::option::of(epoch())).prop_map(|(client_id, generation, packet_id, epoch)| {
        ExactlyOnce {
            client_id,
            generation,
            packet_id,
            epoch,
        }
    })
}

fn message() -> impl Strategy<Value = Message> {
    let parts = (
        bytes(),
        bytes(),
        qos(),
        any::<bool>(),
        any::<u64>(),
        any::<Option<u32>>(),
        bytes(),
        prop::option::of(exactly_once()),
    );
    parts.prop_map(
        |(topic_name, payload, qos, retain, publisher, expiry, forwarded_properties, of)| Message {
            topic_name,
            payload,
            qos,
            retain,
            publisher: PublisherId(publisher),
            message_expiry_interval_s: expiry,
            forwarded_properties,
            exactly_once: of.map(Box::new),
        },
    )
}

fn subscription() -> impl Strategy<Value = StoredSubscription> {
    let handling = prop_oneof![
        Just(RetainHandling::Send),
        Just(RetainHandling::SendIfNew),
        Just(RetainHandling::DoNotSend)
    ];
    let starts = prop::collection::vec((any::<u16>(), any::<u64>()), 0..3);
    let options = (qos(), any::<bool>(), any::<bool>(), handling);
    (bytes(), options, any::<Option<u32>>(), starts).prop_map(|(topic_filter, options, identifier, starts)| {
        let (qos, no_local, retain_as_published, retain_handling) = options;
        StoredSubscription {
            topic_filter,
            options: SubscriptionOptions {
                qos,
                no_local,
                retain_as_published,
                retain_handling,
            },
            subscription_identifier: identifier,
            starts: starts
                .into_iter()
                .map(|(shard, position)| SubscriptionStart {
                    shard: ShardId(shard),
                    position: Position(position),
                })
                .collect(),
        }
    })
}

fn cursor() -> impl Strategy<Value = Cursor> {
    (any::<u16>(), any::<u64>(), prop::collection::vec(any::<u64>(), 0..4)).prop_map(|(shard, acknowledged, beyond)| {
        Cursor {
            shard: ShardId(shard),
            acknowledged: Position(acknowledged),
            beyond: beyond.into_iter().map(Position).collect(),
        }
    })
}

fn exchange() -> impl Strategy<Value = OutboundExchange> {
    let rest = (prop::option::of(bytes()), prop::option::of(message()), any::<bool>());
    (packet_id(), any::<u16>(), any::<u64>(), qos(), rest).prop_map(
        |(packet_id, shard, position, qos, (shared, message, is_received))| OutboundExchange {
            packet_id,
            shard: ShardId(shard),
            position: Position(position),
            qos,
            stage: if is_received {
                OutboundStage::Received
            } else {
                OutboundStage::Sent
            },
            shared,
            message: message.map(Box::new),
        },
    )
}

fn session() -> impl Strategy<Value = StoredSession> {
    let lists = (
        prop::collection::vec(subscription(), 0..3),
        prop::collection::vec(cursor(), 0..3),
        prop::collection::vec(exchange(), 0..3),
    );
    (epoch(), lists).prop_map(|(generation, (subscriptions, cursors, outbound))| StoredSession {
        generation,
        subscriptions,
        cursors,
        outbound,
    })
}

fn change() -> impl Strategy<Value = SessionChange> {
    prop_oneof![
        subscription().prop_map(SessionChange::Subscribe),
        bytes().prop_map(|topic_filter| SessionChange::Unsubscribe { topic_filter }),
        cursor().prop_map(SessionChange::Advance),
        exchange().prop_map(|e| SessionChange::Sending {
            packet_id: e.packet_id,
            shard: e.shard,
            position: e.position,
            qos: e.qos,
            shared: e.shared,
            message: e.message,
        }),
        packet_id().prop_map(|packet_id| SessionChange::Received { packet_id }),
        packet_id().prop_map(|packet_id| SessionChange::Completed { packet_id }),
    ]
}

fn note() -> impl Strategy<Value = Note> {
    let position = || any::<u64>().prop_map(Position);
    prop_oneof![
        (bytes(), position()).prop_map(|(topic_filter, ensured)| Note::Confirm { topic_filter, ensured }),
        (bytes(), position()).prop_map(|(topic_filter, ensured)| Note::Drop { topic_filter, ensured }),
        prop::collection::vec((bytes(), position()), 0..3).prop_map(|filters| Note::Trim { filters }),
        (bytes(), epoch()).prop_map(|(client_id, generation)| Note::HasPackets { client_id, generation }),
        (bytes(), epoch()).prop_map(|(client_id, generation)| Note::ForgetPackets { client_id, generation }),
        (bytes(), position()).prop_map(|(group, position)| Note::Keep { group, position }),
        position().prop_map(|position| Note::ReleaseKept { position }),
    ]
}

fn known_by() -> impl Strategy<Value = KnownBy> {
    let number = (any::<u128>(), any::<u64>(), any::<u64>()).prop_map(|(origin, number, oldest)| LastingNumber {
        origin: IncarnationId(origin),
        number,
        oldest,
    });
    prop_oneof![
        Just(KnownBy::Nothing),
        (exactly_once(), any::<u16>()).prop_map(|(of, shard)| KnownBy::Exchange {
            of,
            session_shard: ShardId(shard),
        }),
        number.prop_map(|number| KnownBy::Number { number }),
    ]
}

fn publish() -> impl Strategy<Value = Box<Publish>> {
    let matched = (prop::collection::vec((any::<u32>(), any::<u32>()), 0..3), any::<u64>());
    let limits = (any::<u64>(), any::<u64>(), any::<u64>());
    (message(), known_by(), matched, limits).prop_map(
        |(message, known_by, (queues, version), (messages, bytes, age_ms))| {
            Box::new(Publish {
                message,
                known_by,
                matched: Matched::of(&queues, version),
                limits: QueueLimits {
                    messages,
                    bytes,
                    age_ms,
                },
            })
        },
    )
}

fn will() -> impl Strategy<Value = WillRow> {
    (message(), epoch(), any::<u64>(), any::<bool>()).prop_map(|(message, epoch, due_ms, drops)| WillRow {
        message,
        epoch,
        due_ms,
        on_return: if drops {
            OnReturn::Drop
        } else {
            OnReturn::DropUnlessCleanStart
        },
    })
}

fn command() -> impl Strategy<Value = Command> {
    let shard = || any::<u16>().prop_map(ShardId);
    let of_shards = prop_oneof![
        publish().prop_map(Command::Publish),
        (bytes(), will()).prop_map(|(client_id, row)| Command::HoldWill { client_id, row }),
        bytes().prop_map(|client_id| Command::DropWill { client_id }),
        (bytes(), shard()).prop_map(|(client_id, target)| Command::FireWill { client_id, target }),
        (message(), shard()).prop_map(|(message, target)| Command::SendWill { message, target }),
        (shard(), any::<u64>(), prop::option::of(publish()))
            .prop_map(|(from, number, publish)| Command::ReceiveEffect { from, number, publish }),
        (shard(), any::<u64>()).prop_map(|(target, number)| Command::ConfirmEffects { target, number }),
        (shard(), any::<u64>(), prop::collection::vec(note(), 0..4))
            .prop_map(|(from, first, notes)| Command::ReceiveNotes { from, first, notes }),
        (shard(), any::<u64>()).prop_map(|(target, number)| Command::ConfirmNotes { target, number }),
    ];
    let of_sessions = prop_oneof![
        (bytes(), epoch(), any::<bool>(), any::<u32>()).prop_map(|(client_id, epoch, clean_start, interval_s)| {
            Command::AttachSession {
                client_id,
                epoch,
                clean_start,
                session_expiry_interval_s: interval_s,
            }
        }),
        (bytes(), epoch(), any::<u32>(), prop::option::of(session())).prop_map(
            |(client_id, epoch, interval_s, session)| Command::RegisterSession {
                client_id,
                epoch,
                session_expiry_interval_s: interval_s,
                session: session.map(Box::new),
            }
        ),
        (bytes(), epoch(), any::<u32>()).prop_map(|(client_id, epoch, session_expiry_interval_s)| {
            Command::DetachSession {
                client_id,
                epoch,
                session_expiry_interval_s,
            }
        }),
        (bytes(), epoch(), prop::collection::vec(change(), 0..4)).prop_map(|(client_id, epoch, changes)| {
            Command::UpdateSession {
                client_id,
                epoch,
                changes,
            }
        }),
        any::<u64>().prop_map(|term| Command::BeginTerm { term: Term(term) }),
        any::<u64>().prop_map(|term| Command::BeginRouting { term: Term(term) }),
        (any::<u128>(), any::<bool>()).prop_map(|(proxy, is_passed)| Command::PassBy {
            proxy: IncarnationId(proxy),
            is_passed
        }),
        Just(Command::SuspendSessions),
    ];
    let limit = || any::<usize>();
    let of_time = prop_oneof![
        limit().prop_map(|limit| Command::ExpireRetained { limit }),
        limit().prop_map(|limit| Command::ExpireSessions { limit }),
        limit().prop_map(|limit| Command::SendTrims { limit }),
        limit().prop_map(|limit| Command::ExpireFilters { limit }),
        limit().prop_map(|limit| Command::DropUnneeded { limit }),
        limit().prop_map(|limit| Command::ExpireQueued { limit }),
        (any::<u64>(), limit()).prop_map(|(age_ms, limit)| Command::DropOldQueued { age_ms, limit }),
        (any::<u64>(), limit()).prop_map(|(age_ms, limit)| Command::DropOutdated { age_ms, limit }),
        any::<u64>().prop_map(|through| Command::DropThrough {
            through: Position(through)
        }),
        limit().prop_map(|limit| Command::ExpirePackets { limit }),
        (shard(), bytes()).prop_map(|(session_shard, topic_filter)| Command::EnsureDurable {
            session_shard,
            topic_filter
        }),
        exactly_once().prop_map(|of| Command::Release { of: Box::new(of) }),
        (bytes(), any::<bool>()).prop_map(|(group, is_live)| Command::ShareGroup { group, is_live }),
        (bytes(), prop::collection::vec(any::<u64>().prop_map(Position), 0..4))
            .prop_map(|(group, positions)| Command::SettleShared { group, positions }),
    ];
    prop_oneof![of_shards, of_sessions, of_time]
}

fn entry() -> impl Strategy<Value = Entry> {
    (any::<u64>(), command()).prop_map(|(log_time_ms, command)| Entry {
        version: ENTRY_VERSION,
        log_time_ms,
        command,
    })
}

proptest! {
    #[test]
    fn an_entry_comes_back_as_it_was(entry in entry()) {
        prop_assert_eq!(Entry::from_bytes(entry.to_bytes()), Ok(entry));
    }

    #[test]
    fn a_part_of_an_entry_is_none(entry in entry(), cut in any::<prop::sample::Index>()) {
        let bytes = entry.to_bytes();
        prop_assert!(Entry::from_bytes(bytes.slice(..cut.index(bytes.len()))).is_err());
        let longer = [&bytes[..], b"\0"].concat();
        prop_assert_eq!(Entry::from_bytes(longer.into()), Err(DecodeError::LeftOver(1)));
    }

    #[test]
    fn damaged_bytes_are_refused_or_are_the_one_form_of_another_entry(
        entry in entry(),
        at in any::<prop::sample::Index>(),
        bits in 1..=u8::MAX,
    ) {
        let mut bytes = entry.to_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        let bytes = Bytes::from(bytes);
        if let Ok(other) = Entry::from_bytes(bytes.clone()) {
            prop_assert_eq!(other.to_bytes(), bytes);
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        if let Ok(entry) = Entry::from_bytes(bytes.clone()) {
            prop_assert_eq!(entry.to_bytes(), bytes);
        }
    }
}

#[test]
fn a_number_has_one_form() {
    for (value, length) in [(0, 1), (127, 1), (128, 2), (u64::MAX, 10)] {
        let bytes = value.to_bytes();
        assert_eq!((bytes.len(), u64::from_bytes(bytes)), (length, Ok(value)));
    }
    for wrong in [&[0x80, 0x00][..], &[0xFF; 10], &[0x80; 11]] {
        assert_eq!(u64::from_bytes(Bytes::copy_from_slice(wrong)), Err(DecodeError::Number));
    }
}

#[test]
fn an_entry_of_a_later_version_is_named_as_such() {
    let later = [3, 0, 26];
    let found = Entry::from_bytes(Bytes::copy_from_slice(&later));
    assert_eq!(found, Err(DecodeError::Version { found: 3, highest: 2 }));
}

#[test]
fn a_claim_of_very_many_values_reserves_nothing() {
    let mut bytes = Vec::new();
    (u64::MAX >> 1).write(&mut bytes);
    assert_eq!(
        Vec::<Position>::from_bytes(Bytes::from(bytes)),
        Err(DecodeError::Truncated)
    );
}

/// What version 1 wrote, once for all.
#[test]
fn entries_of_version_1_are_read() {
    let message = Message {
        topic_name: Bytes::from_static(b"a/b"),
        payload: Bytes::from_static(b"xyz"),
        qos: QoS::ExactlyOnce,
        retain: true,
        publisher: PublisherId(300),
        message_expiry_interval_s: Some(60),
        forwarded_properties: Bytes::from_static(&[1, 1]),
        exactly_once: None,
    };
    let of = ExactlyOnce {
        client_id: Bytes::from_static(b"c"),
        generation: SessionEpoch {
            term: Term(5),
            counter: 6,
        },
        packet_id: NonZeroU16::MIN,
        epoch: None,
    };
    let recorded: [(Command, &[u8]); 3] = [
        (
            Command::Publish(Box::new(Publish {
                message,
                known_by: KnownBy::Exchange {
                    of,
                    session_shard: ShardId(3),
                },
                matched: Matched::of(&[(1, 2)], 9),
                limits: QueueLimits {
                    messages: 10,
                    bytes: 0,
                    age_ms: 0,
                },
            })),
            b"\x01\x07\x01\x03a/b\x03xyz\x02\x01\xac\x02\x01\x3c\x02\x01\x01\x00\x01\x01c\x05\x06\x01\x00\x03\x01\x01\x02\x09\x0a\x00\x00",
        ),
        (
            Command::DetachSession {
                client_id: Bytes::from_static(b"c"),
                epoch: SessionEpoch {
                    term: Term(5),
                    counter: 6,
                },
                session_expiry_interval_s: 3_600,
            },
            b"\x01\x07\x0d\x01c\x05\x06\x90\x1c",
        ),
        (Command::SuspendSessions, b"\x01\x07\x1a"),
    ];
    for (command, bytes) in recorded {
        let entry = Entry {
            version: 1,
            log_time_ms: 7,
            command,
        };
        assert_eq!(Entry::from_bytes(Bytes::from_static(bytes)), Ok(entry.clone()));
        assert_eq!(&entry.to_bytes()[..], bytes);
    }
}
