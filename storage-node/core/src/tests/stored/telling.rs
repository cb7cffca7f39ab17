//! Sessions whose client was told of them, and those that were begun for nobody.

use super::*;

#[test]
#[cfg_attr(false, shows("5.0:3.2.2-3", "3.1.1:3.2.2-2"))]
fn a_session_is_there_when_its_client_was_told_of_it_though_nothing_is_in_it() {
    let mut w = world();
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    w.disconnect(A, "c", epoch, None);
    assert_eq!(w.resume(A, 2, "c").1.generation, epoch);
}

#[test]
fn a_session_that_was_begun_for_a_client_that_had_gone_is_none_to_the_next_connection() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let first = w.begin_untold(A, 1, "c");
    w.detach_session(A, "c", first, DetachReason::WillDue);
    let second = w.begin_untold(B, 2, "c");
    w.subscribe_stored(B, "c", second, "a");
    w.disconnect(B, "c", second, None);
    assert_eq!(w.resume(A, 3, "c").1.generation, second, "SUBACK has told its client");
}

#[test]
fn a_session_that_was_begun_by_a_proxy_that_is_lost_is_none_to_the_next_connection() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    w.begin_untold(A, 1, "c");
    let told = w.begin(A, 2, "d");
    w.pass_ms_with(8_000, &[B]);
    w.take_answers(B);
    w.begin_untold(B, 3, "c");
    assert_eq!(w.resume(B, 4, "d").1.generation, told);
}

#[test]
fn a_connection_that_asks_again_after_the_leader_has_changed_gets_a_session_that_begins() {
    let mut w = world();
    w.attach(A);
    w.begin_untold(A, 1, "c");
    let mut ahead = w.attach_frame(B);
    ahead.highest_term = Term(TERM.0 + 50);
    w.proxies.insert(B, Proxy::default());
    w.core.attach(&ahead, w.now, &mut w.out).unwrap();
    w.collect();
    w.attach(A);
    let again = w.begin_untold(A, 1, "c");
    assert_eq!(again.term, Term(TERM.0 + 51));
}
