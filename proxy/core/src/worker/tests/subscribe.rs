//! Subscriptions, what is refused of them, and retained messages.

use freshet_mqtt::{
    ClientPacket, QoS, ReasonCode, RetainHandling, Subscribe, SubscribeFilter, SubscribeFilters, SubscriptionOptions,
    TopicFilter, UserProperties,
};
use freshet_storage_contract::ShardId;

use super::bench::*;
use super::seen::Seen;
use crate::exchange::{ToLink, ToWorker};
use crate::worker::Received;

fn options(qos: QoS) -> SubscriptionOptions {
    SubscriptionOptions::new(qos)
}

fn subacks(seen: &[Seen]) -> Vec<Vec<ReasonCode>> {
    let of = |seen: &Seen| match seen {
        Seen::SubAck(_, codes) => Some(codes.clone()),
        _ => None,
    };
    seen.iter().filter_map(of).collect()
}

fn subscribe_to(bench: &mut Bench, client: Client, filters: &[&str]) -> Received {
    let filters: Vec<_> = filters
        .iter()
        .map(|f| SubscribeFilter {
            topic_filter: TopicFilter::parse(f).unwrap(),
            options: options(QoS::AtLeastOnce),
        })
        .collect();
    let subscribe = Subscribe {
        packet_id: id(5),
        subscription_identifier: None,
        user_properties: UserProperties::NONE,
        filters: SubscribeFilters::from_slice(&filters),
    };
    bench.send(client, ClientPacket::Subscribe(subscribe))
}

#[test]
#[cfg_attr(
    false,
    shows("5.0:2.2.1-6", "5.0:3.8.4-1", "5.0:3.8.4-2", "5.0:3.8.4-5", "5.0:3.8.4-6")
)]
fn suback_leaves_when_every_shard_of_every_filter_has_confirmed() {
    // MQTT-3.8.4-1, MQTT-3.8.4-5, MQTT-3.8.4-6
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.storage.hold_subscriptions = true;
    subscribe_to(&mut bench, client, &["a", "b/#"]);
    let mut requests = Vec::new();
    for said in std::mem::take(&mut bench.storage.held) {
        let ToLink::Subscribe {
            request, topic_filter, ..
        } = said
        else {
            panic!("{said:?}")
        };
        for shard in bench.storage.name(request, &topic_filter) {
            requests.push((request, shard));
        }
    }
    bench.settle();
    assert_eq!(requests.len(), 3, "one shard for a, two for b/#");
    for (request, shard) in requests {
        assert_eq!(bench.read(client), []);
        bench.tell(ToWorker::Joined {
            request,
            shard,
            start: None,
        });
    }
    assert_eq!(bench.read(client), [Seen::SubAck(5, vec![ReasonCode::GrantedQos1; 2])]);
}

#[test]
fn a_client_gets_nothing_of_a_shard_before_it_has_joined_there() {
    let mut bench = Bench::new();
    let (early, late) = (bench.client(V5, "early"), bench.client(V5, "late"));
    bench.subscribe(early, "a", QoS::AtMostOnce);
    bench.storage.hold_subscriptions = true;
    subscribe_to(&mut bench, late, &["a"]);
    bench.deliver(message("a", b"before", QoS::AtMostOnce));
    bench.storage.release();
    bench.settle();
    bench.deliver(message("a", b"after", QoS::AtMostOnce));
    assert_eq!(bench.read_publishes(early).len(), 2);
    let seen = bench.read(late);
    assert!(
        matches!(&seen[..], [Seen::SubAck(..), Seen::Publish(p)] if p.payload == b"after"),
        "{seen:?}"
    );
}

#[test]
#[cfg_attr(
    false,
    shows("5.0:3.8.4-7", "5.0:3.9.3-1", "3.1.1:3.8.4-5", "3.1.1:3.9.3-1", "3.1.1:3.9.3-2")
)]
fn what_is_not_allowed_is_refused_per_filter() {
    let mut bench = Bench::configured(|c| (c.mqtt.max_topic_levels, c.client_limits.subscriptions) = (3, 2));
    for (version, refusals) in [
        (V5, [ReasonCode::TopicFilterInvalid, ReasonCode::QuotaExceeded]),
        (V311, [ReasonCode::UnspecifiedError; 2]),
    ] {
        let client = bench.client(version, "c");
        subscribe_to(&mut bench, client, &["a/b/c/d", "a", "b", "c"]);
        let [invalid, over] = refusals;
        let granted = ReasonCode::GrantedQos1;
        assert_eq!(
            bench.read(client),
            [Seen::SubAck(5, vec![invalid, granted, granted, over])]
        );
        // A filter that is there already needs no further place.
        assert_eq!(
            subacks(&bench.subscribe(client, "a", QoS::AtMostOnce)),
            [[ReasonCode::GRANTED_QOS_0]]
        );
        bench.hang_up(client);
    }
}

#[test]
fn the_link_is_asked_for_each_and_told_of_the_last() {
    let mut bench = Bench::new();
    let (first, second) = (bench.client(V5, "1"), bench.client(V5, "2"));
    bench.subscribe(first, "a", QoS::AtMostOnce);
    bench.subscribe(second, "a", QoS::AtMostOnce);
    assert_eq!(
        (bench.worker.stats().filters_now, bench.worker.stats().subscriptions_now),
        (1, 2)
    );
    assert_eq!(
        bench.unsubscribe(first, "a"),
        [Seen::UnsubAck(8, vec![ReasonCode::Success])]
    );
    assert_eq!(bench.storage.filters.len(), 1);
    bench.hang_up(second);
    assert_eq!(bench.storage.filters.len(), 0);
    assert_eq!(
        (bench.worker.stats().filters_now, bench.worker.stats().subscriptions_now),
        (0, 0)
    );
    assert!(bench.worker.shared.requests.is_empty());
}

#[test]
#[cfg_attr(false, shows("5.0:3.10.4-1", "5.0:3.10.4-2", "5.0:3.10.4-5", "3.1.1:3.10.4-5"))]
fn unsubscribing_says_whether_there_was_a_subscription() {
    // MQTT-3.10.4-1, MQTT-3.11.3-2
    let mut bench = Bench::new();
    let (old, new) = (bench.client(V311, "old"), bench.client(V5, "new"));
    bench.subscribe(new, "a", QoS::AtMostOnce);
    let none = ReasonCode::NoSubscriptionExisted;
    assert_eq!(bench.unsubscribe(new, "a/#"), [Seen::UnsubAck(8, vec![none])]);
    assert_eq!(bench.unsubscribe(new, "$share/g/a"), [Seen::UnsubAck(8, vec![none])]);
    assert_eq!(
        bench.unsubscribe(new, "a"),
        [Seen::UnsubAck(8, vec![ReasonCode::Success])]
    );
    assert_eq!(bench.unsubscribe(old, "a"), [Seen::UnsubAck(8, vec![])]);
    // MQTT-3.10.4-2
    bench.deliver(message("a", b"x", QoS::AtMostOnce));
    assert_eq!(bench.read_publishes(new), []);
}

#[test]
#[cfg_attr(false, shows("5.0:3.10.4-4"))]
fn unsubscribing_while_the_subscription_is_under_way_answers_both() {
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.storage.hold_subscriptions = true;
    subscribe_to(&mut bench, client, &["a"]);
    let seen = bench.unsubscribe(client, "a");
    let expected = [
        Seen::SubAck(5, vec![ReasonCode::GrantedQos1]),
        Seen::UnsubAck(8, vec![ReasonCode::Success]),
    ];
    assert_eq!(seen, expected);
    // The link answers in its own time; its filter is given back then.
    bench.storage.release();
    bench.settle();
    assert_eq!(bench.storage.filters.len(), 0);
    assert_eq!(bench.worker.stats().filters_now, 0);
    assert!(bench.worker.shared.requests.is_empty());
}

#[test]
#[cfg_attr(false, shows("5.0:3.8.4-3", "5.0:3.8.4-4"))]
fn subscribing_again_replaces_options_and_loses_nothing() {
    // MQTT-3.8.4-3
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.subscribe_with(client, "a", options(QoS::AtLeastOnce), Some(1));
    bench.storage.hold_subscriptions = true;
    bench.subscribe_with(client, "a", options(QoS::AtMostOnce), Some(2));
    bench.deliver(message("a", b"x", QoS::AtLeastOnce));
    let seen = bench.read_publishes(client);
    assert_eq!(
        (seen.len(), seen[0].qos, &seen[0].identifiers[..]),
        (1, QoS::AtMostOnce, &[2][..])
    );
    bench.storage.release();
    bench.settle();
    assert_eq!(subacks(&bench.read(client)).len(), 1);
    assert_eq!(bench.worker.stats().subscriptions_now, 1);
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.1-9", "5.0:3.3.1-10", "5.0:3.3.1-11", "5.0:3.8.4-4"))]
fn retained_messages_come_by_retain_handling() {
    // MQTT-3.3.1-9, MQTT-3.3.1-10, MQTT-3.3.1-11, MQTT-3.3.1-8
    let mut bench = Bench::new();
    for topic in ["a/1", "a/2", "b/1"] {
        bench
            .storage
            .retained
            .insert(topic.into(), message(topic, b"kept", QoS::AtLeastOnce));
    }
    let client = bench.client(V5, "c");
    let retained = |bench: &mut Bench, retain_handling| {
        let options = SubscriptionOptions {
            retain_handling,
            ..options(QoS::AtMostOnce)
        };
        let seen = bench.subscribe_with(client, "a/#", options, Some(4));
        let of = |seen: Seen| match seen {
            Seen::Publish(p) => {
                assert!(p.retain && p.qos == QoS::AtMostOnce && p.identifiers == [4], "{p:?}");
                Some(p.topic)
            }
            _ => None,
        };
        let mut topics: Vec<_> = seen.into_iter().filter_map(of).collect();
        topics.sort();
        topics
    };
    assert_eq!(retained(&mut bench, RetainHandling::DoNotSend), [""; 0]);
    assert_eq!(
        retained(&mut bench, RetainHandling::SendIfNew),
        [""; 0],
        "it is not new"
    );
    assert_eq!(retained(&mut bench, RetainHandling::Send), ["a/1", "a/2"]);
    bench.unsubscribe(client, "a/#");
    assert_eq!(retained(&mut bench, RetainHandling::SendIfNew), ["a/1", "a/2"]);
    assert!(bench.worker.shared.requests.is_empty());
}

#[test]
fn retained_messages_are_asked_for_as_the_client_takes_them() {
    let mut bench = Bench::configured(|c| c.client_limits.outbound_buffer_bytes = 4_000);
    bench.storage.chunk = 3;
    for i in 0..300 {
        let topic = format!("a/{i:03}");
        bench
            .storage
            .retained
            .insert(topic.clone().into(), message(&topic, &[0; 500], QoS::AtLeastOnce));
    }
    let client = bench.client(V311, "c");
    subscribe_to(&mut bench, client, &["a/#"]);
    assert!(
        bench.worker.stats().outbound_bytes_now < 8_000,
        "{}",
        bench.worker.stats().outbound_bytes_now
    );
    let mut topics = Vec::new();
    loop {
        let seen = bench.read(client);
        let ids: Vec<_> = seen
            .into_iter()
            .filter_map(|s| match s {
                Seen::Publish(p) => Some((p.topic, p.packet_id.unwrap())),
                _ => None,
            })
            .collect();
        if ids.is_empty() {
            break;
        }
        for (topic, packet_id) in ids {
            topics.push(topic);
            bench.puback(client, packet_id);
            assert!(bench.worker.stats().outbound_bytes_now < 8_000);
        }
    }
    topics.sort();
    topics.dedup();
    assert_eq!(topics.len(), 300);
    assert_eq!(bench.worker.stats().deliveries_dropped, 0);
    assert!(bench.worker.shared.requests.is_empty());
}

#[test]
fn retained_reads_of_all_clients_are_bounded() {
    let mut bench = Bench::with(
        crate::worker::WorkerSettings {
            outbound_bytes: 1,
            ..settings()
        },
        freshet_config::ProxyConfig::default(),
    );
    bench.storage.hold_subscriptions = true;
    let clients: Vec<_> = (0..40).map(|i| bench.client(V5, &format!("c{i}"))).collect();
    for client in &clients {
        subscribe_to(&mut bench, *client, &["a/#"]);
    }
    // Two shards each, sixteen reads at most.
    assert_eq!(bench.storage.held.len(), 8);
    bench.storage.release();
    bench.settle();
    for client in clients {
        assert_eq!(subacks(&bench.read(client)).len(), 1);
    }
}

#[test]
fn a_client_that_asks_faster_than_it_is_answered_waits() {
    let mut bench = Bench::configured(|c| c.client_limits.subscriptions = 3);
    let client = bench.client(V5, "c");
    bench.storage.hold_subscriptions = true;
    assert_eq!(subscribe_to(&mut bench, client, &["a", "b"]), Received::Continue);
    assert_eq!(subscribe_to(&mut bench, client, &["a", "b"]), Received::PauseReading);
    bench.storage.release();
    bench.settle();
    assert_eq!(subacks(&bench.read(client)).len(), 2);
    assert_eq!(bench.resumed, [client.token]);
}

#[test]
fn a_join_of_a_subscription_that_has_gone_is_passed_over() {
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.storage.hold_subscriptions = true;
    subscribe_to(&mut bench, client, &["a"]);
    let Some(ToLink::Subscribe {
        request, topic_filter, ..
    }) = bench.storage.held.pop_back()
    else {
        panic!()
    };
    bench.hang_up(client);
    bench.storage.name(request, &topic_filter);
    bench.settle();
    bench.tell(ToWorker::Joined {
        request,
        shard: ShardId(0),
        start: None,
    });
    bench.tell(ToWorker::Retained {
        request,
        shard: ShardId(0),
        messages: Vec::new(),
        more: true,
    });
    assert_eq!((bench.storage.filters.len(), bench.worker.stats().filters_now), (0, 0));
    assert!(bench.worker.shared.requests.is_empty());
}

#[test]
#[cfg_attr(false, shows("3.1.1:2.3.1-7", "3.1.1:3.8.4-1", "3.1.1:3.8.4-2", "3.1.1:3.8.4-4"))]
fn in_3_1_1_several_filters_get_one_suback() {
    let mut bench = Bench::new();
    let client = bench.client(V311, "c");
    subscribe_to(&mut bench, client, &["a", "b/+", "c/#"]);
    assert_eq!(bench.read(client), [Seen::SubAck(5, vec![ReasonCode::GrantedQos1; 3])]);
    for topic in ["a", "b/x", "c"] {
        bench.deliver(message(topic, b"x", QoS::AtMostOnce));
        assert_eq!(bench.read_publishes(client).len(), 1, "{topic}");
    }
}

#[test]
#[cfg_attr(false, shows("3.1.1:3.3.1-6", "3.1.1:3.3.1-8", "3.1.1:3.3.1-9", "3.1.1:3.8.4-3"))]
fn in_3_1_1_subscribing_again_brings_retained_messages_again_and_live_ones_go_on() {
    let mut bench = Bench::new();
    let kept = |topic: &str| freshet_storage_contract::Message {
        retain: true,
        ..message(topic, b"kept", QoS::AtLeastOnce)
    };
    for topic in ["a/1", "a/2", "b/1"] {
        bench.storage.retained.insert(topic.to_owned().into(), kept(topic));
    }
    let client = bench.client(V311, "c");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let seen = bench.subscribe(client, "a/+", qos);
        let of = |seen: &Seen| match seen {
            Seen::Publish(p) => Some((p.topic.clone(), p.retain, p.qos)),
            _ => None,
        };
        let mut retained: Vec<_> = seen.iter().filter_map(of).collect();
        retained.sort();
        let expected = ["a/1", "a/2"].map(|topic| (topic.to_owned(), true, qos));
        assert_eq!(retained, expected);
        bench.deliver(kept("a/1"));
        let live = bench.read_publishes(client);
        assert_eq!((live.len(), live[0].retain, live[0].qos), (1, false, qos));
    }
    assert_eq!(bench.worker.stats().subscriptions_now, 1);
}
