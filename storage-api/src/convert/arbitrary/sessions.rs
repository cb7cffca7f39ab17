//! Any value of the contract about stored sessions, for property tests.

use bytes::Bytes;
use freshet_storage_contract::{
    Answer, Cursor, Delivery, EnsureDurable, ExactlyOnce, Fetch, FetchedMessage, FilterId, Message, Operation,
    OutboundExchange, OutboundStage, PacketId, Position, Pull, PullFilter, PulledMessage, QoS, Release, RequestId,
    RetainHandling, SessionChange, SessionRefusal, StoredSession, StoredSubscription, SubscriptionOptions,
    SubscriptionStart, UpdateSession,
};
use proptest::{
    collection::{btree_set, vec},
    option,
    prelude::*,
};

use super::shared::group_name;
use super::{client_id, epoch, message, shard, topic_filter};

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1_u16..).prop_map(|id| PacketId::new(id).unwrap())
}

pub(super) fn position() -> impl Strategy<Value = Position> {
    any::<u64>().prop_map(Position)
}

pub(super) fn request() -> impl Strategy<Value = RequestId> {
    any::<u64>().prop_map(RequestId)
}

fn exchange_qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

pub(super) fn exactly_once() -> impl Strategy<Value = ExactlyOnce> {
    let parts = (client_id(), epoch(), packet_id(), option::of(epoch()));
    parts.prop_map(|(client_id, generation, packet_id, epoch)| ExactlyOnce {
        client_id,
        generation,
        packet_id,
        epoch,
    })
}

fn options() -> impl Strategy<Value = SubscriptionOptions> {
    let qos = prop_oneof![Just(QoS::AtMostOnce), exchange_qos()];
    let retain_handling = prop_oneof![
        Just(RetainHandling::Send),
        Just(RetainHandling::SendIfNew),
        Just(RetainHandling::DoNotSend)
    ];
    (qos, any::<bool>(), any::<bool>(), retain_handling).prop_map(
        |(qos, no_local, retain_as_published, retain_handling)| SubscriptionOptions {
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        },
    )
}

fn subscription() -> impl Strategy<Value = StoredSubscription> {
    let start = (shard(), position()).prop_map(|(shard, position)| SubscriptionStart { shard, position });
    let identifier = option::of(1..=268_435_455_u32);
    (topic_filter(), options(), identifier, vec(start, 0..3)).prop_map(
        |(topic_filter, options, subscription_identifier, starts)| StoredSubscription {
            topic_filter,
            options,
            subscription_identifier,
            starts,
        },
    )
}

fn cursor() -> impl Strategy<Value = Cursor> {
    (shard(), position(), btree_set(position(), 0..5)).prop_map(|(shard, acknowledged, beyond)| Cursor {
        shard,
        acknowledged,
        beyond: beyond.into_iter().collect(),
    })
}

fn kept() -> impl Strategy<Value = Option<Box<Message>>> {
    option::of(message().prop_map(Box::new))
}

fn exchange() -> impl Strategy<Value = OutboundExchange> {
    let stage = prop_oneof![Just(OutboundStage::Sent), Just(OutboundStage::Received)];
    let shared = option::of(Just(Bytes::from_static(b"$share/g/a")));
    (packet_id(), shard(), position(), exchange_qos(), stage, shared, kept()).prop_map(
        |(packet_id, shard, position, qos, stage, shared, message)| OutboundExchange {
            packet_id,
            shard,
            position,
            qos,
            stage,
            shared,
            message,
        },
    )
}

pub(super) fn stored_session() -> impl Strategy<Value = StoredSession> {
    (
        epoch(),
        vec(subscription(), 0..3),
        vec(cursor(), 0..3),
        vec(exchange(), 0..3),
    )
        .prop_map(|(generation, subscriptions, cursors, outbound)| StoredSession {
            generation,
            subscriptions,
            cursors,
            outbound,
        })
}

fn change() -> impl Strategy<Value = SessionChange> {
    prop_oneof![
        subscription().prop_map(SessionChange::Subscribe),
        topic_filter().prop_map(|topic_filter| SessionChange::Unsubscribe { topic_filter }),
        cursor().prop_map(SessionChange::Advance),
        (
            packet_id(),
            shard(),
            position(),
            exchange_qos(),
            option::of(group_name()),
            kept()
        )
            .prop_map(
                |(packet_id, shard, position, qos, shared, message)| SessionChange::Sending {
                    packet_id,
                    shard,
                    position,
                    qos,
                    shared,
                    message,
                }
            ),
        packet_id().prop_map(|packet_id| SessionChange::Received { packet_id }),
        packet_id().prop_map(|packet_id| SessionChange::Completed { packet_id }),
    ]
}

pub(super) fn operation() -> impl Strategy<Value = Operation> {
    let filter = (any::<u32>(), topic_filter(), position()).prop_map(|(id, topic_filter, start)| PullFilter {
        filter_id: FilterId(id),
        topic_filter,
        start,
    });
    prop_oneof![
        (option::of(request()), client_id(), epoch(), vec(change(), 0..5)).prop_map(
            |(request, client_id, epoch, changes)| Operation::UpdateSession(UpdateSession {
                request,
                client_id,
                epoch,
                changes,
            })
        ),
        (request(), shard(), shard(), prop_oneof![topic_filter(), group_name()]).prop_map(
            |(request, shard, session_shard, topic_filter)| {
                Operation::EnsureDurable(EnsureDurable {
                    request,
                    shard,
                    session_shard,
                    topic_filter,
                })
            }
        ),
        (request(), shard(), exactly_once()).prop_map(|(request, shard, of)| Operation::Release(Release {
            request,
            shard,
            of
        })),
        (
            request(),
            shard(),
            shard(),
            position(),
            vec(filter, 0..4),
            1_u32..,
            any::<u32>()
        )
            .prop_map(
                |(request, shard, session_shard, after, filters, max_messages, max_bytes)| Operation::Pull(Pull {
                    request,
                    shard,
                    session_shard,
                    after,
                    filters,
                    max_messages,
                    max_bytes,
                })
            ),
        (request(), shard(), vec(position(), 0..5)).prop_map(|(request, shard, positions)| Operation::Fetch(Fetch {
            request,
            shard,
            positions,
        })),
    ]
}

pub(super) fn answer() -> impl Strategy<Value = Answer> {
    let refusal = prop_oneof![Just(SessionRefusal::QuotaExceeded), Just(SessionRefusal::Superseded)];
    prop_oneof![
        request().prop_map(|request| Answer::SessionUpdated { request }),
        (request(), refusal).prop_map(|(request, refusal)| Answer::UpdateRefused { request, refusal }),
        request().prop_map(|request| Answer::EnsureRefused { request }),
        (request(), any::<bool>()).prop_map(|(request, found)| Answer::Released { request, found }),
    ]
}

pub(super) fn delivery() -> impl Strategy<Value = Delivery> {
    let pulled = (position(), vec(any::<u32>(), 1..4), message()).prop_map(|(position, ids, message)| PulledMessage {
        position,
        filter_ids: ids.into_iter().map(FilterId).collect(),
        message,
    });
    let fetched = (position(), message()).prop_map(|(position, message)| FetchedMessage { position, message });
    prop_oneof![
        (request(), position()).prop_map(|(request, position)| Delivery::Started { request, position }),
        (request(), vec(pulled, 0..3), position(), any::<bool>()).prop_map(|(request, messages, up_to, caught_up)| {
            Delivery::Pulled {
                request,
                messages,
                up_to,
                caught_up,
            }
        }),
        (request(), vec(fetched, 0..3), any::<u32>()).prop_map(|(request, messages, answered)| Delivery::Fetched {
            request,
            messages,
            answered,
        }),
    ]
}
