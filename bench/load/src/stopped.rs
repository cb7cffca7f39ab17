//! Subscribers that do not read any more, beside pairs at work: everything for them waits, and more comes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Timing;
use super::fleet::Fleet;
use super::growth::{InTurns, await_calm};
use super::guest::{Guest, Subscription};
use super::meter::{Broker, Outcome, Percentiles, micros, payload_of};
use super::pairs::packet_id;
use super::publish::{Form, PUBLISHERS, bursts, publish_as};
use super::reading::{self, Reading};
use super::sparse::offered;
use crate::wire::{self, Packet};

/// What waits for each before the measurement, by number and bytes: more than may be in flight, less than may wait.
const WAITING: (u64, usize) = (256, 1_024);
/// Between two messages that come meanwhile.
const INTERVAL: Duration = Duration::from_millis(1);

/// 50 pairs at an offered rate without such subscribers, and with so many; a publisher says something to their topics each
/// millisecond in both. Latencies of acknowledgements are those of that publisher. In the end they read everything.
///
/// # Errors
/// When a message is lost, doubled or overtaken, or the broker fails.
pub fn stopped(broker: &dyn Broker, timing: Timing, seed: u64, count: u32) -> anyhow::Result<InTurns> {
    let topics = usize::try_from(count)?;
    InTurns::run(
        || part(broker, timing, seed, 0, topics),
        || part(broker, timing, seed, topics, topics),
    )
}

fn part(broker: &dyn Broker, timing: Timing, seed: u64, count: usize, topics: usize) -> anyhow::Result<Outcome> {
    let (each, payload_bytes) = WAITING;
    let guests: Vec<Guest> = (0..count)
        .map(|at| {
            let subscription = Subscription {
                filter: topic(at),
                qos: 1,
            };
            Guest::clean(format!("stopped{at}"), Some(subscription))
        })
        .collect();
    let mut fleet = Fleet::empty()?;
    fleet.add(broker.addresses(), &guests)?;
    let form = Form {
        payload_bytes,
        is_retained: false,
    };
    let waiting = publish_as(broker, seed, form, bursts(count, each, topic))?;
    await_calm(broker)?;
    let steady = Steady::start(broker, topics);
    let outcome = offered(broker, timing, seed)?;
    let (said, acknowledged) = steady.end()?;
    if count > 0 {
        let mut reading = Reading::new(payload_bytes, 0);
        reading.read_all(&mut fleet, waiting.messages + said)?;
    }
    fleet.leave()?;
    await_calm(broker)?;
    Ok(Outcome {
        acknowledged,
        ..outcome
    })
}

fn topic(at: usize) -> String {
    format!("bench/stopped/{at}")
}

/// The publisher, on a thread of its own.
struct Steady {
    has_ended: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<(u64, Percentiles)>>,
}

impl Steady {
    fn start(broker: &dyn Broker, topics: usize) -> Self {
        let addresses = broker.addresses().to_vec();
        let has_ended = Arc::new(AtomicBool::new(false));
        let is_over = has_ended.clone();
        let thread = std::thread::spawn(move || publish_steadily(&addresses, topics, &is_over));
        Self { has_ended, thread }
    }

    /// What it has said, and how long the acknowledgements took.
    fn end(self) -> anyhow::Result<(u64, Percentiles)> {
        self.has_ended.store(true, Ordering::Relaxed);
        let said = self.thread.join();
        said.unwrap_or_else(|_| Err(anyhow::anyhow!("the publisher beside the load has panicked")))
    }
}

fn publish_steadily(
    addresses: &[SocketAddr],
    topics: usize,
    is_over: &AtomicBool,
) -> anyhow::Result<(u64, Percentiles)> {
    let mut fleet = Fleet::empty()?;
    fleet.add(addresses, &[Guest::clean("steady".to_owned(), None)])?;
    let mut due_at = fleet.now();
    let (mut device, mut number, mut sent) = (0, 0, 0);
    let mut unacknowledged = VecDeque::new();
    let mut latencies_us = Vec::new();
    let mut last = due_at;
    loop {
        let has_ended = is_over.load(Ordering::Relaxed);
        if has_ended && unacknowledged.is_empty() {
            return Ok((sent, Percentiles::of(&mut latencies_us)));
        }
        while !has_ended && due_at <= fleet.now() {
            // Behind those that have published before, so that its sequences are its own.
            let payload = payload_of(WAITING.1, due_at, reading::sequence(PUBLISHERS, number));
            fleet.send(0, |out| {
                wire::encode_publish(out, topic(device).as_bytes(), 1, packet_id(sent), &payload);
            })?;
            unacknowledged.push_back(due_at);
            sent += 1;
            due_at += INTERVAL;
            device += 1;
            if device == topics {
                (device, number) = (0, number + 1);
            }
        }
        fleet.poll(INTERVAL, |_, now, packet, _| {
            anyhow::ensure!(matches!(packet, Packet::PubAck { .. }), "an unexpected {packet:?}");
            if let Some(due_at) = unacknowledged.pop_front() {
                latencies_us.push(micros(now.saturating_sub(due_at)));
            }
            last = now;
            Ok(())
        })?;
        anyhow::ensure!(
            fleet.now() < last + super::DRAIN_LIMIT,
            "nothing is acknowledged any more"
        );
    }
}
