//! The pieces of work, each with clients that answer as they should and check that everything comes.

use anyhow::ensure;
use clap::ValueEnum;
use freshet_bench_load::wire::{
    Packet, decode, encode_connect, encode_puback, encode_pubcomp, encode_publish, encode_pubrec, encode_pubrel,
    encode_subscribe,
};
use freshet_proxy_core::worker::ConnectionToken;

use crate::broker::Broker;

const PAYLOAD: [u8; 64] = [7; 64];
const DISCONNECT: [u8; 2] = [0xe0, 0];
/// Messages of a publisher that are on their way at once, and read at once.
const WINDOW: u16 = 20;
/// Receivers of a fan-out.
const RECEIVERS: u32 = 1_000;
/// Members of a shared subscription.
const MEMBERS: u32 = 8;
/// Clients, or filters of one client, that have nothing to do with what is measured.
const CROWD: u32 = 10_000;
const TOPIC: &str = "dev/42/state";

/// A piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// A message at QoS 0 to one subscriber, 20 at once.
    Qos0,
    /// The same at QoS 1, acknowledgements included.
    Qos1,
    /// The same at QoS 2.
    Qos2,
    /// A message at QoS 1 to one subscriber, alone.
    Alone,
    /// As `qos1`, beside 10,000 clients that do nothing.
    BesideClients,
    /// As `qos1`, beside 10,000 filters that do not match.
    BesideFilters,
    /// As `qos1`, beside 10,000 filters with wildcards that do not match.
    BesideWildcards,
    /// A message at QoS 1 that nobody subscribes to, 20 at once.
    Ingest,
    /// A copy of a message at QoS 0 for each of 1,000 subscribers.
    FanOut,
    /// A message at QoS 1 to one of 8 members of a shared subscription, 20 at once.
    Shared,
    /// CONNECT, CONNACK, and the end of the connection.
    Connect,
    /// SUBSCRIBE to a filter that nobody had.
    Subscribe,
}

impl Work {
    /// Does it `count` times, or somewhat more often where it comes in batches.
    ///
    /// # Errors
    /// When something is not delivered or not answered.
    pub(crate) fn run(self, count: u32) -> anyhow::Result<()> {
        let mut bench = Bench::new()?;
        match self {
            Self::Qos0 => bench.pair(0, count, WINDOW),
            Self::Qos1 => bench.pair(1, count, WINDOW),
            Self::Qos2 => bench.pair(2, count, WINDOW),
            Self::Alone => bench.pair(1, count, 1),
            Self::BesideClients => {
                for n in 0..CROWD {
                    bench.connect(&format!("idle-{n}"))?;
                }
                bench.pair(1, count, WINDOW)
            }
            Self::BesideFilters => {
                bench.crowd_of_filters("state")?;
                bench.pair(1, count, WINDOW)
            }
            Self::BesideWildcards => {
                bench.crowd_of_filters("#")?;
                bench.pair(1, count, WINDOW)
            }
            Self::Ingest => bench.ingest(count),
            Self::FanOut => bench.fan_out(count),
            Self::Shared => bench.shared(count),
            Self::Connect => bench.connects(count),
            Self::Subscribe => bench.subscribes(count),
        }
    }
}

struct Bench {
    broker: Broker,
    /// What clients answer in this turn.
    answers: Vec<(ConnectionToken, Vec<u8>)>,
    /// PUBLISH packets that subscribers got.
    received: u64,
    /// PUBACK and PUBCOMP that publishers got.
    acknowledged: u64,
    connacks: u64,
    subacks: u64,
}

impl Bench {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            broker: Broker::new()?,
            answers: Vec::new(),
            received: 0,
            acknowledged: 0,
            connacks: 0,
            subacks: 0,
        })
    }

    fn connect(&mut self, client_id: &str) -> anyhow::Result<ConnectionToken> {
        let token = self.broker.accept()?;
        let mut packet = Vec::new();
        encode_connect(&mut packet, client_id);
        self.broker.receive(token, &packet)?;
        let before = self.connacks;
        self.settle()?;
        ensure!(self.connacks == before + 1, "{client_id} got no CONNACK");
        Ok(token)
    }

    fn subscribe(&mut self, token: ConnectionToken, filter: &str, qos: u8) -> anyhow::Result<()> {
        let mut packet = Vec::new();
        encode_subscribe(&mut packet, 1, filter.as_bytes(), qos);
        self.broker.receive(token, &packet)?;
        let before = self.subacks;
        self.settle()?;
        ensure!(self.subacks == before + 1, "{filter} got no SUBACK");
        Ok(())
    }

    /// Filters of one client beside what is measured.
    fn crowd_of_filters(&mut self, last_level: &str) -> anyhow::Result<()> {
        let token = self.connect("crowd")?;
        for n in 0..CROWD {
            self.subscribe(token, &format!("other/{n}/{last_level}"), 1)?;
        }
        Ok(())
    }

    /// Turns until no client has anything to answer.
    fn settle(&mut self) -> anyhow::Result<()> {
        loop {
            let (answers, counts) = (&mut self.answers, (&mut self.received, &mut self.acknowledged));
            let (received, acknowledged) = counts;
            let (connacks, subacks) = (&mut self.connacks, &mut self.subacks);
            let mut is_understood = true;
            self.broker.turn(|token, mut bytes| {
                let mut answer = Vec::new();
                while let Ok(Some((packet, size))) = decode(bytes) {
                    bytes = &bytes[size..];
                    match packet {
                        Packet::Publish { qos, packet_id, .. } => {
                            *received += 1;
                            match qos {
                                0 => {}
                                1 => encode_puback(&mut answer, packet_id),
                                _ => encode_pubrec(&mut answer, packet_id),
                            }
                        }
                        Packet::PubAck { .. } | Packet::PubComp { .. } => *acknowledged += 1,
                        Packet::PubRec { packet_id } => encode_pubrel(&mut answer, packet_id),
                        Packet::PubRel { packet_id } => encode_pubcomp(&mut answer, packet_id),
                        Packet::ConnAck { code: 0, .. } => *connacks += 1,
                        Packet::SubAck { .. } => *subacks += 1,
                        _ => is_understood = false,
                    }
                }
                is_understood &= bytes.is_empty();
                if !answer.is_empty() {
                    answers.push((token, answer));
                }
            })?;
            ensure!(is_understood, "what a client got is no packet that it knows");
            if self.answers.is_empty() {
                return Ok(());
            }
            for (token, answer) in self.answers.drain(..) {
                self.broker.receive(token, &answer)?;
            }
        }
    }

    /// Publishes `window` messages at once until there were `count`; `copies`: how many clients get each.
    fn publish(
        &mut self,
        publisher: ConnectionToken,
        qos: u8,
        count: u32,
        window: u16,
        copies: u32,
    ) -> anyhow::Result<()> {
        // All are acknowledged before the next ones: the same packet ids each time.
        let mut packets = Vec::new();
        for packet_id in 1..=window {
            encode_publish(&mut packets, TOPIC.as_bytes(), qos, packet_id, &PAYLOAD);
        }
        let rounds = count.div_ceil(u32::from(window));
        for _ in 0..rounds {
            self.broker.receive(publisher, &packets)?;
            self.settle()?;
        }
        let sent = u64::from(rounds) * u64::from(window);
        let (received, acknowledged) = (self.received, self.acknowledged);
        ensure!(received == sent * u64::from(copies), "{sent} sent, {received} received");
        ensure!(
            qos == 0 || acknowledged == sent,
            "{sent} sent, {acknowledged} acknowledged"
        );
        Ok(())
    }

    fn pair(&mut self, qos: u8, count: u32, window: u16) -> anyhow::Result<()> {
        let subscriber = self.connect("subscriber")?;
        self.subscribe(subscriber, TOPIC, qos)?;
        let publisher = self.connect("publisher")?;
        self.publish(publisher, qos, count, window, 1)
    }

    fn ingest(&mut self, count: u32) -> anyhow::Result<()> {
        let publisher = self.connect("publisher")?;
        self.publish(publisher, 1, count, WINDOW, 0)
    }

    fn fan_out(&mut self, count: u32) -> anyhow::Result<()> {
        for n in 0..RECEIVERS {
            let subscriber = self.connect(&format!("subscriber-{n}"))?;
            self.subscribe(subscriber, TOPIC, 0)?;
        }
        let publisher = self.connect("publisher")?;
        self.publish(publisher, 0, count.div_ceil(RECEIVERS), 1, RECEIVERS)
    }

    fn shared(&mut self, count: u32) -> anyhow::Result<()> {
        for n in 0..MEMBERS {
            let subscriber = self.connect(&format!("member-{n}"))?;
            self.subscribe(subscriber, &format!("$share/all/{TOPIC}"), 1)?;
        }
        let publisher = self.connect("publisher")?;
        self.publish(publisher, 1, count, WINDOW, 1)
    }

    fn connects(&mut self, count: u32) -> anyhow::Result<()> {
        for n in 0..count {
            let token = self.connect(&format!("client-{n:08}"))?;
            self.broker.disconnect(token, &DISCONNECT)?;
            self.settle()?;
        }
        Ok(())
    }

    fn subscribes(&mut self, count: u32) -> anyhow::Result<()> {
        let subscriber = self.connect("subscriber")?;
        for n in 0..count {
            self.subscribe(subscriber, &format!("dev/{n:08}/state"), 1)?;
        }
        Ok(())
    }
}
