//! Those that are in when others come or go: 50 pairs at QoS 1, each with a message due every 100 ms, whatever the broker
//! does; latency counts from when a message was due.
//!
//! Used by the storm on its own thread, and by [`crate::beside`] on another one.

use std::net::SocketAddr;
use std::time::Duration;

use super::fleet::Fleet;
use super::guest::{Guest, Subscription};
use super::meter::{Percentiles, micros, payload, read_payload};
use super::pairs::packet_id;
use crate::shuffle::shuffled;
use crate::wire::{self, Packet};

const PAIRS: usize = 50;
const INTERVAL: Duration = Duration::from_millis(100);

/// See the module.
pub(crate) struct Others {
    fleet: Fleet,
    topics: Vec<String>,
    sent: Vec<u64>,
    delivered: Vec<u64>,
    /// Next publisher and when its message is due.
    due: (usize, Duration),
    latencies_us: Vec<u32>,
}

impl Others {
    pub(crate) fn connect(broker: &[SocketAddr], seed: u64) -> anyhow::Result<Self> {
        let topics: Vec<String> = (0..PAIRS).map(|pair| format!("bench/others/{pair}")).collect();
        let subscriptions = topics.iter().map(|topic| {
            Some(Subscription {
                filter: topic.clone(),
                qos: 1,
            })
        });
        let guests: Vec<Guest> = (0..)
            .zip(std::iter::repeat_n(None, PAIRS).chain(subscriptions))
            .map(|(client, subscription): (usize, _)| Guest::clean(format!("other-{client}"), subscription))
            .collect();
        let fleet = Fleet::connect_as(broker, &guests, &shuffled(guests.len(), seed))?;
        let due = (0, fleet.now());
        Ok(Self {
            fleet,
            topics,
            sent: vec![0; PAIRS],
            delivered: vec![0; PAIRS],
            due,
            latencies_us: Vec::new(),
        })
    }

    /// Publishes what is due and takes what has come.
    ///
    /// # Errors
    /// When a message is lost, doubled or overtaken, or the broker fails.
    pub(crate) fn step(&mut self, wait: Duration) -> anyhow::Result<()> {
        let pairs = u32::try_from(PAIRS)?;
        while self.due.1 <= self.fleet.now() {
            let (pair, at) = self.due;
            let sequence = self.sent[pair];
            let topic = self.topics[pair].as_bytes();
            self.fleet.send(pair, |out| {
                wire::encode_publish(out, topic, 1, packet_id(sequence), &payload(at, sequence));
            })?;
            self.sent[pair] += 1;
            self.due = ((pair + 1) % PAIRS, at + INTERVAL / pairs);
        }
        self.poll(wait)
    }

    fn poll(&mut self, wait: Duration) -> anyhow::Result<()> {
        let (delivered, latencies_us) = (&mut self.delivered, &mut self.latencies_us);
        self.fleet.poll(wait, |client, now, packet, out| {
            match *packet {
                Packet::PubAck { .. } => {}
                Packet::Publish { packet_id, payload, .. } => {
                    let due_at = read_payload(payload, delivered[client - PAIRS])?;
                    delivered[client - PAIRS] += 1;
                    latencies_us.push(micros(now.saturating_sub(due_at)));
                    wire::encode_puback(out, packet_id);
                }
                _ => anyhow::bail!("an unexpected {packet:?}"),
            }
            Ok(())
        })
    }

    /// What was seen since the last call.
    pub(crate) fn take_latencies(&mut self) -> Percentiles {
        Percentiles::of(&mut self.take_samples())
    }

    /// The same, each by itself, in microseconds.
    pub(crate) fn take_samples(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.latencies_us)
    }

    /// Waits for what is outstanding.
    ///
    /// # Errors
    /// When it does not come.
    pub(crate) fn end(&mut self) -> anyhow::Result<()> {
        let until = self.fleet.now() + super::DRAIN_LIMIT;
        while self.delivered != self.sent {
            anyhow::ensure!(self.fleet.now() < until, "messages of those that were in are lost");
            self.poll(Duration::from_millis(100))?;
        }
        Ok(())
    }
}
