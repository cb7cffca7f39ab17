//! QoS 2 publications of sessions: taken once however often they come, until they are released.

use freshet_storage_contract::ReadRetained;

use super::*;

fn of(generation: SessionEpoch, packet_id: u16) -> ExactlyOnce {
    ExactlyOnce {
        client_id: bytes("p"),
        generation,
        packet_id: PacketId::new(packet_id).unwrap(),
        epoch: None,
    }
}

fn qos_2(payload: &str, of: ExactlyOnce) -> Message {
    Message {
        exactly_once: Some(Box::new(of)),
        ..message("a", payload, QoS::ExactlyOnce)
    }
}

/// Whether the shard knew the exchange.
fn release(w: &mut World, proxy: u128, shard: ShardId, of: ExactlyOnce) -> bool {
    let request = RequestId(6);
    w.operate(proxy, Operation::Release(Release { request, shard, of }));
    match w.take_answers(proxy)[..] {
        [
            Answer::Released {
                request: answered,
                found,
            },
        ] => {
            assert_eq!(answered, request);
            found
        }
        ref other => panic!("{other:?}"),
    }
}

#[test]
#[cfg_attr(false, shows("5.0:4.3.3-10", "5.0:4.3.3-12"))]
fn a_publication_that_a_session_repeats_is_routed_once() {
    let mut w = World::new(settings(4));
    w.attach(A);
    w.attach(B);
    w.subscribe(A, 1, "a");
    let generation = w.begin(A, 1, "p");
    let (shard, _) = w.publish(A, qos_2("x", of(generation, 5)));
    // Through another proxy, as after a takeover.
    let (_, seq) = w.publish(B, qos_2("x", of(generation, 5)));
    assert_eq!(w.take_outcomes(B), [(seq, PublishOutcome::Delivered)]);
    assert_eq!(w.take_payloads(A), ["x"]);
    assert_eq!(w.counter(|c| c.publishes_known_total), 1);
    assert!(release(&mut w, B, shard, of(generation, 5)));
    assert!(!release(&mut w, B, shard, of(generation, 5)), "it was released before");
    w.publish(B, qos_2("next", of(generation, 5)));
    assert_eq!(
        w.take_payloads(A),
        ["next"],
        "the packet id stands for another message now"
    );
}

#[test]
fn a_message_delivered_to_proxies_does_not_say_which_exchange_it_was() {
    let mut w = world();
    w.attach(A);
    w.subscribe(A, 1, "a");
    let generation = w.begin(A, 1, "p");
    w.publish(A, qos_2("x", of(generation, 5)));
    match &w.take_deliveries(A)[..] {
        [Delivery::Message { message, .. }] => assert_eq!(message.exactly_once, None),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_an_earlier_connection_published_acts_no_more_once_a_later_one_goes_on_with_it() {
    let mut w = World::new(settings(4));
    w.attach(A);
    w.attach(B);
    w.subscribe(A, 1, "a");
    let generation = w.begin(A, 1, "p");
    let later = SessionEpoch {
        counter: generation.counter + 1,
        ..generation
    };
    let by = |epoch| ExactlyOnce {
        epoch: Some(epoch),
        ..of(generation, 5)
    };
    let (shard, _) = w.publish(B, qos_2("x", by(later)));
    assert!(release(&mut w, B, shard, by(later)));
    // The first connection's proxy could not be reached until now.
    let (_, seq) = w.publish(A, qos_2("x", by(generation)));
    assert_eq!(w.take_outcomes(A), [(seq, PublishOutcome::Delivered)]);
    w.publish(B, qos_2("next", by(later)));
    assert_eq!(w.take_payloads(A), ["x", "next"]);
}

#[test]
fn some_time_after_the_end_of_a_session_what_was_published_in_it_is_forgotten() {
    let mut w = World::new(settings(4));
    w.attach(A);
    let generation = w.begin(A, 1, "p");
    w.publish(A, qos_2("x", of(generation, 5)));
    w.disconnect(A, "p", generation, Some(0));
    assert_eq!(w.gauge(|g| g.packets), 1);
    // Late, from a session that has ended: its session shard says so at once.
    w.publish(A, qos_2("late", of(generation, 6)));
    assert_eq!(w.gauge(|g| g.packets), 2);
    w.pass_ms_with(70_000, &[A]);
    assert_eq!((w.gauge(|g| g.packets), w.gauge(|g| g.queued_bytes)), (0, 0));
}

#[test]
fn what_a_proxy_sends_again_after_its_publisher_began_anew_is_routed_once() {
    let mut w = World::new(settings(4));
    w.attach(A);
    w.attach(B);
    w.subscribe(B, 1, "a");
    let by = |epoch, packet_id| ExactlyOnce {
        epoch: Some(epoch),
        ..of(epoch, packet_id)
    };
    let first = w.begin(A, 1, "p");
    w.publish(A, qos_2("x", by(first, 5)));
    assert_eq!(w.take_payloads(B), ["x"]);
    w.acknowledge(B);
    // The client begins anew, and uses the same packet id; then a proxy that was given up sends again what it had.
    w.disconnect(A, "p", first, Some(0));
    let second = w.begin(B, 2, "p");
    w.publish(B, qos_2("y", by(second, 5)));
    let (_, seq) = w.publish(A, qos_2("x", by(first, 5)));
    assert_eq!(w.take_outcomes(A).last(), Some(&(seq, PublishOutcome::Delivered)));
    assert_eq!(w.take_payloads(B), ["y"]);
}

/// Publishes as a proxy's process that numbers it.
fn publish_numbered(w: &mut World, proxy: u128, seq: u64, message: Message, (first, oldest): (u64, u64)) {
    w.operate(
        proxy,
        Operation::Publish(PublishBatch {
            shard: S0,
            first: PublishSeq(seq),
            messages: vec![message.into()],
            lasting: Some(LastingNumbers {
                origin: IncarnationId(A),
                first,
                oldest,
            }),
        }),
    );
}

/// Of a session that ends with its connection.
fn qos_2_of_connection(payload: &str) -> Message {
    message("a", payload, QoS::ExactlyOnce)
}

#[test]
fn what_a_proxy_sends_again_when_its_lease_has_ended_is_queued_once() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let epoch = w.begin(B, 1, "s");
    let starts = w.subscribe_stored(B, "s", epoch, "a");
    publish_numbered(&mut w, A, 1, qos_2_of_connection("x"), (7, 7));
    assert_eq!(w.take_outcomes(A), [(1, PublishOutcome::Delivered)]);
    w.pass_ms_with(8_000, &[B]);
    // The same process: it goes on as another incarnation, and has not heard the answer.
    w.attach(C);
    publish_numbered(&mut w, C, 1, qos_2_of_connection("x"), (7, 7));
    publish_numbered(&mut w, C, 2, qos_2_of_connection("y"), (8, 7));
    let delivered = PublishOutcome::Delivered;
    assert_eq!(w.take_outcomes(C), [(1, delivered), (2, delivered)]);
    assert_eq!(w.counter(|c| c.publishes_known_total), 1);
    let chunk = w.pull(B, "s", S0, starts[0].position, &["a"]);
    assert_eq!(payloads(&chunk.messages), ["x", "y"]);
}

#[test]
fn what_a_proxy_sends_again_does_not_take_the_place_of_what_was_retained_behind_it() {
    let mut w = world();
    w.attach(A);
    let retained = |payload: &str, qos| Message {
        retain: true,
        ..message("a", payload, qos)
    };
    let generation = w.begin(A, 1, "p");
    let last = Message {
        exactly_once: Some(Box::new(of(generation, 5))),
        ..retained("last", QoS::ExactlyOnce)
    };
    publish_numbered(&mut w, A, 1, retained("first", QoS::AtLeastOnce), (1, 1));
    publish_numbered(&mut w, A, 2, last.clone(), (2, 1));
    w.pass_ms_with(8_000, &[]);
    w.attach(C);
    publish_numbered(&mut w, C, 1, retained("first", QoS::AtLeastOnce), (1, 1));
    publish_numbered(&mut w, C, 2, last, (2, 1));
    assert_eq!(w.counter(|c| c.publishes_known_total), 2);
    w.take_deliveries(C);
    w.operate(
        C,
        Operation::ReadRetained(ReadRetained {
            request: RequestId(3),
            shard: S0,
            topic_filter: bytes("a"),
            after: None,
            up_to: None,
            max_bytes: 1_000,
        }),
    );
    match &w.take_deliveries(C)[..] {
        [Delivery::Retained { messages, .. }] => assert_eq!(messages[0].message.payload, "last"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_number_is_forgotten_when_its_proxy_has_the_answer_or_says_nothing_more() {
    let mut w = world();
    w.attach(A);
    let epoch = w.begin(A, 1, "s");
    w.subscribe_stored(A, "s", epoch, "a");
    publish_numbered(&mut w, A, 1, qos_2_of_connection("x"), (1, 1));
    publish_numbered(&mut w, A, 2, qos_1("a", "y"), (2, 1));
    assert_eq!(w.gauge(|g| g.packets), 2);
    publish_numbered(&mut w, A, 3, qos_1("a", "z"), (3, 3));
    assert_eq!(w.gauge(|g| g.packets), 1);
    w.pass_ms_with(70_000, &[A]);
    assert_eq!(w.gauge(|g| g.packets), 0);
}

#[test]
fn what_is_written_down_for_nobody_needs_no_number() {
    let mut w = world();
    w.attach(A);
    w.subscribe(A, 1, "a");
    publish_numbered(&mut w, A, 1, qos_2_of_connection("x"), (1, 1));
    assert_eq!(w.take_payloads(A), ["x"]);
    assert_eq!((w.gauge(|g| g.packets), w.gauge(|g| g.queued_bytes)), (0, 0));
}
