//! A client that connects again through another proxy.

use freshet_mqtt::{QoS, ReasonCode};

use crate::client::{Client, Seen, V5, V311};
use crate::cluster::{Storage, TestProxy, proxy_config};

#[test]
#[cfg_attr(false, shows("5.0:3.1.4-3"))]
fn the_same_client_id_through_another_proxy_ends_the_first_connection() {
    let storage = Storage::start();
    let one = TestProxy::start("one", proxy_config(&storage));
    let two = TestProxy::start("two", proxy_config(&storage));
    let mut first = Client::connect(one.address, V5, "same");
    let mut second = Client::connect(two.address, V5, "same");
    assert_eq!(first.next(), Some(Seen::Disconnect(ReasonCode::SessionTakenOver)));
    assert_eq!(first.next(), None);
    second.subscribe("t", QoS::AtLeastOnce);
    second.publish("t", b"mine", QoS::AtLeastOnce, false);
    assert_eq!(second.receive().payload, b"mine");
    // 3.1.1 has no words for it: the connection is closed.
    let mut third = Client::connect(one.address, V311, "same");
    assert_eq!(second.next(), Some(Seen::Disconnect(ReasonCode::SessionTakenOver)));
    let mut fourth = Client::connect(two.address, V311, "same");
    assert_eq!(third.next(), None);
    fourth.ping();
    assert_eq!(
        (one.disconnects("taken_over"), two.disconnects("taken_over")),
        (2.0, 1.0)
    );
}

#[test]
fn a_takeover_at_the_same_proxy_works_between_its_workers() {
    let storage = Storage::start();
    let proxy = TestProxy::start("one", proxy_config(&storage));
    let mut last = Client::connect(proxy.address, V5, "same");
    for _ in 0..6 {
        let next = Client::connect(proxy.address, V5, "same");
        assert_eq!(last.next(), Some(Seen::Disconnect(ReasonCode::SessionTakenOver)));
        last = next;
    }
    last.ping();
    assert_eq!(proxy.metric("freshet_proxy_clients"), 1.0);
}
