//! What a broker sends, told in the words of the scripts.
//!
//! What brokers are free to choose is left out: packet identifiers become letters (`super::client`), reason strings,
//! user properties of acknowledgements and most of CONNACK are told only where a script asks.

use std::fmt::Write as _;

use freshet_mqtt::{
    ConnAck, ConnectReturnCode, DecodeLimits, FixedHeader, PacketId, ProtocolVersion, Publish, ReasonCode,
    ServerPacket, UserProperties,
};

use super::words::written;
use crate::message::Version;

/// Longer payloads are told by their size.
const TOLD_PAYLOAD_BYTES: usize = 40;

/// One thing that came from a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// In the words of the scripts, with `#?` for an identifier that the broker has chosen.
    pub(crate) text: String,
    pub(crate) what: What,
}

/// What a client has to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Connected {
        session_present: bool,
    },
    /// A PUBLISH or PUBREL, with the identifier that the broker has chosen.
    Chosen {
        packet_id: u16,
    },
    /// The answer to a packet of the client.
    Answer {
        packet_id: u16,
        is_error: bool,
    },
    Pong,
    Closed,
    Other,
}

/// How packets are told to one client.
#[derive(Debug, Clone)]
pub(crate) struct Telling {
    pub(crate) version: Version,
    /// What stands in place of `%`.
    pub(crate) own: String,
    /// What is told beyond the usual.
    pub(crate) shows: Vec<&'static str>,
    /// Identifiers are told, because the script answers by itself.
    pub(crate) manual: bool,
}

impl Seen {
    pub(crate) fn closed() -> Self {
        Self {
            text: "CLOSED".to_owned(),
            what: What::Closed,
        }
    }
}

impl Telling {
    /// Tells a packet; `topic` is its topic name, once an alias has been looked up.
    pub(crate) fn tell(&self, packet: &ServerPacket<'_>, topic: &str) -> Seen {
        let answer = |name: &str, id: PacketId, code: ReasonCode, explanation: Explanation<'_>| Seen {
            text: format!("{name} #{id}{}{}", self.code(code), self.explanation(explanation)),
            what: What::Answer {
                packet_id: id.get(),
                is_error: code.is_error(),
            },
        };
        match packet {
            ServerPacket::ConnAck(connack) => self.connack(connack),
            ServerPacket::Publish(publish) => self.publish(publish, topic),
            ServerPacket::PubAck(p) => answer(
                "PUBACK",
                p.packet_id,
                p.reason_code,
                (p.reason_string, p.user_properties),
            ),
            ServerPacket::PubRec(p) => answer(
                "PUBREC",
                p.packet_id,
                p.reason_code,
                (p.reason_string, p.user_properties),
            ),
            ServerPacket::PubComp(p) => answer(
                "PUBCOMP",
                p.packet_id,
                p.reason_code,
                (p.reason_string, p.user_properties),
            ),
            ServerPacket::PubRel(p) => Seen {
                text: format!("PUBREL #?{}", self.code(p.reason_code)),
                what: What::Chosen {
                    packet_id: p.packet_id.get(),
                },
            },
            ServerPacket::SubAck(p) => {
                let codes = p.reason_codes.iter();
                self.codes("SUBACK", p.packet_id, codes, (p.reason_string, p.user_properties))
            }
            ServerPacket::UnsubAck(p) => {
                let codes = p.reason_codes.iter();
                self.codes("UNSUBACK", p.packet_id, codes, (p.reason_string, p.user_properties))
            }
            ServerPacket::PingResp => Seen {
                text: "PINGRESP".to_owned(),
                what: What::Pong,
            },
            ServerPacket::Disconnect(p) => {
                let reason = self.explanation((p.reason_string, UserProperties::NONE));
                other(format!("DISCONNECT 0x{:02x}{reason}", p.reason_code.byte()))
            }
            ServerPacket::Auth(_) => other("AUTH".to_owned()),
        }
    }

    fn connack(&self, connack: &ConnAck<'_>) -> Seen {
        let code = match self.version {
            Version::V5 => connack.reason_code.byte(),
            Version::V311 => {
                ConnectReturnCode::from_reason_code(connack.reason_code).map_or(u8::MAX, ConnectReturnCode::byte)
            }
        };
        let mut text = format!("CONNACK 0x{code:02x}");
        let properties = &connack.properties;
        if connack.session_present {
            text.push_str(" present");
        }
        if self.shows("assigned") && properties.assigned_client_identifier.is_some() {
            text.push_str(" assigned");
        }
        if let Some(seconds) = properties.session_expiry_interval.filter(|_| self.shows("expiry")) {
            let _ = write!(text, " expiry={seconds}");
        }
        if let Some(seconds) = properties
            .server_keep_alive_seconds
            .filter(|_| self.shows("keep-alive"))
        {
            let _ = write!(text, " keep-alive={seconds}");
        }
        text.push_str(&self.explanation((properties.reason_string, UserProperties::NONE)));
        let session_present = connack.session_present;
        Seen {
            what: if connack.reason_code.is_error() {
                What::Other
            } else {
                What::Connected { session_present }
            },
            text,
        }
    }

    fn publish(&self, publish: &Publish<'_>, topic: &str) -> Seen {
        let mut text = "PUBLISH".to_owned();
        if self.manual && publish.packet_id.is_some() {
            text.push_str(" #?");
        }
        let _ = write!(text, " {} q{}", written(topic, &self.own), publish.qos.bits());
        for (word, is_set) in [("r", publish.retain), ("dup", publish.dup)] {
            if is_set {
                let _ = write!(text, " {word}");
            }
        }
        let properties = &publish.properties;
        let mut identifiers: Vec<u32> = properties.subscription_identifiers.iter().collect();
        identifiers.sort_unstable();
        for identifier in identifiers {
            let _ = write!(text, " sid={identifier}");
        }
        if let Some(seconds) = properties.message_expiry_interval {
            // How much time has passed is told by scripts that let it pass.
            let left = if seconds == 100 { "100" } else { "<100" };
            let _ = write!(text, " expires={left}");
        }
        if self.shows("alias") && properties.topic_alias.is_some() {
            text.push_str(" alias=");
            text.push_str(if publish.topic_name.is_empty() { "used" } else { "set" });
        }
        if let Some(is_text) = properties.payload_format_indicator {
            let _ = write!(text, " format={}", u8::from(is_text));
        }
        if let Some(content_type) = properties.content_type {
            let _ = write!(text, " type={content_type}");
        }
        if let Some(topic) = properties.response_topic {
            let _ = write!(text, " response={}", written(topic, &self.own));
        }
        if let Some(data) = properties.correlation_data {
            let _ = write!(text, " correlation={}", String::from_utf8_lossy(data));
        }
        for (key, value) in properties.user_properties {
            let _ = write!(text, " user={key}:{value}");
        }
        match str::from_utf8(publish.payload) {
            Ok(payload) if payload.len() <= TOLD_PAYLOAD_BYTES => {
                let _ = write!(text, " \"{payload}\"");
            }
            _ => {
                let _ = write!(text, " bytes={}", publish.payload.len());
            }
        }
        let packet_id = publish.packet_id.map(PacketId::get);
        Seen {
            text,
            what: packet_id.map_or(What::Other, |packet_id| What::Chosen { packet_id }),
        }
    }

    fn codes(
        &self,
        name: &str,
        id: PacketId,
        codes: impl Iterator<Item = ReasonCode>,
        explanation: Explanation<'_>,
    ) -> Seen {
        let mut text = format!("{name} #{id}");
        let mut is_error = false;
        for code in codes {
            is_error |= code.is_error();
            let _ = write!(text, " 0x{:02x}", code.byte());
        }
        text.push_str(&self.explanation(explanation));
        Seen {
            text,
            what: What::Answer {
                packet_id: id.get(),
                is_error,
            },
        }
    }

    /// Success goes without saying, in 3.1.1 as in short forms of 5.0.
    fn code(&self, code: ReasonCode) -> String {
        if code == ReasonCode::Success {
            String::new()
        } else {
            format!(" 0x{:02x}", code.byte())
        }
    }

    fn explanation(&self, (reason, user): Explanation<'_>) -> String {
        if self.shows("reason") && (reason.is_some() || !user.is_empty()) {
            " explained".to_owned()
        } else {
            String::new()
        }
    }

    fn shows(&self, what: &str) -> bool {
        self.shows.contains(&what)
    }
}

type Explanation<'a> = (Option<&'a str>, UserProperties<'a>);

fn other(text: String) -> Seen {
    Seen {
        text,
        what: What::Other,
    }
}

/// Takes the first packet of what was received; `None` when it is not complete. A packet that the decoder refuses is
/// an observation like any other.
pub(crate) fn take<T>(
    received: &mut Vec<u8>,
    version: ProtocolVersion,
    look: impl FnOnce(Result<&ServerPacket<'_>, String>) -> T,
) -> Option<T> {
    let header = match FixedHeader::parse(received, u32::MAX) {
        Ok(None) => return None,
        Ok(Some(header)) => header,
        Err(error) => {
            let told = look(Err(format!("MALFORMED header ({error})")));
            received.clear();
            return Some(told);
        }
    };
    let body = header.body(received)?;
    let told = match ServerPacket::decode(version, header, body, &DecodeLimits::default()) {
        Ok(packet) => look(Ok(&packet)),
        Err(_) => look(Err(format!("MALFORMED {}", header.packet_type.name()))),
    };
    received.drain(..header.packet_bytes() as usize);
    Some(told)
}
