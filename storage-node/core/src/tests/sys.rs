//! The topics below `$SYS` as subscribers of a node see them.

use std::collections::BTreeMap;

use freshet_config::RetainedLimits;
use freshet_storage_contract::{ProxyReport, ReadRetained};

use super::*;

fn sys_world(change: impl FnOnce(&mut StorageSettings)) -> World {
    let mut settings = StorageSettings {
        sys_interval_ms: 10_000,
        ..settings(4)
    };
    change(&mut settings);
    let mut w = World::new(settings);
    for proxy in [A, B] {
        w.attach(proxy);
    }
    w
}

fn report(subscriptions: u64, packets_received: u64) -> Operation {
    Operation::Report(ProxyReport {
        subscriptions,
        packets_received,
        ..ProxyReport::default()
    })
}

/// What a proxy has got below `$SYS/broker/` since the last call, by topic.
fn take_topics(w: &mut World, proxy: u128) -> BTreeMap<String, String> {
    w.acknowledge(proxy);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut topics = BTreeMap::new();
    for delivery in w.take_deliveries(proxy) {
        if let Delivery::Message { message, .. } = delivery {
            assert_eq!((message.qos, message.retain), (QoS::AtMostOnce, true));
            let name = text(&message.topic_name);
            let known = topics.insert(name.replace("$SYS/broker/", ""), text(&message.payload));
            assert_eq!(known, None, "{name} came twice");
        }
    }
    topics
}

#[test]
fn reports_of_all_proxies_are_published_once() {
    let mut w = sys_world(|_| {});
    w.subscribe(A, 1, "$SYS/#");
    w.attach_session(A, 1, "client", None);
    w.operate(A, report(3, 100));
    w.operate(B, report(4, 50));
    w.operate(B, report(2, 7));
    w.pass_ms(2_000);
    let topics = take_topics(&mut w, A);
    assert_eq!(topics.len(), 25);
    assert_eq!(topics["messages/received"], "157");
    assert_eq!(topics["subscriptions/count"], "5");
    assert_eq!(topics["clients/connected"], "1");
    assert_eq!(topics["uptime"], "2 seconds");
    assert!(topics["version"].starts_with("freshet version "));
    assert!(take_topics(&mut w, B).is_empty(), "nobody subscribed there");
}

#[test]
fn what_has_not_changed_is_not_published_again() {
    let mut w = sys_world(|_| {});
    w.subscribe(A, 1, "$SYS/#");
    w.pass_ms(2_000);
    take_topics(&mut w, A);
    w.pass_ms_with(10_000, &[A, B]);
    let topics = take_topics(&mut w, A);
    assert_eq!(topics.keys().collect::<Vec<_>>(), ["uptime"]);
}

#[test]
fn what_a_proxy_has_done_outlives_it_and_its_subscriptions_do_not() {
    let mut w = sys_world(|_| {});
    w.subscribe(A, 1, "$SYS/broker/+/+");
    w.operate(A, report(1, 10));
    w.operate(B, report(1, 10));
    w.pass_ms(2_000);
    take_topics(&mut w, A);
    w.operate(A, report(1, 1));
    // The lease of B runs out.
    w.pass_ms_with(10_000, &[A]);
    let topics = take_topics(&mut w, A);
    assert_eq!(topics["messages/received"], "21");
    assert_eq!(topics["subscriptions/count"], "1");
}

#[test]
fn what_there_was_no_room_for_comes_with_the_next_round() {
    let mut w = sys_world(|s| {
        s.recovery_hold_ms = 5_000;
        s.hold_bytes = 200;
    });
    w.subscribe(A, 1, "$SYS/#");
    w.pass_ms_with(4_000, &[A, B]);
    assert!(take_topics(&mut w, A).is_empty(), "publications are held");
    w.pass_ms_with(2_000, &[A, B]);
    let held = take_topics(&mut w, A);
    assert!(!held.is_empty() && held.len() < 25, "{held:?}");
    w.pass_ms_with(6_000, &[A, B]);
    let mut all = take_topics(&mut w, A);
    all.extend(held);
    assert_eq!(all.len(), 25);
}

#[test]
fn after_a_raised_term_everything_is_published_again_and_proxies_report_anew() {
    let mut w = sys_world(|_| {});
    w.subscribe(A, 1, "$SYS/#");
    w.operate(B, report(5, 10));
    w.pass_ms(2_000);
    assert_eq!(take_topics(&mut w, A)["subscriptions/count"], "5");
    w.proxies.get_mut(&A).unwrap().term = Term(TERM.0 + 50);
    w.attach(A);
    w.subscribe(A, 1, "$SYS/#");
    w.pass_ms_with(11_000, &[A]);
    let topics = take_topics(&mut w, A);
    assert_eq!(topics.len(), 25);
    assert_eq!(
        (&*topics["messages/received"], &*topics["subscriptions/count"]),
        ("10", "0")
    );
}

#[test]
fn limits_on_retained_messages_are_for_users_messages() {
    let mut w = sys_world(|s| {
        s.retained_limits = RetainedLimits {
            messages: 1,
            bytes: 10_000,
        }
    });
    w.pass_ms(2_000);
    w.publish(A, retained("a", "x"));
    w.publish(A, retained("b", "x"));
    let stats = w.core.stats();
    let messages: u64 = stats.shards.iter().map(|s| s.gauges.retained_messages).sum();
    let refused: u64 = stats.shards.iter().map(|s| s.counters.retained_refused_total).sum();
    assert_eq!((messages, refused), (1, 1));
}

fn retained_below_sys(w: &mut World) -> usize {
    let mut found = 0;
    for shard in w.shards_of("$SYS/#") {
        let read = ReadRetained {
            request: RequestId(u64::from(shard.0) + 1),
            shard,
            topic_filter: Bytes::from_static(b"$SYS/#"),
            after: None,
            up_to: None,
            max_bytes: 1 << 20,
        };
        w.operate(A, Operation::ReadRetained(read));
    }
    w.acknowledge(A);
    for delivery in w.take_deliveries(A) {
        if let Delivery::Retained { messages, .. } = delivery {
            found += messages.len();
        }
    }
    found
}

#[test]
fn without_an_interval_nothing_is_published_and_what_was_is_taken_back() {
    let mut w = sys_world(|s| s.sys_interval_ms = 0);
    w.pass_ms(5_000);
    assert_eq!(retained_below_sys(&mut w), 0);
    let mut w = sys_world(|_| {});
    w.pass_ms(2_000);
    assert_eq!(retained_below_sys(&mut w), 25);
    w.core.reload(&StorageConfig {
        sys_interval_ms: 0,
        ..StorageConfig::default()
    });
    w.pass_ms(1_000);
    assert_eq!(retained_below_sys(&mut w), 0);
    w.pass_ms_with(30_000, &[A, B]);
    assert_eq!(retained_below_sys(&mut w), 0);
}

#[test]
fn what_is_stored_is_said_in_messages_and_in_bytes() {
    let mut w = sys_world(|_| {});
    w.subscribe(A, 1, "$SYS/#");
    let epoch = w.begin(A, 1, "away");
    let starts = w.ensure(A, "away", "a");
    w.change(A, "away", epoch, vec![stored::subscription("a", starts)]);
    w.disconnect(A, "away", epoch, None);
    w.attach_session(A, 2, "here", None);
    let (queued, kept) = (qos_1("a", "1"), retained("b", "2"));
    // Beside its bytes a message costs a row of each queue.
    let bytes = queued.charged_bytes() + 16 + kept.charged_bytes();
    w.publish(A, queued);
    w.publish(A, kept);
    w.pass_ms(2_000);
    let topics = take_topics(&mut w, A);
    assert_eq!(topics["store/messages/count"], "2");
    assert_eq!(topics["store/messages/bytes"], bytes.to_string());
    assert_eq!(topics["retained messages/count"], "1");
    let clients = ["connected", "disconnected", "total", "maximum"];
    assert_eq!(
        clients.map(|of| topics[&format!("clients/{of}")].as_str()),
        ["1", "1", "2", "1"]
    );
}
