//! Any value of the contract, for property tests.

mod sessions;
mod shared;

use bytes::Bytes;
use freshet_storage_contract::{
    Answer, AttachProxy, AttachRefusal, AttachSession, Attached, ClusterUid, Delivery, DeliveryControl, DeliverySeq,
    DetachReason, Feature, FilterId, IncarnationId, InterestChange, InterestDelta, InterestVersion, LastingNumbers,
    Message, NumberedDelivery, Operation, Position, ProxyReport, PublishBatch, PublishOutcome, PublishSeq, PublisherId,
    QoS, ReadRetained, RegisteredSession, RequestId, RetainedMessage, SessionEpoch, SessionRefusal, ShardAttachment,
    ShardId, ShardResume, Term, Will,
};

use proptest::{collection::vec, option, prelude::*};

use crate::server::{AttachRequest, LinkNumber};

fn text(pattern: &'static str) -> impl Strategy<Value = Bytes> {
    pattern.prop_map(Bytes::from)
}

fn topic_name() -> impl Strategy<Value = Bytes> {
    text("[a-z$/ö温]{1,12}")
}

pub(super) fn topic_filter() -> impl Strategy<Value = Bytes> {
    text("([a-z]{0,3}|\\+)(/([a-z]{1,3}|\\+)){1,3}(/#)?")
}

pub(super) fn client_id() -> impl Strategy<Value = Bytes> {
    text("[a-zA-Z0-9ö]{1,23}")
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..64).prop_map(Bytes::from)
}

pub(super) fn shard() -> impl Strategy<Value = ShardId> {
    any::<u16>().prop_map(ShardId)
}

pub(super) fn epoch() -> impl Strategy<Value = SessionEpoch> {
    (any::<u64>(), any::<u64>()).prop_map(|(term, counter)| SessionEpoch {
        term: Term(term),
        counter,
    })
}

pub(super) fn message() -> impl Strategy<Value = Message> {
    let qos = prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)];
    (
        topic_name(),
        any_bytes(),
        qos,
        any::<bool>(),
        any::<u64>(),
        option::of(any::<u32>()),
        any_bytes(),
    )
        .prop_map(
            |(topic_name, payload, qos, retain, publisher, message_expiry_interval_s, forwarded_properties)| Message {
                topic_name,
                payload,
                qos,
                retain,
                publisher: PublisherId(publisher),
                message_expiry_interval_s,
                forwarded_properties,
                exactly_once: None,
            },
        )
}

fn publication() -> impl Strategy<Value = Message> {
    (message(), option::weighted(0.3, sessions::exactly_once())).prop_map(|(message, of)| Message {
        exactly_once: of.map(Box::new),
        ..message
    })
}

fn will() -> impl Strategy<Value = Option<Will>> {
    option::of((message(), any::<u32>()).prop_map(|(message, delay_interval_s)| Will {
        message,
        delay_interval_s,
    }))
}

fn change() -> impl Strategy<Value = InterestChange> {
    prop_oneof![
        (any::<u32>(), topic_filter()).prop_map(|(id, topic_filter)| InterestChange::Add {
            filter_id: FilterId(id),
            topic_filter
        }),
        any::<u32>().prop_map(|id| InterestChange::Remove {
            filter_id: FilterId(id)
        }),
        shared::interest_change(),
    ]
}

fn session() -> impl Strategy<Value = RegisteredSession> {
    let session = option::of(sessions::stored_session());
    (client_id(), epoch(), will(), any::<u32>(), session).prop_map(
        |(client_id, epoch, will, session_expiry_interval_s, session)| RegisteredSession {
            client_id,
            epoch,
            will,
            session_expiry_interval_s,
            session: session.map(Box::new),
        },
    )
}

fn report() -> impl Strategy<Value = Operation> {
    any::<[u64; 11]>().prop_map(|[a, b, c, d, e, f, g, h, i, j, k]| {
        Operation::Report(ProxyReport {
            subscriptions: a,
            connects: b,
            packets_received: c,
            packets_sent: d,
            publishes_received: e,
            publishes_sent: f,
            publishes_dropped: g,
            payload_bytes_received: h,
            payload_bytes_sent: i,
            bytes_received: j,
            bytes_sent: k,
        })
    })
}

fn detach_reason() -> impl Strategy<Value = DetachReason> {
    prop_oneof![
        Just(DetachReason::ByClient),
        Just(DetachReason::WillDue),
        Just(DetachReason::Moved),
        Just(DetachReason::TakenOver)
    ]
}

fn lasting() -> impl Strategy<Value = Option<LastingNumbers>> {
    let numbers = (any::<u128>(), any::<[u64; 2]>()).prop_map(|(origin, numbers)| {
        let [first, oldest] = numbers.map(|number| number.max(1));
        LastingNumbers {
            origin: IncarnationId(origin),
            first: first.max(oldest),
            oldest: first.min(oldest),
        }
    });
    option::weighted(0.3, numbers)
}

pub(super) fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        Just(Operation::RenewLease),
        report(),
        (shard(), 1_u64.., any::<bool>(), vec(change(), 0..5)).prop_map(|(shard, version, complete, changes)| {
            Operation::Interest(InterestDelta {
                shard,
                version: InterestVersion(version),
                complete,
                changes,
            })
        }),
        (shard(), 1_u64..u64::MAX - 5, vec(publication(), 0..5), lasting()).prop_map(
            |(shard, first, messages, lasting)| {
                Operation::Publish(PublishBatch {
                    shard,
                    first: PublishSeq(first),
                    messages: messages.into_iter().map(Into::into).collect(),
                    lasting,
                })
            }
        ),
        (any::<u64>(), client_id(), any::<bool>(), any::<u32>(), will()).prop_map(
            |(request, client_id, clean_start, session_expiry_interval_s, will)| {
                Operation::AttachSession(AttachSession {
                    request: RequestId(request),
                    client_id,
                    clean_start,
                    session_expiry_interval_s,
                    will: will.map(Box::new),
                })
            }
        ),
        (shard(), vec(session(), 0..5)).prop_map(|(shard, sessions)| Operation::RegisterSessions { shard, sessions }),
        (client_id(), epoch(), detach_reason(), option::of(any::<u32>())).prop_map(
            |(client_id, epoch, reason, session_expiry_interval_s)| Operation::DetachSession {
                client_id,
                epoch,
                reason,
                session_expiry_interval_s,
            }
        ),
        sessions::operation(),
        shared::operation(),
        (
            any::<u64>(),
            shard(),
            topic_filter(),
            option::of(topic_name()),
            option::of(any::<u64>()),
            any::<u32>()
        )
            .prop_map(|(request, shard, topic_filter, after, up_to, max_bytes)| {
                Operation::ReadRetained(ReadRetained {
                    request: RequestId(request),
                    shard,
                    topic_filter,
                    after,
                    up_to: up_to.map(Position),
                    max_bytes,
                })
            }),
    ]
}

fn outcome() -> impl Strategy<Value = PublishOutcome> {
    prop_oneof![
        Just(PublishOutcome::Delivered),
        Just(PublishOutcome::NoMatchingSubscribers),
        Just(PublishOutcome::QuotaExceeded)
    ]
}

pub(super) fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        Just(Answer::LeaseRenewed),
        (shard(), 1_u64..u64::MAX - 9, vec(outcome(), 0..9)).prop_map(|(shard, first, outcomes)| Answer::Published {
            shard,
            first: PublishSeq(first),
            outcomes
        }),
        (
            any::<u64>(),
            epoch(),
            any::<bool>(),
            option::of(sessions::stored_session())
        )
            .prop_map(|(request, epoch, session_present, session)| Answer::SessionAttached {
                request: RequestId(request),
                epoch,
                session_present,
                session: session.map(Box::new),
            }),
        sessions::answer(),
        shared::answer(),
        (
            any::<u64>(),
            prop_oneof![Just(SessionRefusal::QuotaExceeded), Just(SessionRefusal::Superseded)]
        )
            .prop_map(|(request, refusal)| Answer::SessionRefused {
                request: RequestId(request),
                refusal
            }),
        (client_id(), epoch()).prop_map(|(client_id, epoch)| Answer::TakeOver { client_id, epoch }),
    ]
}

fn delivery() -> impl Strategy<Value = Delivery> {
    prop_oneof![
        (
            proptest::collection::btree_set(any::<u32>(), 1..5),
            message(),
            option::of(any::<u64>())
        )
            .prop_map(|(ids, message, position)| {
                Delivery::Message {
                    filter_ids: ids.into_iter().map(FilterId).collect::<Vec<_>>().into(),
                    message: message.into(),
                    position: position.map(Position),
                }
            }),
        sessions::delivery(),
        shared::delivery(),
        any::<u64>().prop_map(|version| Delivery::Marker {
            version: InterestVersion(version)
        }),
        (
            any::<u64>(),
            vec(message(), 0..4),
            any::<u64>(),
            option::of(topic_name())
        )
            .prop_map(|(request, messages, up_to, next)| Delivery::Retained {
                request: RequestId(request),
                messages: messages
                    .into_iter()
                    .map(|message| RetainedMessage { message })
                    .collect(),
                up_to: Position(up_to),
                next,
            }),
        any::<bool>().prop_map(|queues_lost| Delivery::Overrun { queues_lost }),
    ]
}

/// Few shards, terms and numbers, so that runs form.
pub(super) fn deliveries() -> impl Strategy<Value = Vec<NumberedDelivery>> {
    let one = (0..2_u16, 0..2_u64, 1..4_u64, delivery()).prop_map(|(shard, term, seq, delivery)| NumberedDelivery {
        shard: ShardId(shard),
        term: Term(term),
        seq: DeliverySeq(seq),
        delivery,
    });
    vec(one, 0..12)
}

pub(super) fn control() -> impl Strategy<Value = DeliveryControl> {
    prop_oneof![
        (shard(), any::<u64>(), any::<u64>()).prop_map(|(shard, term, seq)| DeliveryControl::Acknowledge {
            shard,
            term: Term(term),
            seq: DeliverySeq(seq)
        }),
        any::<u64>().prop_map(|bytes| DeliveryControl::Credit { bytes }),
    ]
}

fn features() -> impl Strategy<Value = Vec<Feature>> {
    vec("[a-z-]{1,9}".prop_map(Feature), 0..3)
}

pub(super) fn attach() -> impl Strategy<Value = AttachRequest> {
    let resume = (shard(), any::<u64>(), any::<u64>()).prop_map(|(shard, term, received)| ShardResume {
        shard,
        term: Term(term),
        received: DeliverySeq(received),
    });
    (
        "[a-f0-9-]{0,36}",
        any::<u128>(),
        "[a-z0-9-]{0,20}",
        any::<u32>(),
        features(),
        any::<u64>(),
        vec(resume, 0..9),
        1_u64..,
    )
        .prop_map(
            |(uid, incarnation, proxy_name, protocol_version, features, highest_term, resume, link)| AttachRequest {
                link: LinkNumber(link),
                proxy: AttachProxy {
                    cluster_uid: ClusterUid(uid),
                    incarnation: IncarnationId(incarnation),
                    proxy_name,
                    protocol_version,
                    features,
                    highest_term: Term(highest_term),
                    resume,
                },
            },
        )
}

pub(super) fn attached() -> impl Strategy<Value = Attached> {
    let attachment = (shard(), any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>()).prop_map(
        |(shard, term, interest_version, publish_seq, overrun)| ShardAttachment {
            shard,
            term: Term(term),
            interest_version: InterestVersion(interest_version),
            publish_seq: PublishSeq(publish_seq),
            overrun,
        },
    );
    (
        1_u32..,
        features(),
        1_u32..,
        1_u16..,
        vec("[a-z/{}#]{0,20}", 0..3),
        vec(attachment, 0..9),
    )
        .prop_map(
            |(protocol_version, features, lease_ttl_ms, shards, placement_rules, attachments)| Attached {
                protocol_version,
                features,
                lease_ttl_ms,
                shards,
                placement_rules,
                attachments,
            },
        )
}

pub(super) fn refusal() -> impl Strategy<Value = AttachRefusal> {
    prop_oneof![
        ("[a-f0-9]{0,9}", "[a-f0-9]{0,9}")
            .prop_map(|(expected, found)| AttachRefusal::ForeignCluster { expected, found }),
        (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(lowest, highest, found)| AttachRefusal::UnknownVersion {
            lowest,
            highest,
            found
        }),
        "[a-z0-9]{0,9}".prop_map(|name| AttachRefusal::UnknownOperation { name }),
        any::<u128>().prop_map(|i| AttachRefusal::IncarnationGone {
            incarnation: IncarnationId(i)
        }),
    ]
}
