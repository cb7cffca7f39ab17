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
        self.stage == Stage::AwaitsPubRel
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
        if publish.dup {
            // MQTT-3.3.1-1 and -3: nothing is sent twice on one connection (MQTT-4.4.0-1).
            return self.violation(
                "DUP means that it was sent before",
                format!("{topic} message {message:?}"),
            );
        }
        if let Some(packet_id) = publish.packet_id {
            self.begin(packet_id, publish.qos)?;
        }
        let mut identifiers: Vec<u32> = publish.properties.subscription_identifiers.iter().collect();
        identifiers.sort_unstable();
        history.deliveries.push(Delivery {
            connection: self.connection,
            at,
            ms: history.now_ms,
            topic,
            message,
            qos: publish.qos,
            retain: publish.retain,
            identifiers,
            expiry_s: publish.properties.message_expiry_interval,
            again: false,
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

    /// A packet id comes into use (MQTT-2.2.1-4), within the client's Receive Maximum (MQTT-3.3.4-9).
    fn begin(&mut self, packet_id: PacketId, qos: QoS) -> Result<(), Violation> {
        let stage = if qos == QoS::ExactlyOnce {
            Stage::OwesPubRec
        } else {
            Stage::OwesPubAck
        };
        if let Some(former) = self.received.insert(packet_id, Received { stage }) {
            return self.violation(
                "a packet id has one use at a time",
                format!("id {packet_id} is in use: {:?}", former.stage),
            );
        }
        let window = match self.options.receive_maximum {
            said @ 1.. if self.is_5() => said.min(SERVER_INFLIGHT),
            _ => SERVER_INFLIGHT,
        };
        if self.received.len() > usize::from(window) {
            return self.violation(
                "the client's Receive Maximum is kept",
                format!("{} of {window} messages unacknowledged", self.received.len()),
            );
        }
        Ok(())
    }

    pub(super) fn send_puback(&mut self, packet_id: PacketId) {
        self.received.remove(&packet_id);
        self.send(&ClientPacket::PubAck(PubAck::new(packet_id, ReasonCode::Success)));
    }

    pub(super) fn send_pubrec(&mut self, packet_id: PacketId) {
        if let Some(received) = self.received.get_mut(&packet_id) {
            received.stage = Stage::AwaitsPubRel;
        }
        self.send(&ClientPacket::PubRec(PubRec::new(packet_id, ReasonCode::Success)));
    }

    /// A PUBREL has come.
    pub(super) fn on_pubrel(&mut self, packet_id: PacketId, code: ReasonCode) -> Result<(), Violation> {
        match self.received.get_mut(&packet_id) {
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
