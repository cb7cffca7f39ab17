//! Publishers and subscribers, a topic for each pair, some unacknowledged publishes each (at QoS 0: not delivered yet): the
//! broker at full speed, with whole windows in every read. The subscribers have clean sessions, or sessions that are kept.

use std::collections::VecDeque;
use std::time::Duration;

use super::Timing;
use super::fleet::Fleet;
use super::guest::{Guest, Session, Subscription};
use super::meter::{Broker, Meter, Outcome, Phase, payload, read_payload};
use crate::shuffle::shuffled;
use crate::wire::{self, Packet};

pub(crate) const PAIRS: usize = 50;
pub(crate) const WINDOW: u64 = 20;

/// How many pairs, and how they publish.
#[derive(Debug, Clone, Copy)]
pub struct Pairs {
    /// Publishers, and as many subscribers.
    pub pairs: usize,
    /// Unacknowledged publishes of each publisher.
    pub window: u64,
    /// 1 or 2.
    pub qos: u8,
}

#[derive(Clone, Default)]
struct Pair {
    sent: u64,
    acknowledged: u64,
    /// When each unacknowledged one was sent, oldest first.
    sent_at: VecDeque<Duration>,
    delivered: u64,
    /// PUBCOMP that the subscriber still expects to be asked for.
    unreleased: u64,
}

/// CPU and time of each message of 50 pairs at `qos`, window 20, clean sessions.
///
/// # Errors
/// When a message is lost, doubled or overtaken, or the broker fails.
pub fn pairs(broker: &dyn Broker, timing: Timing, seed: u64, qos: u8) -> anyhow::Result<Outcome> {
    let work = Pairs {
        pairs: PAIRS,
        window: WINDOW,
        qos,
    };
    run(broker, timing, seed, work, Session::Clean)
}

/// CPU and time of each message of pairs whose subscribers have sessions that are kept.
///
/// # Errors
/// As [`pairs`].
pub fn kept(broker: &dyn Broker, timing: Timing, seed: u64, work: Pairs) -> anyhow::Result<Outcome> {
    run(broker, timing, seed, work, Session::Kept)
}

fn run(broker: &dyn Broker, timing: Timing, seed: u64, work: Pairs, session: Session) -> anyhow::Result<Outcome> {
    let Pairs { pairs: count, qos, .. } = work;
    let mut guests: Vec<Guest> = (0..count).map(|pair| Guest::clean(format!("p{pair}"), None)).collect();
    guests.extend((0..count).map(|pair| Guest {
        client_id: format!("s{pair}"),
        session,
        comes_back: false,
        subscriptions: vec![Subscription {
            filter: topic(pair),
            qos,
        }],
    }));
    let mut fleet = Fleet::connect_as(broker.addresses(), &guests, &shuffled(guests.len(), seed))?;
    let topics: Vec<String> = (0..count).map(topic).collect();
    let mut pairs = vec![Pair::default(); count];
    let mut meter = Meter::new(broker, timing, fleet.now());
    // At QoS 0 what a delivery allows is sent when the wait is over, by another client than the one that was read.
    let mut to_fill = Vec::new();

    for (index, pair) in pairs.iter_mut().enumerate() {
        let now = fleet.now();
        fleet.send(index, |out| {
            pair.fill_window(&topics[index], work, now, &mut meter, out);
        })?;
    }
    while meter.phase != Phase::Draining || pairs.iter().any(|pair| pair.has_outstanding(qos)) {
        fleet.poll(Duration::from_millis(100), |client, now, packet, out| {
            match *packet {
                Packet::PubRec { packet_id } => wire::encode_pubrel(out, packet_id),
                Packet::PubAck { .. } | Packet::PubComp { .. } => {
                    let pair = &mut pairs[client];
                    pair.acknowledged += 1;
                    if let Some(sent_at) = pair.sent_at.pop_front() {
                        meter.acknowledge(sent_at, now);
                    }
                    if meter.phase != Phase::Draining {
                        pair.fill_window(&topics[client], work, now, &mut meter, out);
                    }
                }
                Packet::PubRel { packet_id } => {
                    pairs[client - count].unreleased -= 1;
                    wire::encode_pubcomp(out, packet_id);
                }
                Packet::Publish { packet_id, payload, .. } => {
                    let pair = &mut pairs[client - count];
                    meter.deliver(read_payload(payload, pair.delivered)?, now);
                    pair.delivered += 1;
                    match qos {
                        0 => {
                            pair.acknowledged += 1;
                            to_fill.push(client - count);
                        }
                        1 => wire::encode_puback(out, packet_id),
                        _ => {
                            pair.unreleased += 1;
                            wire::encode_pubrec(out, packet_id);
                        }
                    }
                }
                _ => anyhow::bail!("an unexpected {packet:?}"),
            }
            Ok(())
        })?;
        to_fill.dedup();
        for index in to_fill.drain(..) {
            if meter.phase != Phase::Draining {
                let now = fleet.now();
                let pair = &mut pairs[index];
                fleet.send(index, |out| {
                    pair.fill_window(&topics[index], work, now, &mut meter, out);
                })?;
            }
        }
        meter.advance(fleet.now())?;
    }
    meter.finish()
}

impl Pair {
    fn fill_window(&mut self, topic: &str, work: Pairs, now: Duration, meter: &mut Meter<'_>, out: &mut Vec<u8>) {
        while self.sent - self.acknowledged < work.window {
            let payload = payload(now, self.sent);
            wire::encode_publish(out, topic.as_bytes(), work.qos, packet_id(self.sent), &payload);
            if work.qos > 0 {
                self.sent_at.push_back(now);
            }
            self.sent += 1;
            meter.sent += 1;
        }
    }

    fn has_outstanding(&self, qos: u8) -> bool {
        self.delivered < self.sent || self.unreleased > 0 || (qos > 0 && self.acknowledged < self.sent)
    }
}

fn topic(pair: usize) -> String {
    format!("bench/pairs/{pair}")
}

/// 1 to 65,000, each free again long before its turn.
pub(crate) fn packet_id(sequence: u64) -> u16 {
    u16::try_from(sequence % 65_000 + 1).unwrap_or(1)
}
