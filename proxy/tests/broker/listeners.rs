//! A changed configuration, taken up by a running proxy.

use std::net::TcpStream;
use std::sync::Arc;

use freshet_mqtt::ReasonCode;

use crate::client::{Client, Seen, V5, V311};
use crate::cluster::{Storage, TestProxy, listener, proxy_config};
use crate::http::await_condition;

/// A port that nobody listens on now.
fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[test]
fn listeners_open_and_close_and_only_the_clients_of_a_closed_one_go() {
    let storage = Storage::start();
    let config = proxy_config(&storage);
    let proxy = TestProxy::start("one", config.clone());
    let mut stays = Client::connect(proxy.address, V5, "stays");
    let port = free_port();

    let mut with_second = config.clone();
    with_second.listeners.push(listener("second", port));
    proxy.config.send_replace(Arc::new(with_second));
    await_condition("the second listener is open", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    let second = ([127, 0, 0, 1], port).into();
    let mut goes = Client::connect(second, V5, "goes");
    let mut goes_too = Client::connect(second, V311, "goes-too");

    proxy.config.send_replace(Arc::new(config));
    assert_eq!(goes.next(), Some(Seen::Disconnect(ReasonCode::AdministrativeAction)));
    assert_eq!(goes.next(), None);
    assert_eq!(goes_too.next(), None);
    stays.ping();
    assert!(TcpStream::connect(second).is_err());
    // The connection that only looked whether the listener is open may have gone before.
    assert!(proxy.disconnects("listener_removed") >= 2.0);
}

#[test]
fn limits_hold_for_new_connections_and_old_ones_keep_what_they_were_told() {
    let storage = Storage::start();
    let config = proxy_config(&storage);
    let proxy = TestProxy::start("one", config.clone());
    let mut old = Client::connect(proxy.address, V5, "old");
    let mut smaller = config;
    smaller.client_limits.max_packet_bytes = 1_000;
    smaller.listeners[0].max_connections = 2;
    proxy.config.send_replace(Arc::new(smaller));
    await_condition("the bound is taken up", || {
        proxy.metric("freshet_proxy_listener_connections_limit{listener=\"mqtt\"}") == 2.0
    });
    let mut new = Client::connect(proxy.address, V5, "new");
    assert_eq!(Client::open(proxy.address, V5).next(), None);
    let qos = freshet_mqtt::QoS::AtLeastOnce;
    old.publish("t", &[0; 2_000], qos, false);
    new.begin_publish("t", &[0; 2_000], qos, false);
    assert_eq!(new.next(), Some(Seen::Disconnect(ReasonCode::PacketTooLarge)));
}
