//! The lists of packets: what makes two of them equal, how many items they say are left, and what is printed of packets.

use freshet_mqtt::{
    Auth, ClientPacket, ConnAckProperties, ConnectProperties, ProtocolVersion, Publish, PublishProperties, QoS,
    ReasonCode, ReasonCodes, ServerPacket, SubscribeFilter, SubscribeFilters, SubscriptionIdentifiers,
    SubscriptionOptions, TopicError, TopicFilter, TopicName, UnsubscribeFilters, UserProperties, Will, WillProperties,
    filters_overlap,
};

use crate::{decode_client, decode_server};

const A_AND_B: [&str; 2] = ["a/+", "b"];

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::parse(text).expect("valid")
}

fn wanted<'a>(texts: &[&'a str], qos: QoS) -> Vec<SubscribeFilter<'a>> {
    let options = SubscriptionOptions::new(qos);
    let wanted = texts.iter().map(|text| SubscribeFilter {
        topic_filter: filter(text),
        options,
    });
    wanted.collect()
}

#[test]
fn lists_are_equal_when_they_hold_the_same_in_the_same_order() {
    let at_0 = wanted(&A_AND_B, QoS::AtMostOnce);
    let filters = SubscribeFilters::from_slice(&at_0);
    assert_eq!(
        filters,
        SubscribeFilters::from_slice(&wanted(&A_AND_B, QoS::AtMostOnce))
    );
    for (texts, qos) in [
        (&A_AND_B[..], QoS::AtLeastOnce),
        (&["b", "a/+"], QoS::AtMostOnce),
        (&["a/+"], QoS::AtMostOnce),
        (&["a/+", "c"], QoS::AtMostOnce),
    ] {
        let other = wanted(texts, qos);
        assert_ne!(filters, SubscribeFilters::from_slice(&other), "{texts:?} {qos:?}");
    }

    let both = A_AND_B.map(filter);
    let filters = UnsubscribeFilters::from_slice(&both);
    assert_eq!(filters, UnsubscribeFilters::from_slice(&A_AND_B.map(filter)));
    for other in [&["b", "a/+"][..], &["a/+"], &["a/+", "c"]] {
        let other: Vec<_> = other.iter().map(|text| filter(text)).collect();
        assert_ne!(filters, UnsubscribeFilters::from_slice(&other));
    }

    let codes = [ReasonCode::Success, ReasonCode::NotAuthorized];
    assert_eq!(
        ReasonCodes::from_slice(&codes),
        ReasonCodes::from_slice(&[ReasonCode::Success, ReasonCode::NotAuthorized])
    );
    for other in [&codes[..1], &[codes[1], codes[0]], &[]] {
        assert_ne!(ReasonCodes::from_slice(&codes), ReasonCodes::from_slice(other));
    }

    let pairs = [("a", "1"), ("b", "2")];
    for other in [&pairs[..1], &[("a", "1"), ("b", "3")], &[]] {
        assert_ne!(UserProperties::from_pairs(&pairs), UserProperties::from_pairs(other));
    }
    let identifiers = [1, 2];
    for other in [&identifiers[..1], &[2, 1], &[]] {
        assert_ne!(
            SubscriptionIdentifiers::from_slice(&identifiers),
            SubscriptionIdentifiers::from_slice(other)
        );
    }
}

/// Whether an iterator says at each step how many items are left.
fn knows_its_length(mut items: impl ExactSizeIterator, count: usize) {
    for left in (0..=count).rev() {
        assert_eq!((items.len(), items.size_hint()), (left, (left, Some(left))));
        assert_eq!(items.next().is_some(), left > 0);
    }
}

#[test]
fn lists_say_how_many_items_are_left_whether_they_were_read_or_made() {
    let at_1 = wanted(&A_AND_B, QoS::AtLeastOnce);
    knows_its_length(SubscribeFilters::from_slice(&at_1).iter(), 2);
    knows_its_length(UnsubscribeFilters::from_slice(&A_AND_B.map(filter)).iter(), 2);
    knows_its_length(ReasonCodes::from_slice(&[ReasonCode::Success; 3]).iter(), 3);
    knows_its_length(UserProperties::from_pairs(&[("a", "1"), ("b", "2")]).iter(), 2);
    knows_its_length(SubscriptionIdentifiers::from_slice(&[7, 8]).iter(), 2);

    let v5 = ProtocolVersion::V5;
    let subscribe = b"\x82\x16\0\x07\x0E\x26\0\x01a\0\x011\x26\0\x01b\0\x012\0\x02ab\x01";
    let unsubscribe = b"\xA2\x0A\0\x07\0\0\x02ab\0\x01c";
    let suback = b"\x90\x06\0\x07\0\0\x01\x02";
    let publish = b"\x30\x08\0\x01a\x04\x0B\x07\x0B\x08";
    let packet = |bytes| decode_client(v5, bytes).expect("valid").expect("complete").0;
    match packet(&subscribe[..]) {
        ClientPacket::Subscribe(subscribe) => {
            knows_its_length(subscribe.user_properties.iter(), 2);
            knows_its_length(subscribe.filters.iter(), 1);
        }
        other => panic!("{other:?}"),
    }
    match packet(&unsubscribe[..]) {
        ClientPacket::Unsubscribe(unsubscribe) => knows_its_length(unsubscribe.filters.iter(), 2),
        other => panic!("{other:?}"),
    }
    let packet = |bytes| decode_server(v5, bytes).expect("valid").expect("complete").0;
    match packet(&suback[..]) {
        ServerPacket::SubAck(suback) => knows_its_length(suback.reason_codes.iter(), 3),
        other => panic!("{other:?}"),
    }
    match packet(&publish[..]) {
        ServerPacket::Publish(publish) => {
            let identifiers = publish.properties.subscription_identifiers;
            assert_eq!(identifiers.iter().collect::<Vec<_>>(), [7, 8]);
            knows_its_length(identifiers.iter(), 2);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_list_says_how_much_is_in_it() {
    let at_1 = wanted(&A_AND_B, QoS::AtLeastOnce);
    let filters = A_AND_B.map(filter);
    let codes = [ReasonCode::Success; 3];
    let pairs = [("a", "1"), ("b", "2")];
    for count in [0, 1, 2] {
        let list = SubscribeFilters::from_slice(&at_1[..count]);
        assert_eq!((list.len(), list.is_empty()), (count, count == 0));
        let list = UnsubscribeFilters::from_slice(&filters[..count]);
        assert_eq!((list.len(), list.is_empty()), (count, count == 0));
        let list = ReasonCodes::from_slice(&codes[..count]);
        assert_eq!((list.len(), list.is_empty()), (count, count == 0));
        let list = UserProperties::from_pairs(&pairs[..count]);
        assert_eq!((list.len(), list.is_empty()), (count, count == 0));
        let list = SubscriptionIdentifiers::from_slice(&[7, 8][..count]);
        assert_eq!((list.len(), list.is_empty()), (count, count == 0));
    }
}

#[test]
fn what_is_printed_has_the_topic_and_not_the_payload() {
    let will = Will {
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: WillProperties::default(),
        topic_name: "t/will",
        payload: b"secret",
    };
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic_name: "t/publish",
        packet_id: None,
        properties: PublishProperties::default(),
        payload: b"secret",
    };
    for (printed, topic_name) in [(format!("{will:?}"), "t/will"), (format!("{publish:?}"), "t/publish")] {
        assert!(printed.contains(topic_name), "{printed}");
        assert!(printed.contains("payload_bytes: 6"), "{printed}");
        assert!(!printed.contains("secret"), "{printed}");
    }
    // Authentication data is as secret as a password.
    let connect = ConnectProperties {
        session_expiry_interval: Some(77),
        authentication_data: Some(b"secret"),
        ..ConnectProperties::default()
    };
    let connack = ConnAckProperties {
        session_expiry_interval: Some(77),
        authentication_data: Some(b"secret"),
        ..ConnAckProperties::default()
    };
    let auth = Auth {
        authentication_data: Some(b"secret"),
        reason_string: Some("77"),
        ..Auth::default()
    };
    for printed in [format!("{connect:?}"), format!("{connack:?}"), format!("{auth:?}")] {
        assert!(printed.contains("77"), "{printed}");
        assert!(!printed.contains("secret"), "{printed}");
        assert!(!printed.contains("115, 101, 99"), "{printed}");
    }
    assert_eq!(
        format!("{:?}", UnsubscribeFilters::from_slice(&[filter("x/y")]))
            .matches("x/y")
            .count(),
        1
    );
}

#[test]
fn lists_are_printed_with_all_their_items() {
    let codes = [ReasonCode::Success, ReasonCode::NotAuthorized];
    assert_eq!(
        format!("{:?}", ReasonCodes::from_slice(&codes)),
        "[Success, NotAuthorized]"
    );
    let wanted = wanted(&A_AND_B, QoS::AtLeastOnce);
    let printed = format!("{:?}", SubscribeFilters::from_slice(&wanted));
    assert_eq!(printed, format!("{wanted:?}"));
    assert!(printed.contains("a/+") && printed.contains("AtLeastOnce"), "{printed}");
}

#[test]
fn an_auth_is_printed_with_all_but_its_data() {
    let auth = Auth {
        reason_code: ReasonCode::ContinueAuthentication,
        authentication_method: Some("SCRAM"),
        authentication_data: Some(b"secret"),
        reason_string: Some("more"),
        user_properties: UserProperties::from_pairs(&[("a", "1")]),
    };
    let printed = format!("{auth:?}");
    for part in [
        "ContinueAuthentication",
        "SCRAM",
        "has_authentication_data: true",
        "more",
        "\"1\"",
    ] {
        assert!(printed.contains(part), "{part} is not in {printed}");
    }
    let without = format!(
        "{:?}",
        Auth {
            authentication_data: None,
            ..auth
        }
    );
    assert!(without.contains("has_authentication_data: false"), "{without}");
}

#[test]
fn names_and_filters_are_displayed_as_they_are_and_errors_with_their_statement() {
    assert_eq!(filter("a/+/#").to_string(), "a/+/#");
    let name = |text| TopicName::parse(text).expect("valid");
    assert_eq!(name("a/b").to_string(), "a/b");
    assert!(name("$SYS/x").is_dollar());
    assert!(!name("a/$SYS").is_dollar());
    for (text, has_wildcard) in [
        ("a/b", false),
        ("a/+", true),
        ("#", true),
        ("$share/g/a/+", true),
        ("$share/g/a", false),
    ] {
        assert_eq!(filter(text).has_wildcard(), has_wildcard, "{text}");
    }
    let error = TopicError::Empty.to_string();
    assert!(error.starts_with("a topic name or filter is empty [MQTT-"), "{error}");
}

#[test]
fn a_payload_that_is_said_to_be_text_is_text_or_has_not_its_format() {
    let has_its_format = |indicator, payload| {
        let publish = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic_name: "a",
            packet_id: None,
            properties: PublishProperties {
                payload_format_indicator: indicator,
                ..PublishProperties::default()
            },
            payload,
        };
        publish.payload_has_its_format()
    };
    let no_text: &[u8] = b"\xFF";
    for indicator in [None, Some(false)] {
        assert!(has_its_format(indicator, no_text), "{indicator:?}: any bytes");
        assert!(has_its_format(indicator, b"text"));
    }
    assert!(has_its_format(Some(true), b"text"));
    assert!(!has_its_format(Some(true), no_text));
}

#[test]
fn a_longer_filter_overlaps_with_none_that_ends_before() {
    for (filter, other) in [("a", "a/b"), ("a/b", "a"), ("+", "+/b"), ("a/+/c", "a/+")] {
        assert!(!filters_overlap(filter, other), "{filter} {other}");
    }
}
