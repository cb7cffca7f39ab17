//! What clients read of many publishers: each publisher's messages once and in order, and as many as there must be.

use std::collections::HashMap;
use std::time::Duration;

use super::fleet::Fleet;
use super::meter::parse_payload;
use crate::wire::{self, Packet};

/// After the last message it is waited this long for one too many.
const TOO_MANY: Duration = Duration::from_millis(300);
/// A broker that delivers nothing for this long has lost what is missing.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// A sequence begins with the publisher's number, and its own number has these bits.
const NUMBER_BITS: u32 = 40;

/// The place in the sequences of all publishers.
pub(crate) fn sequence(publisher: usize, number: u64) -> u64 {
    u64::try_from(publisher).unwrap_or(u64::MAX) << NUMBER_BITS | number
}

/// The publisher of a sequence.
pub(crate) fn publisher(sequence: u64) -> usize {
    usize::try_from(sequence >> NUMBER_BITS).unwrap_or(usize::MAX)
}

/// The publisher's own number.
pub(crate) fn number(sequence: u64) -> u64 {
    sequence & ((1 << NUMBER_BITS) - 1)
}

/// What has come to the clients of a fleet.
pub(crate) struct Reading {
    /// What comes next, for each client and publisher.
    next: HashMap<(usize, usize), u64>,
    payload_bytes: usize,
    /// Bytes of a PUBLISH's properties, which only MQTT 5.0 has: none, said in one byte.
    property_bytes: usize,
    /// Messages to all clients.
    pub(crate) total: u64,
    /// When the last one came.
    pub(crate) last: Duration,
}

impl Reading {
    pub(crate) fn new(payload_bytes: usize, property_bytes: usize) -> Self {
        Self {
            next: HashMap::new(),
            payload_bytes,
            property_bytes,
            total: 0,
            last: Duration::ZERO,
        }
    }

    /// Takes and acknowledges what has come.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(crate) fn poll(&mut self, fleet: &mut Fleet, wait: Duration) -> anyhow::Result<()> {
        fleet.poll(wait, |client, now, packet, out| self.take(client, now, packet, out))
    }

    /// Takes a packet that has come to a client, and writes its acknowledgement.
    ///
    /// # Errors
    /// When a message is lost, doubled or overtaken, or it is none.
    pub(crate) fn take(
        &mut self,
        client: usize,
        now: Duration,
        packet: &Packet<'_>,
        out: &mut Vec<u8>,
    ) -> anyhow::Result<()> {
        let Packet::Publish { packet_id, payload, .. } = *packet else {
            anyhow::bail!("an unexpected {packet:?}")
        };
        let payload = payload.get(self.property_bytes..).unwrap_or_default();
        let (_, sequence) = parse_payload(payload, self.payload_bytes)?;
        let (publisher, number) = (publisher(sequence), number(sequence));
        let next = self.next.entry((client, publisher)).or_default();
        anyhow::ensure!(
            number == *next,
            "message {number} of publisher {publisher} arrived where {next} was next"
        );
        *next += 1;
        self.total += 1;
        self.last = now;
        wire::encode_puback(out, packet_id);
        Ok(())
    }

    /// Goes on until so many messages have come, and a little longer.
    ///
    /// # Errors
    /// As [`Self::poll`], and when fewer or more come.
    pub(crate) fn read_all(&mut self, fleet: &mut Fleet, expected: u64) -> anyhow::Result<()> {
        self.last = fleet.now();
        while self.total < expected {
            self.poll(fleet, Duration::from_millis(100))?;
            anyhow::ensure!(
                fleet.now() < self.last + SILENCE_LIMIT,
                "{} of {expected} messages came, and nothing more does",
                self.total
            );
        }
        let until = self.last + TOO_MANY;
        while fleet.now() < until {
            self.poll(fleet, Duration::from_millis(10))?;
        }
        anyhow::ensure!(
            self.total == expected,
            "{} messages came instead of {expected}",
            self.total
        );
        Ok(())
    }
}
