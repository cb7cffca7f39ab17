//! Storage goes and comes under connected clients.

use std::time::Duration;

use freshet_mqtt::{ClientPacket, Connect, QoS, ReasonCode};

use crate::client::{Client, Seen, V5, V311};
use crate::cluster::{Storage, TestProxy, proxy_config};
use crate::http::{await_condition, get};
use crate::relay::Relay;

/// Long enough that an answer that must not come would have.
const A_WHILE: Duration = Duration::from_millis(500);

#[test]
fn publishes_are_held_while_storage_is_away_and_answered_when_it_is_back() {
    let mut storage = Storage::start();
    let one = TestProxy::start("one", proxy_config(&storage));
    let two = TestProxy::start("two", proxy_config(&storage));
    let mut subscriber = Client::connect(two.address, V5, "subscriber");
    subscriber.subscribe("a/#", QoS::ExactlyOnce);
    let mut publisher = Client::connect(one.address, V311, "publisher");
    publisher.publish("a/before", b"", QoS::AtLeastOnce, false);
    assert_eq!(subscriber.receive().topic, "a/before");

    storage.kill();
    for proxy in [&one, &two] {
        await_condition("the loss is noticed", || {
            proxy.metric("freshet_proxy_storage_attached") == 0.0
        });
        assert_eq!(get(proxy.admin, "/readyz").0, 200, "readiness latches");
    }
    let at_least_once = publisher.begin_publish("a/during/1", b"", QoS::AtLeastOnce, false);
    let exactly_once = publisher.begin_publish("a/during/2", b"", QoS::ExactlyOnce, false);
    assert_eq!(publisher.next_within(A_WHILE), None);
    subscriber.ping();

    storage.start_again();
    publisher.finish_publish(at_least_once, QoS::AtLeastOnce);
    publisher.finish_publish(exactly_once, QoS::ExactlyOnce);
    assert_eq!(subscriber.receive().topic, "a/during/1");
    assert_eq!(subscriber.receive().topic, "a/during/2");
    publisher.publish("a/after", b"", QoS::ExactlyOnce, false);
    assert_eq!(subscriber.receive().topic, "a/after");
    for proxy in [&one, &two] {
        assert_eq!(
            proxy.disconnects("storage_unavailable") + proxy.disconnects("overrun"),
            0.0
        );
    }
}

#[test]
fn a_connect_and_a_subscribe_wait_for_storage() {
    let mut storage = Storage::start();
    let proxy = TestProxy::start("one", proxy_config(&storage));
    let mut early = Client::connect(proxy.address, V311, "early");
    storage.kill();
    await_condition("the loss is noticed", || {
        proxy.metric("freshet_proxy_storage_attached") == 0.0
    });

    let mut late = Client::open(proxy.address, V5);
    late.send(&ClientPacket::Connect(Connect::new(V5, "late")));
    assert_eq!(late.next_within(A_WHILE), None);
    let subscribing = std::thread::spawn(move || {
        early.subscribe("t", QoS::AtLeastOnce);
        early
    });
    storage.start_again();
    assert!(matches!(
        late.next(),
        Some(Seen::ConnAck {
            reason_code: ReasonCode::Success,
            ..
        })
    ));
    let mut early = subscribing.join().unwrap();
    late.publish("t", b"hello", QoS::AtLeastOnce, false);
    assert_eq!(early.receive().payload, b"hello");
}

#[test]
fn what_is_held_too_long_ends_the_connection_and_never_gets_an_error() {
    let mut storage = Storage::start();
    let mut config = proxy_config(&storage);
    config.mqtt.publish_hold_ms = 1_000;
    let proxy = TestProxy::start("one", config);
    let mut new_client = Client::connect(proxy.address, V5, "new");
    let mut old_client = Client::connect(proxy.address, V311, "old");
    storage.kill();
    await_condition("the loss is noticed", || {
        proxy.metric("freshet_proxy_storage_attached") == 0.0
    });
    new_client.begin_publish("t", b"", QoS::AtLeastOnce, false);
    old_client.begin_publish("t", b"", QoS::AtLeastOnce, false);
    assert_eq!(new_client.next(), Some(Seen::Disconnect(ReasonCode::ServerBusy)));
    assert_eq!(new_client.next(), None);
    assert_eq!(old_client.next(), None);
    assert_eq!(proxy.disconnects("storage_unavailable"), 2.0);
    // A client that asks for nothing stays.
    let mut refused = Client::open(proxy.address, V311);
    refused.send(&ClientPacket::Connect(Connect::new(V311, "refused")));
    assert!(matches!(
        refused.next(),
        Some(Seen::ConnAck {
            reason_code: ReasonCode::ServerUnavailable,
            ..
        })
    ));
}

#[test]
fn a_proxy_is_not_ready_before_it_has_reached_storage_once() {
    let mut storage = Storage::start();
    let config = proxy_config(&storage);
    storage.kill();
    let proxy = TestProxy::start_alone("one", config);
    assert_eq!(get(proxy.admin, "/livez").0, 200);
    let (status, why) = get(proxy.admin, "/readyz");
    assert_eq!((status, why.as_str()), (503, "storage has not been reached yet\n"));
    storage.start_again();
    await_condition("the proxy is ready", || get(proxy.admin, "/readyz").0 == 200);
}

#[test]
fn a_foreign_cluster_is_refused_by_name_and_the_proxy_stays_unready() {
    let storage = Storage::start();
    let mut config = proxy_config(&storage);
    config.cluster_uid = "another".to_owned();
    let proxy = TestProxy::start_alone("stranger", config);
    await_condition("the refusal is counted", || {
        proxy.metric("freshet_proxy_storage_attaches_total{result=\"refused\"}") == 1.0
    });
    assert_eq!(get(proxy.admin, "/readyz").0, 503);
}

#[test]
fn a_proxy_whose_lease_ran_out_goes_on_as_a_new_incarnation_with_its_clients() {
    let storage = Storage::start();
    let relay = Relay::to(storage.address);
    let mut config = proxy_config(&storage);
    config.storage_endpoints = vec![relay.address.to_string()];
    let one = TestProxy::start("one", config);
    let two = TestProxy::start("two", proxy_config(&storage));
    let mut best_effort = Client::connect(one.address, V5, "best-effort");
    best_effort.subscribe("t", QoS::AtMostOnce);
    let mut promised = Client::connect(one.address, V5, "promised");
    promised.subscribe("t", QoS::AtLeastOnce);

    relay.cut();
    await_condition("the lease has run out", || storage.incarnations() == 1);
    // Who is interested is not known any more: the message has no receiver.
    let mut publisher = Client::connect(two.address, V5, "publisher");
    publisher.publish("t", b"missed", QoS::AtLeastOnce, false);

    relay.mend();
    await_condition("storage is attached", || {
        one.metric("freshet_proxy_storage_attached") == 1.0
    });
    assert_eq!(
        one.metric("freshet_proxy_storage_attaches_total{result=\"incarnation_gone\"}"),
        1.0
    );
    // Who was promised what was lost is told; who was not goes on.
    assert_eq!(promised.next(), Some(Seen::Disconnect(ReasonCode::QuotaExceeded)));
    assert_eq!(promised.next(), None);
    assert_eq!(one.disconnects("overrun"), 1.0);
    best_effort.subscribe("other", QoS::AtMostOnce);
    publisher.publish("t", b"seen", QoS::AtLeastOnce, false);
    assert_eq!(best_effort.receive().payload, b"seen");
    // Storage knows its session again: it can be taken over.
    Client::connect(two.address, V5, "best-effort").ping();
    assert_eq!(best_effort.next(), Some(Seen::Disconnect(ReasonCode::SessionTakenOver)));
}
