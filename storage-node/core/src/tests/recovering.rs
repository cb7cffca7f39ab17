//! Clients that connect while proxies have not had time to name theirs behind a start.

use freshet_storage_contract::{RegisteredSession, SessionRefusal};

use super::*;

/// A node that has just started.
fn starting() -> World {
    World::new(StorageSettings {
        recovery_hold_ms: 1_000,
        ..settings(1)
    })
}

/// The connection of a client that its proxy had before the start.
fn former(client: &str) -> RegisteredSession {
    RegisteredSession {
        client_id: Bytes::copy_from_slice(client.as_bytes()),
        epoch: SessionEpoch {
            term: Term(TERM.0 - 1),
            counter: 5,
        },
        will: None,
        session_expiry_interval_s: 0,
        session: None,
    }
}

/// A client connects whose session ends with its connection.
fn connect(w: &mut World, proxy: u128, request: u64, client: &str) {
    let attach = AttachSession {
        request: RequestId(request),
        client_id: Bytes::copy_from_slice(client.as_bytes()),
        clean_start: true,
        session_expiry_interval_s: 0,
        will: None,
    };
    w.operate(proxy, Operation::AttachSession(attach));
}

fn granted(w: &mut World, proxy: u128) -> Vec<RequestId> {
    let answers = w.take_answers(proxy).into_iter();
    let request = |answer| match answer {
        Answer::SessionAttached { request, .. } => Some(request),
        _ => None,
    };
    answers.filter_map(request).collect()
}

fn attaches_held(w: &World) -> u64 {
    w.core.stats().shards.iter().map(|s| s.gauges.attaches_held).sum()
}

#[test]
fn a_client_that_was_connected_elsewhere_before_a_start_is_let_in_when_that_connection_has_ended() {
    let mut w = starting();
    w.attach(B);
    connect(&mut w, B, 1, "c");
    w.pass_ms(999);
    w.attach(A);
    let named = former("c");
    let (client_id, epoch) = (named.client_id.clone(), named.epoch);
    let sessions = vec![named];
    w.operate(A, Operation::RegisterSessions { shard: S0, sessions });
    assert_eq!((w.take_answers(A), w.take_answers(B)), (vec![], vec![]));
    w.pass_ms(1);
    assert_eq!(w.take_answers(A), [Answer::TakeOver { client_id, epoch }]);
    assert_eq!(
        w.take_answers(B),
        [],
        "the former connection is served until its proxy has ended it"
    );
    w.detach_session(A, "c", epoch, DetachReason::TakenOver);
    assert_eq!(granted(&mut w, B), [RequestId(1)]);
}

#[test]
fn who_connects_behind_a_start_is_let_in_a_second_after_the_first_proxy_has_found_storage() {
    let mut w = starting();
    w.pass_ms(20_000);
    w.attach(A);
    connect(&mut w, A, 1, "c");
    w.pass_ms(999);
    assert_eq!((granted(&mut w, A), attaches_held(&w)), (vec![], 1));
    w.pass_ms(1);
    assert_eq!((granted(&mut w, A), attaches_held(&w)), (vec![RequestId(1)], 0));
    w.attach_session(A, 2, "d", None);
}

#[test]
fn publications_are_held_from_the_first_proxy_on() {
    let mut w = starting();
    w.pass_ms(20_000);
    w.attach(B);
    w.publish(B, qos_1("a", "x"));
    w.pass_ms(999);
    w.attach(A);
    w.subscribe(A, 1, "a");
    w.pass_ms(1);
    assert_eq!(w.take_payloads(A), ["x"]);
}

#[test]
fn two_that_wait_with_one_client_id_are_let_in_in_their_order() {
    let mut w = starting();
    w.attach(A);
    w.attach(B);
    connect(&mut w, A, 1, "c");
    connect(&mut w, B, 1, "c");
    w.pass_ms(1_000);
    let answers = w.take_answers(A);
    let [
        Answer::SessionAttached { epoch, .. },
        Answer::TakeOver { epoch: ended, .. },
    ] = answers[..]
    else {
        panic!("{answers:?}")
    };
    assert_eq!((ended, w.take_answers(B)), (epoch, vec![]));
    w.detach_session(A, "c", epoch, DetachReason::TakenOver);
    assert_eq!(granted(&mut w, B), [RequestId(1)]);
}

#[test]
fn what_is_asked_again_on_another_link_is_granted_once() {
    let mut w = starting();
    w.attach(A);
    connect(&mut w, A, 1, "c");
    w.lose_link(A);
    assert_eq!(attaches_held(&w), 0);
    w.attach(A);
    connect(&mut w, A, 1, "c");
    w.pass_ms(1_000);
    assert_eq!(granted(&mut w, A), [RequestId(1)]);
    assert_eq!(w.core.stats().shards[0].counters.attaches_total, 1);
}

#[test]
fn one_whose_proxy_has_gone_meanwhile_is_not_let_in() {
    let mut w = World::new(StorageSettings {
        recovery_hold_ms: 10_000,
        ..settings(1)
    });
    w.attach(A);
    w.attach(B);
    connect(&mut w, A, 1, "c");
    w.pass_ms_with(10_000, &[B]);
    let stats = w.core.stats();
    assert_eq!((stats.shards[0].gauges.sessions, attaches_held(&w)), (0, 0));
    w.take_answers(B);
    w.attach_session(B, 1, "c", None);
}

#[test]
fn many_are_let_in_in_parts() {
    let mut w = starting();
    w.attach(A);
    let clients = 3_000;
    for client in 0..clients {
        connect(&mut w, A, client, &format!("c{client}"));
    }
    w.now = MonotonicMs(w.now.0 + 1_000);
    w.core.tick(w.now, &mut w.out);
    w.collect();
    let first = granted(&mut w, A).len() as u64;
    assert!(first > 0 && first < clients, "{first}");
    // One that comes now stands behind those that wait.
    connect(&mut w, A, clients, "c");
    assert_eq!(granted(&mut w, A), []);
    w.pass_ms(1);
    assert_eq!(granted(&mut w, A).len() as u64, clients + 1 - first);
    assert_eq!(attaches_held(&w), 0);
}

#[test]
fn more_than_there_is_room_for_are_refused_at_once() {
    let mut w = World::new(StorageSettings {
        recovery_hold_ms: 1_000,
        session_bytes: 700,
        ..settings(1)
    });
    w.attach(A);
    for (request, client) in [(1, "c"), (2, "d"), (3, "e")] {
        connect(&mut w, A, request, client);
    }
    let refusal = SessionRefusal::QuotaExceeded;
    let request = RequestId(3);
    assert_eq!(w.take_answers(A), [Answer::SessionRefused { request, refusal }]);
    w.pass_ms(1_000);
    assert_eq!(granted(&mut w, A), [RequestId(1), RequestId(2)]);
}

#[test]
fn a_will_whose_time_comes_while_its_client_waits_is_not_sent() {
    let mut w = starting();
    w.attach(A);
    w.pass_ms(1_000);
    let will = Will {
        message: qos_1("w", "gone"),
        delay_interval_s: 5,
    };
    let epoch = w.attach_session(A, 1, "c", Some(will));
    w.detach_session(A, "c", epoch, DetachReason::WillDue);
    w.pass_ms(4_500);
    // A higher term is a start as well.
    w.proxies.get_mut(&A).unwrap().term = Term(TERM.0 + 50);
    w.attach(A);
    w.ask_session(A, 2, "c", false, None);
    w.pass_ms(1_000);
    assert_eq!(granted(&mut w, A), [RequestId(2)]);
    let counters = w.core.stats().shards[0].counters;
    assert_eq!((counters.wills_dropped_total, counters.wills_published_total), (1, 0));
}
