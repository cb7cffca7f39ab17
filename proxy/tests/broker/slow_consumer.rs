//! A client that does not read: its buffer is bounded, and nobody waits for it.

use std::time::Instant;

use freshet_config::SlowConsumer;
use freshet_mqtt::{QoS, ReasonCode};

use crate::client::{Client, DEADLINE, V5};
use crate::cluster::{Storage, TestProxy, proxy_config};
use crate::http::await_condition;

static PAYLOAD: [u8; 32 << 10] = [7; 32 << 10];

/// Publishes until the proxy has counted something, with a subscriber that reads beside one that does not.
fn publish_until(proxy: &TestProxy, qos: QoS, is_counted: impl Fn() -> bool) {
    let mut reader = Client::connect(proxy.address, V5, "reader");
    reader.subscribe("flood", qos);
    let mut publisher = Client::connect(proxy.address, V5, "publisher");
    let until = Instant::now() + DEADLINE;
    while !is_counted() {
        for _ in 0..20 {
            publisher.publish("flood", &PAYLOAD, qos, false);
            assert_eq!(reader.receive().payload.len(), PAYLOAD.len());
        }
        assert!(Instant::now() < until, "in vain");
    }
    publisher.ping();
}

fn proxy_with(storage: &Storage, slow_consumer: SlowConsumer) -> TestProxy {
    let mut config = proxy_config(storage);
    config.mqtt.slow_consumer = slow_consumer;
    config.client_limits.outbound_buffer_bytes = 256 << 10;
    TestProxy::start("one", config)
}

#[test]
fn qos_0_is_shed_and_counted_while_others_get_everything() {
    let storage = Storage::start();
    let proxy = proxy_with(&storage, SlowConsumer::Disconnect);
    let mut idle = Client::connect(proxy.address, V5, "idle");
    idle.subscribe("flood", QoS::AtMostOnce);
    publish_until(&proxy, QoS::AtMostOnce, || {
        proxy.metric("freshet_proxy_shed_total{reason=\"outbound_buffer_full_qos0\"}") > 0.0
    });
    assert_eq!(proxy.disconnects("slow_consumer"), 0.0);
    // It is behind, not gone.
    idle.receive();
    idle.ping();
}

#[test]
fn with_disconnect_a_client_that_does_not_read_qos_1_is_ended() {
    let storage = Storage::start();
    let proxy = proxy_with(&storage, SlowConsumer::Disconnect);
    let mut idle = Client::connect(proxy.address, V5, "idle");
    idle.subscribe("flood", QoS::AtLeastOnce);
    publish_until(&proxy, QoS::AtLeastOnce, || proxy.disconnects("slow_consumer") > 0.0);
    assert_eq!(proxy.metric("freshet_proxy_clients"), 0.0);
}

#[test]
fn with_drop_oldest_it_stays_and_the_oldest_go() {
    let storage = Storage::start();
    let proxy = proxy_with(&storage, SlowConsumer::DropOldest);
    let mut idle = Client::connect(proxy.address, V5, "idle");
    idle.subscribe("flood", QoS::AtLeastOnce);
    publish_until(&proxy, QoS::AtLeastOnce, || {
        proxy.metric("freshet_proxy_shed_total{reason=\"slow_consumer\"}") > 0.0
    });
    assert_eq!(proxy.disconnects("slow_consumer"), 0.0);
    idle.receive();
    idle.ping();
}

#[test]
fn more_unacknowledged_publishes_than_announced_end_a_5_client_and_pause_a_311_one() {
    let mut storage = Storage::start();
    let mut config = proxy_config(&storage);
    config.mqtt.receive_maximum = 5;
    let proxy = TestProxy::start("one", config);
    let mut new_client = Client::connect(proxy.address, V5, "new");
    let mut old_client = Client::connect(proxy.address, crate::client::V311, "old");
    storage.kill();
    await_condition("the loss is noticed", || {
        proxy.metric("freshet_proxy_storage_attached") == 0.0
    });
    for _ in 0..6 {
        new_client.begin_publish("t", b"", QoS::AtLeastOnce, false);
    }
    assert_eq!(
        crate::client::decode_all(V5, &new_client.bytes_until_closed()),
        [crate::client::Seen::Disconnect(ReasonCode::ReceiveMaximumExceeded)]
    );
    let sent: Vec<_> = (0..100)
        .map(|_| old_client.begin_publish("t", b"", QoS::AtLeastOnce, false))
        .collect();
    await_condition("reading is paused", || {
        proxy.metric("freshet_proxy_reading_paused_total") > 0.0
    });
    storage.start_again();
    for id in sent {
        old_client.finish_publish(id, QoS::AtLeastOnce);
    }
    assert_eq!(proxy.disconnects("receive_maximum_exceeded"), 1.0);
}
