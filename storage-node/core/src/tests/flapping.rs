//! Clients with one client id that throw each other out: what their proxies are asked, and when.

use freshet_storage_contract::SessionRefusal;

use super::sessions::{attached_epoch, take_over};
use super::*;

/// Client `c` has changed hands ten times already; proxy A has its connection.
fn flapping() -> (World, SessionEpoch) {
    let mut w = World::new(settings(1));
    w.attach(A);
    w.attach(B);
    let mut epoch = w.attach_session(A, 1, "c", None);
    for request in 2..12 {
        w.ask_session(A, request, "c", false, None);
        assert_eq!(w.take_answers(A), [take_over("c", epoch)], "nothing special");
        epoch = give_up(&mut w, epoch);
    }
    (w, epoch)
}

/// Proxy A ends the connection of `epoch`, and has the next one's.
fn give_up(w: &mut World, epoch: SessionEpoch) -> SessionEpoch {
    w.detach_session(A, "c", epoch, DetachReason::TakenOver);
    attached_epoch(&w.take_answers(A))
}

#[test]
fn clients_that_throw_each_other_out_are_held_longer_and_longer() {
    let (mut w, mut epoch) = flapping();
    for (request, held_ms) in [(12, 250), (13, 500), (14, 1_000)] {
        w.ask_session(A, request, "c", false, None);
        w.pass_ms(held_ms - 1);
        assert_eq!(w.take_answers(A), [], "the present connection serves on");
        w.pass_ms(1);
        assert_eq!(w.take_answers(A), [take_over("c", epoch)]);
        epoch = give_up(&mut w, epoch);
    }
    let counters = w.core.stats().shards[0].counters;
    assert_eq!((counters.takeovers_total, counters.takeovers_repeated_total), (13, 3));
}

#[test]
fn a_connection_that_is_held_gets_the_client_id_as_soon_as_it_is_free() {
    let (mut w, epoch) = flapping();
    w.ask_session(B, 12, "c", false, None);
    assert_eq!((w.take_answers(A), w.take_answers(B)), (vec![], vec![]));
    w.detach_session(A, "c", epoch, DetachReason::ByClient);
    attached_epoch(&w.take_answers(B));
    w.pass_ms(1_000);
    assert_eq!(w.take_answers(A), [], "nothing is left to end");
}

#[test]
fn a_third_connection_takes_the_place_of_the_one_that_is_held_and_waits_no_longer() {
    let (mut w, epoch) = flapping();
    w.ask_session(A, 12, "c", false, None);
    w.pass_ms(200);
    w.ask_session(B, 1, "c", false, None);
    let superseded = Answer::SessionRefused {
        request: RequestId(12),
        refusal: SessionRefusal::Superseded,
    };
    assert_eq!(w.take_answers(A), [superseded]);
    w.pass_ms(50);
    assert_eq!(w.take_answers(A), [take_over("c", epoch)]);
    w.detach_session(A, "c", epoch, DetachReason::TakenOver);
    attached_epoch(&w.take_answers(B));
    assert_eq!(
        w.core.stats().shards[0].counters.takeovers_total,
        11,
        "it is one takeover"
    );
}

#[test]
fn a_lost_link_does_not_shorten_what_is_held() {
    let (mut w, _) = flapping();
    w.ask_session(B, 12, "c", false, None);
    w.lose_link(A);
    w.pass_ms(249);
    assert_eq!(w.take_answers(B), []);
    w.pass_ms(1);
    attached_epoch(&w.take_answers(B));
}

#[test]
fn what_is_asked_again_while_it_is_held_ends_nothing() {
    let (mut w, epoch) = flapping();
    w.ask_session(B, 12, "c", false, None);
    // Both ask again what they had asked, on a new link.
    w.lose_link(A);
    w.attach(A);
    w.ask_session(A, 11, "c", false, None);
    assert_eq!(attached_epoch(&w.take_answers(A)), epoch);
    w.ask_session(B, 12, "c", false, None);
    assert_eq!((w.take_answers(A), w.take_answers(B)), (vec![], vec![]));
}

#[test]
fn the_present_connection_stays_when_the_one_that_was_held_is_lost_with_its_proxy() {
    let mut w = World::new(StorageSettings {
        lease_ttl_ms: 100,
        ..settings(1)
    });
    w.attach(A);
    w.attach(B);
    let mut epoch = w.attach_session(A, 1, "c", None);
    for request in 2..12 {
        w.ask_session(A, request, "c", false, None);
        w.take_answers(A);
        epoch = give_up(&mut w, epoch);
    }
    w.ask_session(B, 1, "c", false, None);
    for _ in 0..10 {
        w.operate(A, Operation::RenewLease);
        w.pass_ms(50);
    }
    let told = w.take_answers(A);
    assert!(!told.contains(&take_over("c", epoch)), "{told:?}");
}
