//! Whatever a peer sends: the specified answer, a reason in the metrics, and nobody else notices.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use freshet_mqtt::{ClientPacket, Connect, QoS};

use crate::client::{Client, DEADLINE, Seen, V5, V311};
use crate::cluster::{Storage, TestProxy, proxy_config};
use crate::http::await_condition;
use crate::malformed::send_table;

#[test]
fn each_malformed_input_gets_an_allowed_answer_and_a_good_client_goes_on() {
    let storage = Storage::start();
    let proxy = TestProxy::start("one", proxy_config(&storage));
    send_table(proxy.address);
    await_condition("nobody is left", || {
        proxy.metric("freshet_proxy_connections{listener=\"mqtt\"}") == 0.0
    });
    assert!(proxy.disconnects("malformed_packet") > 0.0 && proxy.disconnects("protocol_error") > 0.0);
    assert_eq!(proxy.disconnects("client_disconnect"), 1.0);
}

#[test]
fn tls_and_http_on_the_plain_port_are_closed_under_reasons_of_their_own() {
    let storage = Storage::start();
    let proxy = TestProxy::start("one", proxy_config(&storage));
    let client_hello = [0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
    for (bytes, reason) in [
        (&client_hello[..], "tls_on_plain_port"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "http_on_plain_port"),
    ] {
        let mut stream = TcpStream::connect(proxy.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.is_empty(), "{answer:02x?}");
        assert_eq!(proxy.disconnects(reason), 1.0);
    }
}

#[test]
fn a_sender_that_does_not_complete_its_connect_is_closed_after_ten_seconds() {
    let storage = Storage::start();
    let proxy = TestProxy::start("one", proxy_config(&storage));
    let began = Instant::now();
    let mut silent = Client::open(proxy.address, V5);
    let mut slow = Client::open(proxy.address, V311);
    let mut connect = Vec::new();
    let packet = ClientPacket::Connect(Connect::new(V311, "slow"));
    packet.encode(&freshet_mqtt::Peer::new(V311), &mut connect).unwrap();
    slow.send_bytes(&connect[..connect.len() - 1]);
    assert_eq!(slow.next(), None);
    assert_eq!(silent.next(), None);
    let lasted = began.elapsed();
    assert!(
        lasted >= Duration::from_millis(9_900) && lasted < Duration::from_secs(20),
        "{lasted:?}"
    );
    assert_eq!(proxy.disconnects("connect_timeout"), 2.0);
}

#[test]
fn a_packet_in_single_bytes_is_a_packet() {
    let storage = Storage::start();
    let proxy = TestProxy::start("one", proxy_config(&storage));
    let mut client = Client::open(proxy.address, V5);
    let mut bytes = Vec::new();
    let packet = ClientPacket::Connect(Connect::new(V5, "patient"));
    packet.encode(&freshet_mqtt::Peer::new(V5), &mut bytes).unwrap();
    ClientPacket::PingReq
        .encode(&freshet_mqtt::Peer::new(V5), &mut bytes)
        .unwrap();
    for byte in bytes {
        client.send_bytes(&[byte]);
    }
    assert!(matches!(client.next(), Some(Seen::ConnAck { .. })));
    assert_eq!(client.next(), Some(Seen::PingResp));
}

#[test]
fn connections_over_the_maximum_are_closed_at_once_until_there_is_room() {
    let storage = Storage::start();
    let mut config = proxy_config(&storage);
    config.listeners[0].max_connections = 3;
    let proxy = TestProxy::start("one", config);
    let mut clients: Vec<_> = (0..3)
        .map(|i| Client::connect(proxy.address, V5, &format!("c{i}")))
        .collect();
    for _ in 0..5 {
        assert_eq!(Client::open(proxy.address, V5).next(), None);
    }
    assert_eq!(proxy.disconnects("too_many_connections"), 5.0);
    for client in &mut clients {
        client.ping();
    }
    clients.pop().unwrap().disconnect();
    await_condition("there is room", || {
        proxy.metric("freshet_proxy_connections{listener=\"mqtt\"}") == 2.0
    });
    Client::connect(proxy.address, V5, "next").ping();
}

#[test]
fn a_client_that_vanishes_leaves_nothing_behind() {
    let storage = Storage::start();
    let proxy = TestProxy::start("one", proxy_config(&storage));
    for i in 0..50 {
        let mut client = Client::connect(proxy.address, V5, &format!("c{i}"));
        client.subscribe("t/#", QoS::AtLeastOnce);
        client.begin_publish("t/x", b"whatever", QoS::AtLeastOnce, false);
    }
    await_condition("all connections have ended", || {
        proxy.metric("freshet_proxy_connections{listener=\"mqtt\"}") == 0.0
            && proxy.metric("freshet_proxy_subscriptions") == 0.0
            && proxy.metric("freshet_proxy_filters{scope=\"all_shards\"}") == 0.0
            && proxy.metric("freshet_proxy_publishes_outstanding") == 0.0
            && proxy.metric("freshet_proxy_session_requests") == 0.0
    });
    assert_eq!(proxy.disconnects("connection_lost"), 50.0);
}
