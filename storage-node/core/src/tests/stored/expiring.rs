//! How stored sessions end by themselves, and durable filters that nobody took.

use super::*;

#[test]
#[cfg_attr(false, shows("5.0:4.1.0-2"))]
fn a_session_ends_when_its_interval_has_passed_and_its_queue_with_it() {
    let mut w = World::new(settings(4));
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    w.disconnect(A, "c", epoch, Some(10));
    w.publish(A, qos_1("a", "x"));
    w.pass_ms_with(9_900, &[A]);
    assert_eq!(
        (w.gauge(|g| g.sessions_offline), w.gauge(|g| g.queued_messages)),
        (1, 1)
    );
    w.pass_ms_with(200, &[A]);
    assert_eq!(
        (
            w.gauge(|g| g.sessions_stored),
            w.gauge(|g| g.durable_filters),
            w.gauge(|g| g.queued_bytes)
        ),
        (0, 0, 0)
    );
    assert_eq!(w.counter(|c| c.sessions_expired_total), 1);
    w.begin(A, 2, "c");
}

#[test]
fn many_sessions_that_are_due_together_end_a_few_at_a_time() {
    const COUNT: u64 = 300;
    let mut w = World::new(settings(1));
    w.attach(A);
    for number in 0..COUNT {
        let client_id = format!("c{number}");
        let epoch = w.begin(A, number + 1, &client_id);
        w.disconnect(A, &client_id, epoch, Some(10));
    }
    w.pass_ms_with(9_900, &[A]);
    let mut left = w.gauge(|g| g.sessions_stored);
    assert_eq!(left, COUNT);
    // In some milliseconds a shard does not let go of all of them: others are served in between.
    for _ in 0..100 {
        w.pass_ms_with(5, &[A]);
        let now = w.gauge(|g| g.sessions_stored);
        assert!(left - now <= 64, "{} at once", left - now);
        left = now;
    }
    assert_eq!((left, w.counter(|c| c.sessions_expired_total)), (0, COUNT));
}

#[test]
#[cfg_attr(false, shows("5.0:4.1.0-1", "3.1.1:4.1.0-1"))]
fn a_session_lasts_as_long_as_its_connection_and_then_for_its_interval() {
    const INTERVAL_MS: u64 = 1_000_000;
    let mut w = world();
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    w.pass_ms_with(3 * INTERVAL_MS, &[A]);
    w.publish(A, qos_1("a", "x"));
    w.disconnect(A, "c", epoch, None);
    w.pass_ms_with(INTERVAL_MS - 1_000, &[A]);
    let (_, session) = w.resume(A, 2, "c");
    assert_eq!(session.generation, epoch);
    assert_eq!(session.subscriptions[0].topic_filter, bytes("a"));
    let chunk = w.pull(A, "c", S0, session.cursors[0].acknowledged, &["a"]);
    assert_eq!(payloads(&chunk.messages), ["x"]);
}

#[test]
fn a_session_that_ends_with_its_connection_is_not_taken_over() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    w.ask_session(B, 2, "c", false, None);
    w.disconnect(A, "c", epoch, Some(0));
    match &w.take_answers(B)[..] {
        [
            Answer::SessionAttached {
                session_present: false,
                session: None,
                ..
            },
        ] => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(w.gauge(|g| g.durable_filters), 0);
}

#[test]
fn a_session_whose_proxy_is_lost_waits_for_its_client() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    w.pass_ms_with(8_000, &[B]);
    assert_eq!(w.gauge(|g| g.sessions_offline), 1);
    w.publish(B, qos_1("a", "x"));
    let (_, session) = w.resume(B, 2, "c");
    assert_eq!(session.subscriptions.len(), 1);
    let chunk = w.pull(B, "c", S0, session.cursors[0].acknowledged, &["a"]);
    assert_eq!(payloads(&chunk.messages), ["x"]);
}

#[test]
fn the_end_of_the_session_fires_its_will_before_its_delay() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    w.subscribe(B, 1, "w");
    let will = Will {
        message: qos_1("w", "gone"),
        delay_interval_s: 500,
    };
    let epoch = w.attach_session(A, 1, "c", Some(will));
    w.operate(
        A,
        Operation::DetachSession {
            client_id: bytes("c"),
            epoch,
            reason: DetachReason::WillDue,
            session_expiry_interval_s: Some(10),
        },
    );
    w.pass_ms_with(9_900, &[A, B]);
    assert_eq!(w.take_payloads(B), [""; 0]);
    w.pass_ms_with(200, &[A, B]);
    assert_eq!(w.take_payloads(B), ["gone"]);
}

#[test]
fn an_interval_cannot_be_begun_by_disconnect() {
    let mut w = world();
    w.attach(A);
    let attach = AttachSession {
        request: RequestId(1),
        client_id: bytes("c"),
        clean_start: true,
        session_expiry_interval_s: 0,
        will: None,
    };
    w.operate(A, Operation::AttachSession(attach));
    let [Answer::SessionAttached { epoch, .. }] = w.take_answers(A)[..] else {
        panic!("attached")
    };
    w.disconnect(A, "c", epoch, Some(100));
    assert_eq!(w.gauge(|g| g.sessions_stored), 0);
    w.begin(A, 2, "c");
}

#[test]
fn a_durable_filter_that_no_session_takes_is_removed() {
    let mut w = World::new(settings(4));
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    w.ensure(A, "c", "a");
    w.publish(A, qos_1("a", "x"));
    w.subscribe_stored(A, "c", epoch, "b");
    assert_eq!((w.gauge(|g| g.durable_filters), w.gauge(|g| g.queued_messages)), (2, 1));
    w.pass_ms_with(61_000, &[A]);
    assert_eq!((w.gauge(|g| g.durable_filters), w.gauge(|g| g.queued_messages)), (1, 0));
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.2-5", "5.0:3.3.2-6"))]
pub(in crate::tests) fn messages_expire_in_their_queues_and_pulls_say_what_remains() {
    let mut w = world();
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    for (payload, interval_s) in [("brief", Some(2)), ("long", Some(60)), ("for ever", None)] {
        w.publish(
            A,
            Message {
                message_expiry_interval_s: interval_s,
                ..qos_1("a", payload)
            },
        );
    }
    w.pass_ms_with(5_000, &[A]);
    let chunk = w.pull(A, "c", S0, Position(0), &["a"]);
    assert_eq!(payloads(&chunk.messages), ["long", "for ever"]);
    let remaining: Vec<_> = chunk
        .messages
        .iter()
        .map(|m| m.message.message_expiry_interval_s)
        .collect();
    assert_eq!(remaining, [Some(55), None]);
    assert_eq!(w.counter(|c| c.queue_expired_total), 1);
}

#[test]
fn a_session_that_ends_with_its_connection_leaves_no_entry_in_the_log() {
    let mut w = world();
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    w.publish(A, qos_1("a", "1"));
    for request in 2..7 {
        let attach = AttachSession {
            request: RequestId(request),
            client_id: bytes("clean"),
            clean_start: true,
            session_expiry_interval_s: 0,
            will: None,
        };
        w.operate(A, Operation::AttachSession(attach));
        let Some(Answer::SessionAttached { epoch, .. }) = w.take_answers(A).pop() else {
            panic!("not attached")
        };
        w.detach_session(A, "clean", epoch, DetachReason::WillDue);
    }
    w.publish(A, qos_1("a", "2"));
    let chunk = w.pull(A, "c", S0, Position(0), &["a"]);
    let positions: Vec<_> = chunk.messages.iter().map(|m| m.position.0).collect();
    assert_eq!(positions[1], positions[0] + 1, "nothing came in between");
}
