//! 50 publishers and 50 subscribers, a topic for each pair, QoS 1, 20 unacknowledged publishes each: the broker at full
//! speed, with whole windows in every read.

use std::time::Duration;

use super::Timing;
use super::fleet::{Fleet, Subscription};
use super::meter::{Meter, Outcome, Phase, payload, read_payload};
use crate::processes::Broker;
use crate::shuffle::shuffled;
use crate::wire::{self, Packet};

const PAIRS: usize = 50;
const WINDOW: u64 = 20;

#[derive(Clone, Default)]
struct Pair {
    sent: u64,
    acknowledged: u64,
    delivered: u64,
}

/// # Errors
/// When a message is lost, doubled or overtaken, or the broker fails.
pub(crate) fn pairs(broker: &Broker, timing: Timing, seed: u64) -> anyhow::Result<Outcome> {
    let mut subscriptions = vec![None; PAIRS];
    subscriptions.extend((0..PAIRS).map(|pair| {
        Some(Subscription {
            filter: topic(pair),
            qos: 1,
        })
    }));
    let mut fleet = Fleet::connect(broker.address(), &subscriptions, &shuffled(subscriptions.len(), seed))?;
    let topics: Vec<String> = (0..PAIRS).map(topic).collect();
    let mut pairs = vec![Pair::default(); PAIRS];
    let mut meter = Meter::new(broker, timing, fleet.now());

    for (index, pair) in pairs.iter_mut().enumerate() {
        let now = fleet.now();
        fleet.send(index, |out| pair.fill_window(&topics[index], now, &mut meter, out))?;
    }
    while meter.phase != Phase::Draining || pairs.iter().any(Pair::has_outstanding) {
        fleet.poll(Duration::from_millis(100), |client, now, packet, out| {
            match *packet {
                Packet::PubAck { .. } => {
                    let pair = &mut pairs[client];
                    pair.acknowledged += 1;
                    if meter.phase != Phase::Draining {
                        pair.fill_window(&topics[client], now, &mut meter, out);
                    }
                }
                Packet::Publish { packet_id, payload, .. } => {
                    let pair = &mut pairs[client - PAIRS];
                    meter.deliver(read_payload(payload, pair.delivered)?, now);
                    pair.delivered += 1;
                    wire::encode_puback(out, packet_id);
                }
                _ => anyhow::bail!("an unexpected {packet:?}"),
            }
            Ok(())
        })?;
        meter.advance(fleet.now())?;
    }
    meter.finish()
}

impl Pair {
    fn fill_window(&mut self, topic: &str, now: Duration, meter: &mut Meter<'_>, out: &mut Vec<u8>) {
        while self.sent - self.acknowledged < WINDOW {
            wire::encode_publish(
                out,
                topic.as_bytes(),
                Some(packet_id(self.sent)),
                &payload(now, self.sent),
            );
            self.sent += 1;
            meter.sent += 1;
        }
    }

    fn has_outstanding(&self) -> bool {
        self.acknowledged < self.sent || self.delivered < self.sent
    }
}

fn topic(pair: usize) -> String {
    format!("bench/pairs/{pair}")
}

/// 1 to 65,000, each free again long before its turn.
fn packet_id(sequence: u64) -> u16 {
    u16::try_from(sequence % 65_000 + 1).unwrap_or(1)
}
