//! Links that break, and what is still true when the proxy is back.

use freshet_storage_api::{ConnectError, LinkError};
use freshet_storage_contract::{
    Answer, AttachRefusal, Delivery, DeliverySeq, Operation, PublishBatch, PublishOutcome, PublishSeq,
};

use crate::{
    relay::Relay,
    test_node::TestNode,
    test_proxy::{TestProxy, introduction, message, new_incarnation, resumption},
};

#[tokio::test]
async fn deliveries_that_a_broken_stream_lost_come_again_and_those_received_do_not() {
    let node = TestNode::start().await;
    let relay = Relay::to(node.address).await;
    let mut subscriber = TestProxy::attach(&relay.endpoint()).await;
    let mut publisher = TestProxy::attach(&node.endpoint()).await;
    subscriber.subscribe(0, "a").await;
    let incarnation = subscriber.incarnation;

    publisher.publish(1, vec![message("a", "received"), message("a", "lost")]);
    let received = subscriber.next_delivery().await;
    relay.break_now();
    subscriber.end().await;
    publisher.publish(3, vec![message("a", "meanwhile")]);

    let again = resumption(incarnation, received.shard, received.term, received.seq);
    let mut subscriber = TestProxy::attach_as(&node.endpoint(), again).await.unwrap();
    let attachment = subscriber.link.attached.attachments[usize::from(received.shard.0)];
    assert_eq!((attachment.term, attachment.overrun), (received.term, false));
    // Its interest has survived, too: nothing has to be subscribed again.
    assert_eq!(attachment.interest_version.0, 1);
    for (seq, payload) in [(1, "lost"), (2, "meanwhile")] {
        let delivery = subscriber.next_delivery().await;
        assert_eq!(delivery.seq, DeliverySeq(received.seq.0 + seq));
        let Delivery::Message { message, .. } = &delivery.delivery else {
            panic!("{delivery:?}")
        };
        assert_eq!(message.payload, payload.as_bytes());
        subscriber.acknowledge(&delivery);
    }
    assert_eq!(publisher.outcomes(1, 3).await, [PublishOutcome::Delivered; 3]);
}

#[tokio::test]
async fn publications_cut_off_in_mid_frame_are_routed_once_when_they_are_sent_again() {
    const MESSAGES: u64 = 2_000;
    let node = TestNode::start().await;
    let mut subscriber = TestProxy::attach(&node.endpoint()).await;
    subscriber.subscribe(0, "a").await;
    let shard = subscriber.shard_of("a");

    let incarnation = new_incarnation();
    let batch = |first: u64, last: u64| -> Vec<_> {
        let messages = (first..=last).map(|i| message("a", i.to_be_bytes().to_vec()));
        messages.collect()
    };
    let relay = Relay::to(node.address).await;
    let publisher = TestProxy::attach_as(&relay.endpoint(), introduction(incarnation))
        .await
        .unwrap();
    // Enough for several frames, and cut off inside one of them.
    relay.break_after(40_001);
    for first in (1..MESSAGES).step_by(100) {
        let messages = batch(first, first + 99);
        let publish = Operation::Publish(PublishBatch {
            shard,
            first: PublishSeq(first),
            messages: messages.into_iter().map(Into::into).collect(),
            lasting: None,
        });
        // Refused once the connection is known to be broken.
        let _ = publisher.link.operations.try_send(&mut vec![publish]);
        tokio::task::yield_now().await;
    }
    relay.broken().await;
    publisher.end().await;

    let mut publisher = TestProxy::attach_as(&node.endpoint(), introduction(incarnation))
        .await
        .unwrap();
    let taken = publisher.link.attached.attachments[usize::from(shard.0)].publish_seq.0;
    assert!(taken < MESSAGES, "the connection was to break before the end");
    // Some of it is sent again that had arrived: routed once all the same.
    let first = taken.saturating_sub(10).max(1);
    publisher.publish(first, batch(first, MESSAGES));
    for i in 1..=MESSAGES {
        assert_eq!(subscriber.next_message().await.payload, i.to_be_bytes()[..]);
    }
    let expected = usize::try_from(MESSAGES - first + 1).unwrap();
    let mut outcomes = 0;
    while outcomes < expected {
        // What was unanswered before is answered too.
        match publisher.next_answer().await {
            Answer::Published {
                first: of,
                outcomes: all,
                ..
            } => {
                assert!(all.iter().all(|o| *o == PublishOutcome::Delivered));
                let last = of.0 + all.len() as u64 - 1;
                outcomes = usize::try_from((last + 1).saturating_sub(first)).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_proxy_whose_lease_ran_out_is_ended_by_name_and_goes_on_as_another_incarnation() {
    let node = TestNode::start_with(|s| s.lease_ttl_ms = 200).await;
    let proxy = TestProxy::attach(&node.endpoint()).await;
    let gone = AttachRefusal::IncarnationGone {
        incarnation: proxy.incarnation,
    };
    let introduction = introduction(proxy.incarnation);
    // It does not renew.
    assert_eq!(proxy.end().await, LinkError::Refused(gone.clone()));
    node.wait_for("the incarnation is gone", |stats| stats.incarnations == 0)
        .await;
    let refused = TestProxy::attach_as(&node.endpoint(), introduction).await.err();
    assert_eq!(refused, Some(ConnectError::Refused(gone)));
    TestProxy::attach(&node.endpoint()).await;
}
