//! Sessions that outlive their connection, across proxies and over a restart of storage.

use freshet_mqtt::{Connect, QoS, ReasonCode};

use crate::client::{Client, Seen, V5};
use crate::cluster::{Storage, TestProxy, proxy_config};
use crate::http::await_condition;

fn lasting(client_id: &str) -> Connect<'_> {
    let mut connect = Connect::new(V5, client_id);
    connect.clean_start = false;
    connect.properties.session_expiry_interval = Some(600);
    connect
}

fn connect(proxy: &TestProxy, client_id: &str) -> Client {
    Client::connect_with(proxy.address, &lasting(client_id)).0
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-5", "5.0:3.1.2-23"))]
fn a_session_is_found_at_another_proxy_with_what_came_meanwhile() {
    let storage = Storage::start();
    let one = TestProxy::start("one", proxy_config(&storage));
    let two = TestProxy::start("two", proxy_config(&storage));
    let mut publisher = Client::connect(two.address, V5, "publisher");
    let mut subscriber = connect(&one, "subscriber");
    assert!(!subscriber.session_present);
    assert_eq!(subscriber.session_expiry_interval, None);
    subscriber.subscribe("a/#", QoS::ExactlyOnce);
    subscriber.disconnect();
    for number in 0..50 {
        let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(number) % 2];
        publisher.publish("a/b", &[number], qos, false);
    }
    let mut subscriber = connect(&two, "subscriber");
    assert!(subscriber.session_present);
    for number in 0..50 {
        let message = subscriber.receive();
        assert_eq!((&message.payload[..], message.dup), (&[number][..], false));
    }
    assert!(two.metric("freshet_proxy_deliveries_pulled_total") >= 50.0);
    assert_eq!(two.metric("freshet_proxy_durable_sessions"), 1.0);
}

#[test]
fn a_proxy_that_stops_hands_over_what_its_clients_have_not_acknowledged() {
    let storage = Storage::start();
    let mut one = TestProxy::start("one", proxy_config(&storage));
    let two = TestProxy::start("two", proxy_config(&storage));
    let mut publisher = Client::connect(two.address, V5, "publisher");
    let mut subscriber = connect(&one, "subscriber");
    subscriber.subscribe("a", QoS::ExactlyOnce);
    let mut sent = Vec::new();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        publisher.publish("a", b"x", qos, false);
        let Some(Seen::Publish(publish)) = subscriber.next() else {
            panic!("no message")
        };
        assert_eq!(publish.qos, qos);
        sent.push(publish.packet_id);
    }
    one.stop();
    assert_eq!(
        subscriber.next(),
        Some(Seen::Disconnect(ReasonCode::ServerShuttingDown))
    );
    let mut subscriber = connect(&two, "subscriber");
    let again = [subscriber.receive(), subscriber.receive()];
    assert_eq!(again.iter().map(|m| m.packet_id).collect::<Vec<_>>(), sent);
    assert!(again.iter().all(|message| message.dup));
    subscriber.ping();
}

#[test]
fn a_session_whose_client_is_connected_survives_a_storage_without_memory() {
    let mut storage = Storage::start();
    let one = TestProxy::start("one", proxy_config(&storage));
    let mut publisher = Client::connect(one.address, V5, "publisher");
    let mut subscriber = connect(&one, "subscriber");
    subscriber.subscribe("a", QoS::AtLeastOnce);
    publisher.publish("a", b"1", QoS::AtLeastOnce, false);
    assert_eq!(subscriber.receive().payload, b"1");
    storage.kill();
    await_condition("the loss is noticed", || {
        one.metric("freshet_proxy_storage_attached") == 0.0
    });
    storage.start_again();
    publisher.publish("a", b"2", QoS::AtLeastOnce, false);
    assert_eq!(subscriber.receive().payload, b"2");
    subscriber.disconnect();
    publisher.publish("a", b"3", QoS::AtLeastOnce, false);
    let mut subscriber = connect(&one, "subscriber");
    assert!(subscriber.session_present);
    assert_eq!(subscriber.receive().payload, b"3");
}
