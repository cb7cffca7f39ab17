//! From the server's bytes to packets, and what may come when.

use freshet_mqtt::{ConnAck, DecodeLimits, FixedHeader, ReasonCode, ServerPacket};

use super::Client;
use crate::action::SESSION_EXPIRY_311_S;
use crate::history::{Accepted, Broken, Connection, History, Session};
use crate::violation::Violation;

/// More packet ids than a client uses on one connection.
const IDS_OF_A_CONNECTION: u16 = 200;

impl Client {
    /// Takes bytes that the server wrote at `written_ms`.
    ///
    /// # Errors
    /// The server has said what it may not.
    pub(crate) fn receive(&mut self, bytes: &[u8], written_ms: u64, history: &mut History) -> Result<(), Violation> {
        if self.unread.is_empty() {
            self.unread_written_ms = written_ms;
        }
        self.unread.extend_from_slice(bytes);
        let unread = std::mem::take(&mut self.unread);
        let mut taken = 0;
        while let Some(rest) = unread.get(taken..).filter(|rest| !rest.is_empty()) {
            let header = match FixedHeader::parse(rest, u32::MAX) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(error) => return self.violation("the server's packets are well formed", format!("{error:?}")),
            };
            let Some(body) = header.body(rest) else { break };
            let packet_bytes = header.packet_bytes();
            let limit = self.options.max_packet_bytes;
            if self.is_5() && limit > 0 && packet_bytes > limit {
                // MQTT-3.1.2-24
                return self.violation("packets keep to the client's maximum", format!("{packet_bytes} bytes"));
            }
            let packet = match ServerPacket::decode(self.version, header, body, &DecodeLimits::default()) {
                Ok(packet) => packet,
                Err(error) => return self.violation("the server's packets are well formed", format!("{error:?}")),
            };
            self.take(&packet, history)?;
            taken += packet_bytes as usize;
            self.unread_written_ms = written_ms;
        }
        self.unread = unread.get(taken..).unwrap_or_default().to_vec();
        Ok(())
    }

    fn take(&mut self, packet: &ServerPacket<'_>, history: &mut History) -> Result<(), Violation> {
        if let ServerPacket::ConnAck(connack) = packet {
            return self.on_connack(connack, history);
        }
        if !self.is_connected {
            // MQTT-3.2.0-1
            return self.violation("CONNACK comes first", format!("{packet:?}"));
        }
        match packet {
            ServerPacket::Publish(publish) => self.on_publish(publish, history),
            ServerPacket::PubAck(ack) => self.on_puback(ack.packet_id, ack.reason_code, history),
            ServerPacket::PubRec(ack) => self.on_pubrec(ack.packet_id, ack.reason_code, history),
            ServerPacket::PubRel(ack) => self.on_pubrel(ack.packet_id, ack.reason_code),
            ServerPacket::PubComp(ack) => self.on_pubcomp(ack.packet_id, ack.reason_code),
            ServerPacket::SubAck(ack) => self.on_request_answered(true, ack.packet_id, ack.reason_codes, history),
            ServerPacket::UnsubAck(ack) => self.on_request_answered(false, ack.packet_id, ack.reason_codes, history),
            ServerPacket::PingResp if history.pong(self.connection) => Ok(()),
            ServerPacket::Disconnect(disconnect) => {
                let code = disconnect.reason_code;
                history.say(|| format!("connection {} is told DISCONNECT {code:?}", self.connection));
                if let Some(connection) = history.connections.get_mut(self.connection) {
                    connection.told = Some(code);
                }
                Ok(())
            }
            other => self.violation("nothing comes unasked", format!("{other:?}")),
        }
    }

    /// Whether the session that is present is the one that the client remembers: what came between may have begun
    /// another. Not what ended before anybody could have answered it: its client was told of none.
    fn knows_its_session(&self, history: &History) -> bool {
        let session = self.session.and_then(|session| history.sessions.get(session));
        let Some(session) = session.filter(|session| !session.is_unknown) else {
            return false;
        };
        let Some(last) = session.connections.last().copied() else {
            return false;
        };
        let Some((before, rest)) = history
            .connections
            .get(last..self.connection)
            .and_then(<[_]>::split_first)
        else {
            return false;
        };
        let keeps_it = |c: &Connection| !c.clean_start && c.expiry_s >= SESSION_EXPIRY_311_S;
        let mut between = rest.iter().filter(|c| c.identity == before.identity).peekable();
        // Storage without memory knows the sessions of those who are connected.
        let is_kept = !history.has_broken(|b| b == Broken::Storage, before.opened, u32::MAX);
        let outlives = before.expiry_s >= SESSION_EXPIRY_311_S;
        if between.peek().is_none() {
            return true;
        }
        is_kept && (outlives && between.clone().all(keeps_it) || between.all(|c| history.was_unanswerable(c)))
    }

    fn on_connack(&mut self, connack: &ConnAck<'_>, history: &mut History) -> Result<(), Violation> {
        let at = history.next();
        let ms = history.now_ms;
        let (code, session_present) = (connack.reason_code, connack.session_present);
        history.say(|| {
            format!(
                "connection {} CONNACK {code:?}, session present {session_present}",
                self.connection
            )
        });
        if self.is_connected {
            return self.violation("CONNACK comes once", "");
        }
        if code != ReasonCode::Success {
            if let Some(connection) = history.connections.get_mut(self.connection) {
                connection.refused = Some(code);
            }
            return Ok(());
        }
        let is_unknown = session_present && !self.knows_its_session(history);
        if !session_present || is_unknown {
            self.session = None;
            self.exchanges.clear();
            self.received.clear();
            self.refused.clear();
        }
        if is_unknown {
            // More than any connection before has used.
            let before = u16::try_from(self.connection).unwrap_or(u16::MAX);
            self.is_stranger = true;
            self.unused_ids = before.saturating_add(1).saturating_mul(IDS_OF_A_CONNECTION);
        }
        let known = self.session.and_then(|s| Some((s, history.sessions.get_mut(s)?)));
        let session = if let Some((number, session)) = known {
            session.connections.push(self.connection);
            number
        } else {
            history.sessions.push(Session {
                connections: vec![self.connection],
                is_unknown,
            });
            history.sessions.len() - 1
        };
        self.session = Some(session);
        if let Some(connection) = history.connections.get_mut(self.connection) {
            connection.accepted = Some(Accepted {
                at,
                ms,
                session_present,
                session,
            });
        }
        self.is_connected = true;
        let properties = &connack.properties;
        self.receive_maximum = properties.receive_maximum.map_or(u16::MAX, std::num::NonZero::get);
        self.alias_maximum = properties.topic_alias_maximum.unwrap_or(0);
        if session_present {
            self.is_resumed = true;
            self.resume_receiving();
            self.resume_publishing(history);
        }
        Ok(())
    }
}
