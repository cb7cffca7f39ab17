//! 100 publishers at QoS 1 that nobody listens to, 20 unacknowledged publishes each: what taking messages in costs.

use std::time::Duration;

use super::Timing;
use super::fleet::Fleet;
use super::meter::{Broker, Meter, Outcome, Phase, payload};
use super::pairs::packet_id;
use crate::shuffle::shuffled;
use crate::wire::{self, Packet};

const PUBLISHERS: usize = 100;
const WINDOW: usize = 20;

#[derive(Clone, Default)]
struct Publisher {
    sent: u64,
    acknowledged: u64,
    /// When each unacknowledged one was sent, by its number modulo the window.
    sent_at: [Duration; WINDOW],
}

/// CPU and time of each acknowledged publish.
///
/// # Errors
/// When a publish is not acknowledged in its order, or the broker fails.
pub fn ingest(broker: &dyn Broker, timing: Timing, seed: u64) -> anyhow::Result<Outcome> {
    let mut fleet = Fleet::connect(broker.addresses(), &vec![None; PUBLISHERS], &shuffled(PUBLISHERS, seed))?;
    let mut publishers = vec![Publisher::default(); PUBLISHERS];
    let mut meter = Meter::new(broker, timing, fleet.now());
    for (index, publisher) in publishers.iter_mut().enumerate() {
        let now = fleet.now();
        fleet.send(index, |out| publisher.fill_window(index, now, &mut meter, out))?;
    }
    while meter.phase != Phase::Draining || publishers.iter().any(|p| p.acknowledged < p.sent) {
        fleet.poll(Duration::from_millis(100), |client, now, packet, out| {
            let publisher = &mut publishers[client];
            match *packet {
                Packet::PubAck { packet_id: id } if id == packet_id(publisher.acknowledged) => {
                    meter.deliver(publisher.sent_at[slot(publisher.acknowledged)], now);
                    publisher.acknowledged += 1;
                    if meter.phase != Phase::Draining {
                        publisher.fill_window(client, now, &mut meter, out);
                    }
                }
                _ => anyhow::bail!("an unexpected {packet:?}"),
            }
            Ok(())
        })?;
        meter.advance(fleet.now())?;
    }
    meter.finish()
}

impl Publisher {
    fn fill_window(&mut self, index: usize, now: Duration, meter: &mut Meter<'_>, out: &mut Vec<u8>) {
        let topic = format!("bench/ingest/{index}");
        while self.sent - self.acknowledged < WINDOW as u64 {
            wire::encode_publish(out, topic.as_bytes(), 1, packet_id(self.sent), &payload(now, self.sent));
            self.sent_at[slot(self.sent)] = now;
            self.sent += 1;
            meter.sent += 1;
        }
    }
}

fn slot(sequence: u64) -> usize {
    usize::try_from(sequence % WINDOW as u64).unwrap_or(0)
}
