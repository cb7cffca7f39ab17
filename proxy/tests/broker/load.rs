//! `/loadz` of a proxy with clients: what was done is in it, within the bytes that it may have.

use std::sync::mpsc;
use std::time::Duration;

use freshet_load::{Load, MAX_BYTES, Phase, decode};
use freshet_mqtt::QoS;

use crate::client::{Client, V5, V311};
use crate::cluster::{Storage, TestProxy, proxy_config};
use crate::http::{await_condition, get_bytes};

fn load(proxy: &TestProxy) -> Load {
    let (status, body) = get_bytes(proxy.admin, "/loadz");
    assert_eq!(status, 200);
    assert!(body.len() <= MAX_BYTES, "{}", body.len());
    decode(&body).unwrap()
}

/// The load, once it is as expected: answers may be a tenth of a second old.
fn await_load(proxy: &TestProxy, what: &str, is_so: impl Fn(&Load) -> bool) -> Load {
    let mut last = load(proxy);
    await_condition(what, || {
        last = load(proxy);
        is_so(&last)
    });
    last
}

#[test]
fn clients_and_their_messages_are_counted() {
    let storage = Storage::start();
    let proxy = TestProxy::start("one", proxy_config(&storage));
    let mut subscriber = Client::connect(proxy.address, V311, "subscriber");
    subscriber.subscribe("a", QoS::ExactlyOnce);
    let mut publisher = Client::connect(proxy.address, V5, "publisher");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        publisher.publish("a", b"hello", qos, false);
        assert_eq!(subscriber.receive().payload, b"hello");
    }
    let load = await_load(&proxy, "three publications, all of which is written", |load| {
        load.publishes_in_total == Some(3)
            && load.deliveries_out_total == Some(3)
            && load.publish_round_trips.len() == 3
            && (load.outbound_bytes, load.publishes_outstanding) == (Some(0), Some(0))
    });
    assert_eq!((load.clients, load.connections), (Some(2), Some(2)));
    assert_eq!((load.connects_total, load.accepts_total), (Some(2), Some(2)));
    assert_eq!((load.phase(), load.storage_attached), (Phase::Serving, true));
    assert_eq!(load.unanswered_workers, 0);
    assert!(load.bytes_in_total.unwrap() > 0 && load.bytes_out_total.unwrap() > 0);
    assert_eq!(load.storage_backlog_bytes, Some(0));
    for (qos, round_trip) in (0..).zip(&load.publish_round_trips) {
        assert_eq!((round_trip.qos, round_trip.count), (qos, 1));
        assert!(round_trip.p50_ms <= round_trip.p99_ms);
    }
    drop(publisher);
    await_load(&proxy, "a client is gone", |load| load.clients == Some(1));
}

#[test]
fn another_life_of_a_proxy_has_another_incarnation_and_counts_from_nothing() {
    let storage = Storage::start();
    let lives = [(); 2].map(|()| {
        let proxy = TestProxy::start("one", proxy_config(&storage));
        let before = load(&proxy);
        let client = Client::connect(proxy.address, V5, "client");
        let after = await_load(&proxy, "a connect", |load| load.connects_total == Some(1));
        assert_eq!(after.incarnation, before.incarnation);
        assert!(after.uptime_ms >= before.uptime_ms);
        drop(client);
        after.incarnation
    });
    assert_ne!(lives[0], lives[1]);
}

#[test]
fn a_proxy_says_that_it_waits_for_storage_and_that_it_goes() {
    let storage = Storage::start();
    let mut nowhere = proxy_config(&storage);
    nowhere.storage_endpoints = vec!["127.0.0.1:1".to_owned()];
    let waiting = TestProxy::start_alone("waiting", nowhere);
    let answer = load(&waiting);
    assert_eq!((answer.phase(), answer.storage_attached), (Phase::Starting, false));

    let mut config = proxy_config(&storage);
    config.drain_linger_ms = 5_000;
    let mut leaving = TestProxy::start("leaving", config);
    leaving.stop();
    await_load(&leaving, "it lingers", |load| load.phase() == Phase::Lingering);
}

#[test]
fn many_who_ask_at_once_are_all_answered() {
    let storage = Storage::start();
    let proxy = TestProxy::start("one", proxy_config(&storage));
    let (answers, answered) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..32 {
            let answers = answers.clone();
            let admin = proxy.admin;
            scope.spawn(move || answers.send(get_bytes(admin, "/loadz").0).unwrap());
        }
    });
    let all: Vec<_> = (0..32)
        .map(|_| answered.recv_timeout(Duration::from_secs(1)).unwrap())
        .collect();
    assert_eq!(all, [200; 32]);
}
