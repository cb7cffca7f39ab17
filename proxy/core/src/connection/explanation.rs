//! What a client of 5.0 is told beside a reason code, for the people who run it (MQTT 5.0, 4.13).
//!
//! Reason strings leave with packets that refuse something. The encoder leaves them out where the client's maximum packet
//! size has no room for them, and for a client that asked for none (MQTT-3.1.2-29). User properties say nothing here: the
//! one that the server sends of its own is in CONNACK.

use freshet_mqtt::{PacketId, PubAck, PubRec, ReasonCode};

use super::Ending;
use crate::reason::DisconnectReason;

/// Why the connection ends: the word of metrics and logs, and what was wrong with a packet.
pub(crate) fn of_ending(ending: &Ending) -> Option<String> {
    let word = ending.reason.word();
    match ending.refused {
        // Nobody knows what strings are like in that version.
        _ if ending.reason == DisconnectReason::UnsupportedProtocolVersion => None,
        Some(refused) => Some(format!("{word}: {refused}")),
        None => Some(word.to_owned()),
    }
}

/// PUBACK, with an explanation of a refusal.
pub(super) fn puback(packet_id: PacketId, reason_code: ReasonCode) -> PubAck<'static> {
    PubAck {
        reason_string: of_publish(reason_code),
        ..PubAck::new(packet_id, reason_code)
    }
}

/// PUBREC, with an explanation of a refusal.
pub(super) fn pubrec(packet_id: PacketId, reason_code: ReasonCode) -> PubRec<'static> {
    PubRec {
        reason_string: of_publish(reason_code),
        ..PubRec::new(packet_id, reason_code)
    }
}

fn of_publish(reason_code: ReasonCode) -> Option<&'static str> {
    match reason_code {
        ReasonCode::NotAuthorized => Some("the rules of the server do not allow the topic"),
        ReasonCode::TopicNameInvalid => Some("the topic is longer or has more levels than the server takes"),
        ReasonCode::QuotaExceeded => Some("the server keeps as many retained messages as it may"),
        ReasonCode::PacketIdentifierInUse => Some("the packet identifier belongs to an exchange that has not ended"),
        _ => None,
    }
}

/// Why a topic filter is refused.
pub(super) fn of_subscribe(reason_code: ReasonCode) -> Option<&'static str> {
    match reason_code {
        ReasonCode::NotAuthorized => Some("the rules of the server do not allow all that the topic filter matches"),
        ReasonCode::TopicFilterInvalid => Some("the topic filter is longer or has more levels than the server takes"),
        ReasonCode::QuotaExceeded => Some("there are as many subscriptions as the server allows"),
        ReasonCode::SharedSubscriptionsNotSupported => Some("shared subscriptions are not offered"),
        _ => None,
    }
}
