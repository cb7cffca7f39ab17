//! QoS 2 publications of sessions that outlive their connection.

use freshet_mqtt::{QoS, ReasonCode};

use super::*;
use crate::exchange::{ToLink, ToWorker};
use crate::worker::tests::seen::Seen;

#[test]
#[cfg_attr(false, shows("5.0:4.3.3-10", "5.0:4.3.3-12"))]
fn a_publish_that_is_repeated_on_a_new_connection_is_one_message() {
    // MQTT-4.3.3-10
    let mut bench = Bench::new();
    let listener = bench.client(V5, "listener");
    bench.subscribe(listener, "a", QoS::AtMostOnce);
    let (client, _) = connect(&mut bench, V5, "c");
    bench.publish(client, "a", b"x", QoS::ExactlyOnce, 7);
    assert_eq!(bench.read(client), [Seen::PubRec(7, ReasonCode::Success)]);
    bench.hang_up(client);
    let (client, _) = connect(&mut bench, V5, "c");
    bench.publish(client, "a", b"x", QoS::ExactlyOnce, 7);
    assert!(matches!(bench.read(client)[..], [Seen::PubRec(7, _)]));
    bench.pubrel(client, 7);
    assert_eq!(bench.read(client), [Seen::PubComp(7, ReasonCode::Success)]);
    assert_eq!(bench.read_publishes(listener).len(), 1);
    bench.publish(client, "a", b"y", QoS::ExactlyOnce, 7);
    assert_eq!(
        bench.read_publishes(listener).len(),
        1,
        "a released id is a new message"
    );
}

#[test]
fn pubcomp_waits_for_the_release() {
    // MQTT-4.3.3-11
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.publish(client, "a", b"x", QoS::ExactlyOnce, 7);
    bench.read(client);
    bench.pubrel(client, 7);
    let shard = bench.storage.placement.shard_of_topic("a");
    let release = bench.storage.heard.iter().find_map(|said| match said {
        ToLink::Release { shard, of, .. } => Some((*shard, of.packet_id.get())),
        _ => None,
    });
    assert_eq!(release, Some((Some(shard), 7)));
    assert_eq!(bench.read(client), [Seen::PubComp(7, ReasonCode::Success)]);
}

#[test]
fn a_release_that_storage_has_forgotten_succeeds_on_the_connection_that_was_sent_pubrec() {
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.publish(client, "a", b"x", QoS::ExactlyOnce, 7);
    assert!(matches!(bench.read(client)[..], [Seen::PubRec(7, _)]));
    bench.storage.kept.exactly_once.clear();
    bench.pubrel(client, 7);
    assert_eq!(bench.read(client), [Seen::PubComp(7, ReasonCode::Success)]);
}

#[test]
fn a_pubrel_of_an_earlier_connection_is_asked_of_all_shards() {
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.publish(client, "a", b"x", QoS::ExactlyOnce, 7);
    bench.hang_up(client);
    let (client, _) = connect(&mut bench, V5, "c");
    bench.pubrel(client, 7);
    assert_eq!(bench.read(client), [Seen::PubComp(7, ReasonCode::Success)]);
    bench.pubrel(client, 9);
    assert_eq!(
        bench.read(client),
        [Seen::PubComp(9, ReasonCode::PacketIdentifierNotFound)]
    );
    let shards: Vec<_> = bench
        .storage
        .heard
        .iter()
        .filter_map(|said| match said {
            ToLink::Release { shard, .. } => Some(*shard),
            _ => None,
        })
        .collect();
    assert_eq!(shards, [None, None]);
}

#[test]
fn a_session_that_has_just_begun_knows_no_earlier_packet_id() {
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.pubrel(client, 7);
    assert_eq!(
        bench.read(client),
        [Seen::PubComp(7, ReasonCode::PacketIdentifierNotFound)]
    );
    assert!(bench.storage.kept.released.is_empty());
}

#[test]
fn storage_is_told_how_long_a_session_lasts_whose_connection_is_ending() {
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.storage.hold_publications = true;
    bench.publish(client, "a", b"x", QoS::AtLeastOnce, 7);
    bench.hang_up(client);
    let shard = bench.storage.placement.shard_of_client(b"c");
    bench.tell(ToWorker::RegisterSessions { shard });
    let named = bench.storage.heard.iter().rev().find_map(|said| match said {
        ToLink::RegisterSessions { sessions, .. } => sessions.first(),
        _ => None,
    });
    assert_eq!(named.map(|session| session.session_expiry_interval_s), Some(3_600));
}
