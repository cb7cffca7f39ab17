//! What people are shown of a node: it is what there is, it comes in pages, and it ends at its bounds.

use freshet_storage_contract::{Cursor, ExactlyOnce, PacketId, Position, SessionChange};

use super::*;
use crate::inspect::{MOST_COUNTED, QueueView, SessionView, WaitsFor};

const OTHER: u128 = B;

impl World {
    fn look_at(&self, client: &str) -> SessionView {
        self.core.inspect_session(client, self.now).expect("a session")
    }

    fn queues(&self, filter: &str) -> Vec<QueueView> {
        let view = self.core.inspect_queues(filter, S0, self.now);
        assert_eq!(view.next, None);
        view.queues
    }

    /// A session that ends with its connection.
    fn begin_clean(&mut self, client: &str, will: Option<Will>) -> SessionEpoch {
        let attach = AttachSession {
            request: RequestId(1),
            client_id: Bytes::copy_from_slice(client.as_bytes()),
            clean_start: true,
            session_expiry_interval_s: 0,
            will: will.map(Box::new),
        };
        self.operate(A, Operation::AttachSession(attach));
        match self.take_answers(A).pop() {
            Some(Answer::SessionAttached { epoch, .. }) => epoch,
            other => panic!("{other:?}"),
        }
    }

    fn begin_with(&mut self, client: &str, filters: &[&str]) -> SessionEpoch {
        let epoch = self.begin(A, 1, client);
        for filter in filters {
            let starts = self.ensure(A, client, filter);
            self.change(A, client, epoch, vec![stored::subscription(filter, starts)]);
        }
        epoch
    }
}

fn two_proxies(shards: u16) -> World {
    let mut w = World::new(settings(shards));
    w.attach(A);
    w.attach(OTHER);
    w
}

#[test]
fn a_session_is_shown_with_what_it_has_subscribed_to_and_missed() {
    let mut w = two_proxies(4);
    let epoch = w.begin_with("c", &["a/+", "a/1"]);
    w.disconnect(A, "c", epoch, Some(60));
    w.publish(OTHER, qos_1("a/1", "one"));
    w.publish(OTHER, qos_1("a/2", "two"));
    w.pass_ms(5_000);
    let view = w.look_at("c");
    assert_eq!((view.client_id.as_str(), view.connection), ("c", None));
    assert_eq!(view.shard, w.session_shard("c").0);
    let stored = view.stored.unwrap();
    let queued: Vec<_> = stored
        .subscriptions
        .iter()
        .map(|s| (&*s.topic_filter, s.queued))
        .collect();
    assert_eq!(queued, [("a/+", 2), ("a/1", 1)]);
    assert_eq!(
        stored.subscriptions[0].shards,
        [0, 1, 2, 3],
        "a filter that concerns all shards"
    );
    assert_eq!(
        (
            stored.subscriptions[0].qos,
            stored.subscriptions[0].subscription_identifier
        ),
        (1, Some(7))
    );
    assert_eq!(
        (stored.queued.messages, stored.queued.at_least),
        (2, false),
        "each message once"
    );
    assert!(stored.queued.bytes > 0);
    assert_eq!(stored.queued.oldest_age_ms, Some(5_000));
    assert_eq!((stored.expiry_interval_s, stored.ends_in_ms), (60, Some(55_000)));
    assert_eq!(stored.cursors.len(), 4);
}

#[test]
fn what_a_session_has_done_with_is_not_queued_for_it_any_more() {
    let mut w = two_proxies(1);
    let epoch = w.begin_with("c", &["a", "$share/g/a"]);
    for payload in ["1", "2", "3", "4"] {
        w.publish(OTHER, qos_1("a", payload));
    }
    let queued = w.pull(A, "c", S0, Position(0), &["a"]);
    let at: Vec<_> = queued.messages.iter().map(|message| message.position).collect();
    let cursor = Cursor {
        shard: S0,
        acknowledged: at[0],
        beyond: vec![at[2]],
    };
    w.change(A, "c", epoch, vec![SessionChange::Advance(cursor)]);
    let stored = w.look_at("c").stored.unwrap();
    assert_eq!(stored.queued.messages, 2);
    let queued: Vec<_> = stored
        .subscriptions
        .iter()
        .map(|s| (&*s.topic_filter, s.queued))
        .collect();
    // What is queued for a group is there for any of its members; of its own queue three are behind its cursor.
    assert_eq!(queued, [("$share/g/a", 4), ("a", 3)]);
    let cursor = &stored.cursors[0];
    assert_eq!((cursor.acknowledged.0, cursor.beyond), (at[0].0, 1));
    assert!(cursor.applied >= cursor.acknowledged);
}

#[test]
fn exchanges_of_both_directions_are_shown_with_what_they_wait_for() {
    let mut w = two_proxies(4);
    let epoch = w.begin_with("c", &["a"]);
    w.publish(OTHER, qos_1("a", "1"));
    let (shard, _) = w.publish(OTHER, qos_1("a", "2"));
    let sending = |id: u16, qos| SessionChange::Sending {
        packet_id: PacketId::new(id).unwrap(),
        shard,
        position: Position(u64::from(id)),
        qos,
        shared: None,
        message: None,
    };
    let received = SessionChange::Received {
        packet_id: PacketId::new(3).unwrap(),
    };
    let changes = vec![
        sending(1, QoS::AtLeastOnce),
        sending(2, QoS::ExactlyOnce),
        sending(3, QoS::ExactlyOnce),
        received,
    ];
    w.change(A, "c", epoch, changes);
    for (id, topic) in [(10, "x"), (11, "y"), (12, "z")] {
        let exactly_once = ExactlyOnce {
            client_id: Bytes::from_static(b"c"),
            generation: epoch,
            packet_id: PacketId::new(id).unwrap(),
            epoch: Some(epoch),
        };
        let message = Message {
            exactly_once: Some(Box::new(exactly_once)),
            ..message(topic, "secret", QoS::ExactlyOnce)
        };
        w.publish(A, message);
    }
    let view = w.look_at("c");
    let connection = view.connection.as_ref().unwrap();
    assert!(
        connection.linked && connection.incarnation.ends_with('a'),
        "{connection:?}"
    );
    let stored = view.stored.as_ref().unwrap();
    let outbound: Vec<_> = stored
        .outbound
        .iter()
        .map(|e| (e.packet_id, e.qos, e.waits_for))
        .collect();
    assert_eq!(
        outbound,
        [
            (1, 1, WaitsFor::Puback),
            (2, 2, WaitsFor::Pubrec),
            (3, 2, WaitsFor::Pubcomp)
        ]
    );
    let mut inbound: Vec<_> = stored.inbound.iter().map(|e| (e.packet_id, e.waits_for)).collect();
    inbound.sort_by_key(|(id, _)| *id);
    assert_eq!(inbound, [10, 11, 12].map(|id| (id, WaitsFor::Pubrel)));
    assert_eq!((stored.outbound_total, stored.inbound_total), (3, 3));
    assert!(!format!("{view:?}").contains("secret"), "no payload");
}

#[test]
fn a_session_that_ends_with_its_connection_is_shown_while_it_is_there() {
    let mut w = two_proxies(4);
    let will = Will {
        message: message("gone", "secret", QoS::AtLeastOnce),
        delay_interval_s: 9,
    };
    let epoch = w.begin_clean("clean", Some(will));
    let view = w.look_at("clean");
    assert!(view.connection.is_some() && view.stored.is_none());
    let will = view.will.unwrap();
    assert_eq!(
        (will.topic_name.as_str(), will.delay_interval_s, will.due_in_ms),
        ("gone", Some(9), None)
    );
    assert_eq!(will.payload_bytes, 6);
    w.detach_session(A, "clean", epoch, DetachReason::ByClient);
    assert_eq!(w.core.inspect_session("clean", w.now), None);
    assert_eq!(w.core.inspect_session("never", w.now), None);
}

#[test]
fn sessions_come_in_pages_in_order_of_client_ids() {
    let mut w = two_proxies(4);
    for number in 0..25 {
        let epoch = w.begin(A, number, &format!("dev-{number:02}"));
        if number % 2 == 1 {
            w.disconnect(A, &format!("dev-{number:02}"), epoch, Some(60));
        }
    }
    w.begin(A, 99, "other");
    w.begin_clean("dev-clean", None);
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = w.core.inspect_sessions("dev-", after.as_deref(), 10, w.now);
        assert!(page.sessions.len() <= 10);
        seen.extend(page.sessions);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let ids: Vec<_> = seen.iter().map(|s| s.client_id.clone()).collect();
    assert_eq!(
        ids,
        (0..25).map(|number| format!("dev-{number:02}")).collect::<Vec<_>>()
    );
    assert!(seen[0].proxy.is_some() && seen[0].ends_in_ms.is_none());
    assert!(seen[1].proxy.is_none() && seen[1].ends_in_ms == Some(60_000));
    assert_eq!(w.core.inspect_sessions("none", None, 10, w.now).sessions, []);
    let last = w.core.inspect_sessions("", Some("dev-24"), 10, w.now);
    assert_eq!(last.sessions.len(), 1);
    assert_eq!((last.sessions[0].client_id.as_str(), last.next), ("other", None));
}

#[test]
fn the_queues_of_a_filter_say_who_reads_them_and_how_old_they_are() {
    let mut w = two_proxies(4);
    for client in ["c1", "c2", "c3"] {
        let epoch = w.begin_with(client, &["a"]);
        w.disconnect(A, client, epoch, Some(600));
    }
    let (shard, _) = w.publish(OTHER, qos_1("a", "1"));
    w.pass_ms(3_000);
    w.publish(OTHER, qos_1("a", "2"));
    let queues = w.queues("a");
    assert_eq!(queues.iter().map(|q| q.readers).sum::<u64>(), 3);
    for queue in &queues {
        assert_eq!(
            (queue.shard, queue.messages, queue.readers_at_least),
            (shard.0, 2, false)
        );
        assert_eq!(queue.oldest.as_ref().unwrap().age_ms, 3_000);
        assert!(queue.least_acknowledged.unwrap() < queue.oldest.as_ref().unwrap().position);
        assert!(queue.bytes > 0 && queue.group.is_none());
    }
    assert_eq!(w.queues("b"), []);
    // Live interest queues nothing.
    w.subscribe(A, 5, "live");
    assert_eq!(w.queues("live"), []);
}

#[test]
fn the_queue_of_a_shared_subscription_says_what_its_members_have() {
    let mut w = two_proxies(1);
    w.share(A, 1, ("g", "a"), 2, 1);
    w.publish(OTHER, qos_1("a", "1"));
    w.publish(OTHER, qos_1("a", "2"));
    let queues = w.queues("$share/g/a");
    assert_eq!(queues.len(), 1);
    let (queue, group) = (&queues[0], queues[0].group.as_ref().unwrap());
    assert_eq!((queue.session_shard, queue.messages, queue.readers), (None, 2, 2));
    assert_eq!(
        (group.proxies, group.leased, group.returned, group.window),
        (1, 1, 0, 1)
    );
}

#[test]
fn counting_ends_at_its_bound_and_says_so() {
    let mut w = two_proxies(1);
    w.begin_with("c", &["#"]);
    let messages = MOST_COUNTED as u64 + 10;
    for number in 0..messages {
        w.publish(OTHER, qos_1(&format!("t/{}", number % 7), ""));
        if number % 64 == 0 {
            w.acknowledge(A);
        }
    }
    let stored = w.look_at("c").stored.unwrap();
    assert_eq!(
        (stored.queued.messages, stored.queued.at_least),
        (MOST_COUNTED as u64, true)
    );
    assert_eq!(
        stored.subscriptions[0].queued, messages,
        "rows of one queue need no counting"
    );
}

#[test]
fn shards_say_what_they_hold_and_which_proxies_there_are() {
    let mut w = two_proxies(2);
    let epoch = w.begin_with("c", &["a"]);
    w.disconnect(A, "c", epoch, Some(60));
    w.publish(OTHER, qos_1("a", "1"));
    w.lose_link(OTHER);
    w.pass_ms_with(1_000, &[A]);
    let view = w.core.inspect_shards(w.now);
    assert_eq!(view.proxies.iter().map(|p| p.linked).collect::<Vec<_>>(), [true, false]);
    assert_eq!(view.proxies[1].lease_ms, 5_000);
    assert_eq!(view.shards.len(), 2);
    let sum = |of: fn(&crate::inspect::ShardView) -> u64| view.shards.iter().map(of).sum::<u64>();
    assert_eq!(
        (sum(|s| s.stored), sum(|s| s.offline), sum(|s| s.queued_messages)),
        (1, 1, 1)
    );
    assert_eq!(view.shards.iter().filter(|s| s.oldest_queued.is_some()).count(), 1);
    for shard in &view.shards {
        assert_eq!(
            (shard.proxies, &shard.positions.flushed),
            (2, &None),
            "there is no disk"
        );
        assert_eq!(shard.positions.applied, shard.positions.proposed);
    }
}
