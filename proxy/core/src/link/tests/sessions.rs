//! What the link carries for sessions that outlive their connection.

use freshet_storage_contract::{
    ExactlyOnce, Feature, PacketId, Pull, PulledMessage, REPORTS_FEATURE, RegisteredSession, SESSIONS_FEATURE,
    SHARED_SUBSCRIPTIONS_FEATURE, SessionRefusal, UpdateSession, Will,
};

use super::*;

fn durable(counter: u64, retained: bool) -> ToLink {
    ToLink::Subscribe {
        request: request_id(WORKER, counter),
        topic_filter: Bytes::from_static(b"a/+"),
        retained,
        durable: Some(ShardId(0)),
        is_restored: false,
        group: None,
    }
}

fn update(counter: u64) -> (RequestId, ToLink) {
    let request = request_id(WORKER, counter);
    let update = UpdateSession {
        request: Some(request),
        client_id: Bytes::from_static(b"c"),
        epoch: SessionEpoch::default(),
        changes: Vec::new(),
    };
    (request, ToLink::UpdateSession(update))
}

fn updates(out: &LinkOutputs) -> usize {
    let is_one = |o: &&Operation| matches!(o, Operation::UpdateSession(_));
    out.operations.iter().filter(is_one).count()
}

fn again(link: &mut Link, out: &mut LinkOutputs, term: Term) {
    link.lost(out);
    link.attached(&welcome(term, 0, 0), MonotonicMs(9), out).unwrap();
    link.flush(out);
}

#[test]
fn workers_are_told_what_storage_knows() {
    let [sessions, shares, reports] =
        [SESSIONS_FEATURE, SHARED_SUBSCRIPTIONS_FEATURE, REPORTS_FEATURE].map(|name| Feature(name.to_owned()));
    for features in [vec![], vec![sessions.clone()], vec![sessions.clone(), shares.clone()]] {
        let (mut link, mut out) = link();
        let offered = link.attach_frame().features;
        assert_eq!(offered, [sessions.clone(), shares.clone(), reports.clone()]);
        let attached = Attached {
            features: features.clone(),
            ..welcome(T1, 0, 0)
        };
        link.attached(&attached, MonotonicMs(0), &mut out).unwrap();
        let Some(ToWorker::StorageBack {
            keeps_sessions,
            shares: knows_shares,
            ..
        }) = out.to_workers[0].first()
        else {
            panic!("{:?}", out.to_workers)
        };
        assert_eq!(*keeps_sessions, features.contains(&sessions));
        assert_eq!(*knows_shares, features.contains(&shares));
    }
}

#[test]
fn a_durable_subscriber_joins_where_its_queue_begins_and_reads_retained_messages_from_there() {
    let (mut link, mut out) = attached_link();
    link.handle_worker(WORKER, durable(1, true), &mut out);
    link.flush(&mut out);
    let [Operation::Interest(_), Operation::EnsureDurable(ensure)] = &out.operations[..] else {
        panic!("{:?}", out.operations)
    };
    let request = ensure.request;
    out.operations.clear();
    let version = InterestVersion(1);
    link.handle_delivery(delivery(1, Delivery::Marker { version }), &mut out)
        .unwrap();
    assert_eq!(joins(&out), 0);
    let position = Position(7);
    for seq in [2, 3] {
        link.handle_delivery(delivery(seq, Delivery::Started { request, position }), &mut out)
            .unwrap();
    }
    assert_eq!(joins(&out), 1, "an answer that comes twice");
    link.flush(&mut out);
    let [Operation::ReadRetained(read)] = &out.operations[..] else {
        panic!("{:?}", out.operations)
    };
    assert_eq!(read.up_to, Some(position));
    let answer = Delivery::Retained {
        request: read.request,
        messages: Vec::new(),
        up_to: position,
        next: None,
    };
    link.handle_delivery(delivery(4, answer), &mut out).unwrap();
    assert_eq!(joins(&out), 1, "it has joined already");
}

#[test]
fn a_filter_for_which_there_is_no_room_is_refused_once() {
    let (mut link, mut out) = attached_link();
    link.handle_worker(WORKER, durable(1, false), &mut out);
    link.flush(&mut out);
    let Some(Operation::EnsureDurable(ensure)) = out.operations.pop() else {
        panic!("{:?}", out.operations)
    };
    out.to_workers[0].clear();
    for _ in 0..2 {
        let request = ensure.request;
        link.handle_answer(Answer::EnsureRefused { request }, &mut out).unwrap();
    }
    assert!(matches!(out.to_workers[0][..], [ToWorker::SubscriptionRefused { .. }]));
}

#[test]
fn what_storage_has_not_answered_is_asked_again_on_a_new_stream() {
    let (mut link, mut out) = attached_link();
    link.handle_worker(WORKER, durable(1, false), &mut out);
    let pull = Pull {
        request: request_id(WORKER, 2),
        shard: ShardId(0),
        session_shard: ShardId(0),
        after: Position(3),
        filters: Vec::new(),
        max_messages: 1,
        max_bytes: 1,
    };
    link.handle_worker(WORKER, ToLink::Pull(pull.clone()), &mut out);
    link.handle_worker(WORKER, update(3).1, &mut out);
    link.flush(&mut out);
    again(&mut link, &mut out, T1);
    let count = |is_one: fn(&Operation) -> bool| out.operations.iter().filter(|o| is_one(o)).count();
    assert_eq!(count(|o| matches!(o, Operation::EnsureDurable(_))), 1);
    assert_eq!(count(|o| matches!(o, Operation::Pull(_))), 1);
    assert_eq!(updates(&out), 1);
    let pulled = |seq| {
        let pulled = Delivery::Pulled {
            request: pull.request,
            messages: Vec::<PulledMessage>::new(),
            up_to: Position(4),
            caught_up: true,
        };
        delivery(seq, pulled)
    };
    out.to_workers[0].clear();
    link.handle_delivery(pulled(1), &mut out).unwrap();
    link.handle_delivery(pulled(2), &mut out).unwrap();
    assert!(matches!(out.to_workers[0][..], [ToWorker::Pulled { .. }]), "once");
    assert_eq!(link.stats().session_requests, 1, "the update");
}

#[test]
fn a_read_that_nobody_waits_for_is_not_asked_again() {
    let (mut link, mut out) = attached_link();
    let (request, asked) = update(1);
    link.handle_worker(WORKER, asked, &mut out);
    link.handle_worker(WORKER, ToLink::Withdraw { request }, &mut out);
    out.operations.clear();
    again(&mut link, &mut out, T1);
    assert_eq!(updates(&out), 0);
    link.handle_answer(Answer::SessionUpdated { request }, &mut out)
        .unwrap();
    assert!(
        !out.to_workers[0]
            .iter()
            .any(|e| matches!(e, ToWorker::SessionUpdated { .. }))
    );
}

#[test]
fn a_leader_without_memory_hears_of_sessions_before_their_changes() {
    let (mut link, mut out) = attached_link();
    link.handle_worker(WORKER, update(1).1, &mut out);
    link.flush(&mut out);
    again(&mut link, &mut out, Term(11));
    // Asked before the worker has heard of it.
    link.handle_worker(WORKER, update(2).1, &mut out);
    link.flush(&mut out);
    assert_eq!(updates(&out), 0);
    let register = ToLink::RegisterSessions {
        shard: ShardId(0),
        sessions: Vec::new(),
    };
    link.handle_worker(WORKER, register, &mut out);
    link.flush(&mut out);
    assert!(matches!(
        out.operations[..],
        [
            ..,
            Operation::RegisterSessions { .. },
            Operation::UpdateSession(_),
            Operation::UpdateSession(_)
        ]
    ));
}

fn lost_client(id: &'static str, counter: u64) -> ToLink {
    let (client_id, epoch) = (Bytes::from_static(id.as_bytes()), SessionEpoch { term: T1, counter });
    let left = RegisteredSession {
        client_id: client_id.clone(),
        epoch,
        will: Some(Will {
            message: message("will"),
            delay_interval_s: 0,
        }),
        session_expiry_interval_s: 0,
        session: None,
    };
    ToLink::DetachSession {
        client_id,
        epoch,
        reason: DetachReason::WillDue,
        session_expiry_interval_s: None,
        left: Some(Box::new(left)),
    }
}

#[test]
fn a_leader_that_never_heard_of_a_client_hears_of_its_will_before_its_end() {
    let (mut link, mut out) = attached_link();
    link.handle_worker(WORKER, lost_client("before", 1), &mut out);
    link.flush(&mut out);
    assert!(
        matches!(out.operations[..], [Operation::DetachSession { .. }]),
        "it knows the will"
    );
    out.operations.clear();
    link.lost(&mut out);
    link.handle_worker(WORKER, lost_client("meanwhile", 2), &mut out);
    link.attached(&welcome(T1, 0, 0), MonotonicMs(9), &mut out).unwrap();
    link.flush(&mut out);
    let registered = |out: &LinkOutputs| {
        let sessions = out.operations.windows(2).filter_map(|pair| match pair {
            [
                Operation::RegisterSessions { sessions, .. },
                Operation::DetachSession { client_id, .. },
            ] if sessions[0].client_id == client_id && sessions[0].will.is_some() => Some(client_id.clone()),
            _ => None,
        });
        sessions.collect::<Vec<_>>()
    };
    assert_eq!(registered(&out), Vec::<Bytes>::new(), "it is the same leader");
    // The answers of the workers never come.
    for _ in 0..2 {
        out.operations.clear();
        again(&mut link, &mut out, Term(11));
        assert_eq!(registered(&out), ["before", "meanwhile"]);
    }
    out.operations.clear();
    link.handle_worker(WORKER, lost_client("unnamed", 3), &mut out);
    link.flush(&mut out);
    assert_eq!(registered(&out), ["unnamed"], "its worker names it no more");
}

#[test]
fn changes_of_a_session_go_before_its_end_and_their_refusal_comes_back() {
    let (mut link, mut out) = attached_link();
    let (request, asked) = update(1);
    link.handle_worker(WORKER, asked, &mut out);
    let end = ToLink::DetachSession {
        client_id: Bytes::from_static(b"c"),
        epoch: SessionEpoch::default(),
        reason: DetachReason::ByClient,
        session_expiry_interval_s: Some(60),
        left: None,
    };
    link.handle_worker(WORKER, end, &mut out);
    link.flush(&mut out);
    out.operations.clear();
    again(&mut link, &mut out, T1);
    assert!(matches!(
        out.operations[..],
        [
            Operation::UpdateSession(_),
            Operation::DetachSession {
                session_expiry_interval_s: Some(60),
                ..
            }
        ]
    ));
    out.to_workers[0].clear();
    let refusal = SessionRefusal::Superseded;
    link.handle_answer(Answer::UpdateRefused { request, refusal }, &mut out)
        .unwrap();
    assert!(matches!(out.to_workers[0][..], [ToWorker::UpdateRefused { .. }]));
}

#[test]
fn a_release_whose_shard_is_unknown_goes_to_all_and_is_answered_once() {
    let (mut link, mut out) = link();
    let attached = Attached {
        shards: 3,
        ..welcome(T1, 0, 0)
    };
    link.attached(&attached, MonotonicMs(0), &mut out).unwrap();
    let of = ExactlyOnce {
        client_id: Bytes::from_static(b"c"),
        generation: SessionEpoch::default(),
        packet_id: PacketId::MIN,
        epoch: None,
    };
    let request = request_id(WORKER, 5);
    let shard = None;
    link.handle_worker(WORKER, ToLink::Release { request, shard, of }, &mut out);
    link.flush(&mut out);
    let asked: Vec<_> = out
        .operations
        .iter()
        .filter_map(|o| match o {
            Operation::Release(release) => Some((release.request, release.shard)),
            _ => None,
        })
        .collect();
    assert_eq!(asked.iter().map(|(_, shard)| shard.0).collect::<Vec<_>>(), [0, 1, 2]);
    out.to_workers[0].clear();
    for (request, shard) in asked {
        let found = shard == ShardId(1);
        link.handle_answer(Answer::Released { request, found }, &mut out)
            .unwrap();
    }
    let [
        ToWorker::Released {
            request: answered,
            found,
        },
    ] = out.to_workers[0][..]
    else {
        panic!("{:?}", out.to_workers)
    };
    assert_eq!((answered, found), (request, true));
}
