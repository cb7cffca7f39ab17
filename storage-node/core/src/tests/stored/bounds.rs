//! What happens at the bounds of queues, filters and sessions.

use super::*;

#[test]
fn publications_without_room_are_held_until_there_is_some() {
    let mut w = World::new(StorageSettings {
        queued_bytes: Some(400),
        ..settings(1)
    });
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    w.subscribe(A, 3, "#");
    for payload in ["1", "2", "3"] {
        w.publish(A, qos_1("a", payload));
    }
    w.publish(A, qos_1("live", "4"));
    w.publish(A, qos_0("live", "5"));
    assert_eq!(w.take_payloads(A), ["1", "2", "5"], "only QoS 0 overtakes");
    assert_eq!(w.gauge(|g| g.publications_held), 2);
    assert_eq!(w.counter(|c| c.publishes_held_total), 2);
    w.acknowledge(A);
    assert_eq!(w.take_outcomes(A).len(), 2);
    let chunk = w.pull(A, "c", S0, Position(0), &["a"]);
    w.change(A, "c", epoch, vec![advance(S0, chunk.up_to)]);
    w.pass_ms_with(2_000, &[A]);
    assert_eq!(w.take_payloads(A), ["3", "4"]);
    w.acknowledge(A);
    assert_eq!(w.take_outcomes(A).len(), 3);
    assert_eq!((w.gauge(|g| g.publications_held), w.gauge(|g| g.held_bytes)), (0, 0));
}

#[test]
fn content_that_no_checkpoint_has_yet_is_bounded_however_much_may_be_queued() {
    const MIB: u64 = 1 << 20;
    let mut w = World::with_slow_disk(StorageSettings {
        disk_bytes: 100 << 30,
        queued_resident_bytes: 4 * MIB,
        ..settings(1)
    });
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    w.disconnect(A, "c", epoch, None);
    let behind = |w: &mut World, is_behind| w.disk.as_mut().unwrap().is_behind = is_behind;
    let large = qos_1("a", &"x".repeat(1 << 20));
    behind(&mut w, true);
    for _ in 0..70 {
        w.publish(A, large.clone());
    }
    let content = w.resident();
    assert!((62 * MIB..64 * MIB).contains(&content), "{content} bytes");
    let held = w.gauge(|g| g.publications_held);
    assert_eq!(w.gauge(|g| g.queued_messages) + held, 70);
    behind(&mut w, false);
    w.pass_ms_with(1_000, &[A]);
    assert_eq!((w.gauge(|g| g.publications_held), w.resident()), (0, 0));
    assert_eq!(w.gauge(|g| g.queued_messages), 70);

    // While no more is in memory than may stay there, what comes is taken, however large.
    behind(&mut w, true);
    w.publish(A, qos_1("a", &"x".repeat(65 << 20)));
    w.publish(A, large);
    assert_eq!(
        (w.gauge(|g| g.queued_messages), w.gauge(|g| g.publications_held)),
        (71, 1)
    );
}

#[test]
fn a_message_larger_than_the_room_is_queued_when_nothing_else_is() {
    let mut w = World::new(StorageSettings {
        queued_bytes: Some(10),
        ..settings(1)
    });
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    w.publish(A, qos_1("a", "1"));
    assert_eq!(w.gauge(|g| g.queued_messages), 1);
}

#[test]
fn filters_and_subscriptions_beyond_their_bounds_are_refused() {
    let mut w = World::new(StorageSettings {
        interest_bytes: 1_000,
        session_bytes: 3_000,
        ..settings(1)
    });
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    let ensure = EnsureDurable {
        request: RequestId(5),
        shard: S0,
        session_shard: S0,
        topic_filter: bytes(&"long".repeat(300)),
    };
    w.operate(A, Operation::EnsureDurable(ensure));
    assert_eq!(w.take_answers(A), [Answer::EnsureRefused { request: RequestId(5) }]);
    let long = subscription(&"long".repeat(600), Vec::new());
    let refused = Answer::UpdateRefused {
        request: RequestId(88),
        refusal: SessionRefusal::QuotaExceeded,
    };
    assert_eq!(w.update(A, "c", epoch, vec![long]), refused);
    assert_eq!(w.counter(|c| c.durable_filters_refused_total), 1);
    assert_eq!(w.counter(|c| c.session_updates_refused_total), 1);
}

#[test]
fn the_oldest_go_over_the_limits_of_a_queue() {
    let mut settings = settings(1);
    settings.queue_limits.messages = 2;
    settings.queue_limits.age_ms = 10_000;
    let mut w = World::new(settings);
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    for payload in ["1", "2", "3"] {
        w.publish(A, qos_1("a", payload));
    }
    assert_eq!(payloads(&w.pull(A, "c", S0, Position(0), &["a"]).messages), ["2", "3"]);
    w.pass_ms_with(6_000, &[A]);
    w.publish(A, qos_1("a", "4"));
    w.pass_ms_with(6_000, &[A]);
    assert_eq!(payloads(&w.pull(A, "c", S0, Position(0), &["a"]).messages), ["4"]);
    assert_eq!(w.counter(|c| c.queue_dropped_count_total), 2);
    assert_eq!(w.counter(|c| c.queue_dropped_age_total), 1);
}

#[test]
fn a_session_without_room_keeps_the_exchange_but_not_its_message() {
    let mut w = World::new(settings(1));
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    let sending = |id: u16, bytes: usize| SessionChange::Sending {
        packet_id: PacketId::new(id).unwrap(),
        shard: S0,
        position: Position(0),
        qos: QoS::ExactlyOnce,
        shared: None,
        message: Some(Box::new(message("a", &"x".repeat(bytes), QoS::ExactlyOnce))),
    };
    // More than fits into one answer goes without.
    w.change(A, "c", epoch, vec![sending(1, 1 << 20)]);
    w.change(A, "c", epoch, vec![sending(2, 1 << 20)]);
    w.change(A, "c", epoch, vec![sending(3, 10)]);
    w.disconnect(A, "c", epoch, None);
    let (_, session) = w.resume(A, 2, "c");
    let kept: Vec<_> = session
        .outbound
        .iter()
        .map(|e| (e.packet_id.get(), e.message.as_ref().map(|m| m.payload.len())))
        .collect();
    assert_eq!(kept, [(1, Some(1 << 20)), (2, None), (3, Some(10))]);
}
