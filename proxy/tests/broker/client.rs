//! A small client that says exactly what a test wants, over a real socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use freshet_mqtt::{
    ClientPacket, Connect, DecodeLimits, Disconnect, FixedHeader, PacketId, Peer, ProtocolVersion, PubAck, PubComp,
    PubRec, PubRel, Publish, PublishProperties, QoS, ReasonCode, ServerPacket, Subscribe, SubscribeFilter,
    SubscribeFilters, SubscriptionOptions, TopicFilter, UserProperties,
};

pub(crate) const V311: ProtocolVersion = ProtocolVersion::V311;
pub(crate) const V5: ProtocolVersion = ProtocolVersion::V5;

/// How long anything may take before a test fails. Generous: the machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// What a server sends, with bytes of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    ConnAck {
        reason_code: ReasonCode,
        session_present: bool,
        session_expiry_interval: Option<u32>,
        user_properties: Vec<(String, String)>,
    },
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
pub(crate) struct SeenPublish {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) packet_id: Option<u16>,
    pub(crate) identifiers: Vec<u32>,
    pub(crate) user_properties: Vec<(String, String)>,
}

/// A client's connection.
pub(crate) struct Client {
    /// CONNACK said that the session was there.
    pub(crate) session_present: bool,
    /// Session Expiry Interval of CONNACK.
    pub(crate) session_expiry_interval: Option<u32>,
    stream: TcpStream,
    peer: Peer,
    received: Vec<u8>,
    /// Messages that came while something else was waited for.
    set_aside: Vec<SeenPublish>,
    next_packet_id: u16,
}

impl Client {
    /// A connection on which nothing has been said.
    pub(crate) fn open(address: SocketAddr, version: ProtocolVersion) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            session_present: false,
            session_expiry_interval: None,
            stream,
            peer: Peer::new(version),
            received: Vec::new(),
            set_aside: Vec::new(),
            next_packet_id: 0,
        }
    }

    /// A client that has been accepted.
    pub(crate) fn connect(address: SocketAddr, version: ProtocolVersion, client_id: &str) -> Self {
        Self::connect_with(address, &Connect::new(version, client_id)).0
    }

    /// A client that has been accepted, and the user properties of its CONNACK.
    pub(crate) fn connect_with(address: SocketAddr, connect: &Connect<'_>) -> (Self, Vec<(String, String)>) {
        let mut client = Self::open(address, connect.protocol.version);
        client.send(&ClientPacket::Connect(*connect));
        match client.next() {
            Some(Seen::ConnAck {
                reason_code: ReasonCode::Success,
                session_present,
                session_expiry_interval,
                user_properties,
            }) => {
                client.session_present = session_present;
                client.session_expiry_interval = session_expiry_interval;
                (client, user_properties)
            }
            other => panic!("{other:?} in place of CONNACK"),
        }
    }

    pub(crate) fn send(&mut self, packet: &ClientPacket<'_>) {
        let mut bytes = Vec::new();
        packet.encode(&self.peer, &mut bytes).unwrap();
        self.send_bytes(&bytes);
    }

    /// Sends what may be no packet. A server that has hung up is not an error here: what it said before can be read.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes) {
            Ok(()) => {}
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// The next packet; none: the server has closed the connection.
    pub(crate) fn next(&mut self) -> Option<Seen> {
        self.next_within(DEADLINE).expect("nothing came in time")
    }

    /// The next packet, if one comes within so long.
    pub(crate) fn next_within(&mut self, patience: Duration) -> Option<Option<Seen>> {
        let until = Instant::now() + patience;
        loop {
            if let Some(header) = FixedHeader::parse(&self.received, u32::MAX).unwrap()
                && let Some(body) = header.body(&self.received)
            {
                let packet = ServerPacket::decode(self.peer.version, header, body, &DecodeLimits::default()).unwrap();
                let seen = own(&packet);
                self.received.drain(..header.packet_bytes() as usize);
                return Some(Some(seen));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut buffer = [0; 16 << 10];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Some(None),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return Some(None),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Bytes that the server sends until it closes the connection.
    pub(crate) fn bytes_until_closed(&mut self) -> Vec<u8> {
        self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut bytes = std::mem::take(&mut self.received);
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection is not closed: {error}"),
        }
        bytes
    }

    /// Subscribes and waits for SUBACK.
    pub(crate) fn subscribe(&mut self, topic_filter: &str, qos: QoS) {
        let granted = self.subscribe_with(
            topic_filter,
            SubscriptionOptions {
                qos,
                ..SubscriptionOptions::default()
            },
        );
        assert!(!granted.is_error(), "{granted:?}");
    }

    /// Subscribes with options and returns the reason code of SUBACK.
    pub(crate) fn subscribe_with(&mut self, topic_filter: &str, options: SubscriptionOptions) -> ReasonCode {
        self.subscribe_as(topic_filter, options, None)
    }

    /// Subscribes with options and an identifier, and returns the reason code of SUBACK.
    pub(crate) fn subscribe_as(
        &mut self,
        topic_filter: &str,
        options: SubscriptionOptions,
        subscription_identifier: Option<u32>,
    ) -> ReasonCode {
        let filters = [SubscribeFilter {
            topic_filter: TopicFilter::parse(topic_filter).unwrap(),
            options,
        }];
        let packet_id = self.packet_id();
        self.send(&ClientPacket::Subscribe(Subscribe {
            packet_id,
            subscription_identifier,
            user_properties: UserProperties::NONE,
            filters: SubscribeFilters::from_slice(&filters),
        }));
        self.until(|seen| match seen {
            Seen::SubAck(id, codes) if *id == packet_id.get() => Some(codes[0]),
            _ => None,
        })
    }

    /// Sends a PUBLISH and returns its packet id; does not wait for an answer.
    pub(crate) fn begin_publish(&mut self, topic_name: &str, payload: &[u8], qos: QoS, retain: bool) -> u16 {
        self.begin_publish_with(topic_name, payload, qos, retain, PublishProperties::default())
    }

    pub(crate) fn begin_publish_with(
        &mut self,
        topic_name: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
        properties: PublishProperties<'_>,
    ) -> u16 {
        let packet_id = (qos != QoS::AtMostOnce).then(|| self.packet_id());
        self.send(&ClientPacket::Publish(Publish {
            dup: false,
            qos,
            retain,
            topic_name,
            packet_id,
            properties,
            payload,
        }));
        packet_id.map_or(0, PacketId::get)
    }

    /// Publishes and waits until the server has taken it over.
    pub(crate) fn publish(&mut self, topic_name: &str, payload: &[u8], qos: QoS, retain: bool) {
        let sent = self.begin_publish(topic_name, payload, qos, retain);
        self.finish_publish(sent, qos);
    }

    /// Waits for the answers to a PUBLISH.
    pub(crate) fn finish_publish(&mut self, sent: u16, qos: QoS) {
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => {
                let code = self.until(|seen| match seen {
                    Seen::PubAck(id, code) if *id == sent => Some(*code),
                    _ => None,
                });
                assert!(!code.is_error(), "{code:?}");
            }
            QoS::ExactlyOnce => {
                let code = self.until(|seen| match seen {
                    Seen::PubRec(id, code) if *id == sent => Some(*code),
                    _ => None,
                });
                assert!(!code.is_error(), "{code:?}");
                let packet_id = PacketId::new(sent).unwrap();
                self.send(&ClientPacket::PubRel(PubRel::new(packet_id, ReasonCode::Success)));
                self.until(|seen| matches!(seen, Seen::PubComp(id, _) if *id == sent).then_some(()));
            }
        }
    }

    /// The next message, acknowledged as its QoS asks.
    pub(crate) fn receive(&mut self) -> SeenPublish {
        if !self.set_aside.is_empty() {
            return self.set_aside.remove(0);
        }
        loop {
            match self.next() {
                Some(Seen::Publish(publish)) => {
                    self.acknowledge(&publish);
                    return publish;
                }
                Some(Seen::PubRel(id, _)) => self.complete(id),
                other => panic!("{other:?} in place of a message"),
            }
        }
    }

    /// Asks whether the connection lives.
    pub(crate) fn ping(&mut self) {
        self.send(&ClientPacket::PingReq);
        self.until(|seen| (*seen == Seen::PingResp).then_some(()));
    }

    /// Goes in order.
    pub(crate) fn disconnect(self) {
        self.disconnect_for(None);
    }

    /// Goes in order, with another Session Expiry Interval.
    pub(crate) fn disconnect_for(mut self, session_expiry_interval: Option<u32>) {
        self.send(&ClientPacket::Disconnect(Disconnect {
            session_expiry_interval,
            ..Disconnect::new(ReasonCode::Success)
        }));
        while let Some(seen) = self.next() {
            assert!(matches!(seen, Seen::PubRel(..)), "{seen:?} came unexpectedly");
        }
    }

    /// Waits for a packet; messages before it are set aside.
    pub(crate) fn until<T>(&mut self, mut is_it: impl FnMut(&Seen) -> Option<T>) -> T {
        loop {
            let seen = self.next().expect("the server has closed the connection");
            if let Some(it) = is_it(&seen) {
                return it;
            }
            match seen {
                Seen::Publish(publish) => {
                    self.acknowledge(&publish);
                    self.set_aside.push(publish);
                }
                Seen::PubRel(id, _) => self.complete(id),
                other => panic!("{other:?} came unexpectedly"),
            }
        }
    }

    pub(crate) fn acknowledge(&mut self, publish: &SeenPublish) {
        let Some(packet_id) = publish.packet_id.and_then(PacketId::new) else {
            return;
        };
        self.send(&match publish.qos {
            QoS::ExactlyOnce => ClientPacket::PubRec(PubRec::new(packet_id, ReasonCode::Success)),
            _ => ClientPacket::PubAck(PubAck::new(packet_id, ReasonCode::Success)),
        });
    }

    pub(crate) fn complete(&mut self, id: u16) {
        let packet_id = PacketId::new(id).unwrap();
        self.send(&ClientPacket::PubComp(PubComp::new(packet_id, ReasonCode::Success)));
    }

    fn packet_id(&mut self) -> PacketId {
        self.next_packet_id = self.next_packet_id.checked_add(1).unwrap_or(1);
        PacketId::new(self.next_packet_id).unwrap()
    }
}

/// Decodes everything that a server sent.
pub(crate) fn decode_all(version: ProtocolVersion, mut bytes: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    while !bytes.is_empty() {
        let header = FixedHeader::parse(bytes, u32::MAX).unwrap().expect("a whole header");
        let body = header.body(bytes).expect("a whole packet");
        seen.push(own(&ServerPacket::decode(
            version,
            header,
            body,
            &DecodeLimits::default(),
        )
        .unwrap()));
        bytes = &bytes[header.packet_bytes() as usize..];
    }
    seen
}

fn own(packet: &ServerPacket<'_>) -> Seen {
    let pairs = |properties: UserProperties<'_>| {
        properties
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    match packet {
        ServerPacket::ConnAck(p) => Seen::ConnAck {
            reason_code: p.reason_code,
            session_present: p.session_present,
            session_expiry_interval: p.properties.session_expiry_interval,
            user_properties: pairs(p.properties.user_properties),
        },
        ServerPacket::Publish(p) => Seen::Publish(SeenPublish {
            topic: p.topic_name.to_owned(),
            payload: p.payload.to_vec(),
            qos: p.qos,
            retain: p.retain,
            dup: p.dup,
            identifiers: p.properties.subscription_identifiers.iter().collect(),
            packet_id: p.packet_id.map(PacketId::get),
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
