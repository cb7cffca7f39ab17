//! Much passes through sessions that are awake, while one is asleep for which a part of it is kept.
//!
//! 50 pairs with kept sessions, 20 unacknowledged publishes each, QoS 1. Of each publisher's messages every so many-th goes
//! to the one that sleeps instead; in the end it comes back for them.

use std::time::Duration;

use super::fleet::Fleet;
use super::guest::{Guest, Session, Subscription, look_in};
use super::meter::{Broker, payload_of};
use super::pairs::{PAIRS, WINDOW, packet_id};
use super::reading::{Reading, sequence};
use crate::shuffle::shuffled;
use crate::wire::{self, Packet};

const SLEEPER: &str = "sleeper";
/// Looks at what has passed, evenly over all of it.
const LOOKS: u64 = 16;
/// A broker that acknowledges nothing for this long has failed.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// Nothing passes for so long before the one that sleeps comes back: longer than Freshet needs from one checkpoint to the
/// next.
const REST: Duration = Duration::from_secs(40);

/// What passes.
#[derive(Debug, Clone, Copy)]
pub struct Passing {
    /// Bytes of payloads in all.
    pub bytes: u64,
    /// Bytes of each payload, 16 at least.
    pub payload_bytes: usize,
    /// Every so many-th message is for the one that sleeps.
    pub kept_of: u64,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Passed {
    /// Bytes of payloads that were acknowledged.
    pub bytes: u64,
    /// Of these, bytes that are for the one that sleeps.
    pub kept_bytes: u64,
    /// Messages of these.
    pub kept: u64,
}

/// The figures of one night.
#[derive(Debug, Clone, Copy)]
pub struct Night {
    /// All that has passed.
    pub passed: Passed,
    /// From the first publish to the last delivery.
    pub took: Duration,
    /// From the return of the one that slept to its last message.
    pub woke: Duration,
}

#[derive(Clone, Default)]
struct Pair {
    sent: u64,
    acknowledged: u64,
    /// Of what was sent, for the one that sleeps.
    kept: u64,
    delivered: u64,
}

/// Lets so much pass. `look` is called every sixteenth of it, when nothing has passed for a while, and once more when the one
/// that slept has everything.
///
/// # Errors
/// When a message is lost, doubled or overtaken, or the broker fails.
pub fn asleep(
    broker: &dyn Broker,
    seed: u64,
    passing: Passing,
    mut look: impl FnMut(Passed) -> anyhow::Result<()>,
) -> anyhow::Result<Night> {
    look_in(broker.addresses(), &[sleeper(false)], 0)?;
    let mut guests: Vec<Guest> = (0..PAIRS).map(|pair| Guest::clean(format!("p{pair}"), None)).collect();
    guests.extend((0..PAIRS).map(|pair| kept_session(format!("s{pair}"), topic(pair))));
    let mut fleet = Fleet::connect_as(broker.addresses(), &guests, &shuffled(guests.len(), seed))?;
    let mut pairs = vec![Pair::default(); PAIRS];
    let mut reading = Reading::new(passing.payload_bytes, 0);
    let bytes_each = u64::try_from(passing.payload_bytes)?;
    let each = (passing.bytes / bytes_each).div_ceil(u64::try_from(PAIRS)?);
    let began = fleet.now();
    for (index, pair) in pairs.iter_mut().enumerate() {
        fleet.send(index, |out| pair.fill_window(index, passing, each, began, out))?;
    }
    let (mut looked, mut last) = (0, began);
    while pairs.iter().any(|pair| pair.has_outstanding(each)) {
        fleet.poll(Duration::from_millis(100), |client, now, packet, out| {
            last = now;
            match (*packet, client.checked_sub(PAIRS)) {
                (Packet::PubAck { .. }, None) => {
                    pairs[client].acknowledged += 1;
                    pairs[client].fill_window(client, passing, each, now, out);
                    Ok(())
                }
                (Packet::Publish { .. }, Some(pair)) => {
                    pairs[pair].delivered += 1;
                    reading.take(client, now, packet, out)
                }
                _ => anyhow::bail!("an unexpected {packet:?}"),
            }
        })?;
        let acknowledged: u64 = pairs.iter().map(|pair| pair.acknowledged).sum();
        let sixteenths = acknowledged * LOOKS / (each * u64::try_from(PAIRS)?);
        if sixteenths > looked && sixteenths < LOOKS {
            looked = sixteenths;
            look(passed(&pairs, bytes_each))?;
            last = fleet.now();
        }
        anyhow::ensure!(fleet.now() < last + SILENCE_LIMIT, "the broker says nothing any more");
    }
    let took = fleet.now() - began;
    let passed = passed(&pairs, bytes_each);
    look(passed)?;
    let rested_at = fleet.now() + REST;
    while let Some(left) = rested_at.checked_sub(fleet.now()) {
        fleet.poll(left, |_, _, packet, _| anyhow::bail!("an unexpected {packet:?}"))?;
    }
    look(passed)?;

    let mut woken = Fleet::empty()?;
    let woke_at = woken.now();
    woken.add(broker.addresses(), &[sleeper(true)])?;
    let mut read_again = Reading::new(passing.payload_bytes, 0);
    read_again.read_all(&mut woken, passed.kept)?;
    let woke = read_again.last - woke_at;
    woken.leave()?;
    look(Passed {
        kept_bytes: 0,
        kept: 0,
        ..passed
    })?;
    Ok(Night { passed, took, woke })
}

fn passed(pairs: &[Pair], bytes_each: u64) -> Passed {
    let acknowledged: u64 = pairs.iter().map(|pair| pair.acknowledged).sum();
    // Those that are on their way are counted as well: a few thousand.
    let kept: u64 = pairs.iter().map(|pair| pair.kept).sum();
    Passed {
        bytes: acknowledged * bytes_each,
        kept_bytes: kept * bytes_each,
        kept,
    }
}

fn kept_session(client_id: String, filter: String) -> Guest {
    Guest {
        client_id,
        session: Session::Kept,
        comes_back: false,
        subscriptions: vec![Subscription { filter, qos: 1 }],
    }
}

fn sleeper(comes_back: bool) -> Guest {
    let mut guest = kept_session(SLEEPER.to_owned(), format!("bench/asleep/{SLEEPER}/+"));
    if comes_back {
        guest.comes_back = true;
        guest.subscriptions.clear();
    }
    guest
}

fn topic(pair: usize) -> String {
    format!("bench/asleep/{pair}")
}

impl Pair {
    fn fill_window(&mut self, index: usize, passing: Passing, each: u64, now: Duration, out: &mut Vec<u8>) {
        while self.sent < each && self.sent - self.acknowledged < WINDOW {
            let is_kept = self.sent.is_multiple_of(passing.kept_of);
            let (topic, number) = if is_kept {
                (format!("bench/asleep/{SLEEPER}/{index}"), self.kept)
            } else {
                (topic(index), self.sent - self.kept)
            };
            let bytes = payload_of(passing.payload_bytes, now, sequence(index, number));
            wire::encode_publish(out, topic.as_bytes(), 1, packet_id(self.sent), &bytes);
            self.sent += 1;
            self.kept += u64::from(is_kept);
        }
    }

    fn has_outstanding(&self, each: u64) -> bool {
        self.acknowledged < each || self.delivered < self.sent - self.kept
    }
}
