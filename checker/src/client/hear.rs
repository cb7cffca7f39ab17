//! What a client does about what it hears.

use std::time::{Duration, Instant};

use freshet_mqtt::{ClientPacket, PacketId, PubAck, PubComp, PubRec, QoS, ReasonCode};

use super::Client;
use super::wire::{Heard, HeardPublish};
use crate::history::What;

/// What a client owes the broker.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Ack(PacketId),
    Rec(PacketId),
    Comp(PacketId),
}

/// What came of listening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listened {
    /// Something was heard.
    Heard,
    /// Nothing was, in all that time.
    Silence,
    /// There is no connection any more.
    Over,
}

impl Client {
    /// Takes the next packet, if one comes within so long, and sends the answers that are due.
    pub(crate) fn listen(&mut self, patience: Duration) -> Listened {
        self.send_due();
        let Some(wire) = &mut self.wire else {
            return Listened::Over;
        };
        let Some(heard) = wire.hear(patience) else {
            return Listened::Silence;
        };
        let number = wire.number;
        match &heard {
            Heard::Closed => {
                self.recorder.record(number, What::Closed { reason: None });
                self.wire = None;
            }
            Heard::Disconnect(reason) => {
                self.recorder.record(number, What::Closed { reason: Some(*reason) });
                self.wire = None;
            }
            Heard::Malformed(_) => {
                self.recorder.record(number, what(&heard));
                self.hang_up();
            }
            _ => {
                self.recorder.record(number, what(&heard));
                self.take(&heard);
            }
        }
        if self.wire.is_some() {
            Listened::Heard
        } else {
            Listened::Over
        }
    }

    fn take(&mut self, heard: &Heard) {
        match heard {
            Heard::Publish(publish) => self.take_publish(publish),
            Heard::PubRel(id) => {
                self.incoming.remove(id);
                if let Some(packet_id) = PacketId::new(*id) {
                    self.answer(Answer::Comp(packet_id));
                }
            }
            Heard::PubRec(id, reason) if *reason < 0x80 => {
                if let Some(outgoing) = self.outgoing.iter_mut().find(|o| o.packet_id.get() == *id) {
                    outgoing.is_released = true;
                }
                if let Some(packet_id) = PacketId::new(*id) {
                    self.release(packet_id);
                }
            }
            Heard::PubAck(id, _) | Heard::PubRec(id, _) | Heard::PubComp(id, _) => {
                self.outgoing.retain(|outgoing| outgoing.packet_id.get() != *id);
            }
            Heard::SubAck(id, granted) => {
                let filter = self.requests.remove(id);
                if let Some((_, is_confirmed)) = filter.and_then(|filter| self.wanted.get_mut(&filter)) {
                    *is_confirmed = *granted < 0x80;
                }
                // One that was wanted anew while it was being given up.
                self.ask_for_filters();
            }
            Heard::UnsubAck(id) => {
                self.requests.remove(id);
                self.ask_for_filters();
            }
            _ => {}
        }
    }

    fn take_publish(&mut self, publish: &HeardPublish) {
        let Some(packet_id) = publish.packet_id.and_then(PacketId::new) else {
            return;
        };
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.answer(Answer::Ack(packet_id)),
            QoS::ExactlyOnce => {
                self.incoming.insert(packet_id.get());
                self.answer(Answer::Rec(packet_id));
            }
        }
    }

    /// Answers, now or when it is time; what is held back holds back what comes behind it (MQTT 5.0, 4.6).
    fn answer(&mut self, answer: Answer) {
        self.held.push_back((Instant::now() + self.hold, answer));
        self.send_due();
    }

    fn send_due(&mut self) {
        let now = Instant::now();
        while let Some((_, answer)) = self.held.pop_front_if(|(due, _)| *due <= now) {
            let (what, packet) = match answer {
                Answer::Ack(id) => (
                    What::Acknowledging { packet_id: id.get() },
                    ClientPacket::PubAck(PubAck::new(id, ReasonCode::Success)),
                ),
                Answer::Rec(id) => (
                    What::Recording { packet_id: id.get() },
                    ClientPacket::PubRec(PubRec::new(id, ReasonCode::Success)),
                ),
                Answer::Comp(id) => (
                    What::Completing { packet_id: id.get() },
                    ClientPacket::PubComp(PubComp::new(id, ReasonCode::Success)),
                ),
            };
            self.say(what, &packet);
        }
    }
}

/// How the history says it.
pub(super) fn what(heard: &Heard) -> What {
    match heard {
        Heard::ConnAck { .. } => What::Malformed {
            error: "a second CONNACK".to_owned(),
        },
        Heard::Publish(p) => What::Received {
            packet_id: p.packet_id,
            topic: p.topic.clone(),
            message: p.message.clone(),
            qos: p.qos.bits(),
            retain: p.retain,
            dup: p.dup,
        },
        Heard::PubAck(packet_id, reason) => What::PubAck {
            packet_id: *packet_id,
            reason: *reason,
        },
        Heard::PubRec(packet_id, reason) => What::PubRec {
            packet_id: *packet_id,
            reason: *reason,
        },
        Heard::PubRel(packet_id) => What::Released { packet_id: *packet_id },
        Heard::PubComp(packet_id, reason) => What::PubComp {
            packet_id: *packet_id,
            reason: *reason,
        },
        Heard::SubAck(packet_id, granted) => What::SubAck {
            packet_id: *packet_id,
            granted: *granted,
        },
        Heard::UnsubAck(packet_id) => What::UnsubAck { packet_id: *packet_id },
        Heard::Pong => What::Pinged,
        Heard::Disconnect(reason) => What::Closed { reason: Some(*reason) },
        Heard::Closed => What::Closed { reason: None },
        Heard::Malformed(error) => What::Malformed { error: error.clone() },
    }
}
