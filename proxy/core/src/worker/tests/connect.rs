//! How a connection begins, and what is refused before it has.

use freshet_mqtt::{
    Connect, Disconnect, ProtocolVersion, PublishProperties, ReasonCode, UserProperties, Will, WillProperties,
};
use freshet_storage_contract::{DetachReason, SessionRefusal};

use super::bench::*;
use super::seen::Seen;
use crate::exchange::{ToLink, ToWorker};
use crate::reason::DisconnectReason;
use crate::worker::{Fact, Received, Refusal};
use freshet_mqtt::{ClientPacket, QoS};

fn refused(bench: &mut Bench, connect: &Connect<'_>) -> (Option<ReasonCode>, DisconnectReason) {
    let client = bench.open(connect.protocol.version);
    assert_eq!(bench.send(client, ClientPacket::Connect(*connect)), Received::Close);
    let (seen, reason) = bench.last_words(client);
    let code = match &seen[..] {
        [] => None,
        [Seen::ConnAck(connack)] => Some(connack.reason_code),
        other => panic!("{other:?}"),
    };
    (code, reason.expect("a reason"))
}

#[test]
#[cfg_attr(
    false,
    shows("5.0:3.1.4-5", "5.0:3.2.2-2", "3.1.1:3.1.4-4", "3.1.1:3.2.2-1", "3.1.1:3.2.2-3")
)]
fn every_version_is_accepted_with_a_new_session() {
    // MQTT-3.2.0-1, MQTT-3.2.2-2
    let mut bench = Bench::new();
    for version in [V31, V311, V5] {
        let (_, connack) = bench.connect(&Connect::new(version, "c"));
        assert_eq!(
            (connack.reason_code, connack.session_present),
            (ReasonCode::Success, false)
        );
    }
    let (_, connack) = bench.connect(&Connect {
        clean_start: false,
        ..Connect::new(V311, "lasting")
    });
    assert!(!connack.session_present);
    assert_eq!(bench.worker.stats().connects_accepted, 4);
}

#[test]
fn a_bridge_is_accepted_and_gets_nothing_of_its_own_back() {
    let mut bench = Bench::new();
    let mut connect = Connect::new(V311, "bridge");
    connect.protocol.bridge = true;
    let (bridge, _) = bench.connect(&connect);
    let listener = bench.client(V311, "listener");
    bench.subscribe(bridge, "a", QoS::AtMostOnce);
    bench.subscribe(listener, "a", QoS::AtMostOnce);
    let mut publish = publish("a", b"x", QoS::AtMostOnce, 0);
    publish.retain = true;
    bench.send(bridge, ClientPacket::Publish(publish));
    assert_eq!(bench.read_publishes(bridge), []);
    assert_eq!(bench.read_publishes(listener).len(), 1);
    bench.send(listener, ClientPacket::Publish(publish));
    assert!(
        bench.read_publishes(bridge)[0].retain,
        "a bridge sees RETAIN as it was published"
    );
}

#[test]
fn connack_says_what_the_server_keeps_to() {
    // MQTT-3.2.2-21, 3.2.2.3
    let mut bench = Bench::configured(|c| c.proxy_in_connack = true);
    let mut connect = Connect::new(V5, "c");
    connect.keep_alive_seconds = 1_000;
    connect.properties.session_expiry_interval = Some(u32::MAX);
    let (_, connack) = bench.connect(&connect);
    assert_eq!(connack.session_expiry_interval, Some(604_800));
    assert_eq!(connack.receive_maximum, Some(100));
    assert_eq!(connack.maximum_packet_size, Some(1 << 20));
    assert_eq!(connack.topic_alias_maximum, Some(16));
    assert_eq!(connack.server_keep_alive, Some(240));
    assert_eq!(connack.shared_subscription_available, Some(true));
    assert_eq!(
        connack.user_properties,
        [("freshet-proxy".to_owned(), "proxy-1".to_owned())]
    );
    let (_, connack) = bench.connect(&Connect {
        keep_alive_seconds: 60,
        ..Connect::new(V5, "d")
    });
    assert_eq!(
        (connack.server_keep_alive, connack.session_expiry_interval),
        (None, None)
    );
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.3-6", "5.0:3.1.3-7", "5.0:3.2.2-16", "3.1.1:3.1.3-6"))]
fn a_client_without_an_id_gets_one_of_its_own() {
    // MQTT-3.1.3-6, MQTT-3.2.2-16
    let mut bench = Bench::new();
    let (_, first) = bench.connect(&Connect::new(V5, ""));
    let (_, second) = bench.connect(&Connect::new(V5, ""));
    let first = first.assigned_client_identifier.expect("assigned");
    assert_ne!(Some(first.clone()), second.assigned_client_identifier);
    let Some(Fact::Connected {
        client_id, assigned, ..
    }) = bench.facts.first()
    else {
        panic!("{:?}", bench.facts)
    };
    assert_eq!((&client_id[..], *assigned), (first.as_bytes(), true));
    // 3.1.1 is not told, and may do so with a clean session only.
    assert_eq!(
        bench.connect(&Connect::new(V311, "")).1.reason_code,
        ReasonCode::Success
    );
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.3-8", "3.1.1:3.1.3-7", "3.1.1:3.1.3-8", "3.1.1:3.1.3-9"))]
fn client_ids_that_cannot_be_are_refused() {
    // MQTT-3.1.3-8, MQTT-3.1.3-9 of 3.1.1; MQTT-3.1.3-5
    let mut bench = Bench::configured(|c| c.mqtt.max_client_id_bytes = 8);
    let not_valid = (
        Some(ReasonCode::ClientIdentifierNotValid),
        DisconnectReason::ClientIdentifierNotValid,
    );
    for version in [V311, V5] {
        assert_eq!(refused(&mut bench, &Connect::new(version, "123456789")), not_valid);
    }
    assert_eq!(
        refused(
            &mut bench,
            &Connect {
                clean_start: false,
                ..Connect::new(V311, "")
            }
        ),
        not_valid
    );
    assert_eq!(refused(&mut bench, &Connect::new(V31, "")), not_valid);
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-2", "3.1.1:3.1.2-2"))]
fn versions_that_are_not_spoken_are_answered_in_the_form_that_they_know() {
    // MQTT-3.1.2-2
    let mut bench = Bench::new();
    for (level, answer) in [(6_u8, &[0x20, 3, 0, 0x84, 0][..]), (2, &[0x20, 2, 0, 1])] {
        let client = bench.open(V5);
        let bytes = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 0, 0, 0];
        assert_eq!(bench.send_bytes(client, &bytes), Received::Close);
        assert_eq!(bench.close_ended(), [(client.token, answer.to_vec())]);
        assert_eq!(bench.reason(client), Some(DisconnectReason::UnsupportedProtocolVersion));
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.4-2", "5.0:4.12.0-1", "5.0:4.12.0-4"))]
fn enhanced_authentication_is_refused() {
    // MQTT-4.12.0-1
    let mut connect = Connect::new(V5, "c");
    connect.properties.authentication_method = Some("SCRAM-SHA-256");
    let expected = (
        Some(ReasonCode::BadAuthenticationMethod),
        DisconnectReason::BadAuthenticationMethod,
    );
    assert_eq!(refused(&mut Bench::new(), &connect), expected);
}

fn with_will<'a>(version: ProtocolVersion, topic_name: &'a str) -> Connect<'a> {
    let properties = WillProperties::default();
    let will = Will {
        qos: QoS::AtLeastOnce,
        retain: true,
        properties,
        topic_name,
        payload: b"gone",
    };
    Connect {
        will: Some(will),
        ..Connect::new(version, "c")
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.4-2", "3.1.1:3.2.2-6"))]
fn a_will_that_may_not_be_published_refuses_the_connection() {
    let mut bench = Bench::configured(|c| c.mqtt.max_topic_levels = 3);
    for version in [V311, V5] {
        let (code, reason) = refused(&mut bench, &with_will(version, "$SYS/x"));
        assert_eq!(
            (code, reason),
            (Some(ReasonCode::NotAuthorized), DisconnectReason::WillNotAllowed)
        );
    }
    let (code, reason) = refused(&mut bench, &with_will(V5, "a/b/c/d"));
    assert_eq!(
        (code, reason),
        (Some(ReasonCode::TopicNameInvalid), DisconnectReason::TopicNameInvalid)
    );
    assert_eq!(
        refused(&mut bench, &with_will(V311, "a/b/c/d")).0,
        None,
        "3.1.1 has no word for it"
    );
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-7", "5.0:3.14.4-3"))]
fn the_will_goes_to_storage_and_the_way_of_the_end_says_what_becomes_of_it() {
    // MQTT-3.1.2-8, MQTT-3.1.2-10, MQTT-3.14.4-3
    let disconnect = |code| ClientPacket::Disconnect(Disconnect::new(code));
    let ends = [
        (Some(disconnect(ReasonCode::Success)), DetachReason::ByClient),
        (
            Some(disconnect(ReasonCode::DisconnectWithWillMessage)),
            DetachReason::WillDue,
        ),
        (
            Some(ClientPacket::Connect(Connect::new(V5, "c"))),
            DetachReason::WillDue,
        ),
        (None, DetachReason::WillDue),
    ];
    for (end, expected) in ends {
        let mut bench = Bench::new();
        let (client, _) = bench.connect(&with_will(V5, "last/will"));
        let will = bench.storage.heard.iter().find_map(|said| match said {
            ToLink::AttachSession { will, .. } => will.clone(),
            _ => None,
        });
        let will = will.expect("a will").message;
        assert_eq!(
            (&will.topic_name[..], &will.payload[..], will.retain),
            (&b"last/will"[..], &b"gone"[..], true)
        );
        assert_eq!(will.publisher, bench.storage.placement.publisher_id(b"c"));
        match end {
            Some(packet) => assert_eq!(bench.send(client, packet), Received::Close),
            None => bench.hang_up(client),
        }
        assert_eq!(bench.storage.detached.last().map(|d| d.1), Some(expected));
    }
}

#[test]
fn a_will_that_disconnect_has_deleted_is_not_named_to_storage_that_forgot_it() {
    // MQTT-3.1.2-10
    for (code, has_will) in [
        (ReasonCode::Success, false),
        (ReasonCode::DisconnectWithWillMessage, true),
    ] {
        let mut bench = Bench::new();
        let (client, _) = bench.connect(&with_will(V5, "last/will"));
        // Its publication is unanswered, so the end of the session is not told yet.
        bench.storage.hold_publications = true;
        bench.publish(client, "a", b"1", QoS::AtLeastOnce, 1);
        bench.send(client, ClientPacket::Disconnect(Disconnect::new(code)));
        assert!(bench.storage.detached.is_empty());
        let shard = bench.storage.placement.shard_of_client(b"c");
        bench.tell(ToWorker::RegisterSessions { shard });
        let named = bench.storage.heard.iter().find_map(|said| match said {
            ToLink::RegisterSessions { sessions, .. } => Some(sessions.clone()),
            _ => None,
        });
        let wills: Vec<bool> = named.into_iter().flatten().map(|s| s.will.is_some()).collect();
        assert_eq!(wills, [has_will]);
    }
}

#[test]
fn raising_the_session_expiry_from_zero_with_disconnect_is_a_protocol_error() {
    // MQTT 5.0, 3.14.2.2.2
    let mut bench = Bench::new();
    for (asked, expected) in [
        (None, DisconnectReason::ProtocolError),
        (Some(5), DisconnectReason::ClientDisconnect),
    ] {
        let mut connect = Connect::new(V5, "c");
        connect.properties.session_expiry_interval = asked;
        let (client, _) = bench.connect(&connect);
        let disconnect = Disconnect {
            session_expiry_interval: Some(10),
            ..Disconnect::default()
        };
        bench.send(client, ClientPacket::Disconnect(disconnect));
        assert_eq!(bench.reason(client), Some(expected));
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.2.0-1"))]
fn packets_behind_a_connect_wait_for_connack() {
    // MQTT-3.1.4-6
    let mut bench = Bench::new();
    bench.storage.hold_attaches = true;
    let client = bench.open(V5);
    bench.send(client, ClientPacket::Connect(Connect::new(V5, "c")));
    assert_eq!(
        bench.publish(client, "a", b"x", QoS::AtLeastOnce, 1),
        Received::Continue
    );
    assert_eq!(bench.read(client), []);
    bench.storage.release();
    bench.settle();
    let seen = bench.read(client);
    assert!(
        matches!(
            &seen[..],
            [Seen::ConnAck(_), Seen::PubAck(1, ReasonCode::NoMatchingSubscribers)]
        ),
        "{seen:?}"
    );
    assert_eq!(bench.worker.stats().input_bytes_now, 0);
}

#[test]
fn what_may_wait_behind_a_connect_is_bounded() {
    let mut bench = Bench::new();
    bench.storage.hold_attaches = true;
    let client = bench.open(V5);
    bench.send(client, ClientPacket::Connect(Connect::new(V5, "c")));
    let received = bench.publish(client, "a", &[0; 20_000], QoS::AtMostOnce, 0);
    assert_eq!(received, Received::PauseReading);
    bench.storage.release();
    bench.settle();
    assert_eq!(bench.resumed, [client.token]);
}

#[test]
fn a_connection_without_connect_is_closed_in_time() {
    let mut bench = Bench::new();
    let silent = bench.open(V5);
    let slow = bench.open(V5);
    bench.send_bytes(slow, &[0x10, 12, 0, 4, b'M']);
    bench.pass_ms(9_900);
    assert_eq!(bench.reason(silent), None);
    bench.pass_ms(500);
    for client in [silent, slow] {
        assert_eq!(bench.reason(client), Some(DisconnectReason::ConnectTimeout));
    }
    assert_eq!(bench.close_ended().len(), 2);
    assert_eq!(
        (
            bench.worker.stats().connections_now,
            bench.worker.stats().input_bytes_now
        ),
        (0, 0)
    );
}

#[test]
fn a_session_that_storage_refuses_is_refused_to_the_client() {
    let mut bench = Bench::new();
    bench.storage.hold_attaches = true;
    for (version, refusal, code, reason) in [
        (
            V5,
            SessionRefusal::QuotaExceeded,
            Some(ReasonCode::QuotaExceeded),
            DisconnectReason::QuotaExceeded,
        ),
        (
            V311,
            SessionRefusal::QuotaExceeded,
            Some(ReasonCode::ServerUnavailable),
            DisconnectReason::QuotaExceeded,
        ),
        (V5, SessionRefusal::Superseded, None, DisconnectReason::TakenOver),
    ] {
        let client = bench.open(version);
        bench.send(client, ClientPacket::Connect(Connect::new(version, "c")));
        let Some(ToLink::AttachSession { request, .. }) = bench.storage.held.pop_back() else {
            panic!()
        };
        bench.tell(ToWorker::SessionRefused { request, refusal });
        let (seen, why) = bench.last_words(client);
        let got = seen.first().map(|s| match s {
            Seen::ConnAck(connack) => connack.reason_code,
            other => panic!("{other:?}"),
        });
        assert_eq!((got, why), (code, Some(reason)));
    }
    assert_eq!(bench.storage.detached, []);
    assert_eq!(bench.worker.stats().attaching_now, 0);
}

#[test]
fn a_client_that_does_not_wait_for_its_session_leaves_none_behind() {
    let mut bench = Bench::new();
    bench.storage.hold_attaches = true;
    let client = bench.open(V5);
    bench.send(client, ClientPacket::Connect(Connect::new(V5, "c")));
    bench.hang_up(client);
    assert_eq!(bench.storage.detached, []);
    bench.storage.release();
    bench.settle();
    assert_eq!(bench.storage.detached.len(), 1);
    assert!(bench.storage.sessions.is_empty());
}

#[test]
fn connections_over_the_maximum_are_not_taken() {
    let mut bench = Bench::with(
        crate::worker::WorkerSettings {
            max_connections: 2,
            ..settings()
        },
        freshet_config::ProxyConfig::default(),
    );
    let first = bench.open(V5);
    bench.open(V5);
    let peer = "127.0.0.1:9".parse().unwrap();
    let refusal = bench
        .worker
        .accept(crate::worker::ListenerIndex(0), peer, bench.now, &mut bench.out);
    assert_eq!(refusal, Err(Refusal::TooManyConnections));
    assert_eq!(
        bench
            .worker
            .stats()
            .disconnects_by(DisconnectReason::TooManyConnections),
        1
    );
    bench.hang_up(first);
    bench.open(V5);
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.0-2", "3.1.1:3.1.0-2", "3.1.1:4.8.0-1"))]
fn a_second_connect_ends_the_connection() {
    // MQTT-3.1.0-2
    let mut bench = Bench::new();
    for version in [V311, V5] {
        let client = bench.client(version, "c");
        bench.send(client, ClientPacket::Connect(Connect::new(version, "c")));
        let (seen, reason) = bench.last_words(client);
        assert_eq!(reason, Some(DisconnectReason::ProtocolError));
        let expected = if version == V5 {
            vec![Seen::Disconnect(ReasonCode::ProtocolError)]
        } else {
            vec![]
        };
        assert_eq!(seen, expected);
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.3-10"))]
fn the_user_properties_of_a_will_keep_their_order() {
    let mut bench = Bench::new();
    let pairs = [("k", "2"), ("a", "z"), ("k", "1")];
    let mut connect = with_will(V5, "last/will");
    if let Some(will) = &mut connect.will {
        will.properties.user_properties = UserProperties::from_pairs(&pairs);
    }
    bench.connect(&connect);
    let will = bench.storage.heard.iter().find_map(|said| match said {
        ToLink::AttachSession { will, .. } => will.clone(),
        _ => None,
    });
    let message = will.expect("a will").message;
    let forwarded = PublishProperties::from_forwarded(&message.forwarded_properties).unwrap();
    assert_eq!(forwarded.user_properties.iter().collect::<Vec<_>>(), pairs);
}

#[test]
#[cfg_attr(false, shows("3.1.1:3.1.2-6", "3.1.1:3.1.4-3", "3.1.1:4.1.0-2"))]
fn a_clean_session_lasts_as_long_as_its_connection_and_no_longer() {
    let mut bench = Bench::new();
    let connect = Connect {
        keep_alive_seconds: 0,
        ..Connect::new(V311, "c")
    };
    let (first, _) = bench.connect(&connect);
    bench.subscribe(first, "a", QoS::AtLeastOnce);
    bench.pass_ms(7 * 24 * 3_600_000);
    bench.deliver(message("a", b"x", QoS::AtLeastOnce));
    assert_eq!(bench.read_publishes(first).len(), 1);
    bench.hang_up(first);
    let (second, connack) = bench.connect(&connect);
    assert!(!connack.session_present);
    bench.deliver(message("a", b"x", QoS::AtLeastOnce));
    assert_eq!(
        bench.read(second),
        [],
        "neither what was in flight nor the subscription is left"
    );
}
