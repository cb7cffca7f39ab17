//! Packets of clients, each chosen by a few bytes.
//!
//! All are well formed; whether they make sense where they come is another matter.

use std::num::{NonZeroU16, NonZeroU32};

use freshet_mqtt::{
    Auth, ClientPacket, Connect, Disconnect, PacketId, Peer, ProtocolVersion, PubAck, PubComp, PubRec, PubRel, Publish,
    PublishProperties, QoS, ReasonCode, RetainHandling, Subscribe, SubscribeFilter, SubscribeFilters,
    SubscriptionOptions, TopicFilter, Unsubscribe, UnsubscribeFilters, UserProperties, Will, WillProperties,
};

use super::script::Choices;

const CLIENT_IDS: [&str; 6] = ["n0", "n1", "n2", "n3", "n4", ""];
const TOPICS: [&str; 8] = [
    "a",
    "a/bb",
    "d/1/x",
    "d/2/x",
    "$a/bb",
    "$SYS/x",
    "a/long/topic/of/some/levels",
    "",
];
const FILTERS: [&str; 12] = [
    "a",
    "a/bb",
    "a/+",
    "a/#",
    "+/bb",
    "#",
    "d/1/#",
    "d/+/x",
    "$a/#",
    "$share/g/a/#",
    "$share/g/#",
    "$queue/a",
];
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const PAYLOAD_BYTES: [usize; 6] = [0, 1, 20, 200, 3_000, 9_000];
const PAYLOAD: [u8; 9_000] = [b'n'; 9_000];
const PAIRS: [(&str, &str); 2] = [("name", "value"), ("name", "")];

/// What cannot be said in this version is not said.
fn encode(packet: &ClientPacket<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    let _ = packet.encode(&Peer::new(version), out);
}

fn user_properties(choices: &mut Choices<'_>) -> UserProperties<'static> {
    if choices.seldom() {
        UserProperties::from_pairs(&PAIRS)
    } else {
        UserProperties::NONE
    }
}

fn qos(choices: &mut Choices<'_>) -> QoS {
    choices.pick(&QOS).unwrap_or(QoS::AtMostOnce)
}

/// Few, so that they meet what is under way.
fn packet_id(choices: &mut Choices<'_>) -> PacketId {
    let id = u16::try_from(1 + choices.below(6)).unwrap_or(1);
    PacketId::new(id).unwrap_or(PacketId::MIN)
}

fn payload(choices: &mut Choices<'_>) -> &'static [u8] {
    let bytes = choices.pick(&PAYLOAD_BYTES).unwrap_or(0);
    PAYLOAD.get(..bytes).unwrap_or_default()
}

pub(super) fn connect(choices: &mut Choices<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    let mut connect = Connect::new(version, choices.pick(&CLIENT_IDS).unwrap_or_default());
    connect.clean_start = choices.byte() & 1 == 0;
    connect.keep_alive_seconds = choices.pick(&[0, 1, 10, u16::MAX]).unwrap_or(0);
    if choices.seldom() {
        connect.will = Some(Will {
            qos: qos(choices),
            retain: choices.seldom(),
            properties: WillProperties {
                will_delay_interval: version
                    .has_properties()
                    .then(|| choices.pick(&[0, 1, 3, u32::MAX]).unwrap_or(0)),
                ..WillProperties::default()
            },
            topic_name: choices.pick(&TOPICS).unwrap_or("a"),
            payload: payload(choices),
        });
    }
    if choices.seldom() {
        connect.user_name = Some("user");
        connect.password = Some(b"password");
    }
    if version.has_properties() {
        let properties = &mut connect.properties;
        properties.session_expiry_interval = choices.pick(&[None, Some(0), Some(2), Some(u32::MAX)]).flatten();
        properties.receive_maximum = choices.pick(&[None, NonZeroU16::new(1), NonZeroU16::new(3)]).flatten();
        properties.maximum_packet_size = choices
            .pick(&[
                None,
                None,
                None,
                NonZeroU32::new(1),
                NonZeroU32::new(60),
                NonZeroU32::new(4_000),
            ])
            .flatten();
        properties.topic_alias_maximum = choices.pick(&[None, Some(0), Some(2)]).flatten();
        properties.request_problem_information = choices.pick(&[None, Some(false), Some(true)]).flatten();
        properties.request_response_information = choices.pick(&[None, Some(true)]).flatten();
        properties.user_properties = user_properties(choices);
        if choices.byte() < 8 {
            properties.authentication_method = Some("method");
        }
    }
    encode(&ClientPacket::Connect(connect), version, out);
}

pub(super) fn subscribe(choices: &mut Choices<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    let mut filters = Vec::new();
    for _ in 0..=choices.below(3) {
        let Ok(topic_filter) = TopicFilter::parse(choices.pick(&FILTERS).unwrap_or("a")) else {
            continue;
        };
        let mut options = SubscriptionOptions::new(qos(choices));
        if version.has_properties() {
            let handling = [
                RetainHandling::Send,
                RetainHandling::SendIfNew,
                RetainHandling::DoNotSend,
            ];
            options.no_local = choices.seldom();
            options.retain_as_published = choices.seldom();
            options.retain_handling = choices.pick(&handling).unwrap_or(RetainHandling::Send);
        }
        filters.push(SubscribeFilter { topic_filter, options });
    }
    let subscribe = Subscribe {
        packet_id: packet_id(choices),
        subscription_identifier: version
            .has_properties()
            .then(|| choices.pick(&[None, None, NonZeroU32::new(1), NonZeroU32::new(200)]))
            .flatten()
            .flatten()
            .map(NonZeroU32::get),
        user_properties: user_properties(choices),
        filters: SubscribeFilters::from_slice(&filters),
    };
    encode(&ClientPacket::Subscribe(subscribe), version, out);
}

pub(super) fn unsubscribe(choices: &mut Choices<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    let chosen = (0..=choices.below(2)).filter_map(|_| TopicFilter::parse(choices.pick(&FILTERS)?).ok());
    let filters: Vec<TopicFilter<'_>> = chosen.collect();
    let unsubscribe = Unsubscribe {
        packet_id: packet_id(choices),
        user_properties: user_properties(choices),
        filters: UnsubscribeFilters::from_slice(&filters),
    };
    encode(&ClientPacket::Unsubscribe(unsubscribe), version, out);
}

pub(super) fn publish(choices: &mut Choices<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    let qos = qos(choices);
    let mut publish = Publish {
        dup: qos != QoS::AtMostOnce && choices.seldom(),
        qos,
        retain: choices.seldom(),
        topic_name: choices.pick(&TOPICS).unwrap_or("a"),
        packet_id: (qos != QoS::AtMostOnce).then(|| packet_id(choices)),
        properties: PublishProperties::default(),
        payload: payload(choices),
    };
    if version.has_properties() {
        let properties = &mut publish.properties;
        properties.message_expiry_interval = choices.pick(&[None, None, Some(0), Some(1), Some(100)]).flatten();
        properties.topic_alias = choices
            .pick(&[None, None, NonZeroU16::new(1), NonZeroU16::new(2), NonZeroU16::new(3)])
            .flatten();
        properties.user_properties = user_properties(choices);
        properties.payload_format_indicator = choices.pick(&[None, Some(true)]).flatten();
        properties.response_topic = choices.pick(&[None, Some("answers")]).flatten();
    }
    encode(&ClientPacket::Publish(publish), version, out);
}

/// One of the four acknowledgements, of a packet id that may or may not be in use.
pub(super) fn acknowledge(choices: &mut Choices<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    let id = packet_id(choices);
    let refused = version.has_properties() && choices.byte() < 32;
    let code = if refused {
        ReasonCode::UnspecifiedError
    } else {
        ReasonCode::Success
    };
    let packet = match choices.below(4) {
        0 => ClientPacket::PubAck(PubAck::new(id, code)),
        1 => ClientPacket::PubRec(PubRec::new(id, code)),
        2 => ClientPacket::PubRel(PubRel::new(id, ReasonCode::Success)),
        _ => ClientPacket::PubComp(PubComp::new(id, ReasonCode::Success)),
    };
    encode(&packet, version, out);
}

pub(super) fn ping(out: &mut Vec<u8>) {
    encode(&ClientPacket::PingReq, ProtocolVersion::V5, out);
}

pub(super) fn disconnect(choices: &mut Choices<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    let mut disconnect = Disconnect::new(ReasonCode::Success);
    if version.has_properties() {
        if choices.seldom() {
            disconnect.reason_code = ReasonCode::DisconnectWithWillMessage;
        }
        disconnect.session_expiry_interval = choices.pick(&[None, None, Some(0), Some(3)]).flatten();
        disconnect.user_properties = user_properties(choices);
    }
    encode(&ClientPacket::Disconnect(disconnect), version, out);
}

pub(super) fn auth(choices: &mut Choices<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    let auth = Auth {
        reason_code: ReasonCode::ReAuthenticate,
        authentication_method: Some("method"),
        user_properties: user_properties(choices),
        ..Auth::default()
    };
    encode(&ClientPacket::Auth(auth), version, out);
}
