//! A client on one connection: it keeps to the protocol, writes down what it says and is told, and sees what no
//! server may send.
//!
//! Speaks bytes. What it wants to send gathers in [`Client::outgoing`], which the world carries. Leaves out when things
//! happen (the world) and whether messages are the right ones (the model).

mod publisher;
mod receive;
mod requests;
mod subscriber;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::{NonZeroU16, NonZeroU32};

use freshet_mqtt::{ClientPacket, Connect, Disconnect, PacketId, Peer, ProtocolVersion, ReasonCode, Will};

use self::publisher::Exchange;
pub(crate) use self::publisher::{Publication, SERVER_RECEIVE_MAXIMUM};
use self::requests::Pending;
use self::subscriber::Received;
pub(crate) use self::subscriber::SERVER_INFLIGHT;
use crate::action::OpenOptions;
use crate::history::{self, History};
use crate::violation::Violation;

/// Names of the client ids.
const CLIENT_IDS: [&str; crate::action::IDENTITIES] = ["c0", "c1", "c2", "c3"];

/// What a client may send is bounded by this until CONNACK says otherwise (MQTT 5.0, 3.2.2.3.3).
const RECEIVE_MAXIMUM_UNLESS_SAID: u16 = u16::MAX;

/// A packet that acknowledges, and that a lazy client sends later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    Ack(PacketId),
    Rec(PacketId),
    Rel(PacketId),
    Comp(PacketId),
}

/// What a client keeps between the connections of a session.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    session: Option<usize>,
    exchanges: Vec<Exchange>,
    received: BTreeMap<PacketId, Received>,
    refused: BTreeSet<PacketId>,
}

/// One connection of a client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) connection: usize,
    session: Option<usize>,
    /// The session was there before the connection.
    is_resumed: bool,
    version: ProtocolVersion,
    options: OpenOptions,
    is_connected: bool,
    /// Bytes to be carried to the server.
    pub(crate) outgoing: Vec<u8>,
    unread: Vec<u8>,
    /// The world's time when the server wrote the first of them.
    unread_written_ms: u64,
    owed: VecDeque<Owed>,
    // As a publisher.
    exchanges: Vec<Exchange>,
    strays: Vec<PacketId>,
    /// Ids from here on were never used; what was sent twice may be answered twice, so its id is not used again.
    unused_ids: u16,
    has_repeated: bool,
    /// The session was there and the client knows nothing of it: ids that were used before may be in use.
    is_stranger: bool,
    receive_maximum: u16,
    alias_maximum: u16,
    aliases: BTreeMap<&'static str, NonZeroU16>,
    // As a subscriber.
    received: BTreeMap<PacketId, Received>,
    /// QoS 2 ids whose message was refused: the server may not have heard that.
    refused: BTreeSet<PacketId>,
    /// Deliveries that were acknowledged, as indexes in the history.
    acknowledged: Vec<usize>,
    server_aliases: BTreeMap<NonZeroU16, String>,
    // Requests.
    pending: BTreeMap<PacketId, Pending>,
    ids_in_use: BTreeSet<PacketId>,
}

impl Client {
    /// A client that says CONNECT on a new connection.
    pub(crate) fn open(
        identity: usize,
        proxy: usize,
        options: &OpenOptions,
        memory: Memory,
        history: &mut History,
    ) -> Self {
        let memory = if options.clean_start { Memory::default() } else { memory };
        let connection = history.connections.len();
        let opened = history.next();
        history.say(|| format!("connection {connection} of c{identity} to proxy {proxy}: {options:?}"));
        let will = options.will.as_ref().map(|will| {
            history.messages.push(history::Message {
                connection,
                is_will: true,
                topic: will.topic,
                qos: will.qos,
                retain: will.retain,
                empty: false,
                padding: 0,
                expiry_s: None,
                sent: opened,
                sent_ms: history.now_ms,
                attempts: 1,
                answered: None,
            });
            (history.messages.len() - 1, will.delay_s)
        });
        history.connections.push(history::Connection {
            identity,
            proxy,
            version: options.version,
            clean_start: options.clean_start,
            max_packet_bytes: options.max_packet_bytes,
            expiry_s: options.session_expiry_s(),
            will,
            opened,
            opened_ms: history.now_ms,
            accepted: None,
            refused: None,
            ended: None,
            all_read: None,
            all_read_ms: 0,
            told: None,
            unanswered: Vec::new(),
        });
        let mut client = Self {
            connection,
            session: memory.session,
            is_resumed: false,
            version: options.version,
            options: options.clone(),
            is_connected: false,
            outgoing: Vec::new(),
            unread: Vec::new(),
            unread_written_ms: 0,
            owed: VecDeque::new(),
            exchanges: memory.exchanges,
            strays: Vec::new(),
            unused_ids: 1,
            has_repeated: false,
            is_stranger: false,
            receive_maximum: RECEIVE_MAXIMUM_UNLESS_SAID,
            alias_maximum: 0,
            aliases: BTreeMap::new(),
            received: memory.received,
            refused: memory.refused,
            acknowledged: Vec::new(),
            server_aliases: BTreeMap::new(),
            pending: BTreeMap::new(),
            ids_in_use: BTreeSet::new(),
        };
        client.send_connect(identity, will.map(|(message, _)| message));
        client
    }

    fn send_connect(&mut self, identity: usize, will: Option<usize>) {
        let options = self.options.clone();
        let payload = will.map(|message| message.to_string()).unwrap_or_default();
        let mut connect = Connect::new(self.version, CLIENT_IDS.get(identity).copied().unwrap_or("c"));
        connect.clean_start = options.clean_start;
        connect.will = options.will.as_ref().map(|will| {
            let mut packet = Will {
                qos: will.qos,
                retain: will.retain,
                properties: freshet_mqtt::WillProperties::default(),
                topic_name: will.topic,
                payload: payload.as_bytes(),
            };
            if self.is_5() && will.delay_s > 0 {
                packet.properties.will_delay_interval = Some(will.delay_s);
            }
            packet
        });
        if self.is_5() {
            let properties = &mut connect.properties;
            properties.session_expiry_interval = (options.expiry_s > 0).then_some(options.expiry_s);
            properties.receive_maximum = NonZeroU16::new(options.receive_maximum);
            properties.maximum_packet_size = NonZeroU32::new(options.max_packet_bytes);
            properties.topic_alias_maximum = (options.alias_maximum > 0).then_some(options.alias_maximum);
        }
        self.send(&ClientPacket::Connect(connect));
    }

    /// What the next connection of the session goes on with. A session may end with its connection.
    pub(crate) fn take_memory(&mut self) -> Memory {
        if self.options.session_expiry_s() == 0 {
            return Memory::default();
        }
        Memory {
            session: self.session.take(),
            exchanges: std::mem::take(&mut self.exchanges),
            received: std::mem::take(&mut self.received),
            refused: std::mem::take(&mut self.refused),
        }
    }

    fn is_5(&self) -> bool {
        self.version.has_properties()
    }

    fn send(&mut self, packet: &ClientPacket<'_>) {
        let encoded = packet.encode(&Peer::new(self.version), &mut self.outgoing);
        debug_assert!(encoded.is_ok(), "{packet:?}");
    }

    /// DISCONNECT; the world ends the connection behind it. False: the client is not connected.
    pub(crate) fn disconnect(&mut self, with_will: bool) -> bool {
        if self.is_connected {
            let code = if with_will && self.is_5() {
                ReasonCode::DisconnectWithWillMessage
            } else {
                ReasonCode::Success
            };
            self.send(&ClientPacket::Disconnect(Disconnect::new(code)));
        }
        self.is_connected
    }

    /// Whether a DISCONNECT can ask for the will.
    pub(crate) fn can_ask_for_will(&self) -> bool {
        self.is_5()
    }

    /// PINGREQ.
    pub(crate) fn ping(&mut self, history: &mut History) {
        if self.is_connected {
            self.send(&ClientPacket::PingReq);
            history.ping(self.connection);
        }
    }

    /// From now on the client acknowledges at once.
    pub(crate) fn hurry(&mut self) {
        self.options.lazy = false;
        self.acknowledge(usize::MAX, false);
    }

    /// Sends acknowledgements that are owed.
    pub(crate) fn acknowledge(&mut self, count: usize, backwards: bool) {
        for _ in 0..count {
            let next = if backwards {
                self.owed.pop_back()
            } else {
                self.owed.pop_front()
            };
            match next {
                Some(owed) => self.send_owed(owed),
                None => return,
            }
        }
    }

    /// Refuses the first message that is owed an acknowledgement (MQTT 5.0, 4.13.2).
    pub(crate) fn refuse(&mut self) {
        let is_of_message = |owed: &Owed| matches!(owed, Owed::Ack(_) | Owed::Rec(_));
        let Some(at) = self.owed.iter().position(is_of_message).filter(|_| self.is_5()) else {
            return;
        };
        match self.owed.remove(at) {
            Some(Owed::Ack(id)) => self.send_puback(id, ReasonCode::ImplementationSpecificError),
            Some(Owed::Rec(id)) => self.refuse_with_pubrec(id),
            _ => {}
        }
    }

    fn owe(&mut self, owed: Owed) {
        self.owed.push_back(owed);
        if !self.options.lazy {
            self.acknowledge(usize::MAX, false);
        }
    }

    fn send_owed(&mut self, owed: Owed) {
        match owed {
            Owed::Ack(id) => self.send_puback(id, ReasonCode::Success),
            Owed::Rec(id) => self.send_pubrec(id),
            Owed::Comp(id) => self.send_pubcomp(id),
            Owed::Rel(id) => self.send_pubrel(id),
        }
    }

    /// A packet id that is not in use.
    fn take_id(&mut self) -> PacketId {
        let first = if self.has_repeated || self.is_stranger {
            self.unused_ids
        } else {
            1
        };
        let free = (first..=u16::MAX)
            .filter_map(PacketId::new)
            .find(|id| !self.ids_in_use.contains(id))
            .unwrap_or(PacketId::MAX);
        self.unused_ids = self.unused_ids.max(free.get().saturating_add(1));
        self.ids_in_use.insert(free);
        free
    }

    /// Whether CONNACK, SUBACK, UNSUBACK, PUBACK or PUBREC is to come.
    pub(crate) fn waits(&self) -> bool {
        !self.is_connected || !self.pending.is_empty() || self.exchanges.iter().any(Exchange::is_unanswered)
    }

    fn violation<T>(&self, rule: &'static str, seen: impl Into<String>) -> Result<T, Violation> {
        let seen = format!("connection {}: {}", self.connection, seen.into());
        Err(Violation::new(rule, seen))
    }

    /// Writes down what has no answer.
    pub(crate) fn write_down_unanswered(&self, history: &mut History) {
        let mut unanswered: Vec<String> = self.exchanges.iter().map(|e| format!("{e:?}")).collect();
        unanswered.extend(self.pending.keys().map(|id| format!("request {id}")));
        unanswered.extend(self.strays.iter().map(|id| format!("PUBREL {id}")));
        let half_done = self.received.iter().filter(|(_, r)| r.waits_for_server());
        unanswered.extend(half_done.map(|(id, _)| format!("PUBREC {id}")));
        if let Some(connection) = history.connections.get_mut(self.connection) {
            connection.unanswered = unanswered;
        }
    }

    /// Writes down which deliveries were acknowledged.
    pub(crate) fn write_down_acknowledged(&self, history: &mut History) {
        for delivery in &self.acknowledged {
            if let Some(delivery) = history.deliveries.get_mut(*delivery) {
                delivery.is_acknowledged = true;
            }
        }
    }
}
