//! Stored sessions across a leader without memory, and across one that only starts a higher term.

use freshet_storage_contract::RegisteredSession;

use super::*;

fn registered(client: &str, epoch: SessionEpoch, session: Option<StoredSession>) -> RegisteredSession {
    RegisteredSession {
        client_id: bytes(client),
        epoch,
        will: None,
        session_expiry_interval_s: 1_000,
        session: session.map(Box::new),
    }
}

fn empty_session(generation: SessionEpoch) -> StoredSession {
    StoredSession {
        generation,
        subscriptions: Vec::new(),
        cursors: Vec::new(),
        outbound: Vec::new(),
    }
}

#[test]
fn connected_sessions_outlive_a_storage_node_without_memory() {
    let mut old = World::new(settings(4));
    old.attach(A);
    let epoch = old.begin(A, 1, "c");
    let starts = old.subscribe_stored(A, "c", epoch, "a");
    old.publish(A, qos_1("a", "lost with the node"));
    old.disconnect(A, "c", epoch, None);
    let (epoch, session) = old.resume(A, 2, "c");

    let later = StorageSettings {
        recovery_hold_ms: 1_000,
        ..settings(4)
    };
    let mut w = World::new(later.clone());
    w.core = StorageCore::new(later, Term(TERM.0 + 1), w.now).unwrap();
    w.attach(A);
    w.attach(B);
    let shard = w.session_shard("c");
    w.publish(B, qos_1("a", "held at first"));
    let sessions = vec![registered("c", epoch, Some(session))];
    w.operate(A, Operation::RegisterSessions { shard, sessions });
    w.pass_ms_with(1_000, &[A, B]);
    let cursor = starts[0];
    let chunk = w.pull(A, "c", cursor.shard, cursor.position, &["a"]);
    assert_eq!(
        payloads(&chunk.messages),
        ["held at first"],
        "positions of this life are behind all earlier ones"
    );
    w.change(A, "c", epoch, vec![advance(cursor.shard, chunk.up_to)]);
    w.disconnect(A, "c", epoch, None);
    let (_, session) = w.resume(B, 3, "c");
    assert_eq!(session.cursors[0].acknowledged, chunk.up_to);
}

#[test]
fn a_higher_term_keeps_sessions_and_waits_for_their_connections_to_be_named() {
    let mut w = world();
    w.attach(A);
    let mut epochs = Vec::new();
    for client in ["c", "d"] {
        let epoch = w.begin(A, 1, client);
        w.subscribe_stored(A, client, epoch, "a");
        epochs.push(epoch);
    }
    w.publish(A, qos_1("a", "x"));
    let mut ahead = w.attach_frame(B);
    ahead.highest_term = Term(TERM.0 + 50);
    w.proxies.insert(B, Proxy::default());
    w.core.attach(&ahead, w.now, &mut w.out).unwrap();
    w.collect();
    assert_eq!(w.closed(A), Some(&LinkFault::TermRaised));
    assert_eq!(w.gauge(|g| g.sessions_offline), 2);
    w.attach(A);
    let sessions = vec![registered("c", epochs[0], Some(empty_session(epochs[0])))];
    w.operate(A, Operation::RegisterSessions { shard: S0, sessions });
    assert_eq!(w.gauge(|g| g.sessions_offline), 1);
    w.disconnect(A, "c", epochs[0], None);
    let (_, session) = w.resume(A, 2, "c");
    assert_eq!(session.subscriptions.len(), 1, "what is stored counts");
    let chunk = w.pull(A, "c", S0, session.cursors[0].acknowledged, &["a"]);
    assert_eq!(payloads(&chunk.messages), ["x"]);
    w.pass_ms_with(1_100_000, &[A]);
    assert_eq!(
        w.counter(|c| c.sessions_expired_total),
        1,
        "the other one's client never came"
    );
}

#[test]
fn a_session_that_ends_with_its_connection_is_not_found_again_after_it_was_named() {
    let mut w = world();
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    let later = SessionEpoch {
        counter: epoch.counter + 1,
        ..epoch
    };
    let sessions = vec![registered("c", later, None)];
    w.operate(A, Operation::RegisterSessions { shard: S0, sessions });
    assert_eq!((w.gauge(|g| g.sessions_stored), w.gauge(|g| g.durable_filters)), (0, 0));
}

#[test]
fn a_session_whose_connection_is_ending_is_kept_when_its_proxy_comes_back() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    w.pass_ms_with(8_000, &[B]);
    let shard = w.session_shard("c");
    let sessions = vec![registered("c", epoch, None)];
    // The lease has run out: it is another incarnation.
    w.attach(C);
    w.operate(C, Operation::RegisterSessions { shard, sessions });
    w.publish(B, qos_1("a", "x"));
    w.disconnect(C, "c", epoch, None);
    let (_, session) = w.resume(B, 2, "c");
    let chunk = w.pull(B, "c", S0, session.cursors[0].acknowledged, &["a"]);
    assert_eq!(payloads(&chunk.messages), ["x"]);
}

/// Proxy A holds session `c`, which reads `a` and was found again.
fn reads_a(w: &mut World) -> (SessionEpoch, StoredSession) {
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    w.disconnect(A, "c", epoch, None);
    w.resume(A, 2, "c")
}

/// Proxy A names session `c`; what it and B were told before is done with.
fn name(w: &mut World, epoch: SessionEpoch, session: StoredSession) {
    for proxy in [A, B] {
        w.take_answers(proxy);
    }
    let shard = w.session_shard("c");
    let sessions = vec![registered("c", epoch, Some(session))];
    w.operate(A, Operation::RegisterSessions { shard, sessions });
}

/// A storage node without memory, `late_ms` after its start; proxy A names session `c`, which it holds from before and
/// which reads `a`. Returns the epoch of its connection, too.
fn named_after(late_ms: u64) -> (World, SessionEpoch) {
    let mut old = World::new(settings(4));
    old.attach(A);
    let (epoch, session) = reads_a(&mut old);

    let later = StorageSettings {
        recovery_hold_ms: 1_000,
        ..settings(4)
    };
    let mut w = World::new(later.clone());
    w.core = StorageCore::new(later, Term(TERM.0 + 1), w.now).unwrap();
    w.attach(A);
    w.attach(B);
    w.publish(B, qos_1("a", "acknowledged when the hold ends"));
    w.pass_ms_with(late_ms, &[A, B]);
    name(&mut w, epoch, session);
    (w, epoch)
}

#[test]
fn a_session_that_is_named_behind_the_hold_is_not_found_again_by_a_client_that_moves() {
    let (mut w, epoch) = named_after(1_000);
    let client_id = bytes("c");
    assert_eq!(w.take_answers(A), [Answer::TakeOver { client_id, epoch }], "it ends");
    assert_eq!(w.counter(|c| c.sessions_late_total), 1);
    assert_eq!(w.gauge(|g| g.sessions_stored), 0);
    // Before its proxy has ended it.
    w.ask_session(B, 3, "c", false, None);
    assert_eq!(w.take_answers(B), [], "the new connection waits for the old one");
    w.disconnect(A, "c", epoch, None);
    let answers = w.take_answers(B);
    assert!(
        matches!(
            answers[..],
            [Answer::SessionAttached {
                session_present: false,
                ..
            }]
        ),
        "{answers:?}"
    );
}

#[test]
fn a_session_that_is_named_at_the_end_of_the_hold_is_found_again() {
    let (mut w, epoch) = named_after(999);
    assert_eq!(w.take_answers(A), []);
    w.disconnect(A, "c", epoch, None);
    w.pass_ms(1);
    let (_, session) = w.resume(B, 3, "c");
    assert_eq!(session.subscriptions.len(), 1);
    assert_eq!(w.counter(|c| c.sessions_late_total), 0);
}

/// A storage node with a disk starts anew `later_s` after the lease of proxy A has ended, which had the session `c`, and A
/// names it in time. Returns the epoch of its connection, too.
fn named_to_a_disk(later_s: u64) -> (World, SessionEpoch) {
    let mut w = World::with_slow_disk(settings(4));
    w.attach(A);
    w.attach(B);
    let (epoch, session) = reads_a(&mut w);
    w.pass_ms_with(6_000 + later_s * 1_000, &[B]);

    let later = StorageSettings {
        recovery_hold_ms: 1_000,
        ..settings(4)
    };
    w.core = w.disk.as_ref().unwrap().restore(later).finish(Term(1), w.now);
    w.keep();
    w.attach(A);
    w.attach(B);
    name(&mut w, epoch, session);
    (w, epoch)
}

#[test]
fn a_session_that_had_expired_before_a_start_is_not_begun_again_by_its_proxy() {
    let (mut w, epoch) = named_to_a_disk(1_001);
    let client_id = bytes("c");
    assert_eq!(w.take_answers(A), [Answer::TakeOver { client_id, epoch }], "it ends");
    assert_eq!(w.counter(|c| c.sessions_late_total), 1);
    w.disconnect(A, "c", epoch, None);
    w.pass_ms_with(1_000, &[A, B]);
    w.take_answers(B);
    w.begin(B, 3, "c");
}

#[test]
fn a_session_whose_proxy_was_given_up_before_a_start_goes_on_until_it_expires() {
    let (mut w, epoch) = named_to_a_disk(998);
    assert_eq!(w.take_answers(A), []);
    assert_eq!(w.counter(|c| c.sessions_late_total), 0);
    w.disconnect(A, "c", epoch, None);
    w.pass_ms_with(1_000, &[A, B]);
    w.take_answers(B);
    assert_eq!(w.resume(B, 3, "c").1.subscriptions.len(), 1);
}

#[test]
fn a_session_of_a_term_that_was_higher_is_taken_by_a_node_that_has_routed_nothing() {
    let (mut old, mut w) = (World::new(settings(1)), World::new(settings(1)));
    old.attach(A);
    let (epoch, session) = reads_a(&mut old);
    let later = StorageSettings {
        recovery_hold_ms: 1_000,
        ..settings(1)
    };
    w.core = StorageCore::new(later, Term(1), w.now).unwrap();
    w.raise_term(A);
    w.attach(A);
    let sessions = vec![registered("c", epoch, Some(session))];
    w.operate(A, Operation::RegisterSessions { shard: S0, sessions });
    assert_eq!(w.take_answers(A), []);
    assert_eq!(w.gauge(|g| g.sessions_stored), 1);
}

#[test]
fn a_session_is_taken_by_an_empty_volume_that_was_started_twice_before_proxies_came() {
    let mut old = World::new(settings(4));
    old.attach(A);
    let epoch = old.begin(A, 1, "c");
    old.subscribe_stored(A, "c", epoch, "a");
    old.disconnect(A, "c", epoch, None);
    let (mut epoch, mut session) = old.resume(A, 2, "c");
    // Each volume begins with a later term than those before it had.
    epoch.term = Term(1);
    session.generation.term = Term(1);
    let later = StorageSettings {
        recovery_hold_ms: 1_000,
        ..settings(4)
    };
    let mut w = World::with_slow_disk(later.clone());
    w.attach(B);
    w.pass_ms(999);
    w.core = w.disk.as_ref().unwrap().restore(later).finish(Term(1), w.now);
    w.keep();
    w.attach(A);
    let shard = w.session_shard("c");
    let sessions = vec![registered("c", epoch, Some(session))];
    w.operate(A, Operation::RegisterSessions { shard, sessions });
    assert_eq!(w.take_answers(A), []);
    assert_eq!(w.counter(|c| c.sessions_late_total), 0);
    w.disconnect(A, "c", epoch, None);
    w.pass_ms(1_000);
    assert_eq!(w.resume(A, 3, "c").1.subscriptions.len(), 1);
}

#[test]
fn a_session_that_could_miss_nothing_is_taken_behind_the_hold() {
    let mut w = World::new(settings(1));
    w.attach(A);
    w.attach(B);
    let epoch = SessionEpoch {
        term: Term(TERM.0 - 1),
        counter: 5,
    };
    let sessions = vec![registered("c", epoch, Some(empty_session(epoch)))];
    w.operate(A, Operation::RegisterSessions { shard: S0, sessions });
    assert_eq!(w.take_answers(A), []);
    w.disconnect(A, "c", epoch, None);
    w.resume(B, 3, "c");
}

#[test]
fn a_connection_that_ends_before_it_was_named_begins_the_interval_that_it_says() {
    let mut w = world();
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    w.raise_term(B);
    w.attach(A);
    w.disconnect(A, "c", epoch, Some(5));
    w.pass_ms_with(4_000, &[A]);
    assert_eq!(w.gauge(|g| g.sessions_stored), 1);
    w.pass_ms_with(1_000, &[A]);
    assert_eq!(w.gauge(|g| g.sessions_stored), 0);
}
