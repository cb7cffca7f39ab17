//! One publisher at QoS 1 and 1,000 subscribers at QoS 0; so many messages are on their way at a time: with one, the next
//! leaves when all have the last one.

use std::time::Duration;

use super::Timing;
use super::fleet::Fleet;
use super::guest::Subscription;
use super::meter::{Broker, Meter, Outcome, Phase, payload, read_payload};
use super::pairs::packet_id;
use crate::shuffle::shuffled;
use crate::wire::{self, Packet};

/// Those that each message goes to.
pub const FAN_OUT_SUBSCRIBERS: u64 = 1_000;
const SUBSCRIBERS: usize = 1_000;
const TOPIC: &str = "bench/fan-out";

/// CPU and time of each delivery of a fan-out.
///
/// # Errors
/// When a message is lost, doubled or overtaken, or the broker fails.
pub fn fan_out(broker: &dyn Broker, timing: Timing, seed: u64, outstanding: u64) -> anyhow::Result<Outcome> {
    let mut subscriptions = vec![
        Some(Subscription {
            filter: TOPIC.to_owned(),
            qos: 0
        });
        SUBSCRIBERS
    ];
    subscriptions.push(None);
    let publisher = SUBSCRIBERS;
    let mut fleet = Fleet::connect(broker.addresses(), &subscriptions, &shuffled(subscriptions.len(), seed))?;
    let mut meter = Meter::new(broker, timing, fleet.now());
    let mut expected = vec![0; SUBSCRIBERS];
    let mut published = 0;
    let mut acknowledged = 0;
    loop {
        if acknowledged == published && meter.delivered == meter.sent && meter.phase == Phase::Draining {
            return meter.finish();
        }
        let done = acknowledged.min(meter.delivered / FAN_OUT_SUBSCRIBERS);
        while meter.phase != Phase::Draining && published < done + outstanding {
            let payload = payload(fleet.now(), published);
            fleet.send(publisher, |out| {
                wire::encode_publish(out, TOPIC.as_bytes(), 1, packet_id(published), &payload);
            })?;
            published += 1;
            meter.sent += FAN_OUT_SUBSCRIBERS;
        }
        fleet.poll(Duration::from_millis(100), |client, now, packet, _| {
            match *packet {
                Packet::PubAck { .. } => acknowledged += 1,
                Packet::Publish { payload, .. } => {
                    meter.deliver(read_payload(payload, expected[client])?, now);
                    expected[client] += 1;
                }
                _ => anyhow::bail!("an unexpected {packet:?}"),
            }
            Ok(())
        })?;
        meter.advance(fleet.now())?;
    }
}
