//! What scripts act on: clients of one kind and version, each behind a relay of its own, at one broker.
//!
//! A script says what happens and what must be seen. A difference that the script can go on from is noted; one that it
//! cannot ends it. Topics and client ids are below a name of the script's own, so that scripts run side by side.

mod device;
mod peer;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use crate::cannot::{Feature, cannot};
use crate::driver::{Client, Driver};
use crate::message::{Command, Connect, Event, Filter, Publish, Subscribe, Version};
use crate::relay::{Packet, Relay};
pub(crate) use device::{Device, Heard};
pub(crate) use peer::{Message, Peer};

/// How long anything may take that must happen. Generous: the machine may be busy with other work.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Something that was to be seen and was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What the script was at, in its words.
    pub(crate) step: String,
    pub(crate) expected: String,
    pub(crate) seen: String,
}

/// Why a script ended before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It cannot go on without what it expected.
    Missing(Finding),
    /// The harness itself failed; says nothing about the broker.
    Harness(anyhow::Error),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Harness(error)
    }
}

/// What a script returns.
pub(crate) type Played<T = ()> = Result<T, Stop>;

/// The place of one run of one script.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) version: Version,
    client: Client,
    driver: &'a Driver,
    broker: SocketAddr,
    name: String,
    findings: Vec<Finding>,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(client: Client, version: Version, driver: &'a Driver, broker: SocketAddr, name: String) -> Self {
        Self {
            version,
            client,
            driver,
            broker,
            name,
            findings: Vec::new(),
        }
    }

    /// What was not as expected, in its order.
    pub(crate) fn into_findings(self) -> Vec<Finding> {
        self.findings
    }

    pub(crate) fn is_v5(&self) -> bool {
        self.version == Version::V5
    }

    /// Whether the client under test can do this.
    pub(crate) fn can(&self, feature: Feature) -> bool {
        cannot(self.client, self.version, feature).is_none()
    }

    /// A topic name or filter of this script's own.
    pub(crate) fn topic(&self, topic: &str) -> String {
        format!("{}/{topic}", self.name)
    }

    /// How a client of this name connects when nothing else is said: clean, and with a keep-alive that does not matter.
    pub(crate) fn named(&self, name: &str) -> Connect {
        Connect {
            client_id: format!("{}-{name}", self.name),
            clean: true,
            keep_alive_s: 120,
            version: self.version.into(),
            ..Connect::default()
        }
    }

    /// Notes a difference and goes on.
    pub(crate) fn check<T: PartialEq + Debug>(&mut self, step: &str, expected: &T, seen: &T) {
        if expected != seen {
            self.findings.push(finding(step, expected, seen));
        }
    }

    /// Ends the script when this differs: nothing behind it would mean anything.
    ///
    /// # Errors
    /// When it differs.
    pub(crate) fn require<T: PartialEq + Debug>(&self, step: &str, expected: &T, seen: &T) -> Played {
        if expected == seen {
            return Ok(());
        }
        Err(Stop::Missing(finding(step, expected, seen)))
    }

    /// Connects a client that publishes.
    ///
    /// # Errors
    /// When the broker does not accept it.
    pub(crate) async fn publisher(&mut self, connect: Connect) -> Played<Peer> {
        let mut peer = self.open(connect).await?;
        // `mosquitto_pub` connects with each publication.
        if self.client != Client::Mosquitto {
            peer.expect_connected("CONNECT").await?;
        }
        Ok(peer)
    }

    /// Connects a client and subscribes; every filter must be granted as asked.
    ///
    /// # Errors
    /// When the broker does not accept it.
    pub(crate) async fn subscriber(&mut self, connect: Connect, subscribe: Subscribe) -> Played<Peer> {
        let granted: Vec<u8> = subscribe.filters.iter().map(|filter| filter.qos).collect();
        let mut peer = self.subscribing(connect, subscribe).await?;
        let codes = peer.expect_suback("SUBSCRIBE").await?;
        // Without its subscription nothing can come.
        self.require("SUBACK", &granted, &codes)?;
        Ok(peer)
    }

    /// Connects a client and sends SUBSCRIBE, and leaves it to the script what comes of it.
    ///
    /// # Errors
    /// When the broker does not accept the connection.
    pub(crate) async fn subscribing(&mut self, connect: Connect, subscribe: Subscribe) -> Played<Peer> {
        let mut peer = self.open(connect).await?;
        if self.client == Client::Mosquitto {
            peer.tell(Command::Subscribe(subscribe))?;
            peer.expect_connected("CONNECT").await?;
        } else {
            peer.expect_connected("CONNECT").await?;
            peer.tell(Command::Subscribe(subscribe))?;
        }
        Ok(peer)
    }

    /// Connects a client to its session without subscribing, where its library can.
    ///
    /// # Errors
    /// When the broker does not accept it.
    pub(crate) async fn resumed(&mut self, connect: Connect, subscribe: Subscribe) -> Played<Peer> {
        if self.client == Client::Mosquitto {
            return self.subscriber(connect, subscribe).await;
        }
        self.publisher(connect).await
    }

    /// Waits until these clients have received so many messages together, and returns them.
    ///
    /// # Errors
    /// When fewer come.
    pub(crate) async fn messages_of(&mut self, step: &str, peers: &mut [Peer], count: usize) -> Played<Vec<Message>> {
        let mut seen = Vec::with_capacity(count);
        while seen.len() < count {
            let any = peers.iter().map(|peer| Box::pin(peer.has_message(DEADLINE)));
            let (come, ..) = futures::future::select_all(any).await;
            if !come {
                return Err(Stop::Missing(finding(step, count, seen.len())));
            }
            peers.iter_mut().for_each(|peer| seen.extend(peer.arrived_messages()));
        }
        Ok(seen)
    }

    /// Connects a client that is to be refused, and returns the reason code of CONNACK.
    ///
    /// # Errors
    /// When there is no CONNACK, or the client does not notice.
    pub(crate) async fn refused(&mut self, step: &str, connect: Connect) -> Played<u8> {
        let peer = self.open(connect).await?;
        if self.client == Client::Mosquitto {
            peer.tell(Command::Subscribe(one("unused", 0)))?;
        }
        let code = peer
            .expect_packet(step, "CONNACK", |packet| match packet {
                Packet::ConnAck { reason_code, .. } => Some(*reason_code),
                _ => None,
            })
            .await?;
        peer.expect_event(step, "the client tells its user", |event| {
            matches!(event, Event::Closed { .. }).then_some(())
        })
        .await?;
        Ok(code)
    }

    /// Connects a device that can hold packets of so many bytes.
    ///
    /// # Errors
    /// When the broker does not accept it.
    pub(crate) async fn device(&mut self, name: &str, buffer_bytes: usize) -> Played<Device> {
        let relay = Relay::start(self.broker).await?;
        Device::connect(relay, self.version, &self.named(name).client_id, buffer_bytes).await
    }

    async fn open(&mut self, mut connect: Connect) -> Played<Peer> {
        let relay = Relay::start(self.broker).await?;
        connect.port = relay.address.port();
        let peer = Peer::new(relay, self.driver.open());
        peer.tell(Command::Connect(connect))?;
        Ok(peer)
    }

    /// Publishes, and waits until the exchange is over.
    ///
    /// # Errors
    /// When it does not end.
    pub(crate) async fn publish(&mut self, peer: &mut Peer, publish: Publish) -> Played {
        let tag = peer.start_publish(publish)?;
        peer.expect_published("PUBLISH", tag).await
    }

    /// The next messages of a client must be these, in this order.
    ///
    /// # Errors
    /// When fewer come.
    pub(crate) async fn expect(&mut self, step: &str, peer: &mut Peer, expected: &[Message]) -> Played {
        let seen = peer.take_messages(step, expected).await?;
        self.check(step, &expected.to_vec(), &seen);
        Ok(())
    }

    /// The next messages of a client must be these, in any order.
    ///
    /// # Errors
    /// When fewer come.
    pub(crate) async fn expect_any_order(&mut self, step: &str, peer: &mut Peer, expected: &[Message]) -> Played {
        let mut seen = peer.take_messages(step, expected).await?;
        let mut expected = expected.to_vec();
        expected.sort();
        seen.sort();
        self.check(step, &expected, &seen);
        Ok(())
    }
}

/// Describes a difference.
pub(crate) fn finding(step: &str, expected: impl Debug, seen: impl Debug) -> Finding {
    Finding {
        step: step.to_owned(),
        expected: format!("{expected:?}"),
        seen: format!("{seen:?}"),
    }
}

/// A subscription with one filter.
pub(crate) fn one(topic_filter: &str, qos: u8) -> Subscribe {
    Subscribe {
        filters: vec![filter(topic_filter, qos)],
        identifier: None,
    }
}

/// A filter without options.
pub(crate) fn filter(topic_filter: &str, qos: u8) -> Filter {
    Filter {
        topic_filter: topic_filter.to_owned(),
        qos,
        ..Filter::default()
    }
}

/// A publication without more.
pub(crate) fn message(topic: &str, payload: &str, qos: u8) -> Publish {
    Publish {
        topic: topic.to_owned(),
        payload: payload.to_owned(),
        qos,
        ..Publish::default()
    }
}
