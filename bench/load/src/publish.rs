//! Publishers at QoS 1 that have something to say to many topics, and then are done.

use std::time::Duration;

use super::fleet::Fleet;
use super::guest::Guest;
use super::meter::{Broker, PAYLOAD_BYTES, payload_of};
use super::pairs::{WINDOW, packet_id};
use super::reading;
use crate::shuffle::shuffled;
use crate::wire::{self, Packet};

pub(crate) const PUBLISHERS: usize = 50;
/// A broker that acknowledges nothing for this long has failed.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// What was published.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    /// Acknowledged publishes.
    pub messages: u64,
    /// From the first publish to the last acknowledgement.
    pub took: Duration,
}

/// What is published besides topics.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    /// 16 at least.
    pub(crate) payload_bytes: usize,
    pub(crate) is_retained: bool,
}

/// Publishes what `next` says, for a publisher and the time since the begin: a topic and the message's number there.
/// None ends that publisher. 50 publishers, 20 unacknowledged each.
///
/// # Errors
/// When the broker fails, or stops to acknowledge.
pub fn publish(
    broker: &dyn Broker,
    seed: u64,
    next: impl FnMut(usize, Duration) -> Option<(String, u64)>,
) -> anyhow::Result<Published> {
    let form = Form {
        payload_bytes: PAYLOAD_BYTES,
        is_retained: false,
    };
    publish_as(broker, seed, form, next)
}

/// The same in another form.
///
/// # Errors
/// As [`publish`].
pub(crate) fn publish_as(
    broker: &dyn Broker,
    seed: u64,
    form: Form,
    mut next: impl FnMut(usize, Duration) -> Option<(String, u64)>,
) -> anyhow::Result<Published> {
    let guests: Vec<Guest> = (0..PUBLISHERS)
        .map(|publisher| Guest::clean(format!("publisher-{publisher}"), None))
        .collect();
    let mut fleet = Fleet::connect_as(broker.addresses(), &guests, &shuffled(PUBLISHERS, seed))?;
    let began = fleet.now();
    let mut sent = vec![0; PUBLISHERS];
    let mut acknowledged = vec![0; PUBLISHERS];
    let mut ended = [false; PUBLISHERS];
    let mut last = began;
    let mut fill = |publisher: usize, sent: &mut u64, acknowledged: u64, now: Duration, out: &mut Vec<u8>| {
        while *sent - acknowledged < WINDOW {
            let Some((topic, number)) = next(publisher, now.saturating_sub(began)) else {
                return true;
            };
            let payload = payload_of(form.payload_bytes, now, reading::sequence(publisher, number));
            let begins = out.len();
            wire::encode_publish(out, topic.as_bytes(), 1, packet_id(*sent), &payload);
            if form.is_retained {
                out[begins] |= wire::RETAIN;
            }
            *sent += 1;
        }
        false
    };
    for publisher in 0..PUBLISHERS {
        let sent = &mut sent[publisher];
        fleet.send(publisher, |out| ended[publisher] = fill(publisher, sent, 0, began, out))?;
    }
    while !ended.iter().all(|ended| *ended) || sent != acknowledged {
        fleet.poll(Duration::from_millis(100), |publisher, now, packet, out| {
            let Packet::PubAck { packet_id: id } = *packet else {
                anyhow::bail!("an unexpected {packet:?}")
            };
            let expected = packet_id(acknowledged[publisher]);
            anyhow::ensure!(id == expected, "PUBACK {id} came where {expected} was next");
            acknowledged[publisher] += 1;
            last = now;
            if !ended[publisher] {
                ended[publisher] = fill(publisher, &mut sent[publisher], acknowledged[publisher], now, out);
            }
            Ok(())
        })?;
        anyhow::ensure!(
            fleet.now() < last + SILENCE_LIMIT,
            "{} of {} publishes are acknowledged, and nothing more comes",
            acknowledged.iter().sum::<u64>(),
            sent.iter().sum::<u64>()
        );
    }
    Ok(Published {
        messages: acknowledged.iter().sum(),
        took: last - began,
    })
}

/// What `next` of [`publish`] says so that each of `devices` gets `each` messages on its topic: publishers share the devices
/// among them, and go round.
pub fn each_device(
    devices: usize,
    each: u64,
    topic: impl Fn(usize) -> String,
) -> impl FnMut(usize, Duration) -> Option<(String, u64)> {
    let mut places = vec![(0, 0); PUBLISHERS];
    move |publisher, _| {
        let (device, sequence) = &mut places[publisher];
        if *device == 0 && *sequence == 0 {
            *device = publisher;
        }
        if *device >= devices {
            *device = publisher;
            *sequence += 1;
        }
        if *sequence >= each || *device >= devices {
            return None;
        }
        let said = (topic(*device), *sequence);
        *device += PUBLISHERS;
        Some(said)
    }
}

/// What `next` of [`publish`] says so that each of `devices` gets its `each` messages one behind the other.
pub(crate) fn bursts(
    devices: usize,
    each: u64,
    topic: impl Fn(usize) -> String,
) -> impl FnMut(usize, Duration) -> Option<(String, u64)> {
    let mut places: Vec<(usize, u64)> = (0..PUBLISHERS).map(|publisher| (publisher, 0)).collect();
    move |publisher, _| {
        let (device, number) = &mut places[publisher];
        if *number == each {
            (*device, *number) = (*device + PUBLISHERS, 0);
        }
        let said = (*device < devices).then(|| (topic(*device), *number))?;
        *number += 1;
        Some(said)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_device_gets_its_messages_in_order_from_one_publisher() {
        let mut next = each_device(120, 3, |device| device.to_string());
        let mut seen: BTreeMap<String, Vec<(usize, u64)>> = BTreeMap::new();
        for publisher in (0..PUBLISHERS).rev() {
            while let Some((topic, number)) = next(publisher, Duration::ZERO) {
                seen.entry(topic).or_default().push((publisher, number));
            }
        }
        assert_eq!(seen.len(), 120);
        for (topic, messages) in seen {
            let publisher = topic.parse::<usize>().unwrap() % PUBLISHERS;
            assert_eq!(messages, [(publisher, 0), (publisher, 1), (publisher, 2)], "{topic}");
        }
    }

    #[test]
    fn a_burst_brings_a_device_all_that_it_gets_before_the_next_one() {
        let mut next = bursts(PUBLISHERS + 1, 2, |device| device.to_string());
        let said: Vec<(String, u64)> = std::iter::from_fn(|| next(0, Duration::ZERO)).collect();
        let expected = [("0", 0), ("0", 1), ("50", 0), ("50", 1)].map(|(topic, number)| (topic.to_owned(), number));
        assert_eq!(said, expected);
        assert_eq!(std::iter::from_fn(|| next(1, Duration::ZERO)).count(), 2);
    }

    #[test]
    fn fewer_devices_than_publishers_leave_some_without() {
        let mut next = each_device(2, 1, |device| device.to_string());
        assert_eq!(next(1, Duration::ZERO), Some(("1".to_owned(), 0)));
        assert_eq!(next(1, Duration::ZERO), None);
        assert_eq!(next(2, Duration::ZERO), None);
    }
}
