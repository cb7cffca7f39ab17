//! What a client receives, as values that own their bytes.

use freshet_mqtt::{DecodeLimits, FixedHeader, ProtocolVersion, QoS, ReasonCode, ServerPacket};

/// A packet of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    ConnAck(Box<SeenConnAck>),
    Publish(SeenPublish),
    PubAck(u16, ReasonCode),
    PubRec(u16, ReasonCode),
    PubRel(u16, ReasonCode),
    PubComp(u16, ReasonCode),
    SubAck(u16, Vec<ReasonCode>),
    UnsubAck(u16, Vec<ReasonCode>),
    PingResp,
    Disconnect(ReasonCode),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenConnAck {
    pub(super) reason_code: ReasonCode,
    pub(super) session_present: bool,
    pub(super) session_expiry_interval: Option<u32>,
    pub(super) receive_maximum: Option<u16>,
    pub(super) maximum_qos: Option<QoS>,
    pub(super) response_information: Option<String>,
    pub(super) reason_string: Option<String>,
    pub(super) maximum_packet_size: Option<u32>,
    pub(super) assigned_client_identifier: Option<String>,
    pub(super) topic_alias_maximum: Option<u16>,
    pub(super) server_keep_alive: Option<u16>,
    pub(super) shared_subscription_available: Option<bool>,
    pub(super) user_properties: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct SeenPublish {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) dup: bool,
    pub(super) packet_id: Option<u16>,
    pub(super) alias: Option<u16>,
    pub(super) identifiers: Vec<u32>,
    pub(super) expiry: Option<u32>,
    pub(super) payload_format_indicator: Option<bool>,
    pub(super) user_properties: Vec<(String, String)>,
}

/// Decodes everything that the server sent. Panics on anything that a client could not read.
pub(super) fn decode_all(version: ProtocolVersion, mut bytes: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    while !bytes.is_empty() {
        let header = FixedHeader::parse(bytes, u32::MAX).unwrap().expect("a whole header");
        let body = header.body(bytes).expect("a whole packet");
        let packet = ServerPacket::decode(version, header, body, &DecodeLimits::default()).unwrap();
        seen.push(own(&packet));
        bytes = &bytes[header.packet_bytes() as usize..];
    }
    seen
}

fn own(packet: &ServerPacket<'_>) -> Seen {
    let pairs = |properties: freshet_mqtt::UserProperties<'_>| {
        properties.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    };
    match packet {
        ServerPacket::ConnAck(p) => Seen::ConnAck(Box::new(SeenConnAck {
            reason_code: p.reason_code,
            session_present: p.session_present,
            session_expiry_interval: p.properties.session_expiry_interval,
            receive_maximum: p.properties.receive_maximum.map(Into::into),
            maximum_qos: p.properties.maximum_qos,
            response_information: p.properties.response_information.map(str::to_owned),
            reason_string: p.properties.reason_string.map(str::to_owned),
            maximum_packet_size: p.properties.maximum_packet_size.map(Into::into),
            assigned_client_identifier: p.properties.assigned_client_identifier.map(str::to_owned),
            topic_alias_maximum: p.properties.topic_alias_maximum,
            server_keep_alive: p.properties.server_keep_alive_seconds,
            shared_subscription_available: p.properties.shared_subscription_available,
            user_properties: pairs(p.properties.user_properties),
        })),
        ServerPacket::Publish(p) => Seen::Publish(SeenPublish {
            topic: p.topic_name.to_owned(),
            payload: p.payload.to_vec(),
            qos: p.qos,
            retain: p.retain,
            dup: p.dup,
            packet_id: p.packet_id.map(Into::into),
            alias: p.properties.topic_alias.map(Into::into),
            identifiers: p.properties.subscription_identifiers.iter().collect(),
            expiry: p.properties.message_expiry_interval,
            payload_format_indicator: p.properties.payload_format_indicator,
            user_properties: pairs(p.properties.user_properties),
        }),
        ServerPacket::PubAck(p) => Seen::PubAck(p.packet_id.get(), p.reason_code),
        ServerPacket::PubRec(p) => Seen::PubRec(p.packet_id.get(), p.reason_code),
        ServerPacket::PubRel(p) => Seen::PubRel(p.packet_id.get(), p.reason_code),
        ServerPacket::PubComp(p) => Seen::PubComp(p.packet_id.get(), p.reason_code),
        ServerPacket::SubAck(p) => Seen::SubAck(p.packet_id.get(), p.reason_codes.iter().collect()),
        ServerPacket::UnsubAck(p) => Seen::UnsubAck(p.packet_id.get(), p.reason_codes.iter().collect()),
        ServerPacket::PingResp => Seen::PingResp,
        ServerPacket::Disconnect(p) => Seen::Disconnect(p.reason_code),
        ServerPacket::Auth(_) => panic!("the server never sends AUTH"),
    }
}
