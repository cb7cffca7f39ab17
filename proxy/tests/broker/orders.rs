//! A proxy that is told to give clients away: by a file, as the kubelet shows it the annotation of its pod.

use freshet_mqtt::ReasonCode;

use crate::client::{Client, Seen, V5};
use crate::cluster::{Storage, TestProxy, proxy_config};
use crate::http::await_condition;

/// Of the year 2100.
const LATER_MS: u64 = 4_102_444_800_000;

fn connect(proxy: &TestProxy, count: usize) -> Vec<Client> {
    (0..count)
        .map(|i| Client::connect(proxy.address, V5, &format!("c{i}")))
        .collect()
}

fn await_clients(proxy: &TestProxy, count: u32) {
    await_condition(&format!("{count} clients are left"), || {
        proxy.metric("freshet_proxy_clients") == f64::from(count)
    });
}

#[test]
fn a_proxy_gives_away_what_it_is_told_and_goes_on() {
    let storage = Storage::start();
    let (one, two) = (
        TestProxy::start("one", proxy_config(&storage)),
        TestProxy::start("two", proxy_config(&storage)),
    );
    let _clients = connect(&one, 20);
    one.order(&format!(
        r#"{{"reason": "Rebalance", "keep": 12, "clientsPerSecond": 1000, "untilMs": {LATER_MS}}}"#
    ));
    await_clients(&one, 12);
    assert!(one.disconnects("moved") == 8.0 && one.metric("freshet_proxy_moves_total") == 8.0);
    // Who comes now stays, and so do the others when the order is withdrawn.
    let mut late = Client::connect(one.address, V5, "late");
    one.order("");
    late.ping();
    await_clients(&one, 13);
    Client::connect(two.address, V5, "elsewhere").ping();
}

#[test]
fn clients_are_told_where_to_go_and_that_no_order_is_in_force_any_more() {
    let storage = Storage::start();
    let one = TestProxy::start("one", proxy_config(&storage));
    let mut client = Client::connect(one.address, V5, "c");
    // Its time is over: it means nothing.
    one.order(r#"{"keep": 0, "clientsPerSecond": 1000, "untilMs": 1000}"#);
    client.ping();
    one.order(&format!(
        r#"{{"keep": 0, "clientsPerSecond": 1000, "untilMs": {LATER_MS}, "serverReferences": ["two.example:1883"]}}"#
    ));
    assert_eq!(client.next(), Some(Seen::Disconnect(ReasonCode::UseAnotherServer)));
    assert_eq!(client.next(), None);
}
