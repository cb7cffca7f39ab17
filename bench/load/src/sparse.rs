//! 10,000 messages a second offered at QoS 1, ends on random workers: by 5,000 pairs with one unacknowledged each, a fleet
//! of devices where hardly two messages share a wake; or by the pairs of [`super::pairs`].
//!
//! The load is open: messages are due at even intervals whatever the broker does, and latency counts from then.

use std::collections::VecDeque;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

use super::Timing;
use super::fleet::Fleet;
use super::guest::Subscription;
use super::meter::{Broker, Meter, Outcome, Phase, payload, read_payload};
use super::pairs::packet_id;
use crate::shuffle::shuffled;
use crate::wire::{self, Packet};

const INTERVAL: Duration = Duration::from_micros(100);

#[derive(Clone, Default)]
struct Pair {
    sent: u64,
    acknowledged: u64,
    delivered: u64,
    /// Messages due while the window is full.
    due: VecDeque<Duration>,
}

/// CPU and time of each message of 5,000 pairs.
///
/// # Errors
/// When a message is lost, doubled or overtaken, or the broker fails.
pub fn sparse(broker: &dyn Broker, timing: Timing, seed: u64) -> anyhow::Result<Outcome> {
    offer(broker, timing, seed, 5_000, 1)
}

/// CPU and time of each message of 50 pairs.
///
/// # Errors
/// As [`sparse`].
pub fn offered(broker: &dyn Broker, timing: Timing, seed: u64) -> anyhow::Result<Outcome> {
    offer(broker, timing, seed, super::pairs::PAIRS, super::pairs::WINDOW)
}

fn offer(broker: &dyn Broker, timing: Timing, seed: u64, count: usize, window: u64) -> anyhow::Result<Outcome> {
    let mut subscriptions = vec![None; count];
    subscriptions.extend((0..count).map(|pair| {
        Some(Subscription {
            filter: topic(pair),
            qos: 1,
        })
    }));
    let mut fleet = Fleet::connect(broker.addresses(), &subscriptions, &shuffled(subscriptions.len(), seed))?;
    let topics: Vec<String> = (0..count).map(topic).collect();
    let order = shuffled(count, seed ^ 1);
    let mut pairs = vec![Pair::default(); count];

    let timer = timerfd_create(
        TimerfdClockId::Monotonic,
        TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
    )?;
    let interval = Timespec::try_from(INTERVAL)?;
    let every = Itimerspec {
        it_interval: interval,
        it_value: interval,
    };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)?;
    fleet.watch_timer(&timer)?;

    let mut meter = Meter::new(broker, timing, fleet.now());
    let mut due_at = fleet.now();
    let mut turns = order.iter().cycle();
    while meter.phase != Phase::Draining || pairs.iter().any(Pair::has_outstanding) {
        fleet.poll(Duration::from_millis(100), |client, now, packet, out| {
            match *packet {
                Packet::PubAck { .. } => {
                    pairs[client].acknowledged += 1;
                    pairs[client].publish_due(&topics[client], window, out);
                }
                Packet::Publish { packet_id, payload, .. } => {
                    let pair = &mut pairs[client - count];
                    meter.deliver(read_payload(payload, pair.delivered)?, now);
                    pair.delivered += 1;
                    wire::encode_puback(out, packet_id);
                }
                _ => anyhow::bail!("an unexpected {packet:?}"),
            }
            Ok(())
        })?;
        // Empty when the wait ended for another reason.
        let _ = rustix::io::read(&timer, &mut [0; 8]);
        meter.advance(fleet.now())?;
        while meter.phase != Phase::Draining && due_at <= fleet.now() {
            let Some(&index) = turns.next() else { break };
            pairs[index].due.push_back(due_at);
            meter.sent += 1;
            fleet.send(index, |out| pairs[index].publish_due(&topics[index], window, out))?;
            due_at += INTERVAL;
        }
    }
    meter.finish()
}

impl Pair {
    fn publish_due(&mut self, topic: &str, window: u64, out: &mut Vec<u8>) {
        while self.sent - self.acknowledged < window
            && let Some(due_at) = self.due.pop_front()
        {
            let payload = payload(due_at, self.sent);
            wire::encode_publish(out, topic.as_bytes(), 1, packet_id(self.sent), &payload);
            self.sent += 1;
        }
    }

    fn has_outstanding(&self) -> bool {
        !self.due.is_empty() || self.acknowledged < self.sent || self.delivered < self.sent
    }
}

fn topic(pair: usize) -> String {
    format!("bench/sparse/{pair}")
}
