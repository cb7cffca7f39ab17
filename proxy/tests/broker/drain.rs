//! A proxy that stops: it accepts for a moment, hands over, and ends in time.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use freshet_mqtt::{QoS, ReasonCode};

use crate::client::{Client, DEADLINE, Seen, V5, V311};
use crate::cluster::{Storage, TestProxy, proxy_config};
use crate::http::{await_condition, get};

#[test]
fn clients_are_told_to_go_and_find_everything_at_another_proxy() {
    let storage = Storage::start();
    let mut config = proxy_config(&storage);
    config.drain_linger_ms = 1_000;
    let mut one = TestProxy::start("one", config);
    let two = TestProxy::start("two", proxy_config(&storage));
    let mut new_client = Client::connect(one.address, V5, "new");
    let mut old_client = Client::connect(one.address, V311, "old");
    one.stop();
    // For a moment it goes on as if nothing were: somebody may still be sent here.
    let mut late = Client::connect(one.address, V5, "late");
    late.publish("t", b"", QoS::AtLeastOnce, false);
    assert_eq!(get(one.admin, "/readyz").0, 200);
    assert_eq!(
        new_client.next(),
        Some(Seen::Disconnect(ReasonCode::ServerShuttingDown))
    );
    assert_eq!(old_client.next(), None);
    assert_eq!(late.next(), Some(Seen::Disconnect(ReasonCode::ServerShuttingDown)));
    one.ended(DEADLINE);
    assert!(TcpStream::connect(one.address).is_err());
    Client::connect(two.address, V5, "new").ping();
}

#[test]
fn no_will_fires_for_a_client_that_is_handed_over() {
    let storage = Storage::start();
    let mut one = TestProxy::start("one", proxy_config(&storage));
    let two = TestProxy::start("two", proxy_config(&storage));
    let mut watcher = Client::connect(two.address, V5, "watcher");
    watcher.subscribe("wills/#", QoS::AtLeastOnce);
    let with_will = |topic_name| freshet_mqtt::Connect {
        will: Some(freshet_mqtt::Will {
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: freshet_mqtt::WillProperties::default(),
            topic_name,
            payload: b"gone",
        }),
        ..freshet_mqtt::Connect::new(V5, topic_name)
    };
    let (vanishes, _) = Client::connect_with(one.address, &with_will("wills/vanished"));
    let (mut moved, _) = Client::connect_with(one.address, &with_will("wills/moved"));
    drop(vanishes);
    assert_eq!(watcher.receive().topic, "wills/vanished");
    one.stop();
    assert_eq!(moved.next(), Some(Seen::Disconnect(ReasonCode::ServerShuttingDown)));
    one.ended(DEADLINE);
    let (moved, _) = Client::connect_with(two.address, &with_will("wills/moved"));
    moved.disconnect();
    watcher.ping();
    assert_eq!(two.metric("freshet_proxy_deliveries_sent_total{qos=\"1\"}"), 1.0);
}

#[test]
fn without_storage_a_proxy_ends_within_ten_seconds() {
    let mut storage = Storage::start();
    let mut config = proxy_config(&storage);
    config.drain_linger_ms = 5_000;
    config.drain_timeout_ms = 300_000;
    let mut proxy = TestProxy::start("one", config);
    let mut client = Client::connect(proxy.address, V5, "client");
    storage.kill();
    await_condition("the loss is noticed", || {
        proxy.metric("freshet_proxy_storage_attached") == 0.0
    });
    client.begin_publish("t", b"", QoS::AtLeastOnce, false);
    let began = Instant::now();
    proxy.stop();
    assert_eq!(client.next(), Some(Seen::Disconnect(ReasonCode::ServerShuttingDown)));
    proxy.ended(DEADLINE);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
