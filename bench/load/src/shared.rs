//! A shared subscription: whether more members take more, and what dealing costs.
//!
//! Publishers hold back until members are done with what was published, so that nothing is shed: at QoS 1, with a window of
//! messages that are not done with. A member is done at once, or works on each message for a while, one after the other.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::Timing;
use super::fleet::Fleet;
use super::growth::InTurns;
use super::guest::{Guest, Subscription};
use super::meter::{Broker, Meter, Outcome, Phase, parse_payload, payload};
use super::pairs::{PAIRS, WINDOW, packet_id, pairs};
use super::reading;
use crate::shuffle::shuffled;
use crate::wire::{self, Packet};

/// Members of a shared subscription, the most.
pub const MEMBERS: usize = 8;
/// What a member does with a message, where it does anything.
const WORK: Duration = Duration::from_millis(1);
/// Messages under way for each member that works: it never waits for the next one, if it gets its share.
const UNDER_WAY: usize = 16;

#[derive(Debug, Clone, Copy)]
struct Group {
    publishers: usize,
    /// Of each publisher.
    window: u64,
    members: usize,
    work: Duration,
}

/// One member that works, and eight of them.
///
/// # Errors
/// When a message is lost or doubled, or the broker fails.
pub fn members_in_turns(broker: &dyn Broker, timing: Timing, seed: u64) -> anyhow::Result<InTurns> {
    let group = |members| Group {
        publishers: UNDER_WAY,
        window: members as u64,
        members,
        work: WORK,
    };
    InTurns::run(
        || run(broker, timing, seed, group(1)),
        || run(broker, timing, seed, group(MEMBERS)),
    )
}

/// 50 pairs at QoS 1, and the 50 publishers with a shared subscription of eight members at full speed.
///
/// # Errors
/// As [`members_in_turns`].
pub fn shared_in_turns(broker: &dyn Broker, timing: Timing, seed: u64) -> anyhow::Result<InTurns> {
    let group = Group {
        publishers: PAIRS,
        window: WINDOW,
        members: MEMBERS,
        work: Duration::ZERO,
    };
    InTurns::run(|| pairs(broker, timing, seed, 1), || run(broker, timing, seed, group))
}

#[derive(Clone, Default)]
struct Publisher {
    sent: u64,
    acknowledged: u64,
    done: u64,
    delivered: Once,
}

/// Numbers that must come once each, in any order.
#[derive(Debug, Clone, Default)]
struct Once {
    /// All below have come.
    next: u64,
    beyond: BTreeSet<u64>,
}

impl Once {
    /// Whether this number comes for the first time.
    fn take(&mut self, number: u64) -> bool {
        let is_new = number >= self.next && self.beyond.insert(number);
        while self.beyond.remove(&self.next) {
            self.next += 1;
        }
        is_new
    }
}

/// A member, and what it works on.
#[derive(Clone, Default)]
struct Member {
    /// When it is done with what it has.
    busy_until: Duration,
    /// When it is done with each message, and the message's publisher and packet id.
    working: VecDeque<(Duration, usize, u16)>,
}

fn run(broker: &dyn Broker, timing: Timing, seed: u64, group: Group) -> anyhow::Result<Outcome> {
    let Group {
        publishers: count,
        members: member_count,
        ..
    } = group;
    let mut guests: Vec<Guest> = (0..count).map(|at| Guest::clean(format!("p{at}"), None)).collect();
    guests.extend((0..member_count).map(|at| {
        let filter = "$share/bench/bench/shared/+".to_owned();
        Guest::clean(format!("m{at}"), Some(Subscription { filter, qos: 1 }))
    }));
    let mut fleet = Fleet::connect_as(broker.addresses(), &guests, &shuffled(guests.len(), seed))?;
    let mut publishers = vec![Publisher::default(); count];
    let mut members = vec![Member::default(); member_count];
    let mut meter = Meter::new(broker, timing, fleet.now());
    let mut to_fill: BTreeSet<usize> = (0..count).collect();
    let wait = if group.work.is_zero() {
        Duration::from_millis(100)
    } else {
        WORK
    };
    while meter.phase != Phase::Draining || publishers.iter().any(Publisher::has_outstanding) {
        for index in std::mem::take(&mut to_fill) {
            if meter.phase != Phase::Draining {
                let now = fleet.now();
                let publisher = &mut publishers[index];
                fleet.send(index, |out| {
                    publisher.fill_window(index, group.window, now, &mut meter, out);
                })?;
            }
        }
        fleet.poll(wait, |client, now, packet, out| {
            match (*packet, client.checked_sub(count)) {
                (Packet::PubAck { .. }, None) => {
                    publishers[client].acknowledged += 1;
                    to_fill.insert(client);
                }
                (Packet::Publish { packet_id, payload, .. }, Some(at)) => {
                    let member = &mut members[at];
                    let (sent_at, sequence) = parse_payload(payload, payload.len())?;
                    let publisher = take(sequence, &mut publishers)?;
                    meter.deliver(sent_at, now);
                    if group.work.is_zero() {
                        wire::encode_puback(out, packet_id);
                        publishers[publisher].done += 1;
                        to_fill.insert(publisher);
                    } else {
                        member.busy_until = member.busy_until.max(now) + group.work;
                        member.working.push_back((member.busy_until, publisher, packet_id));
                    }
                }
                _ => anyhow::bail!("an unexpected {packet:?}"),
            }
            Ok(())
        })?;
        for (at, member) in members.iter_mut().enumerate() {
            let now = fleet.now();
            while let Some((_, publisher, packet_id)) = member.working.pop_front_if(|(until, ..)| *until <= now) {
                fleet.send(count + at, |out| wire::encode_puback(out, packet_id))?;
                publishers[publisher].done += 1;
                to_fill.insert(publisher);
            }
        }
        meter.advance(fleet.now())?;
    }
    meter.finish()
}

impl Publisher {
    fn fill_window(&mut self, index: usize, window: u64, now: Duration, meter: &mut Meter<'_>, out: &mut Vec<u8>) {
        let topic = format!("bench/shared/{index}");
        while self.sent - self.acknowledged.min(self.done) < window {
            let payload = payload(now, reading::sequence(index, self.sent));
            wire::encode_publish(out, topic.as_bytes(), 1, packet_id(self.sent), &payload);
            self.sent += 1;
            meter.sent += 1;
        }
    }

    fn has_outstanding(&self) -> bool {
        self.acknowledged < self.sent || self.done < self.sent
    }
}

/// The publisher of a message that has come for the first time. In whatever order: what a member has no room for goes to
/// another one behind others, and MQTT 5.0, 4.6 wants no order of shared subscriptions.
fn take(sequence: u64, publishers: &mut [Publisher]) -> anyhow::Result<usize> {
    let (publisher, number) = (reading::publisher(sequence), reading::number(sequence));
    let is_new = publishers
        .get_mut(publisher)
        .is_some_and(|publisher| publisher.delivered.take(number));
    anyhow::ensure!(is_new, "message {number} of publisher {publisher} was doubled");
    Ok(publisher)
}

#[cfg(test)]
mod tests {
    use super::Once;

    #[test]
    fn a_number_is_new_once_in_whatever_order_it_comes() {
        let mut once = Once::default();
        assert!(once.take(2) && once.take(0) && once.take(1));
        assert!(!once.take(0) && !once.take(2));
        assert!(once.take(3) && !once.take(3) && once.beyond.is_empty());
    }
}
