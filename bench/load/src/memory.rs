//! Memory of what stays: connections, filters, retained messages, and what a burst leaves behind.
//!
//! Each above what was held before, for each piece. Leaves out what the kernel holds for the clients.

use std::time::{Duration, Instant};

use super::bystanders::Bystanders;
use super::fleet::Fleet;
use super::guest::{Guest, Subscription, admit};
use super::meter::{Broker, Memory, PAYLOAD_BYTES, parse_payload, to_f64};
use super::publish::{Form, PUBLISHERS, bursts, publish_as};
use super::reading::{self, Reading};
use crate::shuffle::shuffled;
use crate::wire::{self, Packet};

/// What is there before the first reading, so that code and buffers of the process itself are not counted.
const WARM_UP: usize = 200;
/// Memory is read until it has stayed the same for this long.
const STAYS: Duration = Duration::from_secs(2);
/// But no longer than this.
const SETTLES: Duration = Duration::from_secs(20);
/// Messages of a burst for each client, and bytes of each.
const BURST: (u64, usize) = (64, 1_024);
/// Clients that have not read their burst at a time: what waits for all together is bounded.
const UNREAD: usize = 1_000;
/// Clients that read retained messages, each a part of them.
const READERS: usize = 1_000;
/// A broker that delivers nothing for this long has lost what is missing.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// Bytes of one of many pieces.
#[derive(Debug, Clone, Copy)]
pub struct Each {
    /// Anonymous and resident, of all processes.
    pub resident_bytes: f64,
    /// Of these, in processes behind those that clients are connected to.
    pub storage_bytes: f64,
    /// Of the broker's cgroup, where it has one.
    pub cgroup_bytes: Option<f64>,
}

impl Each {
    fn of(before: Memory, after: Memory, count: u32) -> Self {
        let each = |before: u64, after: u64| to_f64(after.saturating_sub(before)) / f64::from(count);
        Self {
            resident_bytes: each(before.resident_bytes(), after.resident_bytes()),
            storage_bytes: each(before.storage_bytes, after.storage_bytes),
            cgroup_bytes: before
                .cgroup_bytes
                .zip(after.cgroup_bytes)
                .map(|(before, after)| each(before, after)),
        }
    }
}

/// Memory of an idle connection: alone, or with a filter of its own.
///
/// # Errors
/// When one is refused.
pub fn idle(broker: &dyn Broker, count: u32, has_filter: bool) -> anyhow::Result<Each> {
    let connect = |name: &str, count: usize| {
        let guests: Vec<Guest> = (0..count)
            .map(|at| {
                // At QoS 1 it would be a consumer to nats-server, of which it has 1,000 at most by default.
                let subscription = has_filter.then(|| Subscription {
                    qos: 0,
                    ..own_filter(name, at)
                });
                Guest::clean(format!("{name}{at}"), subscription)
            })
            .collect();
        admit(broker.addresses(), &guests.iter().collect::<Vec<_>>(), 0)
    };
    let _warm = connect("warm", WARM_UP)?;
    let before = settled(broker)?;
    let _idle = connect("c", usize::try_from(count)?)?;
    Ok(Each::of(before, settled(broker)?, count))
}

/// Memory of a filter `dev/ID/#`, 1,000 of them to a connection.
///
/// # Errors
/// When one is refused.
pub fn subtrees(broker: &dyn Broker, count: u32) -> anyhow::Result<Each> {
    let _warm = Bystanders::Subtrees.connect(broker, "warm", WARM_UP)?;
    let before = settled(broker)?;
    let _many = Bystanders::Subtrees.connect(broker, "many", usize::try_from(count)?)?;
    Ok(Each::of(before, settled(broker)?, count))
}

/// What a burst does to memory.
#[derive(Debug, Clone, Copy)]
pub struct Burst {
    /// Of a connection with a filter before it.
    pub idle: Each,
    /// Of the same when it was most, before a part of the clients read.
    pub full: Each,
    /// Of the same some time behind it.
    pub after: Each,
    /// Of the whole broker, after over before.
    pub whole_ratio: f64,
}

/// 64 KiB to each of so many clients, of which a part at a time reads, when all for it is published.
///
/// # Errors
/// When a message is lost, doubled or overtaken, or the broker fails.
pub fn burst(broker: &dyn Broker, count: u32, rest: Duration, seed: u64) -> anyhow::Result<Burst> {
    let (each, payload_bytes) = BURST;
    let form = Form {
        payload_bytes,
        is_retained: false,
    };
    let name = "burst";
    // What the process needs once for publishing is there before, too.
    publish_as(broker, seed, form, bursts(WARM_UP, each, |_| "bench/nobody".to_owned()))?;
    let clients = usize::try_from(count)?;
    let guests: Vec<Guest> = (0..clients)
        .map(|client| Guest::clean(format!("{name}{client}"), Some(own_filter(name, client))))
        .collect();
    let before = settled(broker)?;
    let mut fleet = Fleet::empty()?;
    fleet.add(broker.addresses(), &guests)?;
    let idle = settled(broker)?;
    let mut reading = Reading::new(payload_bytes, 0);
    let (mut full, mut sent) = (idle, 0);
    for first in (0..clients).step_by(UNREAD) {
        let topic = |client| own_filter(name, first + client).filter;
        let some = bursts(UNREAD.min(clients - first), each, topic);
        sent += publish_as(broker, seed, form, some)?.messages;
        let now = broker.memory()?;
        if now.resident_bytes() > full.resident_bytes() {
            full = now;
        }
        reading.read_all(&mut fleet, sent)?;
    }
    pause(rest);
    let after = broker.memory()?;
    Ok(Burst {
        idle: Each::of(before, idle, count),
        full: Each::of(before, full, count),
        after: Each::of(before, after, count),
        whole_ratio: to_f64(after.resident_bytes()) / to_f64(idle.resident_bytes()),
    })
}

/// Memory of retained messages.
#[derive(Debug, Clone, Copy)]
pub struct RetainedMemory {
    /// Of each message.
    pub each: Each,
    /// Of the whole broker with all of them.
    pub whole_bytes: f64,
    /// Retained messages in a second.
    pub kept_per_second: f64,
    /// Bytes of a topic.
    pub topic_bytes: f64,
}

/// So many retained messages, each with a topic of its own; clients that subscribe to a part each get all of them once.
///
/// # Errors
/// When a message is lost or doubled, or the broker fails.
pub fn retained(broker: &dyn Broker, count: u32, rest: Duration, seed: u64) -> anyhow::Result<RetainedMemory> {
    let messages = usize::try_from(count)?;
    let topic = |message: usize| format!("bench/retained/{}/{message}", message % READERS);
    let form = Form {
        payload_bytes: PAYLOAD_BYTES,
        is_retained: true,
    };
    publish_as(broker, seed, form, bursts(WARM_UP, 1, |_| "bench/nobody".to_owned()))?;
    let before = settled(broker)?;
    let mut next: Vec<usize> = (0..PUBLISHERS).collect();
    let published = publish_as(broker, seed, form, |publisher, _| {
        let message = next[publisher];
        next[publisher] += PUBLISHERS;
        (message < messages).then(|| (topic(message), message as u64))
    })?;
    pause(rest);
    let after = settled(broker)?;
    read_retained(broker, messages, seed)?;
    Ok(RetainedMemory {
        each: Each::of(before, after, count),
        whole_bytes: to_f64(after.resident_bytes()),
        kept_per_second: to_f64(published.messages) / published.took.as_secs_f64(),
        topic_bytes: to_f64(u64::try_from(topic(messages - 1).len())?),
    })
}

/// Lets readers subscribe to a part each, and take what is retained there.
fn read_retained(broker: &dyn Broker, messages: usize, seed: u64) -> anyhow::Result<()> {
    let guests: Vec<Guest> = (0..READERS)
        .map(|reader| Guest::clean(format!("reader{reader}"), None))
        .collect();
    let mut fleet = Fleet::connect_as(broker.addresses(), &guests, &shuffled(READERS, seed))?;
    for reader in 0..READERS {
        let filter = format!("bench/retained/{reader}/+");
        fleet.send(reader, |out| wire::encode_subscribe(out, 1, filter.as_bytes(), 1))?;
    }
    let mut seen = vec![false; messages];
    // Messages, and a SUBACK for each reader: they may come before it (MQTT 3.1.1, 3.8.4).
    let mut left = messages + READERS;
    let mut last = fleet.now();
    while left > 0 {
        fleet.poll(Duration::from_millis(100), |reader, now, packet, out| {
            let (packet_id, payload) = match *packet {
                Packet::Publish { packet_id, payload, .. } => (packet_id, payload),
                Packet::SubAck { code: 0..=2 } => {
                    left -= 1;
                    return Ok(());
                }
                _ => anyhow::bail!("an unexpected {packet:?}"),
            };
            let (_, sequence) = parse_payload(payload, PAYLOAD_BYTES)?;
            let message = usize::try_from(reading::number(sequence))?;
            let is_new = seen.get_mut(message).is_some_and(|seen| !std::mem::replace(seen, true));
            anyhow::ensure!(
                is_new && message % READERS == reader,
                "retained message {message} came to reader {reader}, or twice"
            );
            left -= 1;
            last = now;
            wire::encode_puback(out, packet_id);
            Ok(())
        })?;
        anyhow::ensure!(
            fleet.now() < last + SILENCE_LIMIT,
            "{left} of {messages} retained messages and {READERS} SUBACKs are missing"
        );
    }
    fleet.leave()
}

fn own_filter(name: &str, client: usize) -> Subscription {
    Subscription {
        filter: format!("bench/{name}/{client}"),
        qos: 1,
    }
}

/// Memory once it has stayed the same for a while: allocators give back what was freed by and by.
fn settled(broker: &dyn Broker) -> anyhow::Result<Memory> {
    let until = Instant::now() + SETTLES;
    let mut memory = broker.memory()?;
    let mut same_since = Instant::now();
    loop {
        pause(Duration::from_millis(200));
        let now = broker.memory()?;
        if now.resident_bytes() != memory.resident_bytes() {
            same_since = Instant::now();
        }
        if same_since.elapsed() > STAYS || Instant::now() > until {
            return Ok(now);
        }
        memory = now;
    }
}

#[allow(clippy::disallowed_methods, reason = "memory is looked at over time")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
