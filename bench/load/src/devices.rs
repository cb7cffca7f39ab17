//! Devices that look in, leave a session behind, and come back for what waits for it.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::fleet::Fleet;
use super::guest::{AT_ONCE, Guest, Session, Subscription, look_in};
use super::meter::{Broker, PAYLOAD_BYTES};
use super::reading::Reading;

/// Devices of one kind, by number.
#[derive(Debug, Clone, Copy)]
pub struct Devices<'a> {
    /// What client ids and topics begin with.
    pub name: &'a str,
    /// A filter that all of them subscribe to besides their own.
    pub shared: Option<&'a str>,
    /// When the sessions end; none: they stay.
    pub ends_at: Option<Instant>,
}

/// How devices came back.
#[derive(Debug, Clone, Copy)]
pub struct Back {
    /// From the first connection to the last CONNACK.
    pub connected: Duration,
    /// Messages that arrived until then.
    pub before: u64,
    /// Messages that arrived behind it.
    pub behind: u64,
    /// From the last CONNACK to the last message.
    pub drained: Duration,
}

impl Devices<'_> {
    /// The topic of a device of its own, which is its filter, too.
    #[must_use]
    pub fn topic(&self, device: usize) -> String {
        format!("bench/{}/{device}", self.name)
    }

    /// Lets devices connect, subscribe at QoS 1 and go. Returns how long that took.
    ///
    /// # Errors
    /// When one is refused or not answered.
    pub fn make(&self, broker: &dyn Broker, range: Range<usize>) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let devices: Vec<usize> = range.collect();
        for (turn, some) in devices.chunks(AT_ONCE).enumerate() {
            let guests: Vec<Guest> = some.iter().map(|&device| self.guest(device, false)).collect();
            look_in(broker.addresses(), &guests, turn)?;
        }
        Ok(began.elapsed())
    }

    /// Lets devices come back for so many messages each, and no more. They read and acknowledge as soon as they are in.
    /// `all_in` is called behind the last CONNACK.
    ///
    /// # Errors
    /// When a session or a message is missing, or comes twice.
    pub fn come_back(
        &self,
        broker: &dyn Broker,
        devices: &[usize],
        each: u64,
        mut all_in: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Back> {
        let mut fleet = Fleet::empty()?;
        let mut reading = Reading::new(PAYLOAD_BYTES, usize::from(self.ends_at.is_some()));
        let began = fleet.now();
        for some in devices.chunks(AT_ONCE) {
            let guests: Vec<Guest> = some.iter().map(|&device| self.guest(device, true)).collect();
            fleet.add(broker.addresses(), &guests)?;
            reading.poll(&mut fleet, Duration::ZERO)?;
        }
        let connected_at = fleet.now();
        let before = reading.total;
        all_in()?;
        let expected = u64::try_from(devices.len())? * each;
        reading.read_all(&mut fleet, expected)?;
        fleet.leave()?;
        Ok(Back {
            connected: connected_at - began,
            before,
            behind: expected - before,
            drained: reading.last.saturating_sub(connected_at),
        })
    }

    fn guest(&self, device: usize, comes_back: bool) -> Guest {
        let own = (!comes_back).then(|| self.topic(device));
        let shared = self.shared.filter(|_| !comes_back).map(str::to_owned);
        Guest {
            client_id: format!("{}-{device}", self.name),
            session: self.ends_at.map_or(Session::Kept, Session::Expires),
            comes_back,
            subscriptions: shared
                .into_iter()
                .chain(own)
                .map(|filter| Subscription { filter, qos: 1 })
                .collect(),
        }
    }
}
