//! Durable filters, rows, bytes and limits by themselves.

use freshet_storage_contract::{FilterId, Pull, PullFilter, RequestId};

use super::*;
use crate::state::tests::message;

const S: ShardId = ShardId(3);
const NO_LIMITS: QueueLimits = QueueLimits {
    messages: 0,
    bytes: 0,
    age_ms: 0,
};

fn queues(filters: &[&'static str]) -> Queues {
    let mut queues = Queues::new(KeyedHash::new(5));
    for (position, filter) in (1..).map(Position).zip(filters) {
        queues.ensure(S, &name(filter), position, 0);
        queues.confirm(S, &name(filter), position);
    }
    queues
}

fn name(filter: &'static str) -> Bytes {
    Bytes::from_static(filter.as_bytes())
}

fn pull_of(filters: &[(&'static str, u64)], after: u64, max_messages: u32) -> Pull {
    Pull {
        request: RequestId(1),
        shard: ShardId(0),
        session_shard: S,
        after: Position(after),
        filters: (1..)
            .zip(filters)
            .map(|(id, (filter, start))| PullFilter {
                filter_id: FilterId(id),
                topic_filter: name(filter),
                start: Position(*start),
            })
            .collect(),
        max_messages,
        max_bytes: u32::MAX,
    }
}

impl Queues {
    fn publish(&mut self, position: u64, topic: &str, limits: QueueLimits, log_time_ms: u64) -> (Taken, Dropped) {
        let matched = self.find(topic.as_bytes());
        self.push(Position(position), &message(topic, "x"), &matched, limits, log_time_ms)
    }

    /// Positions and filters that a pull of all `filters` finds, and where more begins.
    fn pull_all(&self, filters: &[(&'static str, u64)], after: u64, max_messages: u32) -> (Vec<(u64, Vec<u32>)>, bool) {
        let pulled = self.pull(&pull_of(filters, after, max_messages), usize::MAX, 0);
        let found = pulled.messages.into_iter().map(|m| {
            let ids = m.filter_ids.iter().map(|id| id.0).collect();
            (m.position.0, ids)
        });
        (found.collect(), pulled.more_behind.is_none())
    }
}

#[test]
fn a_message_of_overlapping_filters_is_kept_once_and_pulled_once_with_all_of_them() {
    let mut q = queues(&["a/+", "a/b", "c"]);
    for (position, topic) in [(10, "a/b"), (11, "a/x"), (12, "c"), (13, "d"), (14, "a/b")] {
        q.publish(position, topic, NO_LIMITS, 0);
    }
    assert_eq!((q.messages(), q.rows(), q.len()), (4, 6, 3));
    let (found, caught_up) = q.pull_all(&[("a/+", 0), ("a/b", 0)], 0, 100);
    assert_eq!(found, [(10, vec![1, 2]), (11, vec![1]), (14, vec![1, 2])]);
    assert!(caught_up);
}

#[test]
fn a_pull_begins_behind_its_position_and_each_filter_behind_its_start() {
    let mut q = queues(&["a/+", "a/b"]);
    for position in 10..15 {
        q.publish(position, "a/b", NO_LIMITS, 0);
    }
    let (found, _) = q.pull_all(&[("a/+", 0), ("a/b", 12)], 10, 100);
    assert_eq!(
        found,
        [(11, vec![1]), (12, vec![1]), (13, vec![1, 2]), (14, vec![1, 2])]
    );
}

#[test]
fn a_pull_goes_on_where_it_ended() {
    let mut q = queues(&["#"]);
    for position in 10..15 {
        q.publish(position, "a", NO_LIMITS, 0);
    }
    let (first, caught_up) = q.pull_all(&[("#", 0)], 0, 3);
    assert_eq!((first.len(), caught_up), (3, false));
    let (rest, caught_up) = q.pull_all(&[("#", 0)], first[2].0, 3);
    assert_eq!(rest.iter().map(|(p, _)| *p).collect::<Vec<_>>(), [13, 14]);
    assert!(caught_up);
}

#[test]
fn bytes_go_with_the_last_queue_that_names_them() {
    let mut q = queues(&["a/+", "a/b"]);
    q.publish(10, "a/b", NO_LIMITS, 0);
    q.trim(S, &[(name("a/+"), Position(10))]);
    assert_eq!((q.messages(), q.rows()), (1, 1));
    q.trim(S, &[(name("a/b"), Position(9))]);
    assert_eq!((q.messages(), q.rows()), (1, 1));
    q.drop_filter(S, &name("a/b"), Position(2), 0);
    assert_eq!((q.messages(), q.rows(), q.bytes()), (0, 0, 0));
    q.drop_filter(S, &name("a/+"), Position(1), 0);
    assert_eq!((q.len(), q.filter_bytes()), (0, 0));
}

#[test]
fn over_a_limit_the_oldest_go_and_are_counted() {
    let mut q = queues(&["a", "+"]);
    let two = QueueLimits {
        messages: 2,
        ..NO_LIMITS
    };
    q.publish(10, "a", two, 0);
    q.publish(11, "a", two, 0);
    let (_, dropped) = q.publish(12, "a", two, 0);
    assert_eq!((dropped.by_count, dropped.by_bytes), (2, 0), "one of each queue");
    assert_eq!(q.pull_all(&[("a", 0)], 0, 9).0.len(), 2);
    assert_eq!(q.messages(), 2);
    let one = message("a", "x").charged_bytes() as u64;
    let bytes = QueueLimits {
        bytes: one + 1,
        ..NO_LIMITS
    };
    let (_, dropped) = q.publish(13, "a", bytes, 0);
    assert_eq!((dropped.by_count, dropped.by_bytes), (0, 4));
    let none = QueueLimits {
        bytes: one - 1,
        ..NO_LIMITS
    };
    q.publish(14, "a", none, 0);
    assert_eq!((q.messages(), q.rows(), q.bytes()), (0, 0, 0));
}

#[test]
fn a_filter_that_no_session_takes_goes_after_a_minute() {
    let mut q = Queues::new(KeyedHash::new(5));
    q.ensure(S, &name("a"), Position(5), 1_000);
    assert_eq!(q.next_unconfirmed(), Some(61_000));
    q.ensure(S, &name("a"), Position(6), 2_000);
    assert_eq!(q.expire_filters(61_999, 9), 0);
    assert_eq!(q.expire_filters(62_000, 9), 1);
    assert_eq!((q.len(), q.next_unconfirmed()), (0, None));
    q.ensure(S, &name("a"), Position(7), 0);
    q.confirm(S, &name("a"), Position(7));
    assert_eq!(q.next_unconfirmed(), None);
}

#[test]
fn the_end_of_the_last_reader_leaves_a_filter_to_who_has_just_asked_for_it() {
    let mut q = queues(&["a"]);
    q.ensure(S, &name("a"), Position(9), 500);
    q.drop_filter(S, &name("a"), Position(1), 1_000);
    assert_eq!(q.len(), 1, "the request at 9 is not known to who dropped it");
    assert!(q.publish(10, "a", NO_LIMITS, 1_000).0.durable);
    assert_eq!(q.expire_filters(61_000, 9), 1);
    assert_eq!(q.messages(), 0);
}

#[test]
fn expired_messages_and_old_ones_leave_every_queue() {
    let mut q = queues(&["a", "+"]);
    let mut brief = message("a", "x");
    brief.message_expiry_interval_s = Some(1);
    let matched = q.find(b"a");
    q.publish(10, "a", NO_LIMITS, 0);
    q.push(Position(11), &brief, &matched, NO_LIMITS, 100);
    q.publish(12, "a", NO_LIMITS, 200);
    assert_eq!(q.next_expiry(), Some(1_100));
    assert_eq!(q.expire_messages(1_099, 9), 0);
    assert_eq!(q.expire_messages(1_100, 9), 2);
    assert_eq!(q.pull_all(&[("a", 0)], 0, 9).0.len(), 2);
    assert_eq!(q.oldest_came(), Some(0));
    assert_eq!(q.drop_older(199, 9), 2);
    assert_eq!(q.oldest_came(), Some(200));
    assert_eq!((q.messages(), q.rows()), (1, 2));
}

#[test]
fn what_goes_up_to_a_position_leaves_every_queue_and_nothing_behind_it_goes() {
    let mut q = queues(&["a", "+"]);
    for position in 10..14 {
        q.publish(position, "a", NO_LIMITS, position * 100);
    }
    q.trim(S, &[(name("a"), Position(10))]);
    let one = message("a", "x").charged_bytes() as u64;
    let waiting: Vec<_> = q.oldest_first().map(|w| (w.position.0, w.came_ms, w.bytes)).collect();
    assert_eq!(
        waiting,
        [
            (10, 1_000, one + ROW_BYTES),
            (11, 1_100, one + 2 * ROW_BYTES),
            (12, 1_200, one + 2 * ROW_BYTES),
            (13, 1_300, one + 2 * ROW_BYTES),
        ]
    );
    assert_eq!(
        q.waiting_bytes(),
        waiting.iter().map(|(_, _, bytes)| bytes).sum::<u64>()
    );
    assert_eq!(q.drop_through(Position(9)), 0);
    assert_eq!(q.drop_through(Position(12)), 5);
    assert_eq!((q.messages(), q.rows(), q.waiting_bytes()), (1, 2, one + 2 * ROW_BYTES));
    assert_eq!(q.pull_all(&[("a", 0), ("+", 0)], 0, 9).0, [(13, vec![1, 2])]);
    assert_eq!(q.drop_through(Position(u64::MAX)), 2);
    assert_eq!((q.messages(), q.rows(), q.bytes()), (0, 0, 0));
}

#[test]
fn what_the_leader_found_is_looked_up_again_when_filters_have_changed_since() {
    let mut q = queues(&["a"]);
    let matched = q.find(b"a");
    q.ensure(S, &name("+"), Position(5), 0);
    q.push(Position(6), &message("a", "x"), &matched, NO_LIMITS, 0);
    assert_eq!(q.pull_all(&[("+", 5)], 0, 9).0, [(6, vec![1])]);
}

#[test]
fn filters_of_other_session_shards_are_others() {
    let mut q = queues(&["a"]);
    q.ensure(ShardId(4), &name("a"), Position(5), 0);
    q.publish(6, "a", NO_LIMITS, 0);
    assert_eq!(q.rows(), 2);
    q.trim(S, &[(name("a"), Position(6))]);
    assert_eq!((q.rows(), q.messages()), (1, 1));
    q.drop_filter(ShardId(4), &name("a"), Position(5), 0);
    assert_eq!((q.rows(), q.messages(), q.len()), (0, 0, 1));
}

#[test]
fn what_a_session_has_taken_is_charged_until_it_has_done_with_it_wherever_its_content_is() {
    let group = name("$share/g/a");
    let one = message("a", "x").charged_bytes() as u64;
    for is_on_disk in [false, true] {
        let mut q = Queues::new(KeyedHash::new(5));
        q.set_live(&group, true);
        q.publish(10, "a", NO_LIMITS, 0);
        let charged = |q: &Queues| (q.bytes(), q.resident_bytes(), q.memory_bytes());
        assert_eq!(charged(&q), (one + ROW_BYTES, one, one + ROW_BYTES));
        if is_on_disk {
            q.checkpointed(Position(10));
            q.give_up_through(Position(10));
            assert_eq!(charged(&q), (one + ROW_BYTES, 0, 128 + ROW_BYTES));
        }
        q.keep(&group, Position(10));
        let (resident, memory) = if is_on_disk { (0, 128) } else { (one + 64, one + 64) };
        assert_eq!(charged(&q), (one + 64, resident, memory));
        assert_eq!((q.kept(), q.rows()), (1, 0));
        q.release_kept(Position(10));
        assert_eq!(charged(&q), (0, 0, 0));
        assert_eq!(q.kept(), 0);
    }
}

/// A queue with four messages of this size, at positions from 10 on.
fn four() -> (Queues, u64) {
    let mut q = queues(&["a"]);
    for position in 10..14 {
        q.publish(position, "a", NO_LIMITS, 0);
    }
    (q, message("a", "x").charged_bytes() as u64)
}

#[test]
fn a_chunk_ends_before_the_message_that_would_go_beyond_its_bytes() {
    let (q, one) = four();
    for (bytes, count) in [(0, 1), (one, 1), (2 * one - 1, 1), (2 * one, 2), (4 * one, 4)] {
        let bytes = usize::try_from(bytes).unwrap();
        let pulled = q.pull(&pull_of(&[("a", 0)], 0, 100), bytes, 0);
        assert_eq!(pulled.messages.len(), count);
        let last = pulled.messages.last().map(|message| message.position);
        assert_eq!(pulled.more_behind, last.filter(|_| count < 4));
        let fetched = q.fetch(&[10, 11, 12, 13].map(Position), bytes, 0);
        assert_eq!((fetched.messages.len(), fetched.looked_at), (count, count));
    }
}

#[test]
fn a_chunk_ends_before_what_is_on_disk_and_one_that_begins_there_says_what_it_needs() {
    let (mut q, one) = four();
    let row = q.messages.row(Position(10));
    q.checkpointed(Position(11));
    q.give_up_through(Position(11));
    let on_disk = [(Position(10), one), (Position(11), one)];
    let pulled = q.pull(&pull_of(&[("a", 0)], 0, 100), usize::MAX, 0);
    assert_eq!((pulled.messages.len(), &pulled.missing.messages[..]), (0, &on_disk[..]));
    let few = usize::try_from(one).unwrap();
    let pulled = q.pull(&pull_of(&[("a", 0)], 0, 100), few, 0);
    assert_eq!(
        (&pulled.missing.messages[..], pulled.more_behind),
        (&on_disk[..1], Some(Position(10)))
    );
    let fetched = q.fetch(&[10, 12, 11].map(Position), usize::MAX, 0);
    assert_eq!(
        (fetched.messages.len(), &fetched.missing.messages[..]),
        (0, &on_disk[..])
    );
    let fetched = q.fetch(&[10, 11].map(Position), few, 0);
    assert_eq!((&fetched.missing.messages[..], fetched.looked_at), (&on_disk[..1], 1));
    let fetched = q.fetch(&[12, 10].map(Position), usize::MAX, 0);
    assert_eq!((fetched.messages.len(), fetched.looked_at), (1, 1));
    // However often it is brought, it is there once.
    for _ in 0..2 {
        q.bring(Position(10), row.clone()).unwrap();
        assert_eq!(q.resident_bytes(), 3 * one);
    }
    let pulled = q.pull(&pull_of(&[("a", 0)], 0, 100), usize::MAX, 0);
    assert_eq!((pulled.messages.len(), pulled.more_behind), (1, Some(Position(10))));
    q.let_go(Position(10));
    assert_eq!(q.resident_bytes(), 2 * one);
}
