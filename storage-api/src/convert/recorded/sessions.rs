//! Recorded frames of the feature `sessions`.

use freshet_storage_contract::{
    Cursor, EnsureDurable, ExactlyOnce, Fetch, FetchedMessage, FilterIds, OutboundExchange, OutboundStage, PacketId,
    Pull, PullFilter, PulledMessage, Release, RetainHandling, SessionChange, StoredSession, StoredSubscription,
    SubscriptionOptions, SubscriptionStart, UpdateSession,
};

use super::*;

const TOPIC_FILTER: Bytes = Bytes::from_static(b"devices/42/#");
const POSITION: Position = Position(1_790_000_000_000 << 20);

fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).expect("not 0")
}

fn exactly_once() -> ExactlyOnce {
    ExactlyOnce {
        client_id: CLIENT_ID,
        generation: EPOCH,
        packet_id: packet_id(65_535),
        epoch: None,
    }
}

fn subscription() -> StoredSubscription {
    StoredSubscription {
        topic_filter: TOPIC_FILTER,
        options: SubscriptionOptions {
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
        },
        subscription_identifier: Some(268_435_455),
        starts: vec![SubscriptionStart {
            shard: ShardId(0),
            position: POSITION,
        }],
    }
}

fn cursor() -> Cursor {
    Cursor {
        shard: ShardId(0),
        acknowledged: Position(0),
        beyond: vec![Position(2), POSITION],
    }
}

fn stored_session() -> StoredSession {
    let exchange = |id, stage, qos| OutboundExchange {
        packet_id: packet_id(id),
        shard: ShardId(1_023),
        position: POSITION,
        qos,
        stage,
        shared: None,
        message: None,
    };
    StoredSession {
        generation: EPOCH,
        subscriptions: vec![
            subscription(),
            StoredSubscription {
                topic_filter: Bytes::from_static(b"$share/g/a"),
                options: SubscriptionOptions::new(QoS::AtMostOnce),
                subscription_identifier: None,
                starts: Vec::new(),
            },
        ],
        cursors: vec![cursor()],
        outbound: vec![
            exchange(1, OutboundStage::Sent, QoS::AtLeastOnce),
            exchange(65_535, OutboundStage::Received, QoS::ExactlyOnce),
        ],
    }
}

fn operations() -> Vec<Operation> {
    let known = Message {
        exactly_once: Some(Box::new(exactly_once())),
        ..message(QoS::ExactlyOnce)
    };
    vec![
        Operation::Publish(PublishBatch {
            shard: ShardId(0),
            first: PublishSeq(1),
            messages: vec![known.into()],
            lasting: None,
        }),
        Operation::RegisterSessions {
            shard: ShardId(0),
            sessions: vec![RegisteredSession {
                client_id: CLIENT_ID,
                epoch: EPOCH,
                will: None,
                session_expiry_interval_s: u32::MAX,
                session: Some(Box::new(stored_session())),
            }],
        },
        Operation::DetachSession {
            client_id: CLIENT_ID,
            epoch: EPOCH,
            reason: DetachReason::ByClient,
            session_expiry_interval_s: Some(0),
        },
        Operation::UpdateSession(UpdateSession {
            request: Some(RequestId(0)),
            client_id: CLIENT_ID,
            epoch: EPOCH,
            changes: vec![
                SessionChange::Subscribe(subscription()),
                SessionChange::Unsubscribe {
                    topic_filter: TOPIC_FILTER,
                },
                SessionChange::Advance(cursor()),
                SessionChange::Sending {
                    packet_id: packet_id(1),
                    shard: ShardId(0),
                    position: POSITION,
                    qos: QoS::ExactlyOnce,
                    shared: None,
                    message: None,
                },
                SessionChange::Received {
                    packet_id: packet_id(1),
                },
                SessionChange::Completed {
                    packet_id: packet_id(1),
                },
            ],
        }),
        Operation::UpdateSession(UpdateSession {
            request: None,
            client_id: CLIENT_ID,
            epoch: EPOCH,
            changes: Vec::new(),
        }),
        Operation::EnsureDurable(EnsureDurable {
            request: RequestId(0),
            shard: ShardId(0),
            session_shard: ShardId(7),
            topic_filter: TOPIC_FILTER,
        }),
        Operation::Release(Release {
            request: RequestId(0),
            shard: ShardId(0),
            of: exactly_once(),
        }),
        Operation::Pull(Pull {
            request: RequestId(0),
            shard: ShardId(0),
            session_shard: ShardId(7),
            after: Position(0),
            filters: vec![PullFilter {
                filter_id: FilterId(0),
                topic_filter: TOPIC_FILTER,
                start: POSITION,
            }],
            max_messages: 1,
            max_bytes: 0,
        }),
        Operation::Fetch(Fetch {
            request: RequestId(0),
            shard: ShardId(0),
            positions: vec![POSITION, Position(0)],
        }),
    ]
}

fn answers() -> Vec<Answer> {
    let request = RequestId(0);
    vec![
        Answer::SessionAttached {
            request,
            epoch: EPOCH,
            session_present: true,
            session: Some(Box::new(stored_session())),
        },
        Answer::SessionUpdated { request },
        Answer::UpdateRefused {
            request,
            refusal: SessionRefusal::Superseded,
        },
        Answer::EnsureRefused { request },
        Answer::Released { request, found: true },
        Answer::Released { request, found: false },
    ]
}

fn deliveries() -> Vec<NumberedDelivery> {
    let request = RequestId(0);
    let deliveries = [
        Delivery::Message {
            filter_ids: FilterIds::One(FilterId(0)),
            message: bare_message().into(),
            position: Some(POSITION),
        },
        Delivery::Started {
            request,
            position: POSITION,
        },
        Delivery::Pulled {
            request,
            messages: vec![PulledMessage {
                position: POSITION,
                filter_ids: vec![FilterId(9), FilterId(0)],
                message: message(QoS::ExactlyOnce),
            }],
            up_to: POSITION,
            caught_up: true,
        },
        Delivery::Fetched {
            request,
            messages: vec![FetchedMessage {
                position: POSITION,
                message: message(QoS::AtLeastOnce),
            }],
            answered: 0,
        },
    ];
    (1..)
        .map(DeliverySeq)
        .zip(deliveries)
        .map(|(seq, delivery)| NumberedDelivery {
            shard: ShardId(0),
            term: Term(7),
            seq,
            delivery,
        })
        .collect()
}

/// A message that the session itself keeps.
fn kept_operations() -> Vec<Operation> {
    let sending = SessionChange::Sending {
        packet_id: packet_id(1),
        shard: ShardId(0),
        position: Position(0),
        qos: QoS::ExactlyOnce,
        shared: None,
        message: Some(Box::new(message(QoS::ExactlyOnce))),
    };
    vec![Operation::UpdateSession(UpdateSession {
        request: Some(RequestId(0)),
        client_id: CLIENT_ID,
        epoch: EPOCH,
        changes: vec![sending],
    })]
}

fn kept_answers() -> Vec<Answer> {
    let exchange = OutboundExchange {
        packet_id: packet_id(1),
        shard: ShardId(0),
        position: Position(0),
        qos: QoS::ExactlyOnce,
        stage: OutboundStage::Sent,
        shared: None,
        message: Some(Box::new(message(QoS::ExactlyOnce))),
    };
    vec![Answer::SessionAttached {
        request: RequestId(0),
        epoch: EPOCH,
        session_present: true,
        session: Some(Box::new(StoredSession {
            generation: EPOCH,
            subscriptions: Vec::new(),
            cursors: Vec::new(),
            outbound: vec![exchange],
        })),
    }]
}

/// The frames by name.
pub(super) fn frames() -> [(&'static str, Vec<u8>); 5] {
    [
        ("kept-operations", Operation::frame(kept_operations()).encode_to_vec()),
        ("kept-answers", Answer::frame(kept_answers()).encode_to_vec()),
        ("sessions-operations", Operation::frame(operations()).encode_to_vec()),
        ("sessions-answers", Answer::frame(answers()).encode_to_vec()),
        (
            "sessions-deliveries",
            NumberedDelivery::frame(deliveries()).encode_to_vec(),
        ),
    ]
}

#[test]
fn recorded_frames_about_sessions_mean_what_they_meant() {
    for (name, meant) in [
        ("sessions-operations", operations()),
        ("kept-operations", kept_operations()),
    ] {
        let frame: proto::OperationFrame = recorded(name);
        let read: Result<Vec<Operation>, _> = frame.operations.into_iter().map(TryInto::try_into).collect();
        assert_eq!(read, Ok(meant));
    }
    for (name, meant) in [("sessions-answers", answers()), ("kept-answers", kept_answers())] {
        let frame: proto::AnswerFrame = recorded(name);
        let read: Result<Vec<Answer>, _> = frame.answers.into_iter().map(TryInto::try_into).collect();
        assert_eq!(read, Ok(meant));
    }
    assert_eq!(
        deliveries_of(recorded::<proto::DeliveryFrame>("sessions-deliveries").runs),
        Ok(deliveries())
    );
}
