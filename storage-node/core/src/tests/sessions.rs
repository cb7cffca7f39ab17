//! One connection per client id, across proxies.

use freshet_storage_contract::{RegisteredSession, SessionRefusal};

use super::*;

pub(super) fn take_over(client: &str, epoch: SessionEpoch) -> Answer {
    Answer::TakeOver {
        client_id: Bytes::copy_from_slice(client.as_bytes()),
        epoch,
    }
}

pub(super) fn attached_epoch(answers: &[Answer]) -> SessionEpoch {
    match answers {
        [Answer::SessionAttached { epoch, .. }] => *epoch,
        other => panic!("{other:?}"),
    }
}

fn registered(client: &str, epoch: SessionEpoch) -> RegisteredSession {
    RegisteredSession {
        client_id: Bytes::copy_from_slice(client.as_bytes()),
        epoch,
        will: None,
        session_expiry_interval_s: 0,
        session: None,
    }
}

fn register(w: &mut World, proxy: u128, sessions: Vec<RegisteredSession>) {
    w.operate(proxy, Operation::RegisterSessions { shard: S0, sessions });
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.3-2", "5.0:3.1.4-3", "3.1.1:3.1.3-2"))]
fn a_second_client_with_the_same_id_takes_over() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let first = w.attach_session(A, 1, "c", None);
    w.ask_session(B, 2, "c", true, None);
    assert_eq!(w.take_answers(A), [take_over("c", first)]);
    assert_eq!(w.take_answers(B), [], "it waits for the first to end");
    w.detach_session(A, "c", first, DetachReason::TakenOver);
    let second = attached_epoch(&w.take_answers(B));
    assert!(second > first);
    assert_eq!(w.core.stats().shards[0].gauges.sessions, 1);
    w.detach_session(B, "c", second, DetachReason::ByClient);
    assert_eq!(w.core.stats().shards[0].gauges.sessions, 0);
}

#[test]
fn a_takeover_on_the_same_proxy_is_one_like_any_other() {
    let mut w = world();
    w.attach(A);
    let first = w.attach_session(A, 1, "c", None);
    w.ask_session(A, 2, "c", true, None);
    assert_eq!(w.take_answers(A), [take_over("c", first)]);
    w.detach_session(A, "c", first, DetachReason::TakenOver);
    assert!(attached_epoch(&w.take_answers(A)) > first);
}

#[test]
fn a_takeover_waits_five_seconds_at_most() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let first = w.attach_session(A, 1, "c", None);
    w.ask_session(B, 2, "c", true, None);
    w.take_answers(A);
    w.pass_ms(4_999);
    assert_eq!(w.take_answers(B), []);
    w.pass_ms(1);
    let second = attached_epoch(&w.take_answers(B));
    assert_eq!(w.core.stats().shards[0].counters.takeovers_unconfirmed_total, 1);
    w.detach_session(A, "c", first, DetachReason::TakenOver);
    assert_eq!(
        w.core.stats().shards[0].gauges.sessions,
        1,
        "a late end of an old epoch is passed over"
    );
    w.detach_session(B, "c", second, DetachReason::ByClient);
}

#[test]
fn a_proxy_without_link_is_not_waited_for_and_learns_of_it_later() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let first = w.attach_session(A, 1, "c", None);
    w.lose_link(A);
    w.ask_session(B, 2, "c", true, None);
    let second = attached_epoch(&w.take_answers(B));
    w.attach(A);
    assert_eq!(w.take_answers(A), [take_over("c", first)]);
    w.lose_link(A);
    w.attach(A);
    assert_eq!(w.take_answers(A), [take_over("c", first)], "until it has confirmed");
    w.detach_session(A, "c", first, DetachReason::TakenOver);
    w.lose_link(A);
    w.attach(A);
    assert_eq!(w.take_answers(A), []);
    w.detach_session(B, "c", second, DetachReason::ByClient);
}

#[test]
fn a_link_that_breaks_during_a_takeover_ends_the_wait() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    w.attach_session(A, 1, "c", None);
    w.ask_session(B, 2, "c", true, None);
    assert_eq!(w.take_answers(B), []);
    w.lose_link(A);
    attached_epoch(&w.take_answers(B));
}

#[test]
fn of_two_rapid_takeovers_the_middle_one_is_superseded() {
    let mut w = world();
    for proxy in [A, B, C] {
        w.attach(proxy);
    }
    let first = w.attach_session(A, 1, "c", None);
    w.ask_session(B, 2, "c", true, None);
    w.ask_session(C, 3, "c", true, None);
    assert_eq!(w.take_answers(A), [take_over("c", first)], "asked once");
    let refusal = SessionRefusal::Superseded;
    assert_eq!(
        w.take_answers(B),
        [Answer::SessionRefused {
            request: RequestId(2),
            refusal
        }]
    );
    assert_eq!(w.core.stats().shards[0].counters.attaches_superseded_total, 1);
    w.detach_session(A, "c", first, DetachReason::TakenOver);
    assert!(attached_epoch(&w.take_answers(C)) > first);
}

#[test]
fn a_takeover_by_a_proxy_that_is_gone_leaves_no_session() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let first = w.attach_session(A, 1, "c", None);
    w.pass_ms_with(3_000, &[A]);
    w.operate(A, Operation::RenewLease);
    w.ask_session(B, 2, "c", true, None);
    w.pass_ms(3_000);
    w.detach_session(A, "c", first, DetachReason::TakenOver);
    assert_eq!(w.core.stats().shards[0].gauges.sessions, 0);
}

#[test]
fn an_attach_that_is_asked_again_after_a_broken_link_is_answered_the_same() {
    let mut w = world();
    w.attach(A);
    let epoch = w.attach_session(A, 1, "c", None);
    w.lose_link(A);
    w.attach(A);
    w.ask_session(A, 1, "c", false, None);
    assert_eq!(attached_epoch(&w.take_answers(A)), epoch);
    assert_eq!(w.core.stats().shards[0].counters.attaches_total, 1);
}

#[test]
fn sessions_beyond_the_limit_are_refused() {
    let mut w = World::new(StorageSettings {
        session_limit: 2,
        ..settings(4)
    });
    w.attach(A);
    let first = w.attach_session(A, 1, "c1", None);
    w.attach_session(A, 2, "c2", None);
    w.ask_session(A, 3, "c3", true, None);
    let refusal = SessionRefusal::QuotaExceeded;
    assert_eq!(
        w.take_answers(A),
        [Answer::SessionRefused {
            request: RequestId(3),
            refusal
        }]
    );
    w.detach_session(A, "c1", first, DetachReason::ByClient);
    w.ask_session(A, 4, "c3", true, None);
    assert!(
        matches!(w.take_answers(A)[..], [Answer::SessionRefused { .. }]),
        "a session that waits for its client counts"
    );
    let again = w.attach_session(A, 5, "c1", None);
    w.operate(
        A,
        Operation::DetachSession {
            client_id: Bytes::from_static(b"c1"),
            epoch: again,
            reason: DetachReason::ByClient,
            session_expiry_interval_s: Some(0),
        },
    );
    w.attach_session(A, 6, "c3", None);
}

#[test]
fn wills_beyond_the_bytes_of_sessions_are_refused() {
    let mut w = World::new(StorageSettings {
        session_bytes: 2_000,
        ..settings(1)
    });
    w.attach(A);
    let will = |size: usize| {
        Some(Will {
            message: qos_1("w", &"x".repeat(size)),
            delay_interval_s: 0,
        })
    };
    w.attach_session(A, 1, "c1", will(1_000));
    w.ask_session(A, 2, "c2", true, will(1_000));
    assert!(matches!(w.take_answers(A)[..], [Answer::SessionRefused { .. }]));
    w.ask_session(A, 3, "c1", true, will(1_000));
    assert!(
        matches!(w.take_answers(A)[..], [Answer::SessionRefused { .. }]),
        "while it would wait, both count"
    );
    assert_eq!(w.core.stats().shards[0].counters.attaches_refused_total, 2);
}

#[test]
fn a_registered_session_is_held_as_if_it_had_been_attached() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let old = SessionEpoch {
        term: Term(50),
        counter: 7,
    };
    register(&mut w, A, vec![registered("c", old)]);
    register(&mut w, A, vec![registered("c", old)]);
    assert_eq!(w.take_answers(A), []);
    w.ask_session(B, 1, "c", true, None);
    assert_eq!(w.take_answers(A), [take_over("c", old)]);
    w.detach_session(A, "c", old, DetachReason::TakenOver);
    assert!(attached_epoch(&w.take_answers(B)) > old);
}

#[test]
fn of_two_proxies_that_claim_a_client_the_greater_epoch_stays() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let [old, new] = [3, 4].map(|counter| SessionEpoch {
        term: Term(50),
        counter,
    });
    register(&mut w, A, vec![registered("c", old)]);
    register(&mut w, B, vec![registered("c", new)]);
    assert_eq!(w.take_answers(A), [take_over("c", old)]);
    assert_eq!(w.take_answers(B), []);
    register(&mut w, A, vec![registered("c", old)]);
    assert_eq!(w.take_answers(A), [take_over("c", old)]);
    assert_eq!(w.core.stats().shards[0].gauges.sessions, 1);
}

#[test]
fn a_session_that_was_attached_elsewhere_since_is_not_taken_back_by_registering() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let new = w.attach_session(B, 1, "c", None);
    let old = SessionEpoch {
        term: Term(50),
        counter: 7,
    };
    assert!(new > old);
    register(&mut w, A, vec![registered("c", old)]);
    assert_eq!(w.take_answers(A), [take_over("c", old)]);
    assert_eq!(w.take_answers(B), []);
}

#[test]
fn a_proxy_under_a_new_name_keeps_its_sessions_by_naming_them() {
    let mut w = world();
    w.attach(A);
    let epoch = w.attach_session(A, 1, "c", None);
    w.pass_ms(3_000);
    w.attach(B);
    register(&mut w, B, vec![registered("c", epoch)]);
    w.pass_ms_with(5_000, &[B]);
    assert_eq!(w.core.stats().shards[0].gauges.sessions, 1);
    w.detach_session(B, "c", epoch, DetachReason::ByClient);
    assert_eq!(w.core.stats().shards[0].gauges.sessions, 0);
}

#[test]
fn an_epoch_of_a_term_that_never_was_is_not_believed() {
    let mut w = world();
    w.attach(A);
    let future = SessionEpoch {
        term: Term(TERM.0 + 1),
        counter: 1,
    };
    register(&mut w, A, vec![registered("c", future)]);
    assert_eq!(w.take_answers(A), [take_over("c", future)]);
}

#[test]
fn an_epoch_granted_after_registering_is_greater_than_all_named_ones() {
    let mut w = world();
    w.attach(A);
    let named = SessionEpoch {
        term: TERM,
        counter: 1_000,
    };
    register(&mut w, A, vec![registered("c", named)]);
    assert!(w.attach_session(A, 1, "d", None) > named);
}

#[test]
fn a_connection_that_is_named_while_a_newer_one_waits_is_asked_to_end_too() {
    let mut w = world();
    for proxy in [A, B, C] {
        w.attach(proxy);
    }
    let [old, newer] = [3, 4].map(|counter| SessionEpoch {
        term: Term(50),
        counter,
    });
    register(&mut w, A, vec![registered("c", old)]);
    w.ask_session(C, 1, "c", true, None);
    register(&mut w, B, vec![registered("c", newer)]);
    assert_eq!(w.take_answers(B), [take_over("c", newer)]);
    w.detach_session(B, "c", newer, DetachReason::TakenOver);
    attached_epoch(&w.take_answers(C));
}

#[test]
fn a_refusal_that_was_lost_with_the_link_is_given_again() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    w.attach_session(B, 1, "c", None);
    w.ask_session(A, 2, "c", true, None);
    w.ask_session(A, 3, "c", true, None);
    w.take_answers(A);
    w.lose_link(A);
    w.attach(A);
    w.ask_session(A, 2, "c", true, None);
    let refusal = SessionRefusal::Superseded;
    assert_eq!(
        w.take_answers(A),
        [Answer::SessionRefused {
            request: RequestId(2),
            refusal
        }]
    );
}
