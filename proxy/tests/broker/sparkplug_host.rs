//! A host of Sparkplug B, whose own state is retained, and its edge node through a lost connection, a
//! takeover and a move to another proxy.
//!
//! Each CONNECT carries a new `bdSeq` in its will, and the birth that follows repeats it. A host takes an edge node for
//! dead when a death comes with the `bdSeq` of its last birth: one that came for a client that was only moved would turn
//! off what is on.

use std::net::SocketAddr;

use freshet_mqtt::{Connect, QoS, Will, WillProperties};

use crate::client::{Client, DEADLINE, V311};
use crate::cluster::{Storage, TestProxy, proxy_config};

const BIRTH: &str = "spBv1.0/plant/NBIRTH/edge";
const DATA: &str = "spBv1.0/plant/NDATA/edge";
const DEATH: &str = "spBv1.0/plant/NDEATH/edge";
const COMMAND: &str = "spBv1.0/plant/NCMD/edge";
const STATE: &str = "spBv1.0/STATE/host";

fn connect(address: SocketAddr, client_id: &str, will: (&str, &[u8]), retain: bool) -> Client {
    let (topic_name, payload) = will;
    let will = Will {
        qos: QoS::AtLeastOnce,
        retain,
        properties: WillProperties::default(),
        topic_name,
        payload,
    };
    let connect = Connect {
        will: Some(will),
        ..Connect::new(V311, client_id)
    };
    Client::connect_with(address, &connect).0
}

/// An edge node connects, learns that its host is there, and is born.
fn born(address: SocketAddr, bd_seq: u8) -> Client {
    let mut edge = connect(address, "edge", (DEATH, &[bd_seq]), false);
    edge.subscribe(COMMAND, QoS::AtLeastOnce);
    edge.subscribe(STATE, QoS::AtLeastOnce);
    let state = edge.receive();
    assert_eq!(
        (state.topic.as_str(), &state.payload[..], state.retain),
        (STATE, &b"online"[..], true)
    );
    edge.publish(BIRTH, &[bd_seq], QoS::AtMostOnce, false);
    edge
}

/// What the host hears next of the edge node, and its `bdSeq`.
fn heard(host: &mut Client) -> (&'static str, u8) {
    let publish = host.receive();
    let known = [BIRTH, DATA, DEATH].into_iter().find(|topic| *topic == publish.topic);
    (known.expect("of the edge node"), publish.payload[0])
}

#[test]
fn a_host_hears_of_births_and_deaths_and_never_of_a_death_that_was_a_move() {
    let storage = Storage::start();
    let mut one = TestProxy::start("one", proxy_config(&storage));
    let two = TestProxy::start("two", proxy_config(&storage));
    let mut host = connect(two.address, "host", (STATE, b"offline"), true);
    host.subscribe("spBv1.0/plant/#", QoS::AtLeastOnce);
    host.publish(STATE, b"online", QoS::AtLeastOnce, true);

    let edge = born(one.address, 0);
    assert_eq!(heard(&mut host), (BIRTH, 0));
    drop(edge);
    assert_eq!(heard(&mut host), (DEATH, 0));

    // Its network was gone without a word: the next connection takes the former one over, which is dead.
    let mut forgotten = born(one.address, 1);
    assert_eq!(heard(&mut host), (BIRTH, 1));
    let mut edge = born(one.address, 2);
    assert_eq!(forgotten.next(), None);
    let mut both = [heard(&mut host), heard(&mut host)];
    both.sort_unstable();
    assert_eq!(both, [(BIRTH, 2), (DEATH, 1)]);

    // The host asks for a new birth.
    host.publish(COMMAND, b"rebirth", QoS::AtLeastOnce, false);
    let (echo, command) = (host.receive(), edge.receive());
    assert_eq!((echo.topic.as_str(), command.topic.as_str()), (COMMAND, COMMAND));
    edge.publish(BIRTH, &[2], QoS::AtMostOnce, false);
    assert_eq!(heard(&mut host), (BIRTH, 2));

    one.stop();
    assert_eq!(edge.next(), None);
    one.ended(DEADLINE);
    let mut edge = born(two.address, 3);
    edge.publish(DATA, &[3], QoS::AtMostOnce, false);
    // One that leaves says so itself: DISCONNECT drops the will.
    edge.publish(DEATH, &[3], QoS::AtLeastOnce, false);
    edge.disconnect();
    let moved = [heard(&mut host), heard(&mut host), heard(&mut host)];
    assert_eq!(
        moved,
        [(BIRTH, 3), (DATA, 3), (DEATH, 3)],
        "and no death of the second connection"
    );

    drop(host);
    let mut next_host = Client::connect(two.address, V311, "next host");
    next_host.subscribe(STATE, QoS::AtLeastOnce);
    let mut state = next_host.receive();
    if state.payload == b"online" {
        // The loss was not noticed yet.
        state = next_host.receive();
    }
    assert_eq!(state.payload, b"offline");
}
