//! Strategies for arbitrary valid packets.
//!
//! Packets borrow, and a strategy has to own what it makes; the fields are leaked, a few kilobytes a case.

use freshet_mqtt::{
    Auth, ClientPacket, ConnAck, ConnAckProperties, Connect, ConnectProperties, ConnectReturnCode, Disconnect,
    PacketId, PacketType, Protocol, ProtocolVersion, PubAck, PubComp, PubRec, PubRel, Publish, PublishProperties, QoS,
    ReasonCode, ReasonCodes, RetainHandling, Sender, ServerPacket, SubAck, Subscribe, SubscribeFilter,
    SubscribeFilters, SubscriptionIdentifiers, SubscriptionOptions, TopicFilter, UnsubAck, Unsubscribe,
    UnsubscribeFilters, UserProperties, Will, WillProperties,
};
use proptest::option;
use proptest::prelude::*;
use std::num::{NonZeroU16, NonZeroU32};

fn text() -> impl Strategy<Value = &'static str> {
    "[^\\x00]{0,12}".prop_map(|text: String| &*text.leak())
}

fn binary() -> impl Strategy<Value = &'static [u8]> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| &*bytes.leak())
}

/// Payloads on both sides of the point where the remaining length takes a second byte.
fn payload() -> impl Strategy<Value = &'static [u8]> {
    prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| &*bytes.leak())
}

fn topic_name() -> impl Strategy<Value = &'static str> {
    "[^\\x00#+]{1,20}".prop_map(|name: String| &*name.leak())
}

fn topic_filter() -> impl Strategy<Value = TopicFilter<'static>> {
    let filter = "(\\$share/[a-z]{1,4}/)?([a-z$ é]{0,3}/|\\+/){0,4}([a-z]{1,3}|\\+|#)";
    filter.prop_map(|filter: String| TopicFilter::parse(filter.leak()).expect("the pattern allows valid filters"))
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| NonZeroU16::new(id).expect("from 1"))
}

fn qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][..])
}

fn user_properties(version: ProtocolVersion) -> BoxedStrategy<UserProperties<'static>> {
    since_5(
        version,
        prop::collection::vec((text(), text()), 0..4).prop_map(|pairs| UserProperties::from_pairs(pairs.leak())),
    )
}

/// The default before 5.0, which cannot express anything else.
fn since_5<T>(version: ProtocolVersion, strategy: impl Strategy<Value = T> + 'static) -> BoxedStrategy<T>
where
    T: Default + Clone + std::fmt::Debug + 'static,
{
    if version.has_properties() {
        strategy.boxed()
    } else {
        Just(T::default()).boxed()
    }
}

fn reason_code(packet_type: PacketType, sender: Sender) -> impl Strategy<Value = ReasonCode> {
    let allowed: Vec<_> = ReasonCode::ALL
        .into_iter()
        .filter(|code| code.is_allowed_in(packet_type, sender))
        .collect();
    prop::sample::select(allowed)
}

/// Any PUBLISH of `sender`.
pub(crate) fn publish(version: ProtocolVersion, sender: Sender) -> impl Strategy<Value = Publish<'static>> {
    let properties = (
        option::of(any::<bool>()),
        option::of(any::<u32>()),
        option::of(any::<NonZeroU16>()),
        option::of(topic_name()),
        option::of(binary()),
        user_properties(version),
        prop::collection::vec(1..=freshet_mqtt::MAX_VARINT, 0..4),
        option::of(text()),
    )
        .prop_map(
            move |(format, expiry, alias, response, correlation, user, identifiers, content)| PublishProperties {
                payload_format_indicator: format,
                message_expiry_interval: expiry,
                topic_alias: alias,
                response_topic: response,
                correlation_data: correlation,
                user_properties: user,
                subscription_identifiers: match sender {
                    Sender::Client => SubscriptionIdentifiers::NONE,
                    Sender::Server => SubscriptionIdentifiers::from_slice(identifiers.leak()),
                },
                content_type: content,
            },
        );
    let flags = (any::<bool>(), qos(), any::<bool>(), any::<bool>());
    (
        flags,
        topic_name(),
        packet_id(),
        since_5(version, properties),
        payload(),
    )
        .prop_map(
            |((dup, qos, retain, by_alias), topic_name, packet_id, properties, payload)| Publish {
                dup: dup && qos.is_acknowledged(),
                qos,
                retain,
                topic_name: if by_alias && properties.topic_alias.is_some() {
                    ""
                } else {
                    topic_name
                },
                packet_id: qos.is_acknowledged().then_some(packet_id),
                properties,
                payload,
            },
        )
}

macro_rules! ack {
    ($function:ident, $packet:ident) => {
        fn $function(version: ProtocolVersion) -> impl Strategy<Value = $packet<'static>> {
            let code = since_5(version, reason_code(PacketType::$packet, Sender::Client));
            let reason = since_5(version, option::of(text()));
            (packet_id(), code, reason, user_properties(version)).prop_map(
                |(packet_id, reason_code, reason_string, user_properties)| $packet {
                    packet_id,
                    reason_code,
                    reason_string,
                    user_properties,
                },
            )
        }
    };
}

ack!(puback, PubAck);
ack!(pubrec, PubRec);
ack!(pubrel, PubRel);
ack!(pubcomp, PubComp);

fn connect(version: ProtocolVersion) -> impl Strategy<Value = Connect<'static>> {
    let properties = (
        (
            option::of(any::<u32>()),
            option::of(any::<NonZeroU16>()),
            option::of(any::<NonZeroU32>()),
        ),
        option::of(any::<u16>()),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        user_properties(version),
        option::of((text(), option::of(binary()))),
    )
        .prop_map(
            |((expiry, receive, packet), alias, response, problem, user, auth)| ConnectProperties {
                session_expiry_interval: expiry,
                receive_maximum: receive,
                maximum_packet_size: packet,
                topic_alias_maximum: alias,
                request_response_information: response,
                request_problem_information: problem,
                user_properties: user,
                authentication_method: auth.map(|(method, _)| method),
                authentication_data: auth.and_then(|(_, data)| data),
            },
        );
    let bridge = if version.has_properties() {
        Just(false).boxed()
    } else {
        any::<bool>().boxed()
    };
    let names = (text(), option::of(text()), option::of(binary()));
    (
        bridge,
        any::<bool>(),
        any::<u16>(),
        since_5(version, properties),
        names,
        option::of(will(version)),
    )
        .prop_map(
            move |(bridge, clean_start, keep_alive_seconds, properties, (client_id, user_name, password), will)| {
                Connect {
                    protocol: Protocol { version, bridge },
                    clean_start,
                    keep_alive_seconds,
                    properties,
                    client_id,
                    will,
                    user_name,
                    password: password.filter(|_| user_name.is_some() || version.has_properties()),
                }
            },
        )
}

fn will(version: ProtocolVersion) -> impl Strategy<Value = Will<'static>> {
    let properties = (
        option::of(any::<u32>()),
        option::of(any::<bool>()),
        option::of(any::<u32>()),
        option::of(text()),
        option::of(topic_name()),
        option::of(binary()),
        user_properties(version),
    )
        .prop_map(
            |(delay, format, expiry, content, response, correlation, user)| WillProperties {
                will_delay_interval: delay,
                payload_format_indicator: format,
                message_expiry_interval: expiry,
                content_type: content,
                response_topic: response,
                correlation_data: correlation,
                user_properties: user,
            },
        );
    (
        qos(),
        any::<bool>(),
        since_5(version, properties),
        topic_name(),
        payload(),
    )
        .prop_map(|(qos, retain, properties, topic_name, payload)| Will {
            qos,
            retain,
            properties,
            topic_name,
            payload,
        })
}

fn subscribe(version: ProtocolVersion) -> impl Strategy<Value = Subscribe<'static>> {
    let handling = prop::sample::select(
        &[
            RetainHandling::Send,
            RetainHandling::SendIfNew,
            RetainHandling::DoNotSend,
        ][..],
    );
    let options = (any::<bool>(), any::<bool>(), handling).prop_map(|(no_local, retain_as_published, handling)| {
        SubscriptionOptions {
            qos: QoS::AtMostOnce,
            no_local,
            retain_as_published,
            retain_handling: handling,
        }
    });
    let filter = (topic_filter(), qos(), since_5(version, options)).prop_map(|(topic_filter, qos, options)| {
        let no_local = options.no_local && topic_filter.shared().is_none();
        SubscribeFilter {
            topic_filter,
            options: SubscriptionOptions {
                qos,
                no_local,
                ..options
            },
        }
    });
    let identifier = since_5(version, option::of(1..=freshet_mqtt::MAX_VARINT));
    (
        packet_id(),
        identifier,
        user_properties(version),
        prop::collection::vec(filter, 1..5),
    )
        .prop_map(
            |(packet_id, subscription_identifier, user_properties, filters)| Subscribe {
                packet_id,
                subscription_identifier,
                user_properties,
                filters: SubscribeFilters::from_slice(filters.leak()),
            },
        )
}

fn unsubscribe(version: ProtocolVersion) -> impl Strategy<Value = Unsubscribe<'static>> {
    (
        packet_id(),
        user_properties(version),
        prop::collection::vec(topic_filter(), 1..5),
    )
        .prop_map(|(packet_id, user_properties, filters)| Unsubscribe {
            packet_id,
            user_properties,
            filters: UnsubscribeFilters::from_slice(filters.leak()),
        })
}

fn connack(version: ProtocolVersion) -> impl Strategy<Value = ConnAck<'static>> {
    let code = if version.has_properties() {
        reason_code(PacketType::ConnAck, Sender::Server).boxed()
    } else {
        (0..=5_u8)
            .prop_map(|byte| ConnectReturnCode::from_byte(byte).expect("0 to 5").reason_code())
            .boxed()
    };
    let limits = (
        option::of(any::<u32>()),
        option::of(any::<NonZeroU16>()),
        option::of(prop::sample::select(&[QoS::AtMostOnce, QoS::AtLeastOnce][..])),
        option::of(any::<NonZeroU32>()),
        option::of(any::<u16>()),
        option::of(any::<u16>()),
    );
    let available = [
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
    ];
    let texts = [
        option::of(text()),
        option::of(text()),
        option::of(text()),
        option::of(text()),
        option::of(text()),
    ];
    let properties = (
        limits,
        option::of(any::<bool>()),
        available,
        texts,
        option::of(binary()),
        user_properties(version),
    )
        .prop_map(|(limits, retain, [wildcard, identifiers, shared], texts, data, user)| {
            let (expiry, receive, qos, packet, alias, keep_alive) = limits;
            let [client_id, reason, information, reference, method] = texts;
            ConnAckProperties {
                session_expiry_interval: expiry,
                receive_maximum: receive,
                maximum_qos: qos,
                retain_available: retain,
                maximum_packet_size: packet,
                assigned_client_identifier: client_id,
                topic_alias_maximum: alias,
                reason_string: reason,
                user_properties: user,
                wildcard_subscription_available: wildcard,
                subscription_identifiers_available: identifiers,
                shared_subscription_available: shared,
                server_keep_alive_seconds: keep_alive,
                response_information: information,
                server_reference: reference,
                authentication_method: method,
                authentication_data: data,
            }
        });
    (any::<bool>(), code, since_5(version, properties)).prop_map(move |(present, reason_code, properties)| ConnAck {
        session_present: present && reason_code == ReasonCode::Success && version > ProtocolVersion::V31,
        reason_code,
        properties,
    })
}

fn codes(version: ProtocolVersion, packet_type: PacketType) -> BoxedStrategy<ReasonCodes<'static>> {
    let code = if version.has_properties() {
        reason_code(packet_type, Sender::Server).boxed()
    } else {
        let codes = [
            ReasonCode::GRANTED_QOS_0,
            ReasonCode::GrantedQos1,
            ReasonCode::GrantedQos2,
            ReasonCode::UnspecifiedError,
        ];
        prop::sample::select(codes.to_vec()).boxed()
    };
    prop::collection::vec(code, 1..5)
        .prop_map(|codes| ReasonCodes::from_slice(codes.leak()))
        .boxed()
}

fn suback(version: ProtocolVersion) -> impl Strategy<Value = SubAck<'static>> {
    let reason = since_5(version, option::of(text()));
    (
        packet_id(),
        reason,
        user_properties(version),
        codes(version, PacketType::SubAck),
    )
        .prop_map(|(packet_id, reason_string, user_properties, reason_codes)| SubAck {
            packet_id,
            reason_string,
            user_properties,
            reason_codes,
        })
}

fn unsuback(version: ProtocolVersion) -> impl Strategy<Value = UnsubAck<'static>> {
    let reason = since_5(version, option::of(text()));
    let codes = if version.has_properties() {
        codes(version, PacketType::UnsubAck)
    } else {
        Just(ReasonCodes::NONE).boxed()
    };
    (packet_id(), reason, user_properties(version), codes).prop_map(
        |(packet_id, reason_string, user_properties, reason_codes)| UnsubAck {
            packet_id,
            reason_string,
            user_properties,
            reason_codes,
        },
    )
}

fn disconnect(version: ProtocolVersion, sender: Sender) -> impl Strategy<Value = Disconnect<'static>> {
    let code = reason_code(PacketType::Disconnect, sender);
    let properties = (
        option::of(any::<u32>()),
        option::of(text()),
        user_properties(version),
        option::of(text()),
    );
    let disconnect = (code, properties).prop_map(move |(reason_code, (expiry, reason, user, reference))| Disconnect {
        reason_code,
        session_expiry_interval: expiry.filter(|_| sender == Sender::Client),
        reason_string: reason,
        user_properties: user,
        server_reference: reference.filter(|_| sender == Sender::Server),
    });
    since_5(version, disconnect)
}

fn auth(sender: Sender) -> impl Strategy<Value = Auth<'static>> {
    let version = ProtocolVersion::V5;
    let code = reason_code(PacketType::Auth, sender);
    (
        code,
        text(),
        option::of(binary()),
        option::of(text()),
        user_properties(version),
    )
        .prop_map(|(reason_code, method, data, reason_string, user_properties)| Auth {
            reason_code,
            authentication_method: Some(method),
            authentication_data: data,
            reason_string,
            user_properties,
        })
}

/// Any packet that a client of this version may send.
pub(crate) fn client_packet(version: ProtocolVersion) -> BoxedStrategy<ClientPacket<'static>> {
    let before_5 = prop_oneof![
        2 => connect(version).prop_map(ClientPacket::Connect),
        2 => publish(version, Sender::Client).prop_map(ClientPacket::Publish),
        1 => puback(version).prop_map(ClientPacket::PubAck),
        1 => pubrec(version).prop_map(ClientPacket::PubRec),
        1 => pubrel(version).prop_map(ClientPacket::PubRel),
        1 => pubcomp(version).prop_map(ClientPacket::PubComp),
        2 => subscribe(version).prop_map(ClientPacket::Subscribe),
        1 => unsubscribe(version).prop_map(ClientPacket::Unsubscribe),
        1 => Just(ClientPacket::PingReq),
        1 => disconnect(version, Sender::Client).prop_map(ClientPacket::Disconnect),
    ];
    if version.has_properties() {
        prop_oneof![13 => before_5, 1 => auth(Sender::Client).prop_map(ClientPacket::Auth)].boxed()
    } else {
        before_5.boxed()
    }
}

/// Any packet that a server of this version may send.
pub(crate) fn server_packet(version: ProtocolVersion) -> BoxedStrategy<ServerPacket<'static>> {
    let before_5 = prop_oneof![
        2 => connack(version).prop_map(ServerPacket::ConnAck),
        2 => publish(version, Sender::Server).prop_map(ServerPacket::Publish),
        1 => puback(version).prop_map(ServerPacket::PubAck),
        1 => pubrec(version).prop_map(ServerPacket::PubRec),
        1 => pubrel(version).prop_map(ServerPacket::PubRel),
        1 => pubcomp(version).prop_map(ServerPacket::PubComp),
        1 => suback(version).prop_map(ServerPacket::SubAck),
        1 => unsuback(version).prop_map(ServerPacket::UnsubAck),
        1 => Just(ServerPacket::PingResp),
    ];
    if version.has_properties() {
        prop_oneof![
            11 => before_5,
            1 => disconnect(version, Sender::Server).prop_map(ServerPacket::Disconnect),
            1 => auth(Sender::Server).prop_map(ServerPacket::Auth),
        ]
        .boxed()
    } else {
        before_5.boxed()
    }
}

/// Any of the versions.
pub(crate) fn version() -> impl Strategy<Value = ProtocolVersion> {
    prop::sample::select(&super::VERSIONS[..])
}
