//! The client as a subscriber: what a PUBLISH and a PUBREL of the server may look like on one connection.

use freshet_mqtt::{ClientPacket, PacketId, PubAck, PubRec, Publish, QoS, ReasonCode};

use super::{Client, Owed};
use crate::history::{Delivery, History};
use crate::violation::Violation;

/// The server's own bound on what is in flight towards a client ([`freshet_config::ClientLimits::inflight`]).
pub(crate) const SERVER_INFLIGHT: u16 = 4;

/// A message of the server whose exchange has not ended.
#[derive(Debug)]
pub(super) struct Received {
    stage: Stage,
    topic: String,
    message: Option<usize>,
    /// PUBLISH came on this connection.
    is_of_connection: bool,
    /// Index in the history.
    delivery: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// PUBACK is owed.
    OwesPubAck,
    /// PUBREC is owed.
    OwesPubRec,
    /// PUBREL is waited for.
    AwaitsPubRel,
    /// PUBCOMP is owed.
    OwesPubComp,
}

impl Received {
    pub(super) fn waits_for_server(&self) -> bool {
        self.stage == Stage::AwaitsPubRel && self.is_of_connection
    }
}

impl Client {
    /// A PUBLISH has come.
    pub(super) fn on_publish(&mut self, publish: &Publish<'_>, history: &mut History) -> Result<(), Violation> {
        let topic = self.topic_of(publish)?;
        let message = match publish.payload {
            [] => None,
            payload => match number_of(payload) {
                Some(number) => Some(number),
                None => return self.violation("a payload arrives as it was sent", format!("{payload:?}")),
            },
        };
        let at = history.next();
        history.say(|| {
            let (connection, qos, packet_id) = (self.connection, publish.qos, publish.packet_id);
            format!(
                "connection {connection} is sent {topic} message {message:?} {qos:?} id {packet_id:?} retain {} dup {}",
                publish.retain, publish.dup
            )
        });
        if publish.dup && !self.is_resumed {
            // MQTT-3.3.1-1 and -3: nothing is sent twice on one connection (MQTT-4.4.0-1).
            return self.violation(
                "DUP means that it was sent before",
                format!("{topic} message {message:?}"),
            );
        }
        let again = match publish.packet_id {
            Some(packet_id) => self.begin(packet_id, publish, (&topic, message), history.deliveries.len())?,
            None => false,
        };
        let mut identifiers: Vec<u32> = publish.properties.subscription_identifiers.iter().collect();
        identifiers.sort_unstable();
        history.deliveries.push(Delivery {
            connection: self.connection,
            at,
            written_ms: self.unread_written_ms,
            topic,
            message,
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            identifiers,
            expiry_s: publish.properties.message_expiry_interval,
            again,
            is_acknowledged: false,
        });
        match (publish.packet_id, publish.qos) {
            (Some(packet_id), QoS::ExactlyOnce) => self.owe(Owed::Rec(packet_id)),
            (Some(packet_id), _) => self.owe(Owed::Ack(packet_id)),
            (None, _) => {}
        }
        Ok(())
    }

    /// The topic, whether it is named or has an alias (MQTT 5.0, 3.3.2.3.4).
    fn topic_of(&mut self, publish: &Publish<'_>) -> Result<String, Violation> {
        let Some(alias) = publish.properties.topic_alias else {
            return Ok(publish.topic_name.to_owned());
        };
        if alias.get() > self.options.alias_maximum {
            return self.violation("aliases keep to the client's maximum", format!("alias {alias}"));
        }
        if !publish.topic_name.is_empty() {
            self.server_aliases.insert(alias, publish.topic_name.to_owned());
            return Ok(publish.topic_name.to_owned());
        }
        match self.server_aliases.get(&alias) {
            Some(topic) => Ok(topic.clone()),
            None => self.violation("an alias is defined before it is used", format!("alias {alias}")),
        }
    }

    /// A packet id comes into use (MQTT-2.2.1-4), within the client's Receive Maximum (MQTT-3.3.4-9). True: its exchange
    /// began on an earlier connection, and the client has the message.
    fn begin(
        &mut self,
        packet_id: PacketId,
        publish: &Publish<'_>,
        (topic, message): (&str, Option<usize>),
        delivery: usize,
    ) -> Result<bool, Violation> {
        let is_exactly_once = publish.qos == QoS::ExactlyOnce;
        let received = Received {
            stage: if is_exactly_once {
                Stage::OwesPubRec
            } else {
                Stage::OwesPubAck
            },
            topic: topic.to_owned(),
            message,
            is_of_connection: true,
            delivery,
        };
        let was_refused = self.refused.remove(&packet_id) && is_exactly_once;
        let former = self.received.insert(packet_id, received);
        let again = former.is_some() || publish.dup && (was_refused || !is_exactly_once);
        if let Some(former) = former {
            let is_same = former.topic == topic && former.message == message;
            if former.is_of_connection || !is_same {
                return self.violation(
                    "a packet id has one use at a time",
                    format!("id {packet_id} of {message:?} is in use: {former:?}"),
                );
            }
            if !publish.dup {
                // MQTT-3.3.1-1
                return self.violation(
                    "what is sent again says so",
                    format!("id {packet_id} {topic} {message:?}"),
                );
            }
        }
        let window = match self.options.receive_maximum {
            said @ 1.. if self.is_5() => said.min(SERVER_INFLIGHT),
            _ => SERVER_INFLIGHT,
        };
        let count = self.received.values().filter(|r| r.is_of_connection).count();
        if count > usize::from(window) {
            return self.violation(
                "the client's Receive Maximum is kept",
                format!("{count} of {window} messages unacknowledged"),
            );
        }
        Ok(again)
    }

    /// What is left of an earlier connection: QoS 2 that the client has and the server has not heard the end of.
    pub(super) fn resume_receiving(&mut self) {
        self.received.retain(|_, r| r.stage != Stage::OwesPubAck);
        for received in self.received.values_mut() {
            received.is_of_connection = false;
            if received.stage == Stage::OwesPubComp {
                received.stage = Stage::AwaitsPubRel;
            }
        }
    }

    pub(super) fn send_puback(&mut self, packet_id: PacketId, code: ReasonCode) {
        if let Some(received) = self.received.remove(&packet_id) {
            self.acknowledged.push(received.delivery);
        }
        self.send(&ClientPacket::PubAck(PubAck::new(packet_id, code)));
    }

    /// The exchange ends here (MQTT 5.0, 4.3.3).
    pub(super) fn refuse_with_pubrec(&mut self, packet_id: PacketId) {
        self.received.remove(&packet_id);
        self.refused.insert(packet_id);
        let code = ReasonCode::ImplementationSpecificError;
        self.send(&ClientPacket::PubRec(PubRec::new(packet_id, code)));
    }

    pub(super) fn send_pubrec(&mut self, packet_id: PacketId) {
        if let Some(received) = self.received.get_mut(&packet_id) {
            received.stage = Stage::AwaitsPubRel;
        }
        self.send(&ClientPacket::PubRec(PubRec::new(packet_id, ReasonCode::Success)));
    }

    /// A PUBREL has come.
    pub(super) fn on_pubrel(&mut self, packet_id: PacketId, code: ReasonCode) -> Result<(), Violation> {
        let is_resumed = self.is_resumed;
        match self.received.get_mut(&packet_id) {
            // PUBCOMP was lost with an earlier connection.
            None if is_resumed => {
                self.owe(Owed::Comp(packet_id));
                Ok(())
            }
            // The server has given up a message that an earlier connection was sent.
            Some(received) if received.stage == Stage::OwesPubRec && !received.is_of_connection => {
                received.stage = Stage::OwesPubComp;
                self.owe(Owed::Comp(packet_id));
                Ok(())
            }
            Some(received) if received.stage == Stage::AwaitsPubRel && code == ReasonCode::Success => {
                received.stage = Stage::OwesPubComp;
                self.owe(Owed::Comp(packet_id));
                Ok(())
            }
            found => {
                let seen = format!("PUBREL {packet_id} {code:?}: {found:?}");
                self.violation("PUBREL follows PUBREC", seen)
            }
        }
    }
}

/// The number that a payload begins with.
fn number_of(payload: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(payload).ok()?;
    text.trim_end_matches('.').parse().ok()
}
