//! A client with its session: what it has sent and not been told, what it has got and not finished.
//!
//! It does what a client has to do (MQTT 5.0, 4.3 and 4.4) and writes everything down. When to connect, to publish and
//! to go is for whoever lives its life ([`life`](crate::life)). Its answers may be held back for a while, in their
//! order, so that exchanges are there to be interrupted.

mod hear;
mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_mqtt::{
    ClientPacket, Connect, Disconnect, PacketId, ProtocolVersion, PubRel, Publish, PublishProperties, QoS, ReasonCode,
    Subscribe, SubscribeFilter, SubscribeFilters, SubscriptionOptions, TopicFilter, Unsubscribe, UnsubscribeFilters,
    UserProperties, Will, WillProperties,
};

use crate::history::{Message, What, WillSaid};
use crate::recorder::Recorder;
use hear::Answer;
pub(crate) use hear::Listened;
use wire::{Heard, Wire};

/// How long a broker may take over CONNACK before the client tries again.
const CONNACK_PATIENCE: Duration = Duration::from_secs(20);
/// How long the old one of two connections is listened to.
const OLD_PATIENCE: Duration = Duration::from_millis(300);
/// How long a client that has said DISCONNECT waits for the end.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);
/// Where a client publishes on a connection that was taken from it: nobody may ever receive it.
const FENCE: &str = "fence";
/// The packet id of that: none that the session uses.
const FENCE_PACKET_ID: PacketId = PacketId::MAX;

/// Who a client is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) version: ProtocolVersion,
    /// How long its session outlives a connection; 0: it begins anew each time. Not said by 3.1.1.
    pub(crate) expiry_s: u32,
    /// Topic and QoS of its will.
    pub(crate) will: Option<(String, QoS)>,
    /// Takes the lowest packet id that is free, one that was free a moment ago; else one that was not used for long.
    pub(crate) reuses_packet_ids: bool,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    identity: Identity,
    address: SocketAddr,
    recorder: Arc<Recorder>,
    wire: Option<Wire>,
    /// Filters that it wants, and whether it has been told that it has them.
    wanted: BTreeMap<String, (QoS, bool)>,
    /// What it has published, in the order in which it did.
    outgoing: VecDeque<Outgoing>,
    /// QoS 2 messages that it has, and whose PUBREL has not come.
    incoming: BTreeSet<u16>,
    /// SUBSCRIBE and UNSUBSCRIBE without an answer.
    requests: BTreeMap<u16, String>,
    held: VecDeque<(Instant, Answer)>,
    /// How long answers are held back from now on.
    pub(crate) hold: Duration,
    last_packet_id: u16,
    sequences: BTreeMap<String, u64>,
}

/// What was published and is not finished.
#[derive(Debug, Clone)]
struct Outgoing {
    packet_id: PacketId,
    topic: String,
    message: Option<Message>,
    qos: QoS,
    retain: bool,
    /// PUBREC has come: PUBREL is what counts now.
    is_released: bool,
}

impl Client {
    pub(crate) fn new(identity: Identity, address: SocketAddr, recorder: Arc<Recorder>) -> Self {
        Self {
            identity,
            address,
            recorder,
            wire: None,
            wanted: BTreeMap::new(),
            outgoing: VecDeque::new(),
            incoming: BTreeSet::new(),
            requests: BTreeMap::new(),
            held: VecDeque::new(),
            hold: Duration::ZERO,
            last_packet_id: 0,
            sequences: BTreeMap::new(),
        }
    }

    pub(crate) const fn is_connected(&self) -> bool {
        self.wire.is_some()
    }

    /// How many publications have no final answer.
    pub(crate) fn outstanding(&self) -> usize {
        self.outgoing.len()
    }

    /// Whether it has its session's whole life behind it: connected, and nobody owes anybody an answer.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_connected()
            && self.outgoing.is_empty()
            && self.incoming.is_empty()
            && self.requests.is_empty()
            && self.held.is_empty()
    }

    /// Wants a filter from now on, and asks for it if there is a connection.
    pub(crate) fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.wanted.insert(filter.to_owned(), (qos, false));
        self.ask_for_filters();
    }

    /// Wants a filter no more.
    pub(crate) fn unsubscribe(&mut self, filter: &str) {
        if self.wanted.remove(filter).is_none() || self.wire.is_none() {
            return;
        }
        let packet_id = self.next_packet_id();
        let what = What::Unsubscribing {
            packet_id: packet_id.get(),
            filter: filter.to_owned(),
        };
        let Ok(topic_filter) = TopicFilter::parse(filter) else {
            return;
        };
        self.requests.insert(packet_id.get(), filter.to_owned());
        self.say(
            what,
            &ClientPacket::Unsubscribe(Unsubscribe {
                packet_id,
                user_properties: UserProperties::NONE,
                filters: UnsubscribeFilters::from_slice(&[topic_filter]),
            }),
        );
    }

    /// Whether a filter is wanted.
    pub(crate) fn wants(&self, filter: &str) -> bool {
        self.wanted.contains_key(filter)
    }

    /// Publishes the next message to a topic.
    pub(crate) fn publish(&mut self, topic: &str, qos: QoS, retain: bool) {
        let message = self.next_message(topic);
        self.publish_this(topic, Some(message), qos, retain);
    }

    /// Clears what is retained at a topic.
    pub(crate) fn clear(&mut self, topic: &str, qos: QoS) {
        self.publish_this(topic, None, qos, true);
    }

    fn publish_this(&mut self, topic: &str, message: Option<Message>, qos: QoS, retain: bool) {
        let outgoing = Outgoing {
            packet_id: self.next_packet_id(),
            topic: topic.to_owned(),
            message,
            qos,
            retain,
            is_released: false,
        };
        self.outgoing.push_back(outgoing.clone());
        self.send_outgoing(&outgoing, false);
    }

    /// Says that it is there.
    pub(crate) fn ping(&mut self) {
        self.say(What::Pinging, &ClientPacket::PingReq);
    }

    /// Opens a connection and waits for CONNACK. A connection that is open meanwhile is taken over. False: the broker is
    /// not there, or does not answer.
    pub(crate) fn connect(&mut self) -> bool {
        let number = self.recorder.next_connection();
        let Ok(mut wire) = Wire::open(self.address, self.identity.version, number) else {
            return false;
        };
        self.send_connect(&mut wire);
        let session_present = match wire.hear(CONNACK_PATIENCE) {
            Some(Heard::ConnAck {
                reason: 0,
                session_present,
            }) => session_present,
            Some(Heard::ConnAck { reason, .. }) => {
                self.recorder.record(number, What::Refused { reason });
                return false;
            }
            Some(Heard::Malformed(error)) => {
                self.recorder.record(number, What::Malformed { error });
                return false;
            }
            Some(_) => {
                self.recorder.record(number, What::Closed { reason: None });
                return false;
            }
            None => {
                self.recorder.record(number, What::HungUp);
                return false;
            }
        };
        self.recorder.record(number, What::Connected { session_present });
        let old = self.wire.replace(wire);
        self.begin(session_present);
        if let Some(old) = old {
            self.try_old(old);
        }
        true
    }

    fn send_connect(&mut self, wire: &mut Wire) {
        let Identity {
            id,
            version,
            expiry_s,
            will,
            ..
        } = &self.identity;
        let clean_start = *expiry_s == 0;
        let said = will.as_ref().map(|(topic, qos)| WillSaid {
            message: Message {
                publisher: id.clone(),
                topic: topic.clone(),
                sequence: u64::from(wire.number),
            },
            qos: qos.bits(),
        });
        self.recorder.record(
            wire.number,
            What::Connecting {
                client_id: id.clone(),
                version: version.protocol_level(),
                clean_start,
                expiry_s: *expiry_s,
                will: said.clone(),
            },
        );
        let payload = said.as_ref().map(|will| will.message.payload()).unwrap_or_default();
        let mut connect = Connect::new(*version, id);
        connect.clean_start = clean_start;
        if version.has_properties() {
            connect.properties.session_expiry_interval = Some(*expiry_s);
        }
        connect.will = will.as_ref().map(|(topic_name, qos)| Will {
            qos: *qos,
            retain: false,
            properties: WillProperties::default(),
            topic_name,
            payload: &payload,
        });
        wire.send(&ClientPacket::Connect(connect));
    }

    /// Goes on with the session, or begins a new one.
    fn begin(&mut self, session_present: bool) {
        self.requests.clear();
        self.held.clear();
        if session_present {
            for outgoing in self.outgoing.clone() {
                self.send_outgoing(&outgoing, true);
            }
        } else {
            self.outgoing.clear();
            self.incoming.clear();
            for (_, is_confirmed) in self.wanted.values_mut() {
                *is_confirmed = false;
            }
        }
        self.ask_for_filters();
    }

    /// Sends what a session must not take any more, and listens to the old connection until it is over.
    fn try_old(&mut self, mut old: Wire) {
        let message = self.next_message(FENCE);
        let payload = message.payload();
        self.recorder.record(old.number, What::Pinging);
        old.send(&ClientPacket::PingReq);
        self.recorder.record(
            old.number,
            What::Publishing {
                packet_id: FENCE_PACKET_ID.get(),
                topic: FENCE.to_owned(),
                message: Some(message),
                qos: 1,
                retain: false,
                dup: false,
            },
        );
        old.send(&ClientPacket::Publish(Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic_name: FENCE,
            packet_id: Some(FENCE_PACKET_ID),
            properties: PublishProperties::default(),
            payload: &payload,
        }));
        let until = Instant::now() + OLD_PATIENCE;
        let mut reason = None;
        while let Some(heard) = old.hear(until.saturating_duration_since(Instant::now())) {
            match heard {
                Heard::Closed => {
                    self.recorder.record(old.number, What::Closed { reason });
                    return;
                }
                Heard::Disconnect(code) => reason = Some(code),
                heard => self.recorder.record(old.number, hear::what(&heard)),
            }
            if Instant::now() >= until {
                break;
            }
        }
        self.recorder.record(old.number, What::HungUp);
    }

    /// Says DISCONNECT and waits for the end.
    pub(crate) fn disconnect(&mut self) {
        self.say(
            What::Disconnecting,
            &ClientPacket::Disconnect(Disconnect::new(ReasonCode::Success)),
        );
        let Some(mut wire) = self.wire.take() else { return };
        let until = Instant::now() + LEAVE_PATIENCE;
        loop {
            match wire.hear(until.saturating_duration_since(Instant::now())) {
                Some(Heard::Closed) => {
                    self.recorder.record(wire.number, What::Closed { reason: None });
                    return;
                }
                // Who has said DISCONNECT is not concerned any more.
                Some(_) if Instant::now() < until => {}
                _ => break,
            }
        }
        self.recorder.record(wire.number, What::HungUp);
    }

    /// Goes without a word.
    pub(crate) fn hang_up(&mut self) {
        if let Some(wire) = self.wire.take() {
            self.recorder.record(wire.number, What::HungUp);
        }
    }

    /// Says that the run is over for it.
    pub(crate) fn rest(&self) {
        if let Some(wire) = &self.wire {
            self.recorder.record(wire.number, What::AtRest);
        }
    }

    fn ask_for_filters(&mut self) {
        if self.wire.is_none() {
            return;
        }
        let asked: BTreeSet<&String> = self.requests.values().collect();
        let missing: Vec<(String, QoS)> = self
            .wanted
            .iter()
            .filter(|(filter, (_, is_confirmed))| !is_confirmed && !asked.contains(filter))
            .map(|(filter, (qos, _))| (filter.clone(), *qos))
            .collect();
        for (filter, qos) in missing {
            let Ok(topic_filter) = TopicFilter::parse(&filter) else {
                continue;
            };
            let packet_id = self.next_packet_id();
            self.requests.insert(packet_id.get(), filter.clone());
            let what = What::Subscribing {
                packet_id: packet_id.get(),
                filter: filter.clone(),
                qos: qos.bits(),
            };
            let filters = [SubscribeFilter {
                topic_filter,
                options: SubscriptionOptions::new(qos),
            }];
            self.say(
                what,
                &ClientPacket::Subscribe(Subscribe {
                    packet_id,
                    subscription_identifier: None,
                    user_properties: UserProperties::NONE,
                    filters: SubscribeFilters::from_slice(&filters),
                }),
            );
        }
    }

    fn send_outgoing(&mut self, outgoing: &Outgoing, is_again: bool) {
        let packet_id = outgoing.packet_id;
        if outgoing.is_released {
            self.release(packet_id);
            return;
        }
        let payload = outgoing.message.as_ref().map(Message::payload).unwrap_or_default();
        self.say(
            What::Publishing {
                packet_id: packet_id.get(),
                topic: outgoing.topic.clone(),
                message: outgoing.message.clone(),
                qos: outgoing.qos.bits(),
                retain: outgoing.retain,
                dup: is_again,
            },
            &ClientPacket::Publish(Publish {
                dup: is_again,
                qos: outgoing.qos,
                retain: outgoing.retain,
                topic_name: &outgoing.topic,
                packet_id: Some(packet_id),
                properties: PublishProperties::default(),
                payload: &payload,
            }),
        );
    }

    fn release(&mut self, packet_id: PacketId) {
        self.say(
            What::Releasing {
                packet_id: packet_id.get(),
            },
            &ClientPacket::PubRel(PubRel::new(packet_id, ReasonCode::Success)),
        );
    }

    /// Writes down what is sent, then sends it.
    fn say(&mut self, what: What, packet: &ClientPacket<'_>) {
        if let Some(wire) = &mut self.wire {
            self.recorder.record(wire.number, what);
            wire.send(packet);
        }
    }

    fn next_message(&mut self, topic: &str) -> Message {
        let sequence = self.sequences.entry(topic.to_owned()).or_default();
        *sequence += 1;
        Message {
            publisher: self.identity.id.clone(),
            topic: topic.to_owned(),
            sequence: *sequence,
        }
    }

    /// A packet id that nothing unfinished has.
    fn next_packet_id(&mut self) -> PacketId {
        if self.identity.reuses_packet_ids {
            self.last_packet_id = 0;
        }
        loop {
            self.last_packet_id = (self.last_packet_id + 1) % FENCE_PACKET_ID.get();
            let id = self.last_packet_id;
            let is_taken = self.requests.contains_key(&id) || self.outgoing.iter().any(|o| o.packet_id.get() == id);
            if let Some(packet_id) = NonZeroU16::new(id).filter(|_| !is_taken) {
                return packet_id;
            }
        }
    }
}
