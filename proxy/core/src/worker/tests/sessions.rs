//! Sessions that outlive their connection, as clients see them.

mod again;
mod outbound;
mod publishing;
mod subscriptions;

use freshet_mqtt::{ClientPacket, Disconnect, ProtocolVersion, QoS, ReasonCode};

use super::bench::*;
use super::seen::SeenConnAck;
use crate::exchange::{QueuedFor, ToLink, ToWorker};
use crate::reason::DisconnectReason;

/// Connects with a session that outlives the connection.
fn connect(bench: &mut Bench, version: ProtocolVersion, client_id: &str) -> (Client, SeenConnAck) {
    bench.connect(&lasting(version, client_id))
}

/// A client whose window has room for so many messages.
fn connect_with_window(bench: &mut Bench, client_id: &str, receive_maximum: u16) -> (Client, SeenConnAck) {
    let mut connect = lasting(V5, client_id);
    connect.properties.receive_maximum = receive_maximum.try_into().ok();
    bench.connect(&connect)
}

fn disconnect(bench: &mut Bench, client: Client, session_expiry_interval: Option<u32>) {
    let disconnect = Disconnect {
        session_expiry_interval,
        ..Disconnect::new(ReasonCode::Success)
    };
    bench.send(client, ClientPacket::Disconnect(disconnect));
    bench.close_ended();
}

#[test]
fn connack_announces_the_interval_that_is_granted_when_it_is_another() {
    // MQTT-3.2.2-21
    let mut bench = Bench::configured(|c| c.mqtt.max_session_expiry_s = 100);
    for (asked, announced) in [
        (None, None),
        (Some(60), None),
        (Some(3_600), Some(100)),
        (Some(u32::MAX), Some(100)),
    ] {
        let mut connect = lasting(V5, "c");
        connect.properties.session_expiry_interval = asked;
        let (_, connack) = bench.connect(&connect);
        assert_eq!(connack.session_expiry_interval, announced, "{asked:?}");
    }
}

#[test]
#[cfg_attr(
    false,
    shows("5.0:3.1.2-4", "5.0:3.1.2-6", "5.0:3.2.2-3", "3.1.1:3.1.2-6", "3.1.1:3.2.2-2")
)]
fn a_session_of_either_version_is_found_again_until_it_is_cleaned() {
    // MQTT-3.1.2-4, MQTT-3.1.2-5, MQTT-3.2.2-2, MQTT-3.2.2-3
    for version in [V5, V311] {
        let mut bench = Bench::new();
        let (first, connack) = connect(&mut bench, version, "c");
        assert!(!connack.session_present);
        bench.hang_up(first);
        let (second, connack) = connect(&mut bench, version, "c");
        assert!(connack.session_present);
        bench.hang_up(second);
        let mut clean = lasting(version, "c");
        clean.clean_start = true;
        assert!(!bench.connect(&clean).1.session_present);
    }
}

#[test]
fn storage_learns_with_connack_that_a_client_was_told_of_its_session() {
    let mut bench = Bench::new();
    let told = |bench: &Bench| {
        let heard = bench.storage.heard.iter();
        heard
            .filter(|heard| matches!(heard, ToLink::UpdateSession(update) if update.changes.is_empty()))
            .count()
    };
    let (client, connack) = connect(&mut bench, V5, "c");
    assert_eq!((connack.session_present, told(&bench)), (false, 1));
    bench.hang_up(client);
    let (_, connack) = connect(&mut bench, V5, "c");
    assert_eq!((connack.session_present, told(&bench)), (true, 1), "it knew of it");
    bench.client(V5, "ends with its connection");
    assert_eq!(told(&bench), 1);
}

#[test]
fn a_client_that_gives_up_before_connack_leaves_no_session() {
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    bench.hang_up(client);
    // Its session has expired while storage was away.
    bench.storage.kept.sessions.clear();
    bench.storage.hold_attaches = true;
    let client = bench.open(V5);
    bench.send(client, ClientPacket::Connect(lasting(V5, "c")));
    bench.hang_up(client);
    bench.storage.release();
    bench.settle();
    assert!(!connect(&mut bench, V5, "c").1.session_present);
}

#[test]
fn a_session_that_ends_with_its_connection_leaves_nothing() {
    for version in [V5, V311] {
        let mut bench = Bench::new();
        let client = bench.client(version, "c");
        bench.subscribe(client, "a", QoS::ExactlyOnce);
        bench.hang_up(client);
        assert!(bench.storage.kept.sessions.is_empty() && bench.storage.kept.durable.is_empty());
    }
}

#[test]
fn disconnect_changes_the_interval_but_never_from_zero() {
    // MQTT-3.14.2-2
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    disconnect(&mut bench, client, Some(0));
    assert!(bench.storage.kept.sessions.is_empty());
    let (client, _) = connect(&mut bench, V5, "c");
    disconnect(&mut bench, client, Some(10));
    assert!(connect(&mut bench, V5, "c").1.session_present);

    let client = bench.client(V5, "other");
    let raised = Disconnect {
        session_expiry_interval: Some(10),
        ..Disconnect::new(ReasonCode::Success)
    };
    bench.send(client, ClientPacket::Disconnect(raised));
    let (seen, _) = bench.last_words(client);
    assert_eq!(seen, [super::seen::Seen::Disconnect(ReasonCode::ProtocolError)]);
}

#[test]
fn storage_that_keeps_no_sessions_is_announced() {
    let mut bench = Bench::new();
    let placement = bench.storage.placement.clone();
    bench.tell(ToWorker::StorageBack {
        placement,
        keeps_sessions: false,
        shares: true,
    });
    let (_, connack) = connect(&mut bench, V5, "c");
    assert_eq!(connack.session_expiry_interval, Some(0));
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-5", "5.0:4.4.0-1"))]
fn a_session_that_is_taken_over_goes_on_with_all_that_it_had() {
    // MQTT-3.1.4-3
    let mut bench = Bench::new();
    let (first, _) = connect(&mut bench, V5, "c");
    bench.subscribe(first, "a", QoS::AtLeastOnce);
    bench.deliver(message("a", b"1", QoS::AtLeastOnce));
    let sent = bench.read_publishes(first);
    let (second, connack) = connect(&mut bench, V5, "c");
    assert!(connack.session_present);
    let again = bench.read_publishes(second);
    assert_eq!(again.len(), 1);
    assert!(again[0].dup);
    assert_eq!(again[0].packet_id, sent[0].packet_id);
}

#[test]
fn a_session_whose_messages_were_lost_with_what_was_queued_for_it_ends_with_its_connection() {
    let mut bench = Bench::new();
    let (promised, _) = connect(&mut bench, V5, "c");
    bench.subscribe(promised, "a", QoS::AtLeastOnce);
    let (other, _) = connect(&mut bench, V5, "d");
    bench.subscribe(other, "a", QoS::AtMostOnce);
    let shard = bench.storage.placement.shard_of_topic("a");
    let queued = QueuedFor::Nobody;
    bench.tell(ToWorker::Overrun { shard, queued });
    assert_eq!(bench.reason(promised), Some(DisconnectReason::Overrun));
    assert_eq!(bench.reason(other), None, "it was promised nothing");
    bench.close_ended();
    let (_, connack) = connect(&mut bench, V5, "c");
    assert!(!connack.session_present);
}
