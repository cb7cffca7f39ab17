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
        // One of them says that the client knows of its session.
        session_updates_total: 2,
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
        // One of them says that the client knows of its session.
        session_updates_total: 2,
        ..ShardCounters::default()
    };
    assert_eq!(counters(&w), expected);
    assert_eq!((gauges(&w).queued_rows, gauges(&w).queued_bytes), (0, 0));
}

#[test]
fn what_a_shard_holds_is_shown_with_what_it_is_charged() {
    let mut w = world();
    w.attach(A);
    w.subscribe(A, 1, "a/+");
    w.subscribe(A, 2, "b");
    w.attach_session(A, 1, "c", None);
    let (kept, sent, queued) = (retained("r", "1"), qos_1("b", "22"), qos_1("q", "333"));
    let [kept_bytes, sent_bytes, queued_bytes] = [&kept, &sent, &queued].map(|m| m.charged_bytes() as u64);
    w.publish(A, kept);
    w.publish(A, sent);
    let expected = ShardGauges {
        filters_one_shard: 1,
        filters_all_shards: 1,
        // Without wildcards: that of the other is charged for all shards at once.
        interest_bytes: 1 + 160,
        sessions: 1,
        sessions_stored: 1,
        // Connected, and stored.
        session_bytes: (320 + 1) + (384 + 1),
        retained_messages: 1,
        retained_bytes: kept_bytes,
        ring_deliveries: 1,
        // With the one filter that it is sent for.
        ring_bytes: sent_bytes + 4,
        publications_waiting: 1,
        ..ShardGauges::default()
    };
    assert_eq!(gauges(&w), expected);
    assert_eq!(w.core.stats().common_filter_bytes, 3 + 2 * 176);
    w.acknowledge(A);
    let epoch = w.begin(A, 2, "s");
    let starts = w.ensure(A, "s", "q");
    w.change(A, "s", epoch, vec![stored::subscription("q", starts)]);
    w.disconnect(A, "s", epoch, None);
    w.publish(A, queued);
    let expected = ShardGauges {
        interest_bytes: expected.interest_bytes + (1 + 160) + 1 + 240,
        sessions_stored: 2,
        sessions_offline: 1,
        // The session, its subscription at a shard, its cursor, and the filter that it is the first to read.
        session_bytes: expected.session_bytes + (384 + 1) + (1 + 128 + 48) + 48 + (1 + 256),
        durable_filters: 1,
        queued_rows: 1,
        queued_messages: 1,
        queued_bytes: queued_bytes + 16,
        queued_resident_bytes: queued_bytes,
        ring_deliveries: 0,
        ring_bytes: 0,
        publications_waiting: 0,
        ..expected
    };
    assert_eq!(gauges(&w), expected);
}

#[test]
fn more_filters_than_can_be_remembered_as_missing_end_the_link() {
    let mut w = World::new(StorageSettings {
        interest_bytes: 0,
        ..settings(1)
    });
    w.attach(A);
    let changes = (0..=65_536).map(|id| InterestChange::Add {
        filter_id: FilterId(id),
        topic_filter: Bytes::from_static(b"a"),
    });
    w.change_interest(A, S0, changes.collect());
    assert!(matches!(w.closed(A), Some(LinkFault::TooMuchUnderWay { .. })));
    assert_eq!(counters(&w).filters_refused_total, 65_537);
}
