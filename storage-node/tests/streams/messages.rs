//! What crosses a node from one proxy to another.

use bytes::Bytes;
use freshet_storage_contract::{
    Answer, AttachSession, Delivery, DetachReason, FilterId, FilterIds, InterestChange, Operation, PublishOutcome, QoS,
    ReadRetained, RequestId, RetainedMessage,
};

use crate::{
    test_node::TestNode,
    test_proxy::{TestProxy, message},
};

#[tokio::test]
async fn a_message_crosses_from_one_proxy_to_another_and_is_answered_once_it_was_received() {
    let node = TestNode::start().await;
    let mut subscriber = TestProxy::attach(&node.endpoint()).await;
    let mut publisher = TestProxy::attach(&node.endpoint()).await;
    subscriber.subscribe(7, "devices/42/temperature").await;

    let sent = message("devices/42/temperature", "21.5");
    publisher.publish(1, vec![sent.clone()]);
    let delivery = subscriber.next_delivery().await;
    assert_eq!(
        delivery.delivery,
        Delivery::Message {
            filter_ids: FilterIds::One(FilterId(7)),
            message: sent.into(),
            position: None,
        }
    );

    // Not answered yet: a renewal that was sent later is.
    publisher.operate(Operation::RenewLease);
    assert_eq!(publisher.next_answer().await, Answer::LeaseRenewed);
    subscriber.acknowledge(&delivery);
    assert_eq!(publisher.outcomes(1, 1).await, [PublishOutcome::Delivered]);

    publisher.publish(1, vec![message("nobody/cares", "")]);
    assert_eq!(publisher.outcomes(1, 1).await, [PublishOutcome::NoMatchingSubscribers]);
}

#[tokio::test]
async fn many_messages_cross_in_order() {
    const MESSAGES: u32 = 20_000;
    let node = TestNode::start_with(|s| s.ring_bytes = 64 << 20).await;
    let mut subscriber = TestProxy::attach(&node.endpoint()).await;
    let mut publisher = TestProxy::attach(&node.endpoint()).await;
    subscriber.subscribe(0, "a").await;
    let messages = (0..MESSAGES).map(|i| message("a", i.to_be_bytes().to_vec())).collect();
    publisher.publish(1, messages);
    for i in 0..MESSAGES {
        assert_eq!(subscriber.next_message().await.payload, i.to_be_bytes()[..]);
    }
    let outcomes = publisher.outcomes(1, MESSAGES as usize).await;
    assert!(outcomes.iter().all(|outcome| *outcome == PublishOutcome::Delivered));
}

#[tokio::test]
async fn a_message_of_several_megabytes_crosses_whole() {
    let node = TestNode::start_with(|s| s.ring_bytes = 16 << 20).await;
    let mut subscriber = TestProxy::attach(&node.endpoint()).await;
    let mut publisher = TestProxy::attach(&node.endpoint()).await;
    subscriber.subscribe(0, "large").await;
    let payload: Bytes = (0..3_500_000_u32)
        .map(|i| i.to_le_bytes()[1])
        .collect::<Vec<_>>()
        .into();
    publisher.publish(1, vec![message("large", payload.clone())]);
    assert!(subscriber.next_message().await.payload == payload);
    assert_eq!(publisher.outcomes(1, 1).await, [PublishOutcome::Delivered]);
}

#[tokio::test]
async fn an_interest_of_a_hundred_thousand_filters_acts_as_a_whole() {
    let node = TestNode::start().await;
    let mut subscriber = TestProxy::attach(&node.endpoint()).await;
    let publisher = TestProxy::attach(&node.endpoint()).await;
    let last = "a/filter/of/usual/length/99999";
    let shard = subscriber.shard_of(last);
    let changes = (0..100_000_u32).map(|i| InterestChange::Add {
        filter_id: FilterId(i),
        topic_filter: Bytes::from(format!("a/filter/of/usual/length/{i}")),
    });
    subscriber.change_interest(shard, changes.collect()).await;
    publisher.publish(1, vec![message(last, "x")]);
    let delivery = subscriber.next_delivery().await.delivery;
    assert_eq!(
        delivery,
        Delivery::Message {
            filter_ids: FilterIds::One(FilterId(99_999)),
            message: message(last, "x").into(),
            position: None,
        }
    );
}

#[tokio::test]
async fn a_retained_message_is_read_by_a_later_subscriber() {
    let node = TestNode::start().await;
    let mut publisher = TestProxy::attach(&node.endpoint()).await;
    let mut retained = message("state/door", "open");
    retained.retain = true;
    let shard = publisher.publish(1, vec![retained.clone()]);
    publisher.outcomes(1, 1).await;

    let mut subscriber = TestProxy::attach(&node.endpoint()).await;
    subscriber.operate(Operation::ReadRetained(ReadRetained {
        request: RequestId(5),
        shard,
        topic_filter: Bytes::from_static(b"state/+"),
        after: None,
        up_to: None,
        max_bytes: u32::MAX,
    }));
    match subscriber.next_delivery().await.delivery {
        Delivery::Retained {
            request,
            messages,
            next,
            ..
        } => {
            assert_eq!((request, next), (RequestId(5), None));
            assert_eq!(messages, [RetainedMessage { message: retained }]);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_client_that_connects_through_another_proxy_takes_its_session_over() {
    let node = TestNode::start().await;
    let mut old = TestProxy::attach(&node.endpoint()).await;
    let mut new = TestProxy::attach(&node.endpoint()).await;
    let client_id = Bytes::from_static(b"sensor-42");
    let attach = |request| {
        Operation::AttachSession(AttachSession {
            request: RequestId(request),
            client_id: client_id.clone(),
            clean_start: true,
            session_expiry_interval_s: 0,
            will: None,
        })
    };
    old.operate(attach(1));
    let Answer::SessionAttached { epoch: first, .. } = old.next_answer().await else {
        panic!("not attached")
    };
    new.operate(attach(2));
    let take_over = Answer::TakeOver {
        client_id: client_id.clone(),
        epoch: first,
    };
    assert_eq!(old.next_answer().await, take_over);
    // The new connection waits for the old one.
    new.operate(Operation::RenewLease);
    assert_eq!(new.next_answer().await, Answer::LeaseRenewed);
    old.operate(Operation::DetachSession {
        client_id,
        epoch: first,
        reason: DetachReason::TakenOver,
        session_expiry_interval_s: None,
    });
    match new.next_answer().await {
        Answer::SessionAttached { request, epoch, .. } => {
            assert_eq!(request, RequestId(2));
            assert!(epoch > first);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_subscriber_that_reads_nothing_does_not_hold_up_the_others() {
    const MESSAGES: u64 = 200;
    let node = TestNode::start_with(|s| s.ring_bytes = 1 << 20).await;
    let mut stuck = TestProxy::attach(&node.endpoint()).await;
    let mut reader = TestProxy::attach(&node.endpoint()).await;
    let mut publisher = TestProxy::attach(&node.endpoint()).await;
    stuck.subscribe(0, "a").await;
    reader.subscribe(0, "a").await;
    // Many times the ring of the one that is stuck, in messages that the reader keeps up with.
    for i in 0..MESSAGES {
        let mut message = message("a", vec![0; 64 << 10]);
        message.qos = if i % 2 == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        publisher.publish(i + 1, vec![message]);
        reader.next_message().await;
        publisher.outcomes(i + 1, 1).await;
    }
    node.wait_for("the ring overran", |stats| {
        stats.shards.iter().any(|s| s.counters.overruns_total > 0)
    })
    .await;
}
