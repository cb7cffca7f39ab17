//! The client as a publisher: packet ids, the exchanges of QoS 1 and 2, topic aliases.

use std::num::NonZeroU16;

use freshet_mqtt::{ClientPacket, PacketId, PubComp, PubRel, Publish, PublishProperties, QoS, ReasonCode};

use super::{Client, Owed};
use crate::history::{Answered, History, Message};
use crate::violation::Violation;

/// QoS 1 and 2 publications that a client may have unacknowledged, by the server's configuration.
pub(crate) const SERVER_RECEIVE_MAXIMUM: u16 = 3;

/// A PUBLISH with a packet id whose exchange has not ended.
#[derive(Debug)]
pub(super) struct Exchange {
    packet_id: PacketId,
    message: usize,
    qos: QoS,
    stage: Stage,
    /// Times it was sent after the first.
    repeats: usize,
    /// It began on an earlier connection.
    is_resumed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// PUBACK or PUBREC is waited for.
    Sent,
    /// PUBREC has come, PUBREL is owed.
    Received,
    /// PUBCOMP is waited for.
    Released,
}

impl Exchange {
    /// Whether PUBACK or PUBREC is waited for.
    pub(super) fn is_unanswered(&self) -> bool {
        self.stage == Stage::Sent
    }
}

/// What is to be published.
pub(crate) struct Publication {
    pub(crate) topic: &'static str,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) empty: bool,
    pub(crate) padding: usize,
    pub(crate) expiry_s: u32,
    pub(crate) alias: bool,
}

impl Client {
    /// Publishes, unless the server's Receive Maximum forbids it for now.
    pub(crate) fn publish(&mut self, publication: &Publication, history: &mut History) {
        // A session of 3.1.1 may go on with 5.0, where the server's Receive Maximum counts.
        let most = match self.options.session_expiry_s() {
            0 => self.receive_maximum,
            _ => self.receive_maximum.min(SERVER_RECEIVE_MAXIMUM),
        };
        let has_room = self.exchanges.len() < usize::from(most);
        if !self.is_connected || publication.qos != QoS::AtMostOnce && !has_room {
            return;
        }
        let expiry_s = (self.is_5() && publication.expiry_s > 0).then_some(publication.expiry_s);
        let message = history.messages.len();
        let sent = history.next();
        let Publication {
            topic,
            qos,
            retain,
            empty,
            padding,
            ..
        } = *publication;
        history.messages.push(Message {
            connection: self.connection,
            is_will: false,
            topic,
            qos,
            retain,
            empty,
            padding,
            expiry_s,
            sent,
            sent_ms: history.now_ms,
            attempts: 1,
            answered: None,
        });
        let packet_id = qos.is_acknowledged().then(|| self.take_id());
        if let Some(packet_id) = packet_id {
            self.exchanges.push(Exchange {
                packet_id,
                message,
                qos,
                stage: Stage::Sent,
                repeats: 0,
                is_resumed: false,
            });
        }
        let alias = if publication.alias { self.alias_of(topic) } else { None };
        history.say(|| {
            let connection = self.connection;
            format!("connection {connection} PUBLISH {topic} message {message} {qos:?} id {packet_id:?} retain {retain} empty {empty}")
        });
        self.send_publish(history, message, packet_id, alias, false);
    }

    /// The alias of a topic, and whether the server knows it already.
    fn alias_of(&mut self, topic: &'static str) -> Option<(NonZeroU16, bool)> {
        if let Some(alias) = self.aliases.get(topic) {
            return Some((*alias, true));
        }
        let next = u16::try_from(self.aliases.len() + 1).ok()?;
        let alias = NonZeroU16::new(next).filter(|alias| alias.get() <= self.alias_maximum)?;
        self.aliases.insert(topic, alias);
        Some((alias, false))
    }

    fn send_publish(
        &mut self,
        history: &History,
        message: usize,
        packet_id: Option<PacketId>,
        alias: Option<(NonZeroU16, bool)>,
        dup: bool,
    ) {
        let Some(sent) = history.messages.get(message) else {
            return;
        };
        let payload = if sent.empty {
            String::new()
        } else {
            format!("{message}{}", ".".repeat(sent.padding))
        };
        let publish = Publish {
            dup,
            qos: sent.qos,
            retain: sent.retain,
            topic_name: if alias.is_some_and(|(_, known)| known) {
                ""
            } else {
                sent.topic
            },
            packet_id,
            properties: PublishProperties {
                topic_alias: alias.map(|(alias, _)| alias),
                message_expiry_interval: sent.expiry_s,
                ..PublishProperties::default()
            },
            payload: payload.as_bytes(),
        };
        self.send(&ClientPacket::Publish(publish));
    }

    /// Sends the last PUBLISH without answer again.
    pub(crate) fn repeat(&mut self, history: &mut History) {
        let waiting = self.exchanges.iter_mut().rev().find(|e| e.stage == Stage::Sent);
        let Some(exchange) = waiting.filter(|_| self.is_connected) else {
            return;
        };
        exchange.repeats += 1;
        let (message, packet_id) = (exchange.message, exchange.packet_id);
        self.has_repeated = true;
        history.next();
        history.say(|| format!("connection {} PUBLISH message {message} again", self.connection));
        if let Some(message) = history.messages.get_mut(message) {
            message.attempts += 1;
        }
        self.send_publish(history, message, Some(packet_id), None, true);
    }

    /// Goes on with what an earlier connection left (MQTT-4.4.0-1).
    pub(super) fn resume_publishing(&mut self, history: &mut History) {
        let mut sent = Vec::new();
        let mut received = Vec::new();
        for exchange in &mut self.exchanges {
            exchange.repeats = 0;
            exchange.is_resumed = true;
            self.ids_in_use.insert(exchange.packet_id);
            match exchange.stage {
                Stage::Sent => sent.push((exchange.message, exchange.packet_id)),
                Stage::Received | Stage::Released => received.push(exchange.packet_id),
            }
        }
        for (message, packet_id) in sent {
            history.next();
            history.say(|| format!("connection {} PUBLISH message {message} again", self.connection));
            if let Some(message) = history.messages.get_mut(message) {
                message.attempts += 1;
            }
            self.send_publish(history, message, Some(packet_id), None, true);
        }
        for packet_id in received {
            self.owe(Owed::Rel(packet_id));
        }
    }

    /// PUBREL of a packet id that nothing was published with.
    pub(crate) fn release_stray(&mut self, history: &mut History) {
        if self.is_connected {
            let packet_id = self.take_id();
            self.strays.push(packet_id);
            history.say(|| format!("connection {} PUBREL {packet_id} out of nowhere", self.connection));
            self.send(&ClientPacket::PubRel(PubRel::new(packet_id, ReasonCode::Success)));
        }
    }

    /// PUBACK has come.
    pub(super) fn on_puback(
        &mut self,
        packet_id: PacketId,
        code: ReasonCode,
        history: &mut History,
    ) -> Result<(), Violation> {
        let Some(at) = self.exchange(packet_id, QoS::AtLeastOnce) else {
            // What was sent twice may have been taken twice.
            return if self.has_repeated {
                Ok(())
            } else {
                self.violation("acknowledgements are of what was sent", format!("PUBACK {packet_id}"))
            };
        };
        // MQTT-4.6.0-2
        let is_first = !self.exchanges.iter().take(at).any(|e| e.qos == QoS::AtLeastOnce);
        if !is_first && !self.has_repeated {
            return self.violation("PUBACKs come in order", format!("PUBACK {packet_id}"));
        }
        let ended = self.exchanges.remove(at);
        self.ids_in_use.remove(&packet_id);
        answered(ended.message, code, history);
        Ok(())
    }

    /// PUBREC has come.
    pub(super) fn on_pubrec(
        &mut self,
        packet_id: PacketId,
        code: ReasonCode,
        history: &mut History,
    ) -> Result<(), Violation> {
        let Some(at) = self.exchange(packet_id, QoS::ExactlyOnce) else {
            return if self.has_repeated {
                Ok(())
            } else {
                self.violation("acknowledgements are of what was sent", format!("PUBREC {packet_id}"))
            };
        };
        // MQTT-4.6.0-3
        let waits = |e: &Exchange| e.qos == QoS::ExactlyOnce && e.stage == Stage::Sent;
        if self.exchanges.iter().take(at).any(waits) && !self.has_repeated {
            return self.violation("PUBRECs come in order", format!("PUBREC {packet_id}"));
        }
        let Some(exchange) = self.exchanges.get_mut(at) else {
            return Ok(());
        };
        if exchange.stage != Stage::Sent {
            return if exchange.repeats > 0 {
                Ok(())
            } else {
                self.violation(
                    "acknowledgements are of what was sent",
                    format!("PUBREC {packet_id} again"),
                )
            };
        }
        exchange.stage = Stage::Received;
        let message = exchange.message;
        answered(message, code, history);
        if code.is_error() {
            self.exchanges.remove(at);
            self.ids_in_use.remove(&packet_id);
        } else {
            self.owe(Owed::Rel(packet_id));
        }
        Ok(())
    }

    pub(super) fn send_pubrel(&mut self, packet_id: PacketId) {
        if let Some(exchange) = self.exchanges.iter_mut().find(|e| e.packet_id == packet_id) {
            exchange.stage = Stage::Released;
        }
        self.send(&ClientPacket::PubRel(PubRel::new(packet_id, ReasonCode::Success)));
    }

    /// PUBCOMP has come.
    pub(super) fn on_pubcomp(&mut self, packet_id: PacketId, code: ReasonCode) -> Result<(), Violation> {
        if let Some(at) = self.strays.iter().position(|id| *id == packet_id) {
            self.strays.remove(at);
            self.ids_in_use.remove(&packet_id);
            // MQTT 5.0, 4.3.3 and 3.7.2.1
            return if self.is_5() && code != ReasonCode::PacketIdentifierNotFound {
                self.violation(
                    "an unknown PUBREL is answered so",
                    format!("PUBCOMP {packet_id} {code:?}"),
                )
            } else {
                Ok(())
            };
        }
        let at = self.exchange(packet_id, QoS::ExactlyOnce);
        match at.and_then(|at| self.exchanges.get(at).map(|e| (at, e.stage))) {
            // PUBCOMP may have been lost with an earlier connection.
            Some((at, Stage::Released))
                if code == ReasonCode::Success || self.exchanges.get(at).is_some_and(|e| e.is_resumed) =>
            {
                self.exchanges.remove(at);
                self.ids_in_use.remove(&packet_id);
                Ok(())
            }
            Some((_, Stage::Released)) => {
                self.violation("a known PUBREL is answered so", format!("PUBCOMP {packet_id} {code:?}"))
            }
            _ => self.violation("acknowledgements are of what was sent", format!("PUBCOMP {packet_id}")),
        }
    }

    fn exchange(&self, packet_id: PacketId, qos: QoS) -> Option<usize> {
        self.exchanges
            .iter()
            .position(|e| e.packet_id == packet_id && e.qos == qos)
    }

    /// PUBCOMP for a PUBREL of the server.
    pub(super) fn send_pubcomp(&mut self, packet_id: PacketId) {
        self.received.remove(&packet_id);
        self.send(&ClientPacket::PubComp(PubComp::new(packet_id, ReasonCode::Success)));
    }
}

fn answered(message: usize, code: ReasonCode, history: &mut History) {
    let at = history.next();
    history.say(|| format!("message {message} is answered: {code:?}"));
    if let Some(message) = history.messages.get_mut(message)
        && message.answered.is_none()
    {
        message.answered = Some(Answered { at, code });
    }
}
