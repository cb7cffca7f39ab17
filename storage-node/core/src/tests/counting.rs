//! What a node says it has done and holds: the figures behind its metrics, all of them at once.

use freshet_storage_contract::Position;

use super::*;
use crate::{LogRoom, ShardCounters, ShardGauges};

fn counters(w: &World) -> ShardCounters {
    w.core.stats().shards[0].counters
}

fn gauges(w: &World) -> ShardGauges {
    w.core.stats().shards[0].gauges
}

#[test]
fn each_publication_and_each_copy_is_counted_once() {
    let mut w = world();
    for proxy in [A, B] {
        w.attach(proxy);
        w.subscribe(proxy, 1, "a");
    }
    for message in [qos_0("a", "1"), qos_1("a", "2"), qos_1("nobody", "3")] {
        w.publish(A, message);
    }
    let expected = ShardCounters {
        publishes_total: 3,
        deliveries_total: 4,
        ..ShardCounters::default()
    };
    assert_eq!(counters(&w), expected);
    // Nobody waits for a silent proxy, and it has its copy all the same.
    w.acknowledge(A);
    w.pass_ms_with(1_500, &[A, B]);
    w.publish(A, qos_1("a", "4"));
    let expected = ShardCounters {
        publishes_total: 4,
        deliveries_total: 6,
        silences_total: 1,
        ..expected
    };
    assert_eq!(counters(&w), expected);
}

#[test]
fn what_is_queued_and_read_is_counted() {
    let mut w = world();
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    let starts = w.ensure(A, "c", "a");
    w.change(A, "c", epoch, vec![stored::subscription("a", starts)]);
    for payload in ["1", "2", "3"] {
        w.publish(A, qos_1("a", payload));
    }
    w.publish(A, qos_1("b", "for nobody"));
    assert_eq!(w.pull(A, "c", S0, Position(0), &["a"]).messages.len(), 3);
    w.disconnect(A, "c", epoch, None);
    w.resume(A, 2, "c");
    let expected = ShardCounters {
        publishes_total: 4,
        queued_total: 3,
        pulls_total: 1,
        pulled_messages_total: 3,
        attaches_total: 2,
        sessions_resumed_total: 1,
        session_updates_total: 1,
        ..ShardCounters::default()
    };
    assert_eq!(counters(&w), expected);
}

#[test]
fn what_limits_and_a_full_disk_refuse_or_drop_is_counted_by_its_cause() {
    let mut limited = settings(1);
    limited.queue_limits.bytes = 1;
    let mut w = World::new(limited);
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    let starts = w.ensure(A, "c", "a");
    w.change(A, "c", epoch, vec![stored::subscription("a", starts)]);
    for payload in ["1", "2"] {
        w.publish(A, qos_1("a", payload));
    }
    w.core.set_log_room(LogRoom::Refuse);
    w.publish(A, qos_1("a", "3"));
    w.publish(
        A,
        Message {
            retain: true,
            ..qos_0("b", "4")
        },
    );
    w.publish(A, qos_1("b", "5"));
    let (refused, taken) = (PublishOutcome::QuotaExceeded, PublishOutcome::NoMatchingSubscribers);
    let outcomes: Vec<_> = w.take_outcomes(A).into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(outcomes[2..], [refused, refused, taken]);
    let expected = ShardCounters {
        publishes_total: 5,
        queued_total: 2,
        queue_dropped_bytes_total: 2,
        disk_full_refused_total: 1,
        retained_refused_total: 1,
        attaches_total: 1,
        session_updates_total: 1,
        ..ShardCounters::default()
    };
    assert_eq!(counters(&w), expected);
    assert_eq!((gauges(&w).queued_rows, gauges(&w).queued_bytes), (0, 0));
}
