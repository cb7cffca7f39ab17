//! What is missing, invalid, unknown or too much is refused by its name.

use bytes::Bytes;
use freshet_storage_contract::{DeliverySeq, NumberedDelivery, Operation};
use prost::Message as _;

use super::{deliveries_of, list};
use crate::{
    WireError,
    codec::{Frame, decode_frame},
    limits::MAX_LIST_ITEMS,
    proto::{self, operation::Operation as Member, session_change::Change},
    server::AttachRequest,
};

fn operation(member: Member) -> Result<Operation, WireError> {
    proto::Operation {
        operation: Some(member),
    }
    .try_into()
}

fn message() -> proto::Message {
    proto::Message {
        topic_name: Bytes::from_static(b"a/b"),
        qos: proto::Qos::AtLeastOnce.into(),
        ..proto::Message::default()
    }
}

fn publish(message: proto::Message) -> Member {
    Member::Publish(proto::PublishBatch {
        shard: Some(0),
        first: 1,
        messages: vec![message],
        lasting: None,
    })
}

fn numbers() -> proto::LastingNumbers {
    proto::LastingNumbers {
        origin: Bytes::from_static(&[7; 16]),
        first: 2,
        oldest: 1,
    }
}

fn lasting(numbers: proto::LastingNumbers) -> Member {
    Member::Publish(proto::PublishBatch {
        shard: Some(0),
        first: 1,
        messages: vec![message()],
        lasting: Some(numbers),
    })
}

fn epoch() -> Option<proto::SessionEpoch> {
    Some(proto::SessionEpoch {
        term: Some(0),
        counter: Some(0),
    })
}

fn update(change: Change) -> Member {
    Member::UpdateSession(proto::UpdateSession {
        request: None,
        client_id: Bytes::from_static(b"c"),
        epoch: epoch(),
        changes: vec![proto::SessionChange { change: Some(change) }],
    })
}

fn sending(qos: i32) -> proto::Sending {
    proto::Sending {
        packet_id: 1,
        shard: Some(0),
        position: Some(0),
        qos,
        shared: None,
        message: None,
    }
}

fn set_group(group: proto::SharedGroup) -> Member {
    let change = proto::interest_change::Change::SetGroup(group);
    Member::Interest(proto::InterestDelta {
        shard: Some(0),
        version: 1,
        changes: vec![proto::InterestChange { change: Some(change) }],
        ..Default::default()
    })
}

fn group() -> proto::SharedGroup {
    proto::SharedGroup {
        filter_id: Some(1),
        share_name: Bytes::from_static(b"g"),
        topic_filter: Bytes::from_static(b"a/#"),
        strategy: proto::SharedStrategy::RoundRobin.into(),
        members: 1,
        window: 1,
    }
}

#[test]
fn a_missing_field_is_named() {
    let client_id = Bytes::from_static(b"c");
    for (member, field) in [
        (
            set_group(proto::SharedGroup { members: 0, ..group() }),
            "SharedGroup.members",
        ),
        (
            Member::Publish(proto::PublishBatch {
                first: 1,
                ..Default::default()
            }),
            "PublishBatch.shard",
        ),
        (
            Member::Publish(proto::PublishBatch {
                shard: Some(0),
                ..Default::default()
            }),
            "PublishBatch.first",
        ),
        (
            lasting(proto::LastingNumbers {
                origin: Bytes::new(),
                ..numbers()
            }),
            "LastingNumbers.origin",
        ),
        (
            lasting(proto::LastingNumbers { first: 0, ..numbers() }),
            "LastingNumbers.first",
        ),
        (
            lasting(proto::LastingNumbers { oldest: 0, ..numbers() }),
            "LastingNumbers.oldest",
        ),
        (publish(proto::Message { qos: 0, ..message() }), "Message.qos"),
        (
            Member::Interest(proto::InterestDelta {
                shard: Some(1),
                ..Default::default()
            }),
            "InterestDelta.version",
        ),
        (
            Member::DetachSession(proto::DetachSession {
                client_id: client_id.clone(),
                epoch: epoch(),
                reason: 0,
                session_expiry_interval_s: None,
            }),
            "DetachSession.reason",
        ),
        (
            Member::DetachSession(proto::DetachSession {
                client_id,
                epoch: None,
                reason: 1,
                session_expiry_interval_s: None,
            }),
            "DetachSession.epoch",
        ),
        (
            Member::DetachSession(proto::DetachSession {
                client_id: Bytes::new(),
                epoch: epoch(),
                reason: 1,
                session_expiry_interval_s: None,
            }),
            "DetachSession.client_id",
        ),
        (
            Member::AttachSession(proto::AttachSession::default()),
            "AttachSession.request",
        ),
        (
            publish(proto::Message {
                exactly_once: Some(proto::ExactlyOnce {
                    client_id: Bytes::from_static(b"c"),
                    generation: epoch(),
                    packet_id: 0,
                    epoch: None,
                }),
                ..message()
            }),
            "ExactlyOnce.packet_id",
        ),
        (update(Change::Advance(proto::Cursor::default())), "Cursor.shard"),
        (update(Change::Sending(sending(0))), "Sending.qos"),
        (
            Member::Pull(proto::Pull {
                request: Some(0),
                ..Default::default()
            }),
            "Pull.max_messages",
        ),
        (
            Member::Release(proto::Release {
                request: Some(0),
                shard: Some(0),
                of: None,
            }),
            "Release.of",
        ),
    ] {
        assert_eq!(operation(member), Err(WireError::Missing { field }));
    }
    let attach = proto::AttachProxy {
        link: 1,
        ..Default::default()
    };
    assert_eq!(
        AttachRequest::try_from(attach.clone()),
        Err(WireError::Missing {
            field: "AttachProxy.incarnation"
        })
    );
    let attach = proto::AttachProxy {
        incarnation: Bytes::from_static(&[0; 16]),
        ..attach
    };
    assert_eq!(
        AttachRequest::try_from(attach),
        Err(WireError::Missing {
            field: "AttachProxy.highest_term"
        })
    );
}

#[test]
fn an_invalid_field_is_named() {
    let long = Bytes::from(vec![b'a'; 65_536]);
    for (member, expected) in [
        (
            publish(proto::Message {
                topic_name: Bytes::new(),
                ..message()
            }),
            "Message.topic_name",
        ),
        (
            publish(proto::Message {
                topic_name: Bytes::from_static(b"a/+"),
                ..message()
            }),
            "Message.topic_name",
        ),
        (
            publish(proto::Message {
                topic_name: Bytes::from_static(b"\xff"),
                ..message()
            }),
            "Message.topic_name",
        ),
        (
            publish(proto::Message {
                topic_name: long,
                ..message()
            }),
            "Message.topic_name",
        ),
        (publish(proto::Message { qos: 9, ..message() }), "Message.qos"),
        (
            lasting(proto::LastingNumbers {
                origin: Bytes::from_static(&[7; 15]),
                ..numbers()
            }),
            "LastingNumbers.origin",
        ),
        (
            lasting(proto::LastingNumbers { oldest: 3, ..numbers() }),
            "LastingNumbers.oldest",
        ),
        (
            Member::Publish(proto::PublishBatch {
                shard: Some(65_536),
                first: 1,
                ..Default::default()
            }),
            "PublishBatch.shard",
        ),
        (
            Member::Publish(proto::PublishBatch {
                shard: Some(0),
                first: u64::MAX,
                messages: vec![message()],
                ..Default::default()
            }),
            "PublishBatch.first",
        ),
        (
            Member::ReadRetained(proto::ReadRetained {
                request: Some(0),
                shard: Some(0),
                topic_filter: Bytes::from_static(b"$share/g/a"),
                max_bytes: Some(0),
                ..Default::default()
            }),
            "ReadRetained.topic_filter",
        ),
        (
            update(Change::Subscribe(proto::StoredSubscription {
                topic_filter: Bytes::from_static(b"a"),
                options: 0b11,
                ..Default::default()
            })),
            "StoredSubscription.options",
        ),
        (
            update(Change::Subscribe(proto::StoredSubscription {
                topic_filter: Bytes::from_static(b"a/#/b"),
                ..Default::default()
            })),
            "StoredSubscription.topic_filter",
        ),
        (
            update(Change::Subscribe(proto::StoredSubscription {
                topic_filter: Bytes::from_static(b"a"),
                subscription_identifier: 268_435_456,
                ..Default::default()
            })),
            "StoredSubscription.subscription_identifier",
        ),
        (
            update(Change::Advance(proto::Cursor {
                shard: Some(0),
                acknowledged: Some(0),
                beyond: vec![2, 2],
            })),
            "Cursor.beyond",
        ),
        (
            update(Change::Received(proto::Received { packet_id: 65_536 })),
            "Received.packet_id",
        ),
        (
            update(Change::Sending(sending(proto::Qos::AtMostOnce.into()))),
            "Sending.qos",
        ),
        (
            update(Change::Sending(proto::Sending {
                shared: Some(Bytes::from_static(b"a/b")),
                ..sending(proto::Qos::ExactlyOnce.into())
            })),
            "Sending.shared",
        ),
        (
            set_group(proto::SharedGroup {
                share_name: Bytes::from_static(b"a/b"),
                ..group()
            }),
            "SharedGroup.share_name",
        ),
        (
            set_group(proto::SharedGroup {
                topic_filter: Bytes::from_static(b"$share/g/a"),
                ..group()
            }),
            "SharedGroup.topic_filter",
        ),
        (
            set_group(proto::SharedGroup { strategy: 9, ..group() }),
            "SharedGroup.strategy",
        ),
    ] {
        let error = operation(member).unwrap_err();
        assert!(
            matches!(error, WireError::Invalid { field, .. } if field == expected),
            "{expected}: {error}"
        );
    }
}

#[test]
fn a_list_that_would_cost_far_more_decoded_than_encoded_is_refused() {
    let empty = vec![proto::Operation { operation: None }; MAX_LIST_ITEMS + 1];
    let refused = list(empty, "OperationFrame.operations", Operation::try_from);
    assert_eq!(
        refused,
        Err(WireError::TooMany {
            field: "OperationFrame.operations",
            items: MAX_LIST_ITEMS + 1
        })
    );
}

#[test]
fn filter_ids_out_of_order_are_refused() {
    let delivery = |filter_ids: Vec<u32>| proto::Delivery {
        delivery: Some(proto::delivery::Delivery::Message(proto::MessageDelivery {
            filter_ids,
            message: Some(message()),
            position: None,
        })),
    };
    let run = |filter_ids| {
        vec![proto::DeliveryRun {
            shard: Some(0),
            term: Some(1),
            first: 1,
            deliveries: vec![delivery(filter_ids)],
        }]
    };
    assert!(deliveries_of(run(vec![1, 2])).is_ok());
    for ids in [vec![], vec![2, 1], vec![1, 1]] {
        assert!(deliveries_of(run(ids)).is_err());
    }
}

#[test]
fn numbers_of_deliveries_do_not_wrap() {
    let overrun = proto::Delivery {
        delivery: Some(proto::delivery::Delivery::Overrun(proto::Overrun::default())),
    };
    let run = |deliveries| {
        vec![proto::DeliveryRun {
            shard: Some(0),
            term: Some(1),
            first: u64::MAX,
            deliveries,
        }]
    };
    let last: Vec<NumberedDelivery> = deliveries_of(run(vec![overrun.clone()])).unwrap();
    assert_eq!(last[0].seq, DeliverySeq(u64::MAX));
    assert!(deliveries_of(run(vec![overrun.clone(), overrun])).is_err());
}

/// A frame with one item at `path` whose only member has the field number `member`.
fn frame_with_member(path: &[u8], member: u8) -> Bytes {
    const LENGTH_DELIMITED: u8 = 2;
    let mut bytes = vec![member << 3 | LENGTH_DELIMITED, 0];
    for field in path.iter().rev() {
        let mut outer = vec![field << 3 | LENGTH_DELIMITED, u8::try_from(bytes.len()).unwrap()];
        outer.append(&mut bytes);
        bytes = outer;
    }
    Bytes::from(bytes)
}

fn number_of_unknown<F: Frame>(path: &[u8]) -> WireError {
    // A known one in front, so that the right one has to be found.
    let known = frame_with_member(path, 1);
    let unknown = frame_with_member(path, 15);
    let both = Bytes::from([known.as_ref(), unknown.as_ref()].concat());
    decode_frame::<F>(&known).expect("member 1 is known");
    decode_frame::<F>(&both).map(drop).expect_err("member 15 is not")
}

#[test]
fn a_member_that_this_version_does_not_know_is_named_by_its_number() {
    let unknown = |of| WireError::UnknownMember { of, number: 15 };
    assert_eq!(number_of_unknown::<proto::OperationFrame>(&[2]), unknown("operation"));
    assert_eq!(number_of_unknown::<proto::AnswerFrame>(&[2]), unknown("answer"));
    assert_eq!(
        number_of_unknown::<proto::DeliveryControlFrame>(&[2]),
        unknown("control")
    );
    assert_eq!(number_of_unknown::<proto::DeliveryFrame>(&[2, 4]), unknown("delivery"));
}

#[test]
fn a_field_that_a_later_version_adds_is_passed_over() {
    let mut bytes = proto::OperationFrame {
        attach: None,
        operations: vec![proto::Operation {
            operation: Some(Member::RenewLease(proto::RenewLease {})),
        }],
    }
    .encode_to_vec();
    // Field 14 of the frame: a number.
    bytes.extend([14 << 3, 7]);
    let frame = decode_frame::<proto::OperationFrame>(&Bytes::from(bytes)).unwrap();
    assert_eq!(frame.operations.len(), 1);
}
