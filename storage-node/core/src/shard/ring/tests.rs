//! The ring by itself.

use bytes::Bytes;
use freshet_storage_contract::{PublisherId, QoS, RequestId};

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
    assert_eq!(push(&mut ring, &[1], 2), Pushed::BecameFull);
    assert_eq!(push(&mut ring, &[1], 3), Pushed::Lost);
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
    let mut released = Vec::new();
    ring.fall_silent(&mut released);
    assert_eq!(released.len(), 1);
    assert_eq!(ring.silence_begins(1_000), None);
    assert_eq!(push(&mut ring, &[1], 3), Pushed::Unwaited);
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
