//! The ring by itself.

use bytes::Bytes;
use freshet_storage_contract::{
    FetchedMessage, PublisherId, PulledMessage, QoS, RequestId, RetainedMessage, SharedMessage,
};

use super::*;

const NOW: MonotonicMs = MonotonicMs(0);
const P: PeerKey = PeerKey { slot: 0, generation: 1 };

fn message(size: usize) -> Arc<Message> {
    Arc::new(Message {
        topic_name: Bytes::from_static(b"t"),
        payload: Bytes::from(vec![0; size]),
        qos: QoS::AtLeastOnce,
        retain: false,
        publisher: PublisherId(0),
        message_expiry_interval_s: None,
        forwarded_properties: Bytes::new(),
        exactly_once: None,
    })
}

fn push(ring: &mut Ring, ids: &[u32], seq: u64) -> Pushed {
    let waiter = Waiter {
        publisher: P,
        seq: PublishSeq(seq),
    };
    ring.push_message(
        ids.iter().copied().map(FilterId),
        &message(100),
        None,
        Some(waiter),
        NOW,
    )
}

fn send_all(ring: &mut Ring) -> Vec<u64> {
    std::iter::from_fn(|| ring.send_next(NOW, |_| true))
        .map(|(seq, ..)| seq.0)
        .collect()
}

fn ids_of(ring: &mut Ring) -> Vec<u32> {
    match ring.send_next(NOW, |_| true) {
        Some((_, Delivery::Message { filter_ids, .. }, _)) => filter_ids.as_slice().iter().map(|id| id.0).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn filter_ids_stay_with_their_messages() {
    let mut ring = Ring::new(1 << 20, DeliverySeq(0), NOW);
    push(&mut ring, &[1, 2, 3], 1);
    push(&mut ring, &[4], 2);
    push(&mut ring, &[5, 6], 3);
    assert_eq!(ids_of(&mut ring), [1, 2, 3]);
    let mut released = Vec::new();
    ring.acknowledge(DeliverySeq(1), NOW, &mut released);
    assert_eq!(
        released,
        [Waiter {
            publisher: P,
            seq: PublishSeq(1)
        }]
    );
    assert_eq!(ids_of(&mut ring), [4]);
    assert_eq!(ids_of(&mut ring), [5, 6]);
    assert!(ring.resume(DeliverySeq(2)));
    assert_eq!(ids_of(&mut ring), [5, 6]);
}

#[test]
fn an_empty_ring_is_charged_nothing() {
    let mut ring = Ring::new(1 << 20, DeliverySeq(0), NOW);
    push(&mut ring, &[1], 1);
    ring.push_marker(InterestVersion(1), NOW);
    let started = Delivery::Started {
        request: RequestId(1),
        position: Position(1),
    };
    ring.push_answer(started, 5, NOW);
    assert_eq!(send_all(&mut ring), [1, 2, 3]);
    ring.acknowledge(DeliverySeq(3), NOW, &mut Vec::new());
    assert_eq!((ring.len(), ring.bytes(), ring.filter_ids.len()), (0, 0, 0));
}

#[test]
fn a_message_larger_than_the_ring_fits_when_it_is_empty() {
    let mut ring = Ring::new(10, DeliverySeq(0), NOW);
    assert_eq!(push(&mut ring, &[1], 1), Pushed::Waited);
    assert_eq!(push(&mut ring, &[1], 2), Pushed::BecameFull { waits: true });
    assert_eq!(push(&mut ring, &[1], 3), Pushed::Lost { waits: true });
    assert_eq!(send_all(&mut ring), [1]);
    let done = ring.acknowledge(DeliverySeq(1), NOW, &mut Vec::new());
    assert_eq!(done, Acknowledged::Progress { recovered: Some(2) });
    assert!(matches!(
        ring.send_next(NOW, |_| true),
        Some((DeliverySeq(2), Delivery::Overrun { queues_lost: false }, false))
    ));
}

#[test]
fn markers_that_were_not_sent_gather_in_one() {
    let mut ring = Ring::new(1 << 20, DeliverySeq(0), NOW);
    ring.push_marker(InterestVersion(1), NOW);
    ring.push_marker(InterestVersion(2), NOW);
    assert!(matches!(
        ring.send_next(NOW, |_| true),
        Some((
            DeliverySeq(1),
            Delivery::Marker {
                version: InterestVersion(2)
            },
            false
        ))
    ));
    ring.push_marker(InterestVersion(3), NOW);
    assert_eq!(ring.len(), 2, "one that was sent keeps what it says");
}

#[test]
fn a_marker_that_an_earlier_link_was_given_keeps_what_it_says() {
    let mut ring = Ring::new(1 << 20, DeliverySeq(0), NOW);
    ring.push_marker(InterestVersion(1), NOW);
    send_all(&mut ring);
    assert!(ring.resume(DeliverySeq(0)));
    ring.push_marker(InterestVersion(2), NOW);
    assert_eq!(send_all(&mut ring), [1, 2]);
}

#[test]
fn what_is_not_paid_for_stays() {
    let mut ring = Ring::new(1 << 20, DeliverySeq(0), NOW);
    push(&mut ring, &[1], 1);
    assert!(ring.send_next(NOW, |price| price < 100).is_none());
    assert!(ring.has_unsent());
    ring.push_marker(InterestVersion(1), NOW);
    assert!(ring.send_next(NOW, |price| price == 0).is_none(), "order is kept");
}

#[test]
fn silence_counts_from_the_last_progress() {
    let mut ring = Ring::new(1 << 20, DeliverySeq(0), NOW);
    assert_eq!(ring.silence_begins(1_000), None);
    push(&mut ring, &[1], 1);
    push(&mut ring, &[1], 2);
    send_all(&mut ring);
    assert_eq!(ring.silence_begins(1_000), Some(MonotonicMs(1_000)));
    ring.acknowledge(DeliverySeq(1), MonotonicMs(400), &mut Vec::new());
    assert_eq!(ring.silence_begins(1_000), Some(MonotonicMs(1_400)));
    ring.fall_silent(&mut Vec::new());
    assert_eq!(ring.silence_begins(1_000), None);
}

#[test]
fn nobody_is_answered_without_a_silent_proxy_before_the_log_knows() {
    let mut ring = Ring::new(1 << 20, DeliverySeq(0), NOW);
    let mut released = Vec::new();
    ring.push_marker(InterestVersion(1), NOW);
    ring.fall_silent(&mut released);
    assert!(!ring.waits_to_pass(), "nobody has published");
    assert_eq!(push(&mut ring, &[1], 1), Pushed::Waited);
    assert!(ring.waits_to_pass());
    assert_eq!(released, []);
    ring.noted(&mut released);
    assert!(!ring.waits_to_pass());
    assert_eq!(released.len(), 1);
    assert_eq!(push(&mut ring, &[1], 2), Pushed::Unwaited);
    send_all(&mut ring);
    ring.acknowledge(DeliverySeq(2), NOW, &mut released);
    assert!(!ring.has_caught_up(), "it has not taken the last one");
    ring.acknowledge(DeliverySeq(3), NOW, &mut released);
    assert!(ring.has_caught_up());
    assert!(!ring.has_caught_up(), "the log knows by now");
}

#[test]
fn nobody_whose_message_was_lost_is_answered_before_the_log_knows() {
    let mut ring = Ring::new(10, DeliverySeq(0), NOW);
    let mut released = Vec::new();
    push(&mut ring, &[1], 1);
    push(&mut ring, &[1], 2);
    assert!(ring.waits_to_pass());
    ring.pass(&mut released);
    send_all(&mut ring);
    ring.acknowledge(DeliverySeq(1), NOW, &mut released);
    assert_eq!(released.len(), 1, "what it has taken");
    assert!(
        ring.waits_to_pass(),
        "another was lost, and the proxy does not know yet"
    );
    ring.noted(&mut released);
    assert_eq!(released.len(), 2);
    assert!(!ring.has_caught_up(), "it was not told");
    send_all(&mut ring);
    ring.acknowledge(DeliverySeq(2), NOW, &mut released);
    assert!(ring.has_caught_up());
}

#[test]
fn what_passed_a_proxy_by_keeps_its_place_when_numbers_begin_anew() {
    let mut ring = Ring::new(1 << 20, DeliverySeq(0), NOW);
    push(&mut ring, &[1], 1);
    ring.fall_silent(&mut Vec::new());
    ring.noted(&mut Vec::new());
    assert!(!ring.resume(DeliverySeq(50)));
    push(&mut ring, &[1], 2);
    assert_eq!(send_all(&mut ring), [51, 52]);
    ring.acknowledge(DeliverySeq(51), NOW, &mut Vec::new());
    assert!(!ring.has_caught_up(), "the second came while it was silent");
    ring.acknowledge(DeliverySeq(52), NOW, &mut Vec::new());
    assert!(ring.has_caught_up());
}

#[test]
fn a_busy_ring_gives_its_memory_back_when_it_is_empty() {
    let mut ring = Ring::new(usize::MAX, DeliverySeq(0), NOW);
    for seq in 1..=10_000 {
        push(&mut ring, &[1], seq);
    }
    send_all(&mut ring);
    ring.acknowledge(DeliverySeq(10_000), NOW, &mut Vec::new());
    assert!(ring.items.capacity() <= 2 * IDLE_CAPACITY, "{}", ring.items.capacity());
}

#[test]
fn messages_within_answers_age_while_they_wait() {
    let message = Message {
        message_expiry_interval_s: Some(10),
        ..Message::clone(&message(1))
    };
    let (request, position) = (RequestId(1), Position(1));
    let retained = RetainedMessage {
        message: message.clone(),
    };
    let pulled = PulledMessage {
        position,
        filter_ids: Vec::new(),
        message: message.clone(),
    };
    let fetched = FetchedMessage {
        position,
        message: message.clone(),
    };
    let shared = SharedMessage {
        filter_id: FilterId(1),
        message: Arc::new(message),
        lease: None,
    };
    for answer in [
        Delivery::Retained {
            request,
            messages: vec![retained],
            up_to: position,
            next: None,
        },
        Delivery::Pulled {
            request,
            messages: vec![pulled],
            up_to: position,
            caught_up: true,
        },
        Delivery::Fetched {
            request,
            messages: vec![fetched],
            answered: 1,
        },
        Delivery::Shared(shared),
    ] {
        for (waited_ms, left_s) in [(0, 10), (3_999, 7), (60_000, 0)] {
            let mut ring = Ring::new(1 << 20, DeliverySeq(0), NOW);
            ring.push_answer(answer.clone(), 1, NOW);
            let (_, sent, _) = ring.send_next(MonotonicMs(waited_ms), |_| true).unwrap();
            let message: &Message = match &sent {
                Delivery::Retained { messages, .. } => &messages[0].message,
                Delivery::Pulled { messages, .. } => &messages[0].message,
                Delivery::Fetched { messages, .. } => &messages[0].message,
                Delivery::Shared(shared) => &shared.message,
                other => panic!("{other:?}"),
            };
            assert_eq!(message.message_expiry_interval_s, Some(left_s), "{sent:?}");
        }
    }
}

#[test]
fn answers_wait_at_the_bound_and_what_does_not_wait_may_fill_it_twice() {
    let mut ring = Ring::new(2 * SMALL_DELIVERY_BYTES, DeliverySeq(0), NOW);
    let mut added = |count| {
        (0..count).for_each(|_| ring.push_overrun(false, NOW));
        (ring.has_room(), ring.takes_leased(), ring.is_beyond_bound())
    };
    assert_eq!(added(1), (true, true, false));
    assert_eq!(added(1), (false, false, false));
    assert_eq!(added(2), (false, false, false));
    assert_eq!(added(1), (false, false, true));
}

#[test]
fn what_is_leased_or_may_be_shed_goes_to_proxies_that_keep_up() {
    let mut ring = Ring::new(500, DeliverySeq(0), NOW);
    assert!(ring.takes_qos_0(&message(1_000)), "one always fits");
    push(&mut ring, &[1], 1);
    assert!(!ring.takes_qos_0(&message(1)), "something has not left");
    send_all(&mut ring);
    assert!(ring.takes_qos_0(&message(1)));
    assert!(!ring.takes_qos_0(&message(1_000)));
    ring.fall_silent(&mut Vec::new());
    assert!(!ring.takes_leased());
    ring.acknowledge(DeliverySeq(1), NOW, &mut Vec::new());
    assert!(ring.takes_leased());
    push(&mut ring, &[1], 2);
    ring.push_answer(Delivery::Overrun { queues_lost: false }, 300, NOW);
    assert_eq!(push(&mut ring, &[1], 3), Pushed::BecameFull { waits: true });
    assert_eq!(send_all(&mut ring), [2, 3]);
    assert!(!ring.takes_leased() && !ring.takes_qos_0(&message(0)));
}

#[test]
fn what_is_read_leaves_most_of_the_ring_to_what_is_live() {
    let mut ring = Ring::new(4 << 20, DeliverySeq(0), NOW);
    let read = Delivery::Overrun { queues_lost: false };
    for _ in 0..4 {
        assert!(ring.has_room_to_read());
        ring.push_read(read.clone(), READ_BYTES / 4, NOW);
    }
    assert!(!ring.has_room_to_read() && ring.has_room());
    // Live messages count for themselves.
    assert_eq!(push(&mut ring, &[1], 1), Pushed::Waited);
    ring.push_answer(read, READ_BYTES, NOW);
    send_all(&mut ring);
    ring.acknowledge(DeliverySeq(1), NOW, &mut Vec::new());
    assert!(ring.has_room_to_read());
    ring.acknowledge(DeliverySeq(6), NOW, &mut Vec::new());
    assert_eq!((ring.bytes, ring.read_bytes), (0, 0));
}

#[test]
fn numbers_go_on_from_what_a_proxy_has_and_not_from_what_none_can_have() {
    for (received, first) in [(0, 1), (5, 6), (u64::MAX >> 1, (u64::MAX >> 1) + 1), (u64::MAX, 1)] {
        let mut ring = Ring::new(1 << 20, DeliverySeq(received), NOW);
        assert_eq!(ring.last_given(), DeliverySeq(first - 1));
        push(&mut ring, &[1], 1);
        assert_eq!(send_all(&mut ring), [first]);
        assert_eq!(ring.last_given(), DeliverySeq(first));
        // What it says on its next link was not sent to it.
        assert!(!ring.resume(DeliverySeq(99)));
        assert_eq!(send_all(&mut ring), [100]);
    }
}
