//! What bounds on all queues together let go: by age, and by what the disk is to have.

use freshet_config::{QueueLimits, RetentionConfig};

use super::*;
use crate::Restore;

/// Of this 1 % is room for three messages of one byte, with a row each.
fn disk_bytes() -> u64 {
    (charged() * 3 + charged() / 2) * 100
}

/// What a message that [`stored`] has queued is charged with.
fn charged() -> u64 {
    let mut w = stored(settings(1));
    w.publish(A, qos_1("a", "1"));
    w.gauge(|g| g.queued_bytes)
}

fn max_age(max_age_ms: u64) -> RetentionConfig {
    RetentionConfig {
        max_age_ms,
        ..RetentionConfig::default()
    }
}

fn one_percent() -> RetentionConfig {
    RetentionConfig {
        max_bytes_percent: 1,
        ..RetentionConfig::default()
    }
}

fn of(shards: u16, retention: RetentionConfig) -> StorageSettings {
    StorageSettings {
        retention,
        ..settings(shards)
    }
}

/// A configuration with this, by which nothing happens of itself.
fn changed(retention: RetentionConfig) -> StorageConfig {
    StorageConfig {
        retention,
        sys_interval_ms: 0,
        ..StorageConfig::default()
    }
}

/// A world with a session `c` that has the filters `a` and `b`.
fn stored(settings: StorageSettings) -> World {
    let mut w = World::new(settings);
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    w.subscribe_stored(A, "c", epoch, "b");
    w
}

impl World {
    /// Age of the oldest message at shard 0.
    fn oldest_ms(&self) -> Option<u128> {
        let oldest = self.core.stats().shards[0].oldest_queued?;
        Some(oldest.age(self.now).as_millis())
    }

    /// What waits for `c`, in order of shards.
    fn waiting(&mut self) -> Vec<String> {
        let mut waiting = Vec::new();
        for shard in (0..self.placement.shards()).map(ShardId) {
            let chunk = self.pull(A, "c", shard, Position(0), &["a", "b"]);
            waiting.extend(payloads(&chunk.messages));
        }
        waiting
    }
}

#[test]
fn messages_that_are_too_old_go_and_newer_ones_stay() {
    let mut w = stored(of(1, max_age(10_000)));
    w.publish(A, qos_1("a", "1"));
    w.publish(A, retained("b", "kept"));
    w.pass_ms_with(6_000, &[A]);
    w.publish(A, qos_1("a", "2"));
    w.pass_ms_with(3_900, &[A]);
    assert_eq!(w.waiting(), ["1", "kept", "2"]);
    w.pass_ms_with(200, &[A]);
    assert_eq!(w.waiting(), ["2"]);
    assert_eq!(w.counter(|c| c.retention_dropped_age_total), 2);
    assert_eq!(w.counter(|c| c.queue_dropped_age_total), 0);
    assert_eq!(
        (w.gauge(|g| g.retained_messages), w.gauge(|g| g.sessions_stored)),
        (1, 1),
        "what is retained, and sessions, stay"
    );
    w.pass_ms_with(6_000, &[A]);
    assert_eq!((w.gauge(|g| g.queued_messages), w.gauge(|g| g.queued_rows)), (0, 0));
    assert_eq!(w.counter(|c| c.retention_dropped_age_total), 3);
}

#[test]
fn each_shard_says_for_how_long_its_oldest_message_has_been_queued() {
    let mut w = world();
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    assert_eq!(w.oldest_ms(), None);
    w.publish(A, qos_1("a", "1"));
    assert_eq!(w.oldest_ms(), Some(0));
    w.pass_ms_with(3_000, &[A]);
    w.publish(A, qos_1("a", "2"));
    assert_eq!(w.oldest_ms(), Some(3_000));
    let chunk = w.pull(A, "c", S0, Position(0), &["a"]);
    for (message, expected) in chunk.messages.iter().zip([Some(2_000), None]) {
        w.change(A, "c", epoch, vec![advance(S0, message.position)]);
        w.pass_ms_with(2_000, &[A]);
        assert_eq!(w.oldest_ms(), expected, "what is acknowledged is queued no more");
    }
}

#[test]
fn the_shorter_age_acts_and_counts_as_its_own() {
    for (queued_age_ms, max_age_ms, expected) in [(2_000, 9_000, (1, 0)), (9_000, 2_000, (0, 1))] {
        let queue_limits = QueueLimits {
            age_ms: queued_age_ms,
            ..QueueLimits::default()
        };
        let mut w = stored(StorageSettings {
            queue_limits,
            ..of(1, max_age(max_age_ms))
        });
        w.publish(A, qos_1("a", "1"));
        w.pass_ms_with(1_900, &[A]);
        assert_eq!(w.waiting(), ["1"]);
        w.pass_ms_with(20_000, &[A]);
        let by_age = w.counter(|c| c.queue_dropped_age_total);
        assert_eq!((by_age, w.counter(|c| c.retention_dropped_age_total)), expected);
    }
}

#[test]
fn an_age_that_is_set_while_the_node_runs_acts_where_nothing_else_happens() {
    let mut w = stored(settings(1));
    w.publish(A, qos_1("a", "1"));
    // Whatever was still due at the shard has been by then.
    w.pass_ms_with(20_000, &[A]);
    w.core.reload(&changed(max_age(30_000)));
    w.pass_ms_with(9_900, &[A]);
    assert_eq!(w.gauge(|g| g.queued_messages), 1);
    w.pass_ms_with(200, &[A]);
    assert_eq!(w.gauge(|g| g.queued_messages), 0);
}

#[test]
fn over_its_part_of_the_disk_the_oldest_messages_of_all_queues_go() {
    let mut w = stored(of(8, one_percent()));
    assert_ne!(w.shards_of("a"), w.shards_of("b"), "the two are on different shards");
    w.core.set_disk_bytes(disk_bytes());
    for (topic, payload) in [("a", "1"), ("b", "2"), ("b", "3"), ("a", "4"), ("b", "5"), ("a", "6")] {
        w.publish(A, qos_1(topic, payload));
        w.pass_ms(10);
    }
    let mut waiting = w.waiting();
    waiting.sort();
    assert_eq!(waiting, ["4", "5", "6"]);
    assert_eq!(w.counter(|c| c.retention_dropped_bytes_total), 3);
    assert_eq!(w.counter(|c| c.retention_dropped_age_total), 0);
}

#[test]
fn without_a_disk_or_without_a_part_of_it_nothing_goes() {
    for (retention, disk_bytes) in [(one_percent(), 0), (max_age(0), disk_bytes())] {
        let mut w = stored(of(1, retention));
        w.core.set_disk_bytes(disk_bytes);
        for payload in ["1", "2", "3", "4", "5"] {
            w.publish(A, qos_1("a", payload));
        }
        w.pass_ms_with(100_000, &[A]);
        assert_eq!(w.waiting().len(), 5);
    }
}

#[test]
fn a_part_of_the_disk_that_is_set_while_the_node_runs_acts_at_once() {
    let mut w = stored(settings(1));
    w.core.set_disk_bytes(disk_bytes());
    for payload in ["1", "2", "3", "4", "5"] {
        w.publish(A, qos_1("a", payload));
    }
    w.core.reload(&changed(one_percent()));
    w.pass_ms(1);
    assert_eq!(w.waiting(), ["3", "4", "5"]);
    w.core.set_disk_bytes(disk_bytes() * 2);
    w.publish(A, qos_1("a", "6"));
    w.pass_ms(1);
    assert_eq!(
        w.waiting(),
        ["3", "4", "5", "6"],
        "a disk that has grown has room for more"
    );
}

#[test]
fn what_is_on_its_way_out_is_not_made_up_for_twice() {
    let mut w = durable(of(1, one_percent()));
    for payload in ["1", "2", "3", "4", "5"] {
        w.publish(A, qos_1("a", payload));
        flush(&mut w);
    }
    w.core.set_disk_bytes(disk_bytes());
    w.core.tick(w.now, &mut w.out);
    let entries: Vec<_> = w.core.take_records().collect();
    assert_eq!(entries.len(), 1);
    assert_eq!(w.core.next_deadline().filter(|due| *due <= w.now), None);
    w.core.tick(w.now, &mut w.out);
    assert_eq!(w.core.take_records().count(), 0);
    assert_eq!(w.gauge(|g| g.queued_messages), 5, "it is not flushed");
    w.core.flushed(&[(S0, entries[0].1)], w.now, &mut w.out);
    assert_eq!(w.gauge(|g| g.queued_messages), 3);
    assert_eq!(w.counter(|c| c.retention_dropped_bytes_total), 2);
}

/// A world whose log is on a disk, with a durable filter `a`.
fn durable(settings: StorageSettings) -> World {
    let mut w = World::new(settings.clone());
    w.core = Restore::new(settings).unwrap().finish(TERM, w.now);
    flush(&mut w);
    w.attach(A);
    let ensure = EnsureDurable {
        request: RequestId(5),
        shard: S0,
        session_shard: S0,
        topic_filter: bytes("a"),
    };
    w.operate(A, Operation::EnsureDurable(ensure));
    flush(&mut w);
    w
}

fn flush(w: &mut World) {
    while let Some((shard, position, _)) = w.core.take_records().last() {
        w.core.flushed(&[(shard, position)], w.now, &mut w.out);
        w.collect();
    }
}
