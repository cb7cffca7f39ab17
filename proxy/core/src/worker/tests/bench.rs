//! A worker on a bench: clients on one side, a small storage on the other, time turned by hand.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use freshet_config::ProxyConfig;
use freshet_mqtt::{
    ClientPacket, Connect, PacketId, Peer, ProtocolVersion, PubAck, PubComp, PubRec, PubRel, Publish,
    PublishProperties, QoS, ReasonCode, Subscribe, SubscribeFilter, SubscribeFilters, SubscriptionOptions, TopicFilter,
    Unsubscribe, UnsubscribeFilters, UserProperties,
};
use freshet_storage_contract::{Message, MonotonicMs, PublisherId};

use super::seen::{Seen, SeenConnAck, SeenPublish, decode_all};
use super::storage::Storage;
use crate::exchange::{ToWorker, WorkerId};
use crate::reason::DisconnectReason;
use crate::worker::{Actions, ConnectionToken, Fact, ListenerIndex, PeerClose, Received, Worker, WorkerSettings};

pub(super) use freshet_mqtt::ProtocolVersion::{V5, V31, V311};

/// What is said at most until nobody has anything to say.
const MOST_AT_ONCE: usize = 100_000;

/// A worker with its surroundings.
pub(super) struct Bench {
    pub(super) worker: Worker,
    pub(super) storage: Storage,
    pub(super) out: Actions,
    pub(super) now: MonotonicMs,
    /// Connections that the worker has ended, with the reason that it gave.
    pub(super) ended: Vec<(ConnectionToken, DisconnectReason)>,
    pub(super) facts: Vec<Fact>,
    pub(super) resumed: Vec<ConnectionToken>,
    /// What came with a CONNACK.
    set_aside: BTreeMap<ConnectionToken, Vec<Seen>>,
    next_port: u16,
}

/// A client's end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) token: ConnectionToken,
    pub(super) version: ProtocolVersion,
}

pub(super) fn settings() -> WorkerSettings {
    WorkerSettings {
        id: WorkerId(1),
        proxy_name: "proxy-1".to_owned(),
        max_connections: 1_000,
        outstanding_publish_bytes: 1 << 20,
        outbound_bytes: 64 << 20,
        input_bytes: 8 << 20,
        copies_deliveries: true,
        random_keys: (1, 2),
    }
}

pub(super) fn id(value: u16) -> PacketId {
    PacketId::new(value).unwrap()
}

pub(super) fn message(topic: &str, payload: &[u8], qos: QoS) -> Message {
    Message {
        topic_name: Bytes::copy_from_slice(topic.as_bytes()),
        payload: Bytes::copy_from_slice(payload),
        qos,
        retain: false,
        publisher: PublisherId(77),
        message_expiry_interval_s: None,
        forwarded_properties: Bytes::new(),
        exactly_once: None,
    }
}

pub(super) fn publish<'a>(topic: &'a str, payload: &'a [u8], qos: QoS, packet_id: u16) -> Publish<'a> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic_name: topic,
        packet_id: PacketId::new(packet_id),
        properties: PublishProperties::default(),
        payload,
    }
}

/// A CONNECT that goes on with a session, or begins one.
pub(super) fn lasting(version: ProtocolVersion, client_id: &str) -> Connect<'_> {
    let mut connect = Connect::new(version, client_id);
    connect.clean_start = false;
    if version == V5 {
        connect.properties.session_expiry_interval = Some(3_600);
    }
    connect
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(settings(), ProxyConfig::default())
    }

    /// A bench whose configuration differs.
    pub(super) fn configured(change: impl FnOnce(&mut ProxyConfig)) -> Self {
        let mut config = ProxyConfig::default();
        change(&mut config);
        Self::with(settings(), config)
    }

    pub(super) fn with(settings: WorkerSettings, config: ProxyConfig) -> Self {
        let mut bench = Self::without_storage(settings, config);
        bench.storage_back();
        bench
    }

    /// A bench whose worker has never heard of storage.
    pub(super) fn without_storage(settings: WorkerSettings, config: ProxyConfig) -> Self {
        Self {
            worker: Worker::new(settings, Arc::new(config)),
            storage: Storage::new(),
            out: Actions::default(),
            now: MonotonicMs(1_000_000),
            ended: Vec::new(),
            facts: Vec::new(),
            resumed: Vec::new(),
            set_aside: BTreeMap::new(),
            next_port: 1,
        }
    }

    pub(super) fn storage_back(&mut self) {
        let placement = self.storage.placement.clone();
        self.tell(ToWorker::StorageBack {
            placement,
            keeps_sessions: true,
            shares: true,
        });
    }

    /// Tells the worker something and lets everything that follows happen.
    pub(super) fn tell(&mut self, event: ToWorker) {
        self.worker.handle(event, self.now, &mut self.out);
        self.settle();
    }

    /// Lets worker and storage talk until neither has anything to say.
    pub(super) fn settle(&mut self) {
        for answers in 0.. {
            assert!(answers < MOST_AT_ONCE, "worker and storage never come to an end");
            self.worker.finish_turn(self.now, &mut self.out);
            for said in std::mem::take(&mut self.out.to_link) {
                self.storage.hear(said);
            }
            let Some(answer) = self.storage.answers.pop_front() else {
                break;
            };
            self.worker.handle(answer, self.now, &mut self.out);
        }
        for fact in std::mem::take(&mut self.out.facts) {
            if let Fact::Disconnected { token, reason, .. } = &fact {
                self.ended.push((*token, *reason));
            }
            self.facts.push(fact);
        }
        self.resumed.append(&mut self.out.resume_reading);
    }

    /// Takes a connection.
    pub(super) fn open(&mut self, version: ProtocolVersion) -> Client {
        self.next_port += 1;
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, self.next_port));
        let token = self
            .worker
            .accept(ListenerIndex(0), peer, self.now, &mut self.out)
            .expect("room for a connection");
        self.settle();
        Client { token, version }
    }

    /// Connects a client with a clean start.
    pub(super) fn client(&mut self, version: ProtocolVersion, client_id: &str) -> Client {
        self.connect(&Connect::new(version, client_id)).0
    }

    /// Connects a client and returns the CONNACK.
    pub(super) fn connect(&mut self, connect: &Connect<'_>) -> (Client, SeenConnAck) {
        let client = self.open(connect.protocol.version);
        self.send(client, ClientPacket::Connect(*connect));
        let mut seen = self.read(client);
        assert!(!seen.is_empty(), "no CONNACK");
        let Seen::ConnAck(connack) = seen.remove(0) else {
            panic!("{seen:?}")
        };
        self.set_aside.insert(client.token, seen);
        (client, *connack)
    }

    /// Sends a packet.
    pub(super) fn send(&mut self, client: Client, packet: ClientPacket<'_>) -> Received {
        let mut bytes = Vec::new();
        packet.encode(&Peer::new(client.version), &mut bytes).unwrap();
        self.send_bytes(client, &bytes)
    }

    pub(super) fn send_bytes(&mut self, client: Client, bytes: &[u8]) -> Received {
        let received = self.worker.receive(client.token, bytes, self.now, &mut self.out);
        self.settle();
        received
    }

    pub(super) fn publish(
        &mut self,
        client: Client,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        packet_id: u16,
    ) -> Received {
        self.send(client, ClientPacket::Publish(publish(topic, payload, qos, packet_id)))
    }

    pub(super) fn puback(&mut self, client: Client, packet_id: u16) {
        self.send(
            client,
            ClientPacket::PubAck(PubAck::new(id(packet_id), ReasonCode::Success)),
        );
    }

    pub(super) fn pubrec(&mut self, client: Client, packet_id: u16) {
        self.send(
            client,
            ClientPacket::PubRec(PubRec::new(id(packet_id), ReasonCode::Success)),
        );
    }

    pub(super) fn pubrel(&mut self, client: Client, packet_id: u16) {
        self.send(
            client,
            ClientPacket::PubRel(PubRel::new(id(packet_id), ReasonCode::Success)),
        );
    }

    pub(super) fn pubcomp(&mut self, client: Client, packet_id: u16) {
        self.send(
            client,
            ClientPacket::PubComp(PubComp::new(id(packet_id), ReasonCode::Success)),
        );
    }

    /// Subscribes and reads SUBACK and whatever else is there.
    pub(super) fn subscribe(&mut self, client: Client, topic_filter: &str, qos: QoS) -> Vec<Seen> {
        self.subscribe_with(client, topic_filter, SubscriptionOptions::new(qos), None)
    }

    /// Sends a SUBSCRIBE and leaves its answer unread.
    pub(super) fn send_subscribe(&mut self, client: Client, topic_filter: &str, qos: QoS) {
        self.send_subscribe_with(client, topic_filter, SubscriptionOptions::new(qos), None);
    }

    pub(super) fn subscribe_with(
        &mut self,
        client: Client,
        topic_filter: &str,
        options: SubscriptionOptions,
        subscription_identifier: Option<u32>,
    ) -> Vec<Seen> {
        self.send_subscribe_with(client, topic_filter, options, subscription_identifier);
        self.read(client)
    }

    fn send_subscribe_with(
        &mut self,
        client: Client,
        topic_filter: &str,
        options: SubscriptionOptions,
        subscription_identifier: Option<u32>,
    ) {
        let filters = [SubscribeFilter {
            topic_filter: TopicFilter::parse(topic_filter).unwrap(),
            options,
        }];
        let subscribe = Subscribe {
            packet_id: id(9),
            subscription_identifier,
            user_properties: UserProperties::NONE,
            filters: SubscribeFilters::from_slice(&filters),
        };
        self.send(client, ClientPacket::Subscribe(subscribe));
    }

    pub(super) fn unsubscribe(&mut self, client: Client, topic_filter: &str) -> Vec<Seen> {
        self.send_unsubscribe(client, topic_filter);
        self.read(client)
    }

    /// UNSUBSCRIBE of a client that reads nothing yet.
    pub(super) fn send_unsubscribe(&mut self, client: Client, topic_filter: &str) {
        let filters = [TopicFilter::parse(topic_filter).unwrap()];
        let unsubscribe = Unsubscribe {
            packet_id: id(8),
            user_properties: UserProperties::NONE,
            filters: UnsubscribeFilters::from_slice(&filters),
        };
        self.send(client, ClientPacket::Unsubscribe(unsubscribe));
    }

    /// Hands the worker a message of storage.
    pub(super) fn deliver(&mut self, message: Message) {
        self.storage.deliver(message);
        self.settle();
    }

    /// Reads everything that the client can read now.
    pub(super) fn read(&mut self, client: Client) -> Vec<Seen> {
        let mut seen = self.set_aside.remove(&client.token).unwrap_or_default();
        seen.extend(decode_all(client.version, &self.read_bytes(client, usize::MAX)));
        seen
    }

    /// Reads at most `socket_bytes`.
    pub(super) fn read_bytes(&mut self, client: Client, socket_bytes: usize) -> Vec<u8> {
        let mut read = Vec::new();
        for pieces in 0.. {
            assert!(pieces < MOST_AT_ONCE, "what a client can read never comes to an end");
            let pending = self.worker.pending_output(client.token, 64 << 10, self.now);
            let all: Vec<u8> = pending.slices().flatten().copied().collect();
            assert_eq!(all.len(), pending.len());
            let taken = all.len().min(socket_bytes - read.len());
            read.extend_from_slice(&all[..taken]);
            self.worker.written(client.token, taken, self.now, &mut self.out);
            self.settle();
            if all.is_empty() || taken < all.len() {
                break;
            }
        }
        read
    }

    /// Reads PUBLISH packets and nothing else.
    pub(super) fn read_publishes(&mut self, client: Client) -> Vec<SeenPublish> {
        let own = |seen| match seen {
            Seen::Publish(publish) => publish,
            other => panic!("{other:?}"),
        };
        self.read(client).into_iter().map(own).collect()
    }

    /// Lets time pass, firing deadlines as a shell does.
    pub(super) fn pass_ms(&mut self, ms: u64) {
        let until = MonotonicMs(self.now.0 + ms);
        let mut ticks = 0;
        while let Some(at) = self.worker.next_deadline().filter(|at| *at <= until) {
            ticks += 1;
            assert!(ticks < MOST_AT_ONCE, "a deadline that has passed is not over");
            self.now = at.max(self.now);
            self.worker.tick(self.now, &mut self.out);
            self.settle();
        }
        self.now = until;
    }

    /// The client closes without a word.
    pub(super) fn hang_up(&mut self, client: Client) {
        self.worker
            .peer_closed(client.token, PeerClose::EndOfStream, self.now, &mut self.out);
        self.settle();
    }

    /// Closes what the worker has ended, as the shell does; returns what each client still read.
    pub(super) fn close_ended(&mut self) -> Vec<(ConnectionToken, Vec<u8>)> {
        let mut read = Vec::new();
        for token in std::mem::take(&mut self.out.close) {
            read.push((token, self.read_bytes(Client { token, version: V5 }, usize::MAX)));
            self.worker.closed(token, self.now, &mut self.out);
            self.settle();
        }
        read
    }

    /// Why the worker has ended a connection.
    pub(super) fn reason(&self, client: Client) -> Option<DisconnectReason> {
        self.ended
            .iter()
            .find(|(token, _)| *token == client.token)
            .map(|(_, reason)| *reason)
    }

    /// What the client read at last, and why it was ended.
    pub(super) fn last_words(&mut self, client: Client) -> (Vec<Seen>, Option<DisconnectReason>) {
        let bytes = self.close_ended().into_iter().find(|(token, _)| *token == client.token);
        let seen = decode_all(client.version, &bytes.map(|b| b.1).unwrap_or_default());
        (seen, self.reason(client))
    }
}
