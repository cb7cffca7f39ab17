//! 50 publishers and 50 subscribers, a topic for each pair, 20 unacknowledged publishes each (at QoS 0: not delivered
//! yet): the broker at full speed, with whole windows in every read.

use std::time::Duration;

use super::Timing;
use super::fleet::{Fleet, Subscription};
use super::meter::{Broker, Meter, Outcome, Phase, payload, read_payload};
use crate::shuffle::shuffled;
use crate::wire::{self, Packet};

const PAIRS: usize = 50;
const WINDOW: u64 = 20;

#[derive(Clone, Default)]
struct Pair {
    sent: u64,
    acknowledged: u64,
    delivered: u64,
    /// PUBCOMP that the subscriber still expects to be asked for.
    unreleased: u64,
}

/// CPU and time of each message of pairs at `qos`.
///
/// # Errors
/// When a message is lost, doubled or overtaken, or the broker fails.
pub fn pairs(broker: &dyn Broker, timing: Timing, seed: u64, qos: u8) -> anyhow::Result<Outcome> {
    let mut subscriptions = vec![None; PAIRS];
    subscriptions.extend((0..PAIRS).map(|pair| {
        Some(Subscription {
            filter: topic(pair),
            qos,
        })
    }));
    let mut fleet = Fleet::connect(broker.address(), &subscriptions, &shuffled(subscriptions.len(), seed))?;
    let topics: Vec<String> = (0..PAIRS).map(topic).collect();
    let mut pairs = vec![Pair::default(); PAIRS];
    let mut meter = Meter::new(broker, timing, fleet.now());
    // At QoS 0 what a delivery allows is sent when the wait is over, by another client than the one that was read.
    let mut to_fill = Vec::new();

    for (index, pair) in pairs.iter_mut().enumerate() {
        let now = fleet.now();
        fleet.send(index, |out| pair.fill_window(&topics[index], qos, now, &mut meter, out))?;
    }
    while meter.phase != Phase::Draining || pairs.iter().any(|pair| pair.has_outstanding(qos)) {
        fleet.poll(Duration::from_millis(100), |client, now, packet, out| {
            match *packet {
                Packet::PubRec { packet_id } => wire::encode_pubrel(out, packet_id),
                Packet::PubAck { .. } | Packet::PubComp { .. } => {
                    let pair = &mut pairs[client];
                    pair.acknowledged += 1;
                    if meter.phase != Phase::Draining {
                        pair.fill_window(&topics[client], qos, now, &mut meter, out);
                    }
                }
                Packet::PubRel { packet_id } => {
                    pairs[client - PAIRS].unreleased -= 1;
                    wire::encode_pubcomp(out, packet_id);
                }
                Packet::Publish { packet_id, payload, .. } => {
                    let pair = &mut pairs[client - PAIRS];
                    meter.deliver(read_payload(payload, pair.delivered)?, now);
                    pair.delivered += 1;
                    match qos {
                        0 => {
                            pair.acknowledged += 1;
                            to_fill.push(client - PAIRS);
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
                fleet.send(index, |out| pair.fill_window(&topics[index], qos, now, &mut meter, out))?;
            }
        }
        meter.advance(fleet.now())?;
    }
    meter.finish()
}

impl Pair {
    fn fill_window(&mut self, topic: &str, qos: u8, now: Duration, meter: &mut Meter<'_>, out: &mut Vec<u8>) {
        while self.sent - self.acknowledged < WINDOW {
            wire::encode_publish(
                out,
                topic.as_bytes(),
                qos,
                packet_id(self.sent),
                &payload(now, self.sent),
            );
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
