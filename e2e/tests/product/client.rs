//! A client that says exactly what a test wants: for what stock clients do not show, and where there are a thousand.

use std::collections::VecDeque;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use freshet_mqtt::{
    ClientPacket, Connect, DecodeLimits, FixedHeader, PacketId, Peer, ProtocolVersion, PubAck, Publish,
    PublishProperties, QoS, ReasonCode, ServerPacket, Subscribe, SubscribeFilter, SubscribeFilters,
    SubscriptionOptions, TopicFilter, UserProperties,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::broker::MESSAGE_DEADLINE;

pub(crate) const V5: ProtocolVersion = ProtocolVersion::V5;

/// The connection of a client; sends and reads only when it is told to.
pub(crate) struct Client {
    stream: TcpStream,
    peer: Peer,
    received: Vec<u8>,
    /// Messages that came while the client waited for something else.
    arrived: VecDeque<Arrived>,
    last_packet_id: u16,
}

/// A message that is not acknowledged yet.
struct Arrived {
    message: Message,
    packet_id: Option<PacketId>,
    qos: QoS,
}

impl Arrived {
    fn of(packet: &ServerPacket<'_>) -> Option<Self> {
        let ServerPacket::Publish(p) = packet else { return None };
        Some(Self {
            message: Message {
                topic_name: p.topic_name.to_owned(),
                payload: p.payload.to_vec(),
            },
            packet_id: p.packet_id,
            qos: p.qos,
        })
    }
}

/// What a client is told when it is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Receive Maximum; 65,535 unless the server says less.
    pub(crate) receive_maximum: u16,
    /// User properties of CONNACK.
    pub(crate) user_properties: Vec<(String, String)>,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic_name: String,
    pub(crate) payload: Vec<u8>,
}

impl Client {
    /// A connection on which nothing has been said.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = tokio::time::timeout(MESSAGE_DEADLINE, TcpStream::connect(address))
            .await
            .context("no connection in time")??;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            peer: Peer::new(V5),
            received: Vec::new(),
            arrived: VecDeque::new(),
            last_packet_id: 0,
        })
    }

    /// An MQTT 5.0 client that has been accepted.
    pub(crate) async fn connect(address: SocketAddr, client_id: &str) -> Result<(Self, Accepted)> {
        Self::connect_with(address, &Connect::new(V5, client_id)).await
    }

    /// A client that has been accepted with all that its CONNECT says, which is one of MQTT 5.0.
    pub(crate) async fn connect_with(address: SocketAddr, connect: &Connect<'_>) -> Result<(Self, Accepted)> {
        let mut client = Self::open(address).await?;
        client.send(&ClientPacket::Connect(*connect)).await?;
        let accepted = client
            .next(|packet| match packet {
                ServerPacket::ConnAck(p) if p.reason_code == ReasonCode::Success => Ok(Accepted {
                    receive_maximum: p.properties.receive_maximum.map_or(u16::MAX, Into::into),
                    user_properties: p
                        .properties
                        .user_properties
                        .iter()
                        .map(|(key, value)| (key.to_owned(), value.to_owned()))
                        .collect(),
                }),
                other => bail!("in place of CONNACK: {other:?}"),
            })
            .await?
            .context("closed in place of CONNACK")??;
        Ok((client, accepted))
    }

    pub(crate) async fn send(&mut self, packet: &ClientPacket<'_>) -> Result<()> {
        let mut bytes = Vec::new();
        packet.encode(&self.peer, &mut bytes)?;
        self.send_bytes(&bytes).await
    }

    /// Sends what may be no packet.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Looks at the next packet; `None` when the server has closed the connection.
    ///
    /// # Errors
    /// When nothing comes in time, or it is no packet.
    pub(crate) async fn next<T>(&mut self, look: impl FnOnce(&ServerPacket<'_>) -> T) -> Result<Option<T>> {
        let header = tokio::time::timeout(MESSAGE_DEADLINE, self.fill())
            .await
            .context("the server says nothing")??;
        let Some(header) = header else { return Ok(None) };
        let body = header.body(&self.received).context("an incomplete packet")?;
        let packet = ServerPacket::decode(self.peer.version, header, body, &DecodeLimits::default())?;
        let seen = look(&packet);
        self.received.drain(..header.packet_bytes() as usize);
        Ok(Some(seen))
    }

    /// Looks at packets until `find` finds what it looks for. Messages that come before it are kept for
    /// [`receive`](Self::receive).
    ///
    /// # Errors
    /// When the connection ends before.
    pub(crate) async fn until<T>(&mut self, mut find: impl FnMut(&ServerPacket<'_>) -> Option<T>) -> Result<T> {
        loop {
            let seen = self.next(|packet| find(packet).ok_or_else(|| Arrived::of(packet)));
            match seen.await? {
                Some(Ok(found)) => return Ok(found),
                Some(Err(arrived)) => self.arrived.extend(arrived),
                None => bail!("the server has closed the connection"),
            }
        }
    }

    /// Waits for the end of the connection; returns the reason code of a DISCONNECT before it.
    pub(crate) async fn end(&mut self) -> Result<Option<ReasonCode>> {
        let mut said = None;
        let code = |packet: &ServerPacket<'_>| match packet {
            ServerPacket::Disconnect(p) => Some(p.reason_code),
            _ => None,
        };
        while let Some(seen) = self.next(code).await? {
            said = seen.or(said);
        }
        Ok(said)
    }

    /// Waits for the end of the connection however long it takes, and reads nothing of what comes.
    pub(crate) async fn closed(&mut self) -> Result<()> {
        while self.stream.read_buf(&mut self.received).await? > 0 {
            self.received.clear();
        }
        Ok(())
    }

    /// Looks at the next packet, or at a message that came while something else was waited for; `None` when the server has
    /// closed the connection. Acknowledges nothing.
    pub(crate) async fn next_or_arrived<T>(&mut self, look: impl FnOnce(&ServerPacket<'_>) -> T) -> Result<Option<T>> {
        let Some(arrived) = self.arrived.pop_front() else {
            return self.next(look).await;
        };
        Ok(Some(look(&ServerPacket::Publish(Publish {
            dup: false,
            qos: arrived.qos,
            retain: false,
            topic_name: &arrived.message.topic_name,
            packet_id: arrived.packet_id,
            properties: PublishProperties::default(),
            payload: &arrived.message.payload,
        }))))
    }

    /// Subscribes with QoS 1 and waits for SUBACK.
    pub(crate) async fn subscribe(&mut self, topic_filter: &str) -> Result<()> {
        self.subscribe_with(topic_filter, QoS::AtLeastOnce).await
    }

    /// Subscribes and waits for SUBACK.
    pub(crate) async fn subscribe_with(&mut self, topic_filter: &str, qos: QoS) -> Result<()> {
        let filters = [SubscribeFilter {
            topic_filter: TopicFilter::parse(topic_filter).map_err(|error| anyhow::anyhow!("{error:?}"))?,
            options: SubscriptionOptions {
                qos,
                ..SubscriptionOptions::default()
            },
        }];
        let packet_id = self.packet_id()?;
        self.send(&ClientPacket::Subscribe(Subscribe {
            packet_id,
            subscription_identifier: None,
            user_properties: UserProperties::NONE,
            filters: SubscribeFilters::from_slice(&filters),
        }))
        .await?;
        let codes: Vec<ReasonCode> = self
            .until(|packet| match packet {
                ServerPacket::SubAck(p) if p.packet_id == packet_id => Some(p.reason_codes.iter().collect()),
                _ => None,
            })
            .await?;
        ensure!(codes.iter().all(|code| !code.is_error()), "{topic_filter}: {codes:?}");
        Ok(())
    }

    /// Sends a PUBLISH and returns its packet id; waits for nothing.
    pub(crate) async fn begin_publish(
        &mut self,
        topic_name: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
    ) -> Result<PacketId> {
        let packet_id = self.packet_id()?;
        self.send(&ClientPacket::Publish(Publish {
            dup: false,
            qos,
            retain,
            topic_name,
            packet_id: (qos != QoS::AtMostOnce).then_some(packet_id),
            properties: PublishProperties::default(),
            payload,
        }))
        .await?;
        Ok(packet_id)
    }

    /// Waits for the PUBACK to a PUBLISH and returns its reason code.
    pub(crate) async fn acknowledged(&mut self, sent: PacketId) -> Result<ReasonCode> {
        self.until(|packet| match packet {
            ServerPacket::PubAck(p) if p.packet_id == sent => Some(p.reason_code),
            _ => None,
        })
        .await
    }

    /// Publishes with QoS 1 and returns the reason code of PUBACK.
    pub(crate) async fn publish(&mut self, topic_name: &str, payload: &[u8], retain: bool) -> Result<ReasonCode> {
        let sent = self
            .begin_publish(topic_name, payload, QoS::AtLeastOnce, retain)
            .await?;
        self.acknowledged(sent).await
    }

    /// Waits for the next message and acknowledges it.
    pub(crate) async fn receive(&mut self) -> Result<Message> {
        let Arrived { message, packet_id, .. } = match self.arrived.pop_front() {
            Some(arrived) => arrived,
            None => self.until(Arrived::of).await?,
        };
        if let Some(packet_id) = packet_id {
            let acknowledgement = PubAck::new(packet_id, ReasonCode::Success);
            self.send(&ClientPacket::PubAck(acknowledgement)).await?;
        }
        Ok(message)
    }

    /// Asks whether the connection lives.
    pub(crate) async fn ping(&mut self) -> Result<()> {
        self.send(&ClientPacket::PingReq).await?;
        let is_answer = |packet: &ServerPacket<'_>| matches!(packet, ServerPacket::PingResp).then_some(());
        self.until(is_answer).await
    }

    /// Reads until a whole packet is there; `None` when the server has closed the connection.
    async fn fill(&mut self) -> Result<Option<FixedHeader>> {
        loop {
            if let Some(header) = FixedHeader::parse(&self.received, u32::MAX)?
                && header.body(&self.received).is_some()
            {
                return Ok(Some(header));
            }
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn packet_id(&mut self) -> Result<PacketId> {
        self.last_packet_id = self.last_packet_id.checked_add(1).context("packet ids are used up")?;
        PacketId::new(self.last_packet_id).context("a packet id of 0")
    }
}

/// The bytes of a packet of MQTT 5.0.
pub(crate) fn bytes_of(packet: &ClientPacket<'_>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    packet.encode(&Peer::new(V5), &mut bytes)?;
    Ok(bytes)
}
