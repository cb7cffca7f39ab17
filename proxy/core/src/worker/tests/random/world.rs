//! Clients, worker and storage of a random walk, and what must hold after each step.

use std::collections::{BTreeMap, BTreeSet};

use freshet_mqtt::{
    ClientPacket, Connect, DecodeLimits, Disconnect, FixedHeader, Peer, QoS, ReasonCode, RetainHandling, ServerPacket,
    SubscriptionOptions,
};
use freshet_storage_contract::{MonotonicMs, ShardId};

use super::super::bench::*;
use super::Step;
use crate::connection::Phase;
use crate::exchange::{QueuedFor, ToWorker};
use crate::worker::{ConnectionToken, DrainPace, WorkerSettings};

const TOPICS: [&str; 5] = ["a", "a/b", "c/d/e", "$SYS/x", "long/long/long/long"];
const FILTERS: [&str; 6] = ["a", "a/#", "+/b", "#", "c/d/e", "$share/g/a"];
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const LIMIT: u32 = 20_000;

/// A client as it sees itself.
#[derive(Default)]
struct View {
    unread: Vec<u8>,
    /// Packet ids of the server that are not acknowledged: QoS 1, QoS 2, QoS 2 after PUBREC.
    in_flight: BTreeMap<u16, u8>,
    receive_maximum: u16,
    /// Packet ids of its own without PUBACK or PUBREC.
    waiting: BTreeSet<u16>,
    /// Without PUBCOMP.
    unreleased: BTreeSet<u16>,
    /// PUBREL was sent.
    released: BTreeSet<u16>,
    /// Sent something that makes the two sets above unreliable.
    is_wild: bool,
}

pub(super) struct World {
    bench: Bench,
    clients: Vec<Client>,
    views: BTreeMap<ConnectionToken, View>,
}

impl World {
    pub(super) fn new() -> Self {
        let settings = WorkerSettings {
            max_connections: 20,
            outstanding_publish_bytes: 30_000,
            outbound_bytes: 60_000,
            input_bytes: 40_000,
            ..settings()
        };
        let mut config = freshet_config::ProxyConfig::default();
        config.mqtt.receive_maximum = 5;
        config.client_limits.inflight = 6;
        config.client_limits.subscriptions = 4;
        config.client_limits.outbound_buffer_bytes = LIMIT;
        config.client_limits.max_packet_bytes = 8_000;
        let mut bench = Bench::with(settings, config);
        bench.storage.chunk = 2;
        Self {
            bench,
            clients: Vec::new(),
            views: BTreeMap::new(),
        }
    }

    fn pick(&self, client: u8) -> Option<Client> {
        let at = usize::from(client) % self.clients.len().max(1);
        self.clients.get(at).copied()
    }

    fn send(&mut self, client: Client, packet: &ClientPacket<'_>) {
        let mut bytes = Vec::new();
        packet.encode(&Peer::new(client.version), &mut bytes).unwrap();
        self.send_bytes(client, &bytes);
    }

    /// A client whose reading was paused cannot send: the socket would not take it.
    fn may_send(&self, client: Client) -> bool {
        let connection = self.bench.worker.connections.get(client.token);
        connection.is_some_and(|c| c.paused.is_none() && c.phase != Phase::Closing)
            && self.bench.worker.read_budget_bytes() > 0
    }

    fn send_bytes(&mut self, client: Client, bytes: &[u8]) {
        if self.may_send(client) {
            self.bench.send_bytes(client, bytes);
        } else if let Some(view) = self.views.get_mut(&client.token) {
            view.is_wild = true;
        }
    }

    pub(super) fn take(&mut self, step: &Step) {
        match step {
            Step::Open {
                version,
                client_id,
                receive_maximum,
                max_packet,
                lasting,
            } => self.open(*version, *client_id, *receive_maximum, *max_packet, *lasting),
            Step::Drain => {
                let deadline = MonotonicMs(self.bench.now.0 + 5_000);
                let pace = DrainPace {
                    moves_per_second: 2,
                    deadline,
                };
                self.bench.worker.begin_drain(pace, self.bench.now, &mut self.bench.out);
                self.bench.settle();
            }
            Step::Pass { ms } => self.bench.pass_ms(u64::from(*ms)),
            Step::Hold { what: 0 } => self.bench.storage.hold_publications = true,
            Step::Hold { what: 1 } => self.bench.storage.hold_attaches = true,
            Step::Hold { what: 2 } => self.bench.storage.hold_subscriptions = true,
            Step::Hold { .. } => self.bench.storage.hold_updates = true,
            Step::Release => {
                self.bench.storage.release();
                self.bench.settle();
            }
            Step::AnswerOne { at } => {
                let held = &mut self.bench.storage.held_publications;
                let at = usize::from(*at) % held.len().max(1);
                if let Some((ticket, message)) = held.remove(at) {
                    self.bench.storage.publish(ticket, message);
                    self.bench.settle();
                }
            }
            Step::StorageAway => self.bench.tell(ToWorker::StorageAway),
            Step::StorageBack => self.bench.storage_back(),
            Step::Overrun { shard } => self.bench.tell(ToWorker::Overrun {
                shard: ShardId(u16::from(*shard)),
                queued: QueuedFor::All,
            }),
            Step::Register { shard } => self.bench.tell(ToWorker::RegisterSessions {
                shard: ShardId(u16::from(*shard)),
            }),
            Step::CloseEnded => {
                for (token, _) in self.bench.close_ended() {
                    self.clients.retain(|c| c.token != token);
                }
            }
            _ => self.take_of_client(step),
        }
    }

    fn open(&mut self, version: u8, client_id: u8, receive_maximum: u16, max_packet: bool, lasting: bool) {
        if self.bench.worker.stats().connections_now >= 20 || self.bench.worker.shared.is_shutting_down() {
            return;
        }
        let client = self.bench.open([V31, V311, V5][usize::from(version)]);
        self.clients.push(client);
        self.views.insert(
            client.token,
            View {
                receive_maximum,
                ..View::default()
            },
        );
        let client_id = format!("c{client_id}");
        let mut connect = Connect {
            keep_alive_seconds: 60,
            clean_start: !lasting,
            ..Connect::new(client.version, &client_id)
        };
        if client.version == V5 {
            connect.properties.session_expiry_interval = lasting.then_some(600);
            connect.properties.receive_maximum = receive_maximum.try_into().ok();
            connect.properties.maximum_packet_size = if max_packet { 2_000_u32.try_into().ok() } else { None };
            connect.properties.topic_alias_maximum = Some(receive_maximum % 3);
        }
        self.send(client, &ClientPacket::Connect(connect));
    }

    fn take_of_client(&mut self, step: &Step) {
        let (Step::Garbage { client, .. }
        | Step::Publish { client, .. }
        | Step::Acknowledge { client, .. }
        | Step::AcknowledgeAll { client }
        | Step::Subscribe { client, .. }
        | Step::Unsubscribe { client, .. }
        | Step::Ping { client }
        | Step::Disconnect { client, .. }
        | Step::HangUp { client }
        | Step::Read { client, .. }) = step
        else {
            return;
        };
        let Some(client) = self.pick(*client) else { return };
        match step {
            Step::Garbage { bytes, .. } => {
                self.views.get_mut(&client.token).unwrap().is_wild = true;
                self.send_bytes(client, bytes);
            }
            Step::Publish {
                topic,
                qos,
                packet_id,
                bytes,
                retain,
                cut,
                ..
            } => {
                let (qos, payload) = (QOS[usize::from(*qos)], vec![*cut; usize::from(*bytes)]);
                let may_send = self.may_send(client);
                let view = self.views.get_mut(&client.token).unwrap();
                let mut publish = publish(TOPICS[usize::from(*topic)], &payload, qos, *packet_id);
                if qos == QoS::AtMostOnce {
                    publish.packet_id = None;
                } else if view.waiting.contains(packet_id) || view.unreleased.contains(packet_id) || !may_send {
                    // A client that knows what it does uses no id twice.
                    return;
                } else {
                    view.waiting.insert(*packet_id);
                    if qos == QoS::ExactlyOnce {
                        view.unreleased.insert(*packet_id);
                    }
                }
                publish.retain = *retain;
                let mut packet = Vec::new();
                ClientPacket::Publish(publish)
                    .encode(&Peer::new(client.version), &mut packet)
                    .unwrap();
                let (first, second) = packet.split_at(usize::from(*cut) % packet.len());
                self.send_bytes(client, first);
                self.send_bytes(client, second);
            }
            Step::Acknowledge { kind, packet_id, .. } => {
                let view = self.views.get_mut(&client.token).unwrap();
                view.is_wild = true;
                view.in_flight.remove(packet_id);
                match kind {
                    0 => self.bench_if(client, |b| b.puback(client, *packet_id)),
                    1 => self.bench_if(client, |b| b.pubrec(client, *packet_id)),
                    2 => self.bench_if(client, |b| b.pubcomp(client, *packet_id)),
                    _ => self.bench_if(client, |b| b.pubrel(client, *packet_id)),
                }
            }
            Step::AcknowledgeAll { .. } => self.acknowledge_all(client),
            Step::Subscribe {
                filter,
                qos,
                retain_handling,
                no_local,
                ..
            } => {
                let is_shared = *filter == 5;
                let options = SubscriptionOptions {
                    qos: QOS[usize::from(*qos)],
                    no_local: *no_local && !is_shared && client.version == V5,
                    retain_as_published: *no_local && client.version == V5,
                    retain_handling: match retain_handling {
                        _ if client.version != V5 => RetainHandling::Send,
                        0 => RetainHandling::Send,
                        1 => RetainHandling::SendIfNew,
                        _ => RetainHandling::DoNotSend,
                    },
                };
                self.subscribe(client, FILTERS[usize::from(*filter)], options);
            }
            Step::Unsubscribe { filter, .. } => self.unsubscribe(client, FILTERS[usize::from(*filter)]),
            Step::Ping { .. } => self.send(client, &ClientPacket::PingReq),
            Step::Disconnect { with_will, .. } => {
                let code = if *with_will {
                    ReasonCode::DisconnectWithWillMessage
                } else {
                    ReasonCode::Success
                };
                self.send(client, &ClientPacket::Disconnect(Disconnect::new(code)));
            }
            Step::HangUp { .. } => {
                self.bench.hang_up(client);
                self.clients.retain(|c| *c != client);
            }
            Step::Read { bytes, .. } => self.read(client, usize::from(*bytes)),
            _ => {}
        }
    }

    fn bench_if(&mut self, client: Client, act: impl FnOnce(&mut Bench)) {
        if self.may_send(client) {
            act(&mut self.bench);
        }
    }

    fn subscribe(&mut self, client: Client, filter: &str, options: SubscriptionOptions) {
        let filters = [freshet_mqtt::SubscribeFilter {
            topic_filter: freshet_mqtt::TopicFilter::parse(filter).unwrap(),
            options,
        }];
        let subscribe = freshet_mqtt::Subscribe {
            packet_id: id(9),
            subscription_identifier: (client.version == V5).then_some(3),
            user_properties: freshet_mqtt::UserProperties::NONE,
            filters: freshet_mqtt::SubscribeFilters::from_slice(&filters),
        };
        self.send(client, &ClientPacket::Subscribe(subscribe));
    }

    fn unsubscribe(&mut self, client: Client, filter: &str) {
        let filters = [freshet_mqtt::TopicFilter::parse(filter).unwrap()];
        let unsubscribe = freshet_mqtt::Unsubscribe {
            packet_id: id(8),
            user_properties: freshet_mqtt::UserProperties::NONE,
            filters: freshet_mqtt::UnsubscribeFilters::from_slice(&filters),
        };
        self.send(client, &ClientPacket::Unsubscribe(unsubscribe));
    }

    fn acknowledge_all(&mut self, client: Client) {
        let view = self.views.get(&client.token).unwrap();
        for (packet_id, state) in view.in_flight.clone() {
            if !self.may_send(client) {
                return;
            }
            let view = self.views.get_mut(&client.token).unwrap();
            match state {
                1 => {
                    view.in_flight.remove(&packet_id);
                    self.bench.puback(client, packet_id);
                }
                2 => {
                    view.in_flight.insert(packet_id, 3);
                    self.bench.pubrec(client, packet_id);
                }
                // PUBREL has not been read.
                _ => {}
            }
        }
        let view = self.views.get(&client.token).unwrap();
        for packet_id in view.unreleased.difference(&view.waiting).copied().collect::<Vec<_>>() {
            if self.may_send(client) && self.views.get_mut(&client.token).unwrap().released.insert(packet_id) {
                self.bench.pubrel(client, packet_id);
            }
        }
    }

    /// Reads up to so many bytes, and checks what they say.
    fn read(&mut self, client: Client, bytes: usize) {
        let read = self.bench.read_bytes(client, bytes);
        let view = self.views.get_mut(&client.token).unwrap();
        view.unread.extend(read);
        let mut acknowledge = Vec::new();
        while let Some(header) = FixedHeader::parse(&view.unread, u32::MAX).unwrap() {
            let Some(body) = header.body(&view.unread) else { break };
            match ServerPacket::decode(client.version, header, body, &DecodeLimits::default()).unwrap() {
                ServerPacket::Publish(publish) => {
                    if let Some(packet_id) = publish.packet_id {
                        let state = publish.qos.bits();
                        let known = view.in_flight.insert(packet_id.get(), state);
                        assert!(known.is_none() || view.is_wild, "packet id {packet_id} is in use");
                        let window = if client.version == V5 {
                            usize::from(view.receive_maximum.min(6))
                        } else {
                            6
                        };
                        assert!(view.in_flight.len() <= window || view.is_wild, "window of {window}");
                    }
                }
                ServerPacket::PubAck(ack) => {
                    assert!(
                        view.waiting.remove(&ack.packet_id.get()) || view.is_wild,
                        "PUBACK for nothing"
                    );
                }
                ServerPacket::PubRec(ack) => {
                    assert!(
                        view.waiting.remove(&ack.packet_id.get()) || view.is_wild,
                        "PUBREC for nothing"
                    );
                    if ack.reason_code.is_error() {
                        view.unreleased.remove(&ack.packet_id.get());
                    }
                }
                ServerPacket::PubComp(ack) => {
                    view.released.remove(&ack.packet_id.get());
                    assert!(
                        view.unreleased.remove(&ack.packet_id.get()) || view.is_wild,
                        "PUBCOMP for nothing"
                    );
                }
                ServerPacket::PubRel(ack) => {
                    view.in_flight.remove(&ack.packet_id.get());
                    acknowledge.push(ack.packet_id.get());
                }
                _ => {}
            }
            let size = header.packet_bytes() as usize;
            view.unread.drain(..size);
        }
        for packet_id in acknowledge {
            self.bench_if(client, |b| b.pubcomp(client, packet_id));
        }
    }

    pub(super) fn check(&self) {
        let worker = &self.bench.worker;
        let stats = worker.stats();
        let all: Vec<_> = worker.connections.iter().map(|(_, c)| c).collect();
        let input: usize = all.iter().map(|c| c.input.len()).sum();
        let outbound: usize = all
            .iter()
            .filter_map(|c| c.outbound.as_ref())
            .map(|o| o.total_bytes())
            .sum();
        let sessions = || all.iter().filter_map(|c| c.cold.session.as_ref());
        assert_eq!(stats.input_bytes_now, input as u64);
        assert_eq!(stats.outbound_bytes_now, outbound as u64);
        assert_eq!(stats.connections_now, all.len() as u64);
        assert_eq!(
            stats.clients_now,
            all.iter().filter(|c| c.phase == Phase::Connected).count() as u64
        );
        assert_eq!(
            stats.attaching_now,
            all.iter().filter(|c| c.phase == Phase::Attaching).count() as u64
        );
        assert_eq!(
            stats.subscriptions_now,
            sessions().map(|s| s.subscriptions.len() as u64).sum::<u64>()
        );
        assert_eq!(
            stats.publishes_outstanding_now,
            self.bench.storage.held_publications.len() as u64
        );
        assert!(
            stats.publish_bytes_outstanding_now <= 30_000 + 8_200,
            "{}",
            stats.publish_bytes_outstanding_now
        );
        assert!(stats.input_bytes_now <= 40_000);
        for connection in &all {
            assert!(
                connection
                    .cold
                    .session
                    .as_ref()
                    .is_none_or(|s| s.subscriptions.len() <= 4)
            );
            let queued = connection.outbound.as_ref().map_or(0, |o| o.total_bytes());
            // Answers, and a chunk of retained messages per shard and subscription, may come on top.
            assert!(queued <= LIMIT as usize + 70_000 + 4 * 2 * 2 * 6_200, "{queued}");
        }
        assert_eq!(self.bench.out.to_link, []);
    }

    /// Lets everything come to its end: nothing is left behind, and each publication has had its answer.
    pub(super) fn finish(mut self) {
        self.bench.storage_back();
        self.bench.storage.release();
        self.bench.settle();
        self.bench.pass_ms(1);
        for client in self.clients.clone() {
            for _ in 0..100 {
                self.read(client, usize::MAX);
                self.acknowledge_all(client);
            }
            let view = &self.views[&client.token];
            // What comes to one that is about to go is left for the next proxy.
            let connection = self.bench.worker.connections.get(client.token);
            let is_live = connection.is_some_and(|c| c.phase == Phase::Connected && !c.is_leaving);
            if is_live && !view.is_wild {
                assert!(view.waiting.is_empty(), "without an answer: {:?}", view.waiting);
                assert!(view.unreleased.is_empty(), "without PUBCOMP: {:?}", view.unreleased);
            }
        }
        self.check();
        for client in std::mem::take(&mut self.clients) {
            self.bench.hang_up(client);
        }
        self.bench.close_ended();
        self.check();
        let (worker, storage) = (&self.bench.worker, &self.bench.storage);
        assert_eq!(worker.connections.len(), 0);
        assert!(worker.shared.requests.is_empty() && worker.shared.leaving.is_empty());
        assert_eq!((worker.stats().filters_now, storage.filters.len()), (0, 0));
        assert!(storage.sessions.is_empty(), "{:?}", storage.sessions);
        let ended: u64 = worker.stats().disconnects.iter().sum();
        assert_eq!(ended, worker.stats().connections_accepted);
    }
}
