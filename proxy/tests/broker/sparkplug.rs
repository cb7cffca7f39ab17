//! Edge nodes of Sparkplug B, and wills with a delay, whose proxy is told to stop: who comes back within the grace never
//! died, who does not dies once.

use std::time::{Duration, Instant};

use freshet_config::StorageConfig;
use freshet_mqtt::sparkplug::{EdgeNode, HOST_FILTER, Lifetime, Told};
use freshet_mqtt::{Connect, ProtocolVersion, QoS, ReasonCode, Will, WillProperties};

use crate::client::{Client, Seen, V5, V311};
use crate::cluster::{Storage, TestProxy, proxy_config};

/// Long enough to come back on a busy machine; tests wait for it once.
const GRACE: Duration = Duration::from_secs(4);

fn storage() -> Storage {
    Storage::start_with(StorageConfig {
        will_grace_on_move_ms: u64::try_from(GRACE.as_millis()).unwrap(),
        ..StorageConfig::default()
    })
}

/// Connects as Sparkplug B 3.0 asks: a clean start, NDEATH as the will, the commands, then NBIRTH.
fn establish(proxy: &TestProxy, version: ProtocolVersion, node: &mut EdgeNode) -> Client {
    let Lifetime {
        death_topic,
        death,
        birth_topic,
        birth,
        command_filter,
        ..
    } = node.next_lifetime();
    let connect = Connect {
        will: Some(Will {
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: WillProperties::default(),
            topic_name: &death_topic,
            payload: &death,
        }),
        ..Connect::new(version, &node.id)
    };
    let (mut client, _) = Client::connect_with(proxy.address, &connect);
    client.subscribe(&command_filter, QoS::AtLeastOnce);
    client.begin_publish(&birth_topic, &birth, QoS::AtMostOnce, false);
    client
}

fn told(host: &mut Client) -> Told {
    let message = host.receive();
    assert!(!message.retain, "{message:?}");
    Told::read(&message.topic, &message.payload).expect("a birth or a death")
}

/// What the host application is told next, in any order.
fn told_in_any_order<const N: usize>(host: &mut Client) -> [Told; N] {
    let mut all = std::array::from_fn(|_| told(host));
    all.sort();
    all
}

fn birth(node: &EdgeNode, bd_seq: u64) -> Told {
    Told::Birth(node.id.clone(), bd_seq)
}

fn death(node: &EdgeNode, bd_seq: u64) -> Told {
    Told::Death(node.id.clone(), bd_seq)
}

/// Waits until a client has been told that its proxy stops, each version in its way.
fn is_moved(client: &mut Client, version: ProtocolVersion) {
    if version == V5 {
        assert_eq!(client.next(), Some(Seen::Disconnect(ReasonCode::ServerShuttingDown)));
    }
    assert_eq!(client.next(), None);
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-8", "3.1.1:3.1.2-8"))]
fn an_edge_node_that_is_moved_is_born_again_without_a_death_and_one_that_stays_away_dies_once() {
    for version in [V311, V5] {
        let storage = storage();
        let mut one = TestProxy::start("one", proxy_config(&storage));
        let two = TestProxy::start("two", proxy_config(&storage));
        let mut host = Client::connect(two.address, V5, "host");
        host.subscribe(HOST_FILTER, QoS::AtLeastOnce);
        let (mut returns, mut stays_away) = (EdgeNode::new("a-returns"), EdgeNode::new("b-stays-away"));
        let mut moved = establish(&one, version, &mut returns);
        assert_eq!(told(&mut host), birth(&returns, 0));
        let mut lost = establish(&one, version, &mut stays_away);
        assert_eq!(told(&mut host), birth(&stays_away, 0));

        one.stop();
        is_moved(&mut moved, version);
        is_moved(&mut lost, version);
        let moved = establish(&two, version, &mut returns);
        assert_eq!(told(&mut host), birth(&returns, 1));
        // Both were moved at once: with this death the grace of both is over.
        assert_eq!(told(&mut host), death(&stays_away, 0));

        // From here on as ever: the death of a connection that is lost, with the number of its birth.
        drop(moved);
        assert_eq!(told(&mut host), death(&returns, 1));
        let mut moved = establish(&two, version, &mut returns);
        let mut lost = establish(&two, version, &mut stays_away);
        assert_eq!(
            told_in_any_order(&mut host),
            [birth(&returns, 2), birth(&stays_away, 1)]
        );
        moved.ping();
        lost.ping();
        host.ping();
        assert_eq!(two.metric("freshet_proxy_deliveries_sent_total{qos=\"1\"}"), 2.0);
    }
}

#[test]
fn an_edge_node_that_comes_back_before_anybody_has_missed_it_dies_once() {
    let storage = storage();
    let one = TestProxy::start("one", proxy_config(&storage));
    let two = TestProxy::start("two", proxy_config(&storage));
    let mut host = Client::connect(two.address, V5, "host");
    host.subscribe(HOST_FILTER, QoS::AtLeastOnce);
    let mut node = EdgeNode::new("takes-over");
    let mut first = establish(&one, V5, &mut node);
    assert_eq!(told(&mut host), birth(&node, 0));
    // Back at another proxy before the first one knows that it has gone: the old connection dies, then comes the birth.
    let _second = establish(&two, V5, &mut node);
    assert_eq!(first.next(), Some(Seen::Disconnect(ReasonCode::SessionTakenOver)));
    assert_eq!(told_in_any_order(&mut host), [birth(&node, 1), death(&node, 0)]);
}

/// A lasting session whose will waits so long.
fn with_delay(proxy: &TestProxy, client_id: &str, delay: Duration) -> Client {
    let mut connect = Connect::new(V5, client_id);
    connect.clean_start = false;
    connect.properties.session_expiry_interval = Some(600);
    connect.will = Some(Will {
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: WillProperties {
            will_delay_interval: Some(u32::try_from(delay.as_secs()).unwrap()),
            ..WillProperties::default()
        },
        topic_name: "wills/delayed",
        payload: client_id.as_bytes(),
    });
    Client::connect_with(proxy.address, &connect).0
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.3-9"))]
fn a_will_with_a_delay_waits_for_the_longer_of_delay_and_grace_when_its_client_is_moved() {
    const DELAY: Duration = Duration::from_secs(6);
    let storage = storage();
    let mut one = TestProxy::start("one", proxy_config(&storage));
    let two = TestProxy::start("two", proxy_config(&storage));
    let mut watcher = Client::connect(two.address, V5, "watcher");
    watcher.subscribe("wills/#", QoS::AtLeastOnce);
    let mut moved = with_delay(&one, "returns", DELAY);
    let mut longer = with_delay(&one, "longer-than-the-grace", DELAY);
    let mut shorter = with_delay(&one, "shorter-than-the-grace", Duration::from_secs(1));
    let stopped = Instant::now();
    one.stop();
    for client in [&mut moved, &mut longer, &mut shorter] {
        is_moved(client, V5);
    }
    let moved = with_delay(&two, "returns", DELAY);
    assert!(moved.session_present);
    assert_eq!(watcher.receive().payload, b"shorter-than-the-grace");
    assert!(stopped.elapsed() >= GRACE, "{:?}", stopped.elapsed());
    assert_eq!(watcher.receive().payload, b"longer-than-the-grace");
    assert!(stopped.elapsed() >= DELAY, "{:?}", stopped.elapsed());
    // That of the third was dropped, not put off: its connection has one again.
    moved.disconnect();
    watcher.ping();
    assert_eq!(two.metric("freshet_proxy_deliveries_sent_total{qos=\"1\"}"), 2.0);
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.3-9"))]
fn a_client_that_was_lost_at_one_proxy_keeps_its_will_unsent_when_it_is_back_at_another_within_the_delay() {
    const DELAY: Duration = Duration::from_secs(4);
    let storage = storage();
    let one = TestProxy::start("one", proxy_config(&storage));
    let two = TestProxy::start("two", proxy_config(&storage));
    let mut watcher = Client::connect(two.address, V5, "watcher");
    watcher.subscribe("wills/#", QoS::AtLeastOnce);
    let (returns, stays_away) = (
        with_delay(&one, "returns", DELAY),
        with_delay(&one, "stays-away", DELAY),
    );
    drop(returns);
    drop(stays_away);
    let back = with_delay(&two, "returns", DELAY);
    assert!(back.session_present);
    // Both were lost at once: with this will the delay of both is over.
    assert_eq!(watcher.receive().payload, b"stays-away");
    back.disconnect();
    watcher.ping();
    assert_eq!(two.metric("freshet_proxy_deliveries_sent_total{qos=\"1\"}"), 1.0);
}
