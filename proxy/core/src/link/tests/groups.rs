//! What the link carries for shared subscriptions.

use freshet_storage_contract::{
    FilterId, InterestChange, Lease, PacketId, SessionChange, SharedGroup, SharedMessage, UpdateSession,
};

use super::*;
use crate::exchange::GroupPart;

const NAME: &[u8] = b"$share/g/a";
const OTHER: WorkerId = WorkerId(1);

fn part(members: u32, window: u32) -> GroupPart {
    GroupPart { members, window }
}

fn join(link: &mut Link, worker: WorkerId, counter: u64, group: GroupPart, out: &mut LinkOutputs) {
    let subscribe = ToLink::Subscribe {
        request: request_id(worker, counter),
        topic_filter: Bytes::from_static(NAME),
        retained: false,
        durable: None,
        is_restored: false,
        group: Some(group),
    };
    link.handle_worker(worker, subscribe, out);
}

fn resize(link: &mut Link, worker: WorkerId, part: GroupPart, out: &mut LinkOutputs) {
    let topic_filter = Bytes::from_static(NAME);
    link.handle_worker(
        worker,
        ToLink::ResizeGroup {
            topic_filter,
            part,
            confirm: None,
        },
        out,
    );
}

#[test]
fn a_worker_hears_when_every_shard_knows_of_a_change() {
    let (mut link, mut out) = attached_link();
    join(&mut link, WORKER, 1, part(1, 10), &mut out);
    link.flush(&mut out);
    let confirm = request_id(WORKER, 2);
    let resize = ToLink::ResizeGroup {
        topic_filter: Bytes::from_static(NAME),
        part: part(1, 0),
        confirm: Some(confirm),
    };
    link.handle_worker(WORKER, resize, &mut out);
    link.flush(&mut out);
    let is_resized = |event: &ToWorker| matches!(event, ToWorker::Resized { request } if *request == confirm);
    for (version, is_told) in [(1, false), (2, true), (2, false)] {
        let marker = Delivery::Marker {
            version: InterestVersion(version),
        };
        out.to_workers[0].clear();
        link.handle_delivery(delivery(version, marker), &mut out).unwrap();
        assert_eq!(out.to_workers[0].iter().any(is_resized), is_told, "version {version}");
    }
    // Of a group that has gone there is nothing to wait for.
    let resize = ToLink::ResizeGroup {
        topic_filter: Bytes::from_static(b"$share/g/other"),
        part: part(1, 0),
        confirm: Some(confirm),
    };
    out.to_workers[0].clear();
    link.handle_worker(WORKER, resize, &mut out);
    assert!(out.to_workers[0].iter().any(is_resized));
}

/// What the shard is told of the group in the next turn.
fn told(link: &mut Link, out: &mut LinkOutputs) -> Vec<SharedGroup> {
    link.flush(out);
    let mut told = Vec::new();
    for operation in out.operations.drain(..) {
        let Operation::Interest(delta) = operation else {
            continue;
        };
        told.extend(delta.changes.into_iter().filter_map(|change| match change {
            InterestChange::SetGroup(group) => Some(group),
            _ => None,
        }));
    }
    told
}

fn lease(number: u64) -> Lease {
    Lease {
        position: Position(number),
        number,
    }
}

fn shared(filter_id: FilterId, number: u64) -> Delivery {
    Delivery::Shared(SharedMessage {
        filter_id,
        message: message("a").into(),
        lease: Some(lease(number)),
    })
}

fn settle(link: &mut Link, filter_id: FilterId, settlement: Settlement, out: &mut LinkOutputs) {
    let settle = ToLink::Settle {
        shard: ShardId(0),
        filter_id,
        settled: vec![(lease(1), settlement)],
    };
    link.handle_worker(WORKER, settle, out);
}

#[test]
fn the_members_of_all_workers_are_one_part_of_the_group() {
    let (mut link, mut out) = attached_link();
    join(&mut link, WORKER, 1, part(1, 10), &mut out);
    join(&mut link, OTHER, 1, part(2, 30), &mut out);
    let last = told(&mut link, &mut out).pop().unwrap();
    assert_eq!((&last.share_name[..], &last.topic_filter[..]), (&b"g"[..], &b"a"[..]));
    assert_eq!((last.members, last.window), (3, 40));
    resize(&mut link, OTHER, part(2, 0), &mut out);
    let last = told(&mut link, &mut out).pop().unwrap();
    assert_eq!((last.members, last.window), (3, 10), "it has no room");
    let filter_id = last.filter_id;
    link.handle_worker(OTHER, ToLink::Unsubscribe { filter_id }, &mut out);
    assert_eq!(
        told(&mut link, &mut out).pop().map(|g| (g.members, g.window)),
        Some((1, 10))
    );
    link.set_shared_strategy(SharedStrategy::RoundRobin);
    let strategies: Vec<_> = told(&mut link, &mut out).into_iter().map(|g| g.strategy).collect();
    assert_eq!(strategies, [SharedStrategy::RoundRobin]);
    link.set_shared_strategy(SharedStrategy::RoundRobin);
    assert_eq!(told(&mut link, &mut out), []);
}

#[test]
fn each_message_goes_to_one_worker_that_has_room() {
    let (mut link, mut out) = attached_link();
    join(&mut link, WORKER, 1, part(1, 10), &mut out);
    join(&mut link, OTHER, 1, part(1, 10), &mut out);
    let filter_id = told(&mut link, &mut out)[0].filter_id;
    let count = |out: &mut LinkOutputs| {
        [0, 1].map(|worker: usize| {
            let events = std::mem::take(&mut out.to_workers[worker]);
            events.iter().filter(|e| matches!(e, ToWorker::Shared { .. })).count()
        })
    };
    for number in 1..=6 {
        link.handle_delivery(delivery(number, shared(filter_id, number)), &mut out)
            .unwrap();
    }
    assert_eq!(count(&mut out), [3, 3]);
    resize(&mut link, WORKER, part(1, 0), &mut out);
    for number in 7..=10 {
        link.handle_delivery(delivery(number, shared(filter_id, number)), &mut out)
            .unwrap();
    }
    assert_eq!(count(&mut out), [0, 4]);
}

#[test]
fn what_has_ended_is_said_before_the_proxy_leaves_the_group_and_what_goes_back_behind() {
    let (mut link, mut out) = attached_link();
    join(&mut link, WORKER, 1, part(1, 10), &mut out);
    let filter_id = told(&mut link, &mut out)[0].filter_id;
    link.handle_worker(WORKER, ToLink::Unsubscribe { filter_id }, &mut out);
    settle(&mut link, filter_id, Settlement::Returned, &mut out);
    settle(&mut link, filter_id, Settlement::Done, &mut out);
    link.flush(&mut out);
    let order = out.operations.iter().map(|operation| match operation {
        Operation::SettleShared(settle) => format!("{:?}", settle.settled[0].1),
        Operation::Interest(_) => "interest".to_owned(),
        other => panic!("{other:?}"),
    });
    let order: Vec<String> = order.collect();
    assert_eq!(order, ["Done", "interest", "Returned"]);
}

#[test]
fn a_settlement_is_told_again_until_it_is_answered() {
    let (mut link, mut out) = attached_link();
    join(&mut link, WORKER, 1, part(1, 10), &mut out);
    let filter_id = told(&mut link, &mut out)[0].filter_id;
    settle(&mut link, filter_id, Settlement::Done, &mut out);
    let again = |link: &mut Link, out: &mut LinkOutputs| {
        link.lost(out);
        link.attached(&welcome(T1, 1, 0), MonotonicMs(9), out).unwrap();
        out.operations.clear();
        link.flush(out);
        let settles = out.operations.iter().filter_map(|operation| match operation {
            Operation::SettleShared(settle) => Some(settle.request),
            _ => None,
        });
        settles.collect::<Vec<_>>()
    };
    link.flush(&mut out);
    let asked = again(&mut link, &mut out);
    let [request] = asked[..] else { panic!("{asked:?}") };
    link.handle_answer(Answer::SharedSettled { request }, &mut out).unwrap();
    assert_eq!(again(&mut link, &mut out), []);
}

/// A session is to take a message of the group; returns the request.
fn take(link: &mut Link, counter: u64, out: &mut LinkOutputs) -> RequestId {
    let request = request_id(WORKER, counter);
    let sending = |id, shared| SessionChange::Sending {
        packet_id: PacketId::new(id).unwrap(),
        shard: ShardId(0),
        position: Position(1),
        qos: QoS::ExactlyOnce,
        shared,
        message: None,
    };
    let update = UpdateSession {
        request: Some(request),
        client_id: Bytes::from_static(b"c"),
        epoch: SessionEpoch::default(),
        changes: vec![sending(1, Some(Bytes::from_static(NAME))), sending(2, None)],
    };
    link.handle_worker(WORKER, ToLink::UpdateSession(update), out);
    request
}

/// What the shard is told in the next turn, in words.
fn changes(link: &mut Link, out: &mut LinkOutputs) -> Vec<String> {
    link.flush(out);
    let changes = out.operations.drain(..).flat_map(|operation| match operation {
        Operation::Interest(delta) => delta.changes,
        _ => Vec::new(),
    });
    changes
        .map(|change| match change {
            InterestChange::SetGroup(group) => format!("{} members, window {}", group.members, group.window),
            InterestChange::Remove { .. } => "gone".to_owned(),
            InterestChange::Add { .. } => panic!("no group"),
        })
        .collect()
}

#[test]
fn a_group_without_members_stays_until_sessions_have_what_they_take_of_it() {
    let (mut link, mut out) = attached_link();
    join(&mut link, WORKER, 1, part(1, 10), &mut out);
    let filter_id = told(&mut link, &mut out)[0].filter_id;
    let requests = [2, 3].map(|counter| take(&mut link, counter, &mut out));
    link.handle_worker(WORKER, ToLink::Unsubscribe { filter_id }, &mut out);
    assert_eq!(
        changes(&mut link, &mut out),
        ["1 members, window 0"],
        "with it go its leases"
    );
    // The stream breaks, and all is told again.
    link.lost(&mut out);
    link.attached(&welcome(T1, 0, 0), MonotonicMs(9), &mut out).unwrap();
    assert_eq!(changes(&mut link, &mut out), ["1 members, window 0"]);
    let [first, second] = requests;
    link.handle_answer(Answer::SessionUpdated { request: first }, &mut out)
        .unwrap();
    assert_eq!(changes(&mut link, &mut out), [""; 0]);
    let refusal = freshet_storage_contract::SessionRefusal::Superseded;
    let refused = Answer::UpdateRefused {
        request: second,
        refusal,
    };
    link.handle_answer(refused, &mut out).unwrap();
    assert_eq!(changes(&mut link, &mut out), ["gone"]);
}

#[test]
fn a_group_that_has_members_again_stays() {
    let (mut link, mut out) = attached_link();
    join(&mut link, WORKER, 1, part(1, 10), &mut out);
    let filter_id = told(&mut link, &mut out)[0].filter_id;
    let request = take(&mut link, 2, &mut out);
    link.handle_worker(WORKER, ToLink::Unsubscribe { filter_id }, &mut out);
    join(&mut link, OTHER, 1, part(2, 20), &mut out);
    link.handle_answer(Answer::SessionUpdated { request }, &mut out)
        .unwrap();
    assert_eq!(
        changes(&mut link, &mut out).pop().as_deref(),
        Some("2 members, window 20")
    );
}

#[test]
fn what_sessions_had_not_taken_when_a_life_of_the_proxy_ended_they_do_not_take_in_the_next() {
    let (mut link, mut out) = attached_link();
    join(&mut link, WORKER, 1, part(1, 10), &mut out);
    let filter_id = told(&mut link, &mut out)[0].filter_id;
    take(&mut link, 2, &mut out);
    link.handle_worker(WORKER, ToLink::Unsubscribe { filter_id }, &mut out);
    link.lost(&mut out);
    link.start_incarnation(IncarnationId(8));
    link.attached(&welcome(T1, 0, 0), MonotonicMs(9), &mut out).unwrap();
    let (shard, sessions) = (ShardId(0), Vec::new());
    link.handle_worker(WORKER, ToLink::RegisterSessions { shard, sessions }, &mut out);
    link.flush(&mut out);
    let said = std::mem::take(&mut out.operations);
    let update = said.iter().find_map(|operation| match operation {
        Operation::UpdateSession(update) => Some(update),
        _ => None,
    });
    let taken = update.unwrap().changes.iter().map(|change| match change {
        SessionChange::Sending { packet_id, .. } => packet_id.get(),
        other => panic!("{other:?}"),
    });
    assert_eq!(taken.collect::<Vec<_>>(), [2], "its lease went with that life");
    assert_eq!(link.stats().filters, 0, "nothing is held any longer");
}
