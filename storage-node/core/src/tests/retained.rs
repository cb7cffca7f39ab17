//! Retained messages as subscribers read them.

use freshet_storage_contract::{Position, ReadRetained, RetainedMessage};

use super::*;

/// A chunk as it arrived.
#[derive(Debug, PartialEq)]
struct Chunk {
    payloads: Vec<String>,
    up_to: Position,
    next: Option<Bytes>,
}

fn read(after: Option<Bytes>, up_to: Option<Position>, max_bytes: u32) -> ReadRetained {
    ReadRetained {
        request: RequestId(1),
        shard: S0,
        topic_filter: Bytes::from_static(b"a/#"),
        after,
        up_to,
        max_bytes,
    }
}

fn payloads(messages: &[RetainedMessage]) -> Vec<String> {
    messages
        .iter()
        .map(|m| String::from_utf8(m.message.payload.to_vec()).unwrap())
        .collect()
}

fn take_chunks(w: &mut World, proxy: u128) -> Vec<Chunk> {
    let chunk = |d| match d {
        Delivery::Retained {
            messages, up_to, next, ..
        } => Some(Chunk {
            payloads: payloads(&messages),
            up_to,
            next,
        }),
        _ => None,
    };
    w.take_deliveries(proxy).into_iter().filter_map(chunk).collect()
}

fn read_now(w: &mut World, proxy: u128, request: ReadRetained) -> Chunk {
    w.operate(proxy, Operation::ReadRetained(request));
    let mut chunks = take_chunks(w, proxy);
    assert_eq!(chunks.len(), 1);
    chunks.remove(0)
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.1-5", "3.1.1:3.3.1-5"))]
fn a_retained_message_is_delivered_live_and_read_later() {
    let mut w = world();
    w.attach(A);
    w.subscribe(A, 1, "a/b");
    w.publish(A, retained("a/b", "x"));
    assert_eq!(w.take_payloads(A), ["x"]);
    let chunk = read_now(&mut w, A, read(None, None, 1_000));
    assert_eq!((chunk.payloads, chunk.next), (vec!["x".to_owned()], None));
    assert_eq!(w.core.stats().shards[0].counters.retained_reads_total, 1);
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.1-6", "5.0:3.3.1-7", "3.1.1:3.3.1-10", "3.1.1:3.3.1-11"))]
fn an_empty_payload_is_delivered_and_deletes() {
    let mut w = world();
    w.attach(A);
    w.subscribe(A, 1, "a/b");
    w.publish(A, retained("a/b", "x"));
    w.publish(A, retained("a/b", ""));
    assert_eq!(w.take_payloads(A), ["x", ""]);
    assert_eq!(w.core.stats().shards[0].gauges.retained_messages, 0);
}

#[test]
fn beyond_the_limit_nothing_is_stored_or_delivered_and_the_publisher_is_told() {
    let mut limited = settings(4);
    limited.retained_limits.messages = 2;
    let mut w = World::new(limited);
    w.attach(A);
    w.subscribe(A, 1, "#");
    let outcome = |w: &mut World, message| {
        let (shard, seq) = w.publish(A, message);
        w.acknowledge(A);
        let outcomes = std::mem::take(&mut w.proxies.get_mut(&A).unwrap().shards.get_mut(&shard).unwrap().outcomes);
        assert_eq!(outcomes.last().map(|(s, _)| *s), Some(seq));
        outcomes.last().unwrap().1
    };
    assert_eq!(outcome(&mut w, retained("a/1", "x")), PublishOutcome::Delivered);
    assert_eq!(outcome(&mut w, retained("a/2", "x")), PublishOutcome::Delivered);
    w.take_deliveries(A);
    assert_eq!(outcome(&mut w, retained("a/3", "x")), PublishOutcome::QuotaExceeded);
    assert_eq!(w.take_payloads(A), Vec::<String>::new());
    assert_eq!(
        outcome(&mut w, retained("a/2", "y")),
        PublishOutcome::Delivered,
        "a replacement counts once"
    );
    assert_eq!(
        outcome(&mut w, retained("a/1", "")),
        PublishOutcome::Delivered,
        "deleting always works"
    );
    assert_eq!(outcome(&mut w, retained("a/3", "x")), PublishOutcome::Delivered);
    assert_eq!(
        outcome(&mut w, qos_1("a/4", "x")),
        PublishOutcome::Delivered,
        "the limit is on retained ones"
    );
}

#[test]
fn the_limit_holds_within_a_batch() {
    let mut limited = settings(1);
    limited.retained_limits.messages = 2;
    let mut w = World::new(limited);
    w.attach(A);
    let batch = ["a/1", "a/2", "a/3"].map(|topic| retained(topic, "x")).to_vec();
    w.publish_as(A, S0, 1, batch);
    let outcomes: Vec<_> = w.take_outcomes(A).into_iter().map(|(_, o)| o).collect();
    let none = PublishOutcome::NoMatchingSubscribers;
    assert_eq!(outcomes, [none, none, PublishOutcome::QuotaExceeded]);
}

#[test]
fn limits_can_be_changed_while_the_node_runs() {
    let mut limited = settings(1);
    limited.retained_limits.messages = 1;
    let mut w = World::new(limited);
    w.attach(A);
    w.publish(A, retained("a/1", "x"));
    let mut config = StorageConfig::default();
    config.retained_limits.messages = 2;
    w.core.reload(&config);
    w.publish(A, retained("a/2", "x"));
    assert_eq!(w.core.stats().shards[0].gauges.retained_messages, 2);
}

#[test]
fn a_read_in_chunks_never_shows_older_after_newer() {
    let mut w = world();
    w.attach(A);
    for n in 1..=3 {
        w.publish(A, retained(&format!("a/{n}"), "old"));
    }
    w.subscribe(A, 1, "a/#");
    let first = read_now(&mut w, A, read(None, None, 1));
    assert_eq!(first.payloads, ["old"]);
    assert_eq!(first.next, Some(Bytes::from_static(b"a/1")));
    // The reader gets these live; no later chunk brings what they replace, or them once more.
    w.publish(A, retained("a/3", "new"));
    assert_eq!(w.take_payloads(A), ["new"]);
    let second = read_now(&mut w, A, read(first.next, Some(first.up_to), 1_000_000));
    assert_eq!((second.payloads, second.next), (vec!["old".to_owned()], None));
}

#[test]
fn a_message_stored_while_the_reader_waits_is_seen_either_live_or_in_the_chunk() {
    let mut w = world();
    w.try_attach(A).unwrap();
    w.attach(B);
    w.subscribe(A, 1, "a/#");
    w.publish(B, retained("a/1", "1"));
    w.operate(A, Operation::ReadRetained(read(None, None, 1_000)));
    w.publish(B, retained("a/1", "2"));
    w.credit(A, 1 << 20);
    let seen: Vec<_> = w
        .take_deliveries(A)
        .into_iter()
        .flat_map(|d| match d {
            Delivery::Message { message, .. } => vec![format!("live {:?}", message.payload)],
            Delivery::Retained { messages, .. } => payloads(&messages),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(seen, ["live b\"1\"", "1", "live b\"2\""]);
}

#[test]
fn a_retained_message_expires() {
    let mut w = world();
    w.attach(A);
    w.publish(
        A,
        Message {
            message_expiry_interval_s: Some(2),
            ..retained("a/1", "x")
        },
    );
    w.pass_ms_with(1_500, &[A]);
    w.operate(A, Operation::ReadRetained(read(None, None, 1_000)));
    let Some(Delivery::Retained { messages, .. }) = w.take_deliveries(A).pop() else {
        panic!()
    };
    assert_eq!(messages[0].message.message_expiry_interval_s, Some(1));
    w.acknowledge(A);
    w.pass_ms_with(500, &[A]);
    let stats = w.core.stats();
    assert_eq!(
        (
            stats.shards[0].gauges.retained_messages,
            stats.shards[0].counters.retained_expired_total
        ),
        (0, 1)
    );
}

#[test]
fn reads_wait_for_room_in_the_ring() {
    let mut w = World::new(StorageSettings {
        ring_bytes: 1_000,
        ..settings(1)
    });
    w.attach(A);
    w.publish(A, retained("a/1", &"x".repeat(600)));
    for _ in 0..5 {
        w.operate(A, Operation::ReadRetained(read(None, None, 1_000)));
    }
    assert_eq!(take_chunks(&mut w, A).len(), 2);
    assert_eq!(w.core.stats().shards[0].gauges.reads_waiting, 3);
    w.acknowledge(A);
    assert_eq!(take_chunks(&mut w, A).len(), 2);
    w.acknowledge(A);
    assert_eq!(take_chunks(&mut w, A).len(), 1);
}

#[test]
fn a_read_waits_while_a_filter_of_its_proxy_does_not_act() {
    let mut w = World::new(StorageSettings {
        interest_bytes: 0,
        ..settings(1)
    });
    w.attach(A);
    w.publish(A, retained("a/1", "x"));
    let add = InterestChange::Add {
        filter_id: FilterId(1),
        topic_filter: Bytes::from_static(b"a/#"),
    };
    w.change_interest(A, S0, vec![add]);
    w.operate(A, Operation::ReadRetained(read(None, None, 1_000)));
    assert_eq!(w.take_deliveries(A), []);
    w.change_interest(A, S0, vec![InterestChange::Remove { filter_id: FilterId(1) }]);
    assert!(matches!(
        w.take_deliveries(A)[..],
        [Delivery::Marker { .. }, Delivery::Retained { .. }]
    ));
}

#[test]
fn a_malformed_filter_reads_nothing() {
    let mut w = world();
    w.attach(A);
    w.publish(A, retained("a/1", "x"));
    for filter in ["", "a#", "#/a", "+a"] {
        let topic_filter = Bytes::copy_from_slice(filter.as_bytes());
        let chunk = read_now(
            &mut w,
            A,
            ReadRetained {
                topic_filter,
                ..read(None, None, 1_000)
            },
        );
        assert_eq!((chunk.payloads.len(), chunk.next), (0, None), "{filter}");
    }
}

#[test]
fn retained_messages_survive_a_raised_term() {
    let mut w = world();
    w.attach(A);
    w.publish(A, retained("a/1", "x"));
    w.proxies.get_mut(&A).unwrap().term = Term(5_000);
    w.attach(A);
    assert_eq!(read_now(&mut w, A, read(None, None, 1_000)).payloads, ["x"]);
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.1-8", "3.1.1:3.3.1-12"))]
fn a_message_without_retain_leaves_the_retained_one_alone() {
    let mut w = world();
    w.attach(A);
    w.publish(A, retained("a/1", "kept"));
    w.publish(A, qos_1("a/1", "passing"));
    w.publish(A, qos_0("a/1", ""));
    w.publish(A, qos_1("a/2", "passing"));
    assert_eq!(read_now(&mut w, A, read(None, None, 1_000)).payloads, ["kept"]);
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.1-5", "3.1.1:3.3.1-7"))]
fn a_retained_message_of_qos_0_takes_the_place_of_the_one_before() {
    let mut w = world();
    w.attach(A);
    w.publish(A, retained("a/1", "old"));
    let new = Message {
        qos: QoS::AtMostOnce,
        ..retained("a/1", "new")
    };
    w.publish(A, new);
    assert_eq!(read_now(&mut w, A, read(None, None, 1_000)).payloads, ["new"]);
}

#[test]
#[cfg_attr(false, shows("3.1.1:3.1.2-7"))]
fn retained_messages_outlive_the_session_of_their_publisher() {
    let mut w = world();
    w.attach(A);
    let epoch = w.attach_session(A, 1, "publisher", None);
    w.publish(A, retained("a/1", "kept"));
    w.detach_session(A, "publisher", epoch, DetachReason::ByClient);
    assert_eq!(w.core.stats().shards[0].gauges.sessions, 0);
    assert_eq!(read_now(&mut w, A, read(None, None, 1_000)).payloads, ["kept"]);
}
