//! A backlog as its sender and the transport see it.

use std::sync::Arc;

use bytes::Bytes;
use freshet_storage_contract::{
    FilterId, IncarnationId, InterestChange, InterestDelta, InterestVersion, LastingNumbers, Message, Operation,
    PublishBatch, PublishSeq, PublisherId, QoS, ShardId,
};
use futures::{FutureExt, StreamExt};

use super::*;
use crate::{assembly::Assembly, limits::MAX_FRAME_BYTES, proto::OperationFrame};

fn message(payload_bytes: usize) -> Message {
    Message {
        topic_name: Bytes::from_static(b"a"),
        payload: Bytes::from(vec![0; payload_bytes]),
        qos: QoS::AtMostOnce,
        retain: false,
        publisher: PublisherId(0),
        message_expiry_interval_s: None,
        forwarded_properties: Bytes::new(),
        exactly_once: None,
    }
}

fn publish(first: u64, payloads: &[usize]) -> Operation {
    let messages = payloads.iter().map(|&bytes| message(bytes).into()).collect();
    Operation::Publish(PublishBatch {
        shard: ShardId(0),
        first: PublishSeq(first),
        messages,
        lasting: None,
    })
}

fn take(stream: &mut BacklogStream<Operation>) -> Option<OperationFrame> {
    stream
        .next()
        .now_or_never()
        .flatten()
        .map(|frame| frame.expect("no status was given"))
}

#[test]
fn what_gathers_while_the_transport_is_busy_leaves_in_one_frame() {
    let (sender, mut stream) = backlog(1 << 20);
    assert!(take(&mut stream).is_none());
    for _ in 0..3 {
        sender.try_send(&mut vec![Operation::RenewLease; 2]).unwrap();
    }
    assert_eq!(take(&mut stream).unwrap().operations.len(), 6);
    assert!(take(&mut stream).is_none());
    assert_eq!(sender.waiting_bytes(), 0);
}

#[test]
fn a_large_backlog_leaves_in_order_and_in_frames_of_bounded_size() {
    let (sender, mut stream) = backlog(usize::MAX);
    let mut operations: Vec<_> = (1..=100).map(|first| publish(first, &[10_000])).collect();
    sender.try_send(&mut operations).unwrap();
    assert!(operations.is_empty());
    let mut firsts = Vec::new();
    let mut frames = 0;
    while let Some(frame) = take(&mut stream) {
        frames += 1;
        assert!(prost::Message::encoded_len(&frame) <= TARGET_FRAME_BYTES);
        for operation in frame.operations {
            let Ok(Operation::Publish(batch)) = operation.try_into() else {
                panic!("a batch was sent")
            };
            firsts.push(batch.first.0);
        }
    }
    assert_eq!(firsts, (1..=100).collect::<Vec<_>>());
    assert_eq!((frames, sender.waiting_bytes()), (4, 0));
}

#[test]
fn a_batch_above_the_bound_is_split_and_keeps_its_numbers() {
    let (sender, mut stream) = backlog(usize::MAX);
    sender
        .try_send(&mut vec![publish(7, &[3 << 20, 1 << 20, 1 << 20, 100])])
        .unwrap();
    let mut numbers = Vec::new();
    while let Some(frame) = take(&mut stream) {
        assert!(prost::Message::encoded_len(&frame) <= MAX_FRAME_BYTES);
        for operation in frame.operations {
            let Ok(Operation::Publish(batch)) = operation.try_into() else {
                panic!("a batch was sent")
            };
            numbers.push((batch.first.0, batch.messages.len()));
        }
    }
    assert_eq!(numbers, [(7, 1), (8, 3)]);
}

#[test]
fn a_batch_that_is_split_keeps_the_lasting_numbers_of_its_messages() {
    let (sender, mut stream) = backlog(usize::MAX);
    let qos_2 = |bytes| Message {
        qos: QoS::ExactlyOnce,
        ..message(bytes)
    };
    let lasting = |first| LastingNumbers {
        origin: IncarnationId(5),
        first,
        oldest: 30,
    };
    let batch = PublishBatch {
        shard: ShardId(0),
        first: PublishSeq(7),
        messages: [qos_2(1), message(3 << 20), qos_2(1), qos_2(1 << 20)]
            .map(Arc::new)
            .to_vec(),
        lasting: Some(lasting(40)),
    };
    sender.try_send(&mut vec![Operation::Publish(batch)]).unwrap();
    let mut found = Vec::new();
    while let Some(frame) = take(&mut stream) {
        for operation in frame.operations {
            let Ok(Operation::Publish(batch)) = operation.try_into() else {
                panic!("a batch was sent")
            };
            found.push((batch.messages.len(), batch.lasting));
        }
    }
    assert_eq!(found, [(3, Some(lasting(40))), (1, Some(lasting(42)))]);
}

#[test]
fn what_cannot_be_split_is_refused_and_stays_with_the_caller() {
    let (sender, _stream) = backlog(usize::MAX);
    for operation in [Operation::Interest(delta(2_000, 60_000)), publish(1, &[5 << 20])] {
        let mut operations = vec![operation.clone()];
        assert!(matches!(
            sender.try_send(&mut operations),
            Err(SendError::TooLarge { .. })
        ));
        assert!(operations == [operation]);
    }
}

fn delta(filters: u32, filter_bytes: usize) -> InterestDelta {
    let topic_filter = Bytes::from(vec![b'a'; filter_bytes]);
    let changes = (0..filters)
        .map(|id| InterestChange::Add {
            filter_id: FilterId(id),
            topic_filter: topic_filter.clone(),
        })
        .collect();
    InterestDelta {
        shard: ShardId(3),
        version: InterestVersion(1),
        complete: true,
        changes,
    }
}

#[test]
fn an_interest_above_a_frame_travels_in_parts_and_is_put_together_again() {
    let (sender, mut stream) = backlog(usize::MAX);
    let operations = vec![
        Operation::RenewLease,
        Operation::Interest(delta(100_000, 100)),
        Operation::RenewLease,
    ];
    sender.try_send(&mut operations.clone()).unwrap();
    let mut assembly = Assembly::default();
    let (mut received, mut frames) = (Vec::new(), 0);
    while let Some(frame) = take(&mut stream) {
        frames += 1;
        assert!(prost::Message::encoded_len(&frame) <= TARGET_FRAME_BYTES);
        received.extend(assembly.read(frame.operations).unwrap());
    }
    assert!(frames > 40, "{frames}");
    assert!(received == operations);
}

#[test]
fn a_full_backlog_takes_nothing_and_an_empty_one_takes_any_batch() {
    let (sender, mut stream) = backlog(1_000);
    sender.try_send(&mut vec![publish(1, &[5_000])]).unwrap();
    let mut next = vec![Operation::RenewLease];
    assert!(matches!(sender.try_send(&mut next), Err(SendError::Full { .. })));
    assert_eq!(next.len(), 1);
    take(&mut stream).unwrap();
    sender.try_send(&mut next).unwrap();
    assert!(next.is_empty());
}

#[tokio::test]
async fn a_sender_that_waits_goes_on_when_there_is_room_or_nobody_left() {
    let (sender, mut stream) = backlog(10);
    sender.try_send(&mut vec![Operation::RenewLease]).unwrap();
    let mut next = vec![publish(1, &[1])];
    let (sent, ()) = tokio::join!(sender.send(&mut next), async {
        take(&mut stream).unwrap();
    });
    sent.unwrap();
    let mut next = vec![publish(2, &[1])];
    let (sent, ()) = tokio::join!(sender.send(&mut next), async { drop(stream) });
    assert_eq!(sent, Err(SendError::Closed));
}

#[test]
fn a_stream_ends_behind_what_was_sent() {
    let (sender, mut stream) = backlog(1_000);
    sender.begin(OperationFrame::default());
    sender.try_send(&mut vec![Operation::RenewLease]).unwrap();
    sender.finish(End::Status(Status::aborted("over")));
    assert_eq!(
        sender.try_send(&mut vec![Operation::RenewLease]),
        Err(SendError::Closed)
    );
    assert_eq!(take(&mut stream).unwrap().operations.len(), 0);
    assert_eq!(take(&mut stream).unwrap().operations.len(), 1);
    let end = stream.next().now_or_never().flatten();
    assert!(matches!(end, Some(Err(status)) if status.code() == tonic::Code::Aborted));
    assert!(stream.next().now_or_never().flatten().is_none());
    assert!(sender.is_closed());
}
