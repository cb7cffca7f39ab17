//! Frames of version 1 as they were recorded: every later version reads them as it reads them today.
//!
//! A frame of `testdata/` is never recorded again. To add one, name it here, and run
//! `cargo test -p freshet-storage-api -- --ignored record_frames_that_are_not_there`.

mod lasting;
mod reports;
mod sessions;
mod shared;

use std::{fs, path::PathBuf};

use bytes::Bytes;
use freshet_storage_contract::{
    Answer, AttachProxy, AttachRefusal, AttachSession, Attached, ClusterUid, Delivery, DeliveryControl, DeliverySeq,
    DetachReason, Feature, FilterId, IncarnationId, InterestChange, InterestDelta, InterestVersion, Message,
    NumberedDelivery, Operation, Position, PublishBatch, PublishOutcome, PublishSeq, PublisherId, QoS, ReadRetained,
    RegisteredSession, RequestId, RetainedMessage, SessionEpoch, SessionRefusal, ShardAttachment, ShardId, ShardResume,
    Term, Will,
};
use prost::Message as _;

use super::deliveries_of;
use crate::{
    batch::Item,
    codec::{Frame, decode_frame},
    proto::{self, answer_frame},
    server::{AttachRequest, LinkNumber},
};

fn message(qos: QoS) -> Message {
    Message {
        topic_name: Bytes::from_static("devices/42/température".as_bytes()),
        payload: Bytes::from_static(b"\x00\x01 21.5"),
        qos,
        retain: true,
        publisher: PublisherId(0xfedc_ba98_7654_3210),
        message_expiry_interval_s: Some(0),
        forwarded_properties: Bytes::from_static(b"\x26\x00\x01a\x00\x01b"),
        exactly_once: None,
    }
}

fn bare_message() -> Message {
    Message {
        topic_name: Bytes::from_static(b"a"),
        payload: Bytes::new(),
        qos: QoS::AtMostOnce,
        retain: false,
        publisher: PublisherId(0),
        message_expiry_interval_s: None,
        forwarded_properties: Bytes::new(),
        exactly_once: None,
    }
}

const EPOCH: SessionEpoch = SessionEpoch {
    term: Term(1_790_000_000_000),
    counter: 3,
};
const CLIENT_ID: Bytes = Bytes::from_static(b"sensor-42");
const INCARNATION: IncarnationId = IncarnationId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);

fn attach() -> AttachRequest {
    AttachRequest {
        link: LinkNumber(2),
        proxy: AttachProxy {
            cluster_uid: ClusterUid("5e0a1b1c-7a51-4f43-a35d-0f9d8c7d1a11".to_owned()),
            incarnation: INCARNATION,
            proxy_name: "prod-proxy-7c9f4d-k2".to_owned(),
            protocol_version: 1,
            features: vec![Feature("example".to_owned())],
            highest_term: Term(0),
            resume: vec![ShardResume {
                shard: ShardId(0),
                term: Term(7),
                received: DeliverySeq(0),
            }],
        },
    }
}

fn attached() -> Attached {
    Attached {
        protocol_version: 1,
        features: vec![Feature("example".to_owned())],
        lease_ttl_ms: 6_000,
        shards: 8,
        placement_rules: vec!["devices/{key}/#".to_owned()],
        attachments: vec![ShardAttachment {
            shard: ShardId(7),
            term: Term(1_790_000_000_000),
            interest_version: InterestVersion(0),
            publish_seq: PublishSeq(12),
            overrun: true,
        }],
    }
}

fn refusals() -> [AttachRefusal; 4] {
    [
        AttachRefusal::ForeignCluster {
            expected: "5e0a".to_owned(),
            found: "77b0".to_owned(),
        },
        AttachRefusal::UnknownVersion {
            lowest: 1,
            highest: 1,
            found: 9,
        },
        AttachRefusal::UnknownOperation { name: "15".to_owned() },
        AttachRefusal::IncarnationGone {
            incarnation: INCARNATION,
        },
    ]
}

fn operations() -> Vec<Operation> {
    let will = Some(Will {
        message: message(QoS::ExactlyOnce),
        delay_interval_s: 0,
    });
    let detach = |reason| Operation::DetachSession {
        client_id: CLIENT_ID,
        epoch: EPOCH,
        reason,
        session_expiry_interval_s: None,
    };
    vec![
        Operation::RenewLease,
        Operation::Interest(InterestDelta {
            shard: ShardId(0),
            version: InterestVersion(1),
            complete: true,
            changes: vec![
                InterestChange::Add {
                    filter_id: FilterId(0),
                    topic_filter: Bytes::from_static(b"devices/+/#"),
                },
                InterestChange::Remove { filter_id: FilterId(9) },
            ],
        }),
        Operation::Publish(PublishBatch {
            shard: ShardId(1_023),
            first: PublishSeq(5),
            messages: vec![message(QoS::AtLeastOnce).into(), bare_message().into()],
            lasting: None,
        }),
        Operation::AttachSession(AttachSession {
            request: RequestId(0),
            client_id: CLIENT_ID,
            clean_start: true,
            session_expiry_interval_s: 0,
            will: will.clone().map(Box::new),
        }),
        Operation::RegisterSessions {
            shard: ShardId(0),
            sessions: vec![RegisteredSession {
                client_id: CLIENT_ID,
                epoch: EPOCH,
                will,
                session_expiry_interval_s: 0,
                session: None,
            }],
        },
        detach(DetachReason::ByClient),
        detach(DetachReason::WillDue),
        detach(DetachReason::Moved),
        detach(DetachReason::TakenOver),
        Operation::ReadRetained(ReadRetained {
            request: RequestId(1 << 48),
            shard: ShardId(2),
            topic_filter: Bytes::from_static(b"devices/42/#"),
            after: Some(Bytes::from_static(b"devices/42/a")),
            up_to: Some(Position(0)),
            max_bytes: 65_536,
        }),
    ]
}

fn answers() -> Vec<Answer> {
    vec![
        Answer::LeaseRenewed,
        Answer::Published {
            shard: ShardId(0),
            first: PublishSeq(5),
            outcomes: vec![
                PublishOutcome::Delivered,
                PublishOutcome::NoMatchingSubscribers,
                PublishOutcome::QuotaExceeded,
            ],
        },
        Answer::SessionAttached {
            request: RequestId(0),
            epoch: EPOCH,
            session_present: true,
            session: None,
        },
        Answer::SessionRefused {
            request: RequestId(1),
            refusal: SessionRefusal::QuotaExceeded,
        },
        Answer::SessionRefused {
            request: RequestId(2),
            refusal: SessionRefusal::Superseded,
        },
        Answer::TakeOver {
            client_id: CLIENT_ID,
            epoch: EPOCH,
        },
    ]
}

fn deliveries() -> Vec<NumberedDelivery> {
    let numbered = |shard, seq, delivery| NumberedDelivery {
        shard: ShardId(shard),
        term: Term(7),
        seq: DeliverySeq(seq),
        delivery,
    };
    vec![
        numbered(
            0,
            1,
            Delivery::Message {
                filter_ids: vec![FilterId(0), FilterId(300)].into(),
                message: message(QoS::AtLeastOnce).into(),
                position: None,
            },
        ),
        numbered(
            0,
            2,
            Delivery::Marker {
                version: InterestVersion(4),
            },
        ),
        numbered(
            3,
            9,
            Delivery::Retained {
                request: RequestId(0),
                messages: vec![RetainedMessage {
                    message: bare_message(),
                }],
                up_to: Position(0),
                next: Some(Bytes::from_static(b"a")),
            },
        ),
        numbered(3, 11, Delivery::Overrun { queues_lost: false }),
    ]
}

fn controls() -> Vec<DeliveryControl> {
    vec![
        DeliveryControl::Acknowledge {
            shard: ShardId(0),
            term: Term(7),
            seq: DeliverySeq(2),
        },
        DeliveryControl::Credit { bytes: 0 },
    ]
}

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "testdata", "v1", &format!("{name}.bin")]
        .iter()
        .collect()
}

fn recorded<F: Frame>(name: &str) -> F {
    let bytes = fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    decode_frame(&Bytes::from(bytes)).unwrap()
}

#[test]
fn recorded_operations_mean_what_they_meant() {
    let frame: proto::OperationFrame = recorded("operation-attach");
    assert_eq!(AttachRequest::try_from(frame.attach.unwrap()), Ok(attach()));
    let frame: proto::OperationFrame = recorded("operations");
    let read: Result<Vec<Operation>, _> = frame.operations.into_iter().map(TryInto::try_into).collect();
    assert_eq!(read, Ok(operations()));
}

#[test]
fn recorded_answers_mean_what_they_meant() {
    let Some(answer_frame::Link::Attached(frame)) = recorded::<proto::AnswerFrame>("answer-attached").link else {
        panic!("an attached frame was recorded");
    };
    assert_eq!(frame.try_into(), Ok(attached()));
    for (index, refusal) in refusals().into_iter().enumerate() {
        let frame: proto::AnswerFrame = recorded(&format!("answer-refused-{index}"));
        let Some(answer_frame::Link::Refused(frame)) = frame.link else {
            panic!("a refusal was recorded")
        };
        assert_eq!(frame.try_into(), Ok(refusal));
    }
    let frame: proto::AnswerFrame = recorded("answers");
    let read: Result<Vec<Answer>, _> = frame.answers.into_iter().map(TryInto::try_into).collect();
    assert_eq!(read, Ok(answers()));
}

#[test]
fn recorded_deliveries_mean_what_they_meant() {
    assert_eq!(
        deliveries_of(recorded::<proto::DeliveryFrame>("deliveries").runs),
        Ok(deliveries())
    );
    let frame: proto::DeliveryControlFrame = recorded("controls");
    let read: Result<Vec<DeliveryControl>, _> = frame.controls.into_iter().map(TryInto::try_into).collect();
    assert_eq!(read, Ok(controls()));
}

#[test]
#[ignore = "writes new files of testdata/"]
fn record_frames_that_are_not_there() {
    let record = |name: &str, bytes: Vec<u8>| {
        let path = path(name);
        if !path.exists() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    };
    let frame = proto::OperationFrame {
        attach: Some(attach().into()),
        operations: Vec::new(),
    };
    record("operation-attach", frame.encode_to_vec());
    record("operations", Operation::frame(operations()).encode_to_vec());
    let link = answer_frame::Link::Attached(attached().into());
    record(
        "answer-attached",
        proto::AnswerFrame {
            link: Some(link),
            answers: Vec::new(),
        }
        .encode_to_vec(),
    );
    for (index, refusal) in refusals().into_iter().enumerate() {
        let link = answer_frame::Link::Refused(refusal.into());
        let frame = proto::AnswerFrame {
            link: Some(link),
            answers: Vec::new(),
        };
        record(&format!("answer-refused-{index}"), frame.encode_to_vec());
    }
    record("answers", Answer::frame(answers()).encode_to_vec());
    let later = sessions::frames().into_iter().chain(shared::frames());
    for (name, bytes) in later.chain(reports::frames()).chain(lasting::frames()) {
        record(name, bytes);
    }
    record("deliveries", NumberedDelivery::frame(deliveries()).encode_to_vec());
    record("controls", DeliveryControl::frame(controls()).encode_to_vec());
}
