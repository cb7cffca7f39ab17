//! Recorded frames of publications that are known again by their numbers.

use freshet_storage_contract::LastingNumbers;

use super::*;

fn operations() -> Vec<Operation> {
    vec![Operation::Publish(PublishBatch {
        shard: ShardId(3),
        first: PublishSeq(5),
        messages: vec![message(QoS::AtLeastOnce).into(), message(QoS::ExactlyOnce).into()],
        lasting: Some(LastingNumbers {
            origin: INCARNATION,
            first: 300,
            oldest: 1,
        }),
    })]
}

/// The frames by name.
pub(super) fn frames() -> [(&'static str, Vec<u8>); 1] {
    [("lasting-operations", Operation::frame(operations()).encode_to_vec())]
}

#[test]
fn recorded_numbers_mean_what_they_meant() {
    let frame: proto::OperationFrame = recorded("lasting-operations");
    let read: Result<Vec<Operation>, _> = frame.operations.into_iter().map(TryInto::try_into).collect();
    assert_eq!(read, Ok(operations()));
}
