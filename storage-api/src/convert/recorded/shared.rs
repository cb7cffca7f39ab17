//! Recorded frames of the feature `shared_subscriptions`.

use freshet_storage_contract::{
    EnsureDurable, Lease, OutboundExchange, OutboundStage, PacketId, SessionChange, SettleShared, Settlement,
    SharedGroup, SharedMessage, SharedStrategy, StoredSession, UpdateSession,
};

use super::*;

const NAME: Bytes = Bytes::from_static(b"$share/workers/devices/42/#");
const LEASE: Lease = Lease {
    position: Position(1_790_000_000_000 << 20),
    number: u64::MAX,
};

fn operations() -> Vec<Operation> {
    let group = |id, strategy, members| {
        InterestChange::SetGroup(SharedGroup {
            filter_id: FilterId(id),
            share_name: Bytes::from_static(b"workers"),
            topic_filter: Bytes::from_static(b"devices/42/#"),
            strategy,
            members,
            window: u32::MAX,
        })
    };
    vec![
        Operation::Interest(InterestDelta {
            shard: ShardId(0),
            version: InterestVersion(3),
            complete: false,
            changes: vec![
                group(0, SharedStrategy::RoundRobin, 1),
                group(u32::MAX, SharedStrategy::LeastInflight, 100),
            ],
        }),
        Operation::EnsureDurable(EnsureDurable {
            request: RequestId(0),
            shard: ShardId(0),
            session_shard: ShardId(7),
            topic_filter: NAME,
        }),
        Operation::UpdateSession(UpdateSession {
            request: Some(RequestId(0)),
            client_id: CLIENT_ID,
            epoch: EPOCH,
            changes: vec![SessionChange::Sending {
                packet_id: PacketId::new(1).expect("not 0"),
                shard: ShardId(0),
                position: LEASE.position,
                qos: QoS::ExactlyOnce,
                shared: Some(NAME),
                message: None,
            }],
        }),
        Operation::SettleShared(SettleShared {
            request: RequestId(0),
            shard: ShardId(1_023),
            filter_id: FilterId(0),
            settled: vec![
                (LEASE, Settlement::Done),
                (
                    Lease {
                        position: Position(0),
                        number: 1,
                    },
                    Settlement::Returned,
                ),
            ],
        }),
    ]
}

fn answers() -> Vec<Answer> {
    vec![Answer::SharedSettled { request: RequestId(0) }]
}

/// A session with an exchange of a message that came by a group.
fn session_answers() -> Vec<Answer> {
    let session = StoredSession {
        generation: EPOCH,
        subscriptions: Vec::new(),
        cursors: Vec::new(),
        outbound: vec![OutboundExchange {
            packet_id: PacketId::new(1).expect("not 0"),
            shard: ShardId(0),
            position: LEASE.position,
            qos: QoS::ExactlyOnce,
            stage: OutboundStage::Sent,
            shared: Some(NAME),
            message: None,
        }],
    };
    vec![Answer::SessionAttached {
        request: RequestId(0),
        epoch: EPOCH,
        session_present: true,
        session: Some(Box::new(session)),
    }]
}

fn deliveries() -> Vec<NumberedDelivery> {
    let shared = |seq, message: Message, lease| NumberedDelivery {
        shard: ShardId(0),
        term: Term(7),
        seq: DeliverySeq(seq),
        delivery: Delivery::Shared(SharedMessage {
            filter_id: FilterId(0),
            message: message.into(),
            lease,
        }),
    };
    vec![
        shared(1, message(QoS::ExactlyOnce), Some(LEASE)),
        shared(2, bare_message(), None),
    ]
}

/// The frames by name.
pub(super) fn frames() -> [(&'static str, Vec<u8>); 4] {
    [
        ("shared-operations", Operation::frame(operations()).encode_to_vec()),
        ("shared-answers", Answer::frame(answers()).encode_to_vec()),
        ("shared-session", Answer::frame(session_answers()).encode_to_vec()),
        (
            "shared-deliveries",
            NumberedDelivery::frame(deliveries()).encode_to_vec(),
        ),
    ]
}

#[test]
fn recorded_frames_about_shared_subscriptions_mean_what_they_meant() {
    let frame: proto::OperationFrame = recorded("shared-operations");
    let read: Result<Vec<Operation>, _> = frame.operations.into_iter().map(TryInto::try_into).collect();
    assert_eq!(read, Ok(operations()));
    for (name, meant) in [("shared-answers", answers()), ("shared-session", session_answers())] {
        let frame: proto::AnswerFrame = recorded(name);
        let read: Result<Vec<Answer>, _> = frame.answers.into_iter().map(TryInto::try_into).collect();
        assert_eq!(read, Ok(meant));
    }
    assert_eq!(
        deliveries_of(recorded::<proto::DeliveryFrame>("shared-deliveries").runs),
        Ok(deliveries())
    );
}
