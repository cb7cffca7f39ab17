//! The link against a hand-played storage.

mod groups;
mod repeating;
mod reports;
mod sessions;

use bytes::Bytes;
use freshet_storage_contract::{
    Answer, Attached, Delivery, DeliverySeq, DetachReason, FilterIds, InterestVersion, Message, NumberedDelivery,
    PROTOCOL_VERSION, Position, PublishOutcome, PublishSeq, PublisherId, QoS, RetainedMessage, SessionEpoch,
    ShardAttachment,
};

use super::*;
use crate::exchange::{PublishTicket, QueuedFor};

const WORKER: WorkerId = WorkerId(0);
const T1: Term = Term(10);

fn link() -> (Link, LinkOutputs) {
    let settings = LinkSettings {
        cluster_uid: ClusterUid("uid".to_owned()),
        proxy_name: "proxy-1".to_owned(),
        workers: 2,
        delivery_credit_bytes: 1 << 20,
        shared_strategy: SharedStrategy::LeastInflight,
        random_keys: (1, 2),
    };
    (Link::new(settings, IncarnationId(7)), LinkOutputs::new(2))
}

fn welcome(term: Term, interest: u64, published: u64) -> Attached {
    Attached {
        protocol_version: PROTOCOL_VERSION,
        features: Vec::new(),
        lease_ttl_ms: 6_000,
        shards: 1,
        placement_rules: Vec::new(),
        attachments: vec![ShardAttachment {
            shard: ShardId(0),
            term,
            interest_version: InterestVersion(interest),
            publish_seq: PublishSeq(published),
            overrun: false,
        }],
    }
}

fn attached_link() -> (Link, LinkOutputs) {
    let (mut link, mut out) = link();
    link.attached(&welcome(T1, 0, 0), MonotonicMs(0), &mut out).unwrap();
    link.flush(&mut out);
    out = LinkOutputs::new(2);
    (link, out)
}

fn message(topic: &'static str) -> Message {
    Message {
        topic_name: Bytes::from_static(topic.as_bytes()),
        payload: Bytes::from_static(b"x"),
        qos: QoS::AtLeastOnce,
        retain: false,
        publisher: PublisherId(1),
        message_expiry_interval_s: None,
        forwarded_properties: Bytes::new(),
        exactly_once: None,
    }
}

fn delivery(seq: u64, delivery: Delivery) -> NumberedDelivery {
    NumberedDelivery {
        shard: ShardId(0),
        term: T1,
        seq: DeliverySeq(seq),
        delivery,
    }
}

fn subscribe(counter: u64, retained: bool) -> ToLink {
    let topic_filter = Bytes::from_static(b"a/+");
    ToLink::Subscribe {
        request: request_id(WORKER, counter),
        topic_filter,
        retained,
        durable: None,
        is_restored: false,
        group: None,
    }
}

fn joins(out: &LinkOutputs) -> usize {
    out.to_workers[0]
        .iter()
        .filter(|e| matches!(e, ToWorker::Joined { .. }))
        .count()
}

#[test]
fn a_subscriber_joins_at_the_marker_of_its_interest() {
    let (mut link, mut out) = attached_link();
    link.handle_worker(WORKER, subscribe(1, false), &mut out);
    link.flush(&mut out);
    assert!(matches!(&out.operations[..], [Operation::Interest(delta)] if delta.version == InterestVersion(1)));
    assert_eq!(joins(&out), 0);
    link.handle_delivery(
        delivery(
            1,
            Delivery::Marker {
                version: InterestVersion(1),
            },
        ),
        &mut out,
    )
    .unwrap();
    assert_eq!(joins(&out), 1);
    link.handle_worker(WORKER, subscribe(2, false), &mut out);
    assert_eq!(joins(&out), 2, "the proxy has the filter already");
}

#[test]
fn one_that_wants_retained_messages_joins_with_the_first_of_them() {
    let (mut link, mut out) = attached_link();
    link.handle_worker(WORKER, subscribe(1, true), &mut out);
    link.flush(&mut out);
    let Some(Operation::ReadRetained(read)) = out.operations.pop() else {
        panic!("{:?}", out.operations)
    };
    assert!(
        matches!(&out.operations[..], [Operation::Interest(_)]),
        "the interest goes first"
    );
    link.handle_delivery(
        delivery(
            1,
            Delivery::Marker {
                version: InterestVersion(1),
            },
        ),
        &mut out,
    )
    .unwrap();
    assert_eq!(joins(&out), 0);
    let messages = vec![RetainedMessage {
        message: message("a/b"),
    }];
    let chunk = Delivery::Retained {
        request: read.request,
        messages,
        up_to: Position(1),
        next: None,
    };
    link.handle_delivery(delivery(2, chunk), &mut out).unwrap();
    let tail: Vec<_> = out.to_workers[0].iter().rev().take(2).collect();
    assert!(matches!(
        tail[..],
        [ToWorker::Retained { more: false, .. }, ToWorker::Joined { .. }]
    ));
}

#[test]
fn a_delivery_reaches_only_workers_that_have_the_filter_and_is_then_acknowledged() {
    let (mut link, mut out) = attached_link();
    link.handle_worker(WORKER, subscribe(1, false), &mut out);
    let Some(ToWorker::Subscribed { filter_id, .. }) = out.to_workers[0].first().cloned() else {
        panic!()
    };
    link.flush(&mut out);
    out.controls.clear();
    let copy = Delivery::Message {
        filter_ids: FilterIds::One(filter_id),
        message: message("a/b").into(),
        position: None,
    };
    link.handle_delivery(delivery(1, copy), &mut out).unwrap();
    assert!(out.to_workers[1].is_empty());
    link.flush(&mut out);
    assert!(out.controls.is_empty(), "not before the worker has it");
    link.handle_worker(
        WORKER,
        ToLink::Accepted {
            shard: ShardId(0),
            term: T1,
            seq: DeliverySeq(1),
        },
        &mut out,
    );
    link.flush(&mut out);
    assert!(matches!(
        &out.controls[..],
        [DeliveryControl::Acknowledge {
            seq: DeliverySeq(1),
            ..
        }]
    ));
}

#[test]
fn a_missing_delivery_closes_the_stream() {
    let (mut link, mut out) = attached_link();
    let skipped = link.handle_delivery(delivery(2, Delivery::Overrun { queues_lost: false }), &mut out);
    assert!(matches!(skipped, Err(Violation::DeliveryGap { .. })));
}

#[test]
fn publications_held_while_storage_is_away_are_sent_when_it_is_back() {
    let (mut link, mut out) = attached_link();
    link.lost(&mut out);
    assert!(matches!(out.to_workers[1].last(), Some(ToWorker::StorageAway)));
    let publish = ToLink::Publish {
        ticket: PublishTicket(5),
        message: message("a").into(),
    };
    link.handle_worker(WORKER, publish, &mut out);
    link.flush(&mut out);
    assert!(out.operations.is_empty());
    link.attached(&welcome(T1, 0, 0), MonotonicMs(9), &mut out).unwrap();
    link.flush(&mut out);
    assert!(
        out.operations
            .iter()
            .any(|o| matches!(o, Operation::Publish(b) if b.messages.len() == 1))
    );
    let outcomes = vec![PublishOutcome::Delivered];
    link.handle_answer(
        Answer::Published {
            shard: ShardId(0),
            first: PublishSeq(1),
            outcomes,
        },
        &mut out,
    )
    .unwrap();
    assert!(matches!(
        out.to_workers[0].last(),
        Some(ToWorker::Published {
            ticket: PublishTicket(5),
            ..
        })
    ));
}

#[test]
fn storage_without_memory_is_told_everything_again() {
    let (mut link, mut out) = attached_link();
    link.handle_worker(WORKER, subscribe(1, false), &mut out);
    link.flush(&mut out);
    link.lost(&mut out);
    out = LinkOutputs::new(2);
    link.attached(&welcome(Term(20), 0, 0), MonotonicMs(9), &mut out)
        .unwrap();
    link.flush(&mut out);
    assert!(
        out.to_workers[0]
            .iter()
            .any(|e| matches!(e, ToWorker::RegisterSessions { .. }))
    );
    let complete = |o: &Operation| matches!(o, Operation::Interest(d) if d.complete && d.changes.len() == 1);
    assert!(out.operations.iter().any(complete), "{:?}", out.operations);
}

#[test]
fn a_lease_that_is_not_renewed_ends_the_link() {
    let (mut link, mut out) = attached_link();
    assert!(!link.tick(MonotonicMs(1_000), &mut out));
    link.flush(&mut out);
    assert!(matches!(out.operations.last(), Some(Operation::RenewLease)));
    link.handle_answer(Answer::LeaseRenewed, &mut out).unwrap();
    assert!(!link.tick(MonotonicMs(6_500), &mut out), "renewed until 7,000");
    assert!(link.tick(MonotonicMs(7_000), &mut out));
    assert!(!link.is_attached());
}

#[test]
fn an_end_of_session_that_storage_may_have_missed_is_sent_again() {
    let (mut link, mut out) = attached_link();
    let end = ToLink::DetachSession {
        client_id: Bytes::from_static(b"c"),
        epoch: SessionEpoch::default(),
        reason: DetachReason::WillDue,
        session_expiry_interval_s: None,
        left: None,
    };
    link.handle_worker(WORKER, end, &mut out);
    link.flush(&mut out);
    link.lost(&mut out);
    link.attached(&welcome(T1, 0, 0), MonotonicMs(9), &mut out).unwrap();
    link.flush(&mut out);
    assert!(
        out.operations
            .iter()
            .any(|o| matches!(o, Operation::DetachSession { .. }))
    );
}

#[test]
fn a_new_incarnation_names_its_sessions_and_says_once_that_deliveries_were_lost() {
    let (mut link, mut out) = attached_link();
    link.lost(&mut out);
    link.start_incarnation(IncarnationId(8));
    let overrun = ToWorker::Overrun {
        shard: ShardId(0),
        queued: QueuedFor::Unexpired,
    };
    let register = ToWorker::RegisterSessions { shard: ShardId(0) };
    // Before the workers have named their sessions the stream breaks again.
    for (expected_overruns, now) in [(1, 9_000), (0, 10_000)] {
        out = LinkOutputs::new(2);
        link.attached(&welcome(T1, 0, 0), MonotonicMs(now), &mut out).unwrap();
        for events in &out.to_workers {
            assert_eq!(events.iter().filter(|e| **e == overrun).count(), expected_overruns);
            assert!(events.contains(&register));
        }
        link.lost(&mut out);
    }
}

#[test]
fn the_first_attach_of_a_process_has_nothing_to_name() {
    let (mut link, mut out) = link();
    link.start_incarnation(IncarnationId(8));
    link.attached(&welcome(T1, 0, 0), MonotonicMs(0), &mut out).unwrap();
    assert!(matches!(out.to_workers[0][..], [ToWorker::StorageBack { .. }]));
}

/// A link with a subscription whose first retained chunk has come from behind `Position(5)`, and that goes on.
fn reading_link() -> (Link, LinkOutputs) {
    let (mut link, mut out) = attached_link();
    link.handle_worker(WORKER, subscribe(1, true), &mut out);
    link.flush(&mut out);
    let Some(Operation::ReadRetained(read)) = out.operations.pop() else {
        panic!("{:?}", out.operations)
    };
    let marker = Delivery::Marker {
        version: InterestVersion(1),
    };
    link.handle_delivery(delivery(1, marker), &mut out).unwrap();
    let chunk = Delivery::Retained {
        request: read.request,
        messages: Vec::new(),
        up_to: Position(5),
        next: Some(Bytes::from_static(b"a/b")),
    };
    link.handle_delivery(delivery(2, chunk), &mut out).unwrap();
    let more = ToLink::MoreRetained {
        request: request_id(WORKER, 1),
        shard: ShardId(0),
    };
    link.handle_worker(WORKER, more, &mut out);
    link.flush(&mut out);
    link.lost(&mut out);
    (link, LinkOutputs::new(2))
}

fn asked_up_to(out: &LinkOutputs) -> Vec<Option<Position>> {
    let reads = out.operations.iter().filter_map(|o| match o {
        Operation::ReadRetained(read) => Some(read.up_to),
        _ => None,
    });
    reads.collect()
}

#[test]
fn a_broken_stream_is_no_lost_memory_to_a_proxy_that_never_published() {
    let (mut link, mut out) = reading_link();
    link.attached(&welcome(T1, 1, 0), MonotonicMs(9), &mut out).unwrap();
    link.flush(&mut out);
    assert_eq!(asked_up_to(&out), [Some(Position(5))]);
    assert!(
        matches!(out.to_workers[0][..], [ToWorker::StorageBack { .. }]),
        "storage knows its sessions: {:?}",
        out.to_workers[0]
    );
}

#[test]
fn positions_of_a_leader_that_lost_its_memory_bound_no_read() {
    let (mut link, mut out) = reading_link();
    link.attached(&welcome(Term(20), 0, 0), MonotonicMs(9), &mut out)
        .unwrap();
    link.flush(&mut out);
    assert_eq!(asked_up_to(&out), [Some(Position(u64::MAX))]);
}

#[test]
fn qos_0_that_storage_has_not_taken_in_is_sent_again_when_the_leader_is_the_same() {
    let (mut link, mut out) = attached_link();
    let message = Message {
        qos: QoS::AtMostOnce,
        ..message("a")
    };
    let message = message.into();
    let ticket = PublishTicket(1);
    link.handle_worker(WORKER, ToLink::Publish { ticket, message }, &mut out);
    link.flush(&mut out);
    link.lost(&mut out);
    link.attached(&welcome(T1, 0, 0), MonotonicMs(9), &mut out).unwrap();
    link.flush(&mut out);
    let sent = |o: &Operation| matches!(o, Operation::Publish(batch) if batch.first == PublishSeq(1));
    assert!(out.operations.iter().any(sent), "{:?}", out.operations);
}

#[test]
fn sessions_are_asked_for_until_storage_has_heard_of_them() {
    let (mut link, mut out) = attached_link();
    let register = ToWorker::RegisterSessions { shard: ShardId(0) };
    let mut attach = |link: &mut Link, term, now| {
        link.lost(&mut out);
        out = LinkOutputs::new(2);
        link.attached(&welcome(term, 0, 0), MonotonicMs(now), &mut out).unwrap();
        out.to_workers.iter().all(|events| events.contains(&register))
    };
    let name = |link: &mut Link| {
        let mut out = LinkOutputs::new(2);
        for worker in [WorkerId(0), WorkerId(1)] {
            let sessions = Vec::new();
            let shard = ShardId(0);
            link.handle_worker(worker, ToLink::RegisterSessions { shard, sessions }, &mut out);
        }
        assert!(!link.tick(MonotonicMs(1_000), &mut out));
        link.flush(&mut out);
        let names = |o: &&Operation| matches!(o, Operation::RegisterSessions { .. });
        assert_eq!(out.operations.iter().filter(names).count(), 2);
        assert!(matches!(out.operations.last(), Some(Operation::RenewLease)));
    };
    assert!(attach(&mut link, Term(20), 0));
    name(&mut link);
    assert!(attach(&mut link, Term(20), 1_000), "the stream may have lost them");
    name(&mut link);
    link.handle_answer(Answer::LeaseRenewed, &mut LinkOutputs::new(2))
        .unwrap();
    assert!(!attach(&mut link, Term(20), 1_000));
}

fn attach_asked_again() -> (Link, LinkOutputs, RequestId) {
    let (mut link, mut out) = attached_link();
    let request = request_id(WORKER, 1);
    let attach = ToLink::AttachSession {
        request,
        client_id: Bytes::from_static(b"c"),
        clean_start: true,
        session_expiry_interval_s: 0,
        will: None,
    };
    link.handle_worker(WORKER, attach, &mut out);
    link.flush(&mut out);
    link.lost(&mut out);
    link.attached(&welcome(T1, 0, 0), MonotonicMs(9), &mut out).unwrap();
    link.flush(&mut out);
    (link, LinkOutputs::new(2), request)
}

fn granted(request: RequestId, counter: u64) -> Answer {
    Answer::SessionAttached {
        request,
        epoch: SessionEpoch { term: T1, counter },
        session_present: false,
        session: None,
    }
}

#[test]
fn a_session_that_is_granted_twice_is_told_once_and_kept() {
    let (mut link, mut out, request) = attach_asked_again();
    for _ in 0..2 {
        link.handle_answer(granted(request, 1), &mut out).unwrap();
    }
    link.flush(&mut out);
    assert!(matches!(out.to_workers[0][..], [ToWorker::SessionAttached { .. }]));
    assert_eq!(out.operations, [], "the client uses it");
}

#[test]
fn a_session_that_was_granted_to_nobody_is_given_back() {
    let (mut link, mut out, request) = attach_asked_again();
    link.handle_answer(granted(request, 1), &mut out).unwrap();
    link.handle_answer(granted(request, 2), &mut out).unwrap();
    link.flush(&mut out);
    let [Operation::DetachSession { client_id, epoch, .. }] = &out.operations[..] else {
        panic!("{:?}", out.operations)
    };
    assert_eq!((&client_id[..], epoch.counter), (&b"c"[..], 2));
    let Some(ToWorker::TakeOver { epoch, .. }) = out.to_workers[0].last() else {
        panic!("{:?}", out.to_workers[0])
    };
    assert_eq!(epoch.counter, 1, "the client connects again");
}
